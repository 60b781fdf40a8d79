/* test_bounds.c - the bounds of every option that is a number: both ends are accepted by the parser
 * and by the door that takes the number, and where that door has a bound, it is the row's.
 *
 * Sizes of the engine are checked before the model's folder is read, so a folder that is not there
 * tells "out of bounds" (E_INVALID) from all that comes later.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cmd.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

#define NOWHERE "tests/golden/nowhere"

/* Parse `--name=value`. What must fit another option has room to both sides. */
static int parse(struct config *cfg, enum config_cmd cmd, const struct config_row *r, int64_t value,
                 struct err *e) {
    char text[80];
    char *words[] = {"--bodies-mib=65536", "--json-mib=1", "--picture-mib=1", text, NULL};
    int known = cmd == CMD_SERVE ? 0 : 3; /* the last one counts */
    snprintf(text, sizeof(text), "--%s=%" PRId64, r->name, value);
    *e = (struct err){0};
    return config_parse(cfg, cmd, 4 - known, words + known, e);
}

static void check_row(const struct config_row *r, enum config_cmd cmd) {
    const int64_t ends[2] = {r->least, r->most};
    for (int i = 0; i < 2; i++) {
        struct config cfg;
        struct err e;
        CHECK_EQ(parse(&cfg, cmd, r, ends[i], &e), 0);
        CHECK_EQ(*(const int64_t *)(const void *)((const char *)&cfg + r->at), ends[i]);
        CHECK_EQ(parse(&cfg, cmd, r, ends[i] + (i ? 1 : -1), &e), E_INVALID);
        CHECK_HAS(e.text, r->name);
    }
    CHECK(r->start >= r->least && r->start <= r->most);
}

TEST(bounds_are_the_parsers) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    int numbers = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].kind != VALUE_NUMBER) continue;
        for (int cmd = CMD_SERVE; cmd <= CMD_KEYS; cmd *= 2)
            if (rows[i].cmds & cmd) check_row(&rows[i], (enum config_cmd)cmd);
        numbers++;
    }
    CHECK(numbers > 20);
}

/* What the doors behind `lammd serve` say to these options: E_INVALID, or 0 when none minds. */
static int open_doors(const struct config *cfg, struct eng *eng) {
    struct serve_options o = cmd_serve_options(cfg, NOWHERE);
    struct api *api = NULL;
    struct http *http = NULL;
    struct eng *none = NULL;
    int rc = eng_open(&o.engine, &none, NULL);
    CHECK(rc != 0);
    if (rc == E_INVALID) return rc;
    rc = api_new(&o.api, eng, &api, NULL);
    if (rc) return rc;
    rc = http_open(&o.http, api, &http, NULL);
    http_close(http);
    api_free(api);
    return rc;
}

TEST(bounds_are_those_of_the_doors) {
    static const char *const bounded[] = {
        "threads",    "lanes",         "rows",     "kv-tokens",   "cached-images",
        "megapixels", "stored-images", "sessions", "connections", "workers"};
    struct eng *eng = NULL;
    CHECK_EQ(
        eng_open(&(struct eng_options){.model = "tests/golden/tiny", .threads = 1}, &eng, NULL), 0);
    size_t n, found = 0;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        const struct config_row *r = &rows[i];
        struct config cfg;
        struct err e;
        if (r->kind != VALUE_NUMBER || !(r->cmds & CMD_SERVE)) continue;
        CHECK_EQ(parse(&cfg, CMD_SERVE, r, r->least, &e), 0);
        CHECK_EQ(open_doors(&cfg, eng), 0);
        CHECK_EQ(parse(&cfg, CMD_SERVE, r, r->most, &e), 0);
        CHECK_EQ(open_doors(&cfg, eng), 0);
        for (size_t k = 0; k < ARRAY_LEN(bounded); k++) {
            if (strcmp(r->name, bounded[k]) != 0) continue;
            *(int64_t *)(void *)((char *)&cfg + r->at) = r->most + 1;
            CHECK_EQ(open_doors(&cfg, eng), E_INVALID);
            found++;
        }
    }
    CHECK_EQ(found, ARRAY_LEN(bounded));
    eng_close(eng);
}
