/* test_manual.c - one table serves all: each option of it is known to the command line, --help,
 * lammd.conf, both manual pages and the completion, and nothing else is. */
#include "cli/manual.h"

#include <ctype.h>
#include <stdlib.h>

#include "cli/config_file.h"
#include "tests/check.h"

enum { TEXT_MAX = 1 << 18 };

static char *text_of(void (*print)(FILE *to)) {
    char *text = calloc(1, TEXT_MAX);
    FILE *f = fmemopen(text, TEXT_MAX, "w");
    print(f);
    CHECK(ftell(f) < TEXT_MAX - 1);
    fclose(f);
    return text;
}

static void print_page(const char *path, FILE *to) {
    FILE *page = fopen(path, "r");
    struct err e = {0};
    CHECK(page != NULL);
    CHECK_EQ(manual_fill(page, to, &e), 0);
    CHECK_STR(e.text, "");
    fclose(page);
}
static void print_8(FILE *to) { print_page("docs/man/lammd.8.in", to); }
static void print_5(FILE *to) { print_page("docs/man/lammd.conf.5.in", to); }
static void print_help(FILE *to) { cmd_help(cmd_find("serve"), to); }

static int is_of_file(const struct config_row *r) {
    return r->name && (r->cmds & CMD_SERVE) && !r->is_of_line;
}

/* "kv-tokens" -> "kv\-tokens" */
static const char *escaped(const char *name) {
    static char out[128];
    size_t n = 0;
    for (; *name; name++) {
        if (*name == '-') out[n++] = '\\';
        out[n++] = *name;
    }
    out[n] = '\0';
    return out;
}

static void check_named(const char *text, const char *before, const char *name,
                        const char *behind) {
    char part[256];
    snprintf(part, sizeof(part), "%s%s%s", before, name, behind);
    CHECK_HAS(text, part);
}

TEST(manual_names_every_option) {
    char *help = text_of(print_help), *m8 = text_of(print_8), *m5 = text_of(print_5);
    char *example = text_of(manual_example), *bash = text_of(manual_completion);
    size_t n, n_of_file = 0;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].name) continue;
        check_named(m8, "\\fB\\-\\-", escaped(rows[i].name), "\\fR");
        check_named(bash, "--", rows[i].name, " ");
        if (rows[i].cmds & CMD_SERVE) check_named(help, "\n  --", rows[i].name, " ");
        if (!is_of_file(&rows[i])) continue;
        check_named(m5, ".TP\n\\fB", escaped(rows[i].name), "\\fR = ");
        check_named(example, "\n#", rows[i].name, " = ");
        n_of_file++;
    }
    size_t keys = 0;
    for (const char *at = m5; (at = strstr(at, "\\fR = \\fI")); at++)
        keys++;
    CHECK_EQ(keys, n_of_file);
    free(help), free(m8), free(m5), free(example), free(bash);
}

/* The command line and the file fill the same field with the same, for every option. */
TEST(manual_file_and_command_line_are_one) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        const struct config_row *r = &rows[i];
        if (!is_of_file(r)) continue;
        char line[200], word[200], value[40];
        const char *text = r->kind == VALUE_FLAG   ? "yes"
                           : r->kind == VALUE_WORD ? r->words[1]
                           : r->check              ? "10.0.0.0/8"
                                                   : "/a/b";
        snprintf(value, sizeof(value), "%lld", (long long)r->most);
        if (r->kind == VALUE_NUMBER) text = value;
        snprintf(line, sizeof(line), "%s = %s\n", r->name, text);
        snprintf(word, sizeof(word), "--%s=%s", r->name, text);
        char *words[] = {"--bodies-mib=65536", word};
        static struct config by_line, by_file;
        struct err e = {0};
        CHECK_EQ(config_parse(&by_line, CMD_SERVE, 2, words, &e), 0);
        CHECK_EQ(config_parse(&by_file, CMD_SERVE, 1, words, &e), 0);
        CHECK_EQ(config_file_parse("f", line, strlen(line), &by_file, &e), 0);
        const char *a = (const char *)&by_line + r->at, *b = (const char *)&by_file + r->at;
        if (r->kind == VALUE_TEXT || r->kind == VALUE_LIST)
            CHECK_STR(*(const char *const *)(const void *)a, *(const char *const *)(const void *)b);
        else
            CHECK_EQ(*(const int64_t *)(const void *)a, *(const int64_t *)(const void *)b);
        config_clear(&by_file);
    }
}

/* The example with its comment signs taken off the options that have a default is the default. */
TEST(manual_example_has_the_defaults) {
    char *example = text_of(manual_example), *conf = calloc(1, TEXT_MAX);
    size_t n, at = 0, taken = 0;
    const struct config_row *rows = config_rows(&n);
    for (const char *s = example; *s; s += strcspn(s, "\n") + 1) {
        CHECK(strcspn(s, "\n") <= 80);
        if (s[0] != '#' || !islower((unsigned char)s[1])) continue;
        const struct config_row *r = config_find(CMD_SERVE, s + 1, strcspn(s + 1, " "));
        CHECK(r != NULL);
        if (r->kind == VALUE_TEXT || r->kind == VALUE_LIST) continue;
        at +=
            (size_t)snprintf(conf + at, TEXT_MAX - at, "%.*s\n", (int)strcspn(s + 1, "\n"), s + 1);
        taken++;
    }
    CHECK(taken > 40);
    struct config plain, cfg;
    struct err e = {0};
    CHECK_EQ(config_parse(&plain, CMD_SERVE, 0, NULL, NULL), 0);
    CHECK_EQ(config_parse(&cfg, CMD_SERVE, 0, NULL, NULL), 0);
    CHECK_EQ(config_file_parse("example", conf, at, &cfg, &e), 0);
    for (size_t i = 0; i < n; i++)
        if (is_of_file(&rows[i]) && rows[i].kind == VALUE_NUMBER)
            CHECK_EQ(*(const int64_t *)(const void *)((const char *)&cfg + rows[i].at),
                     *(const int64_t *)(const void *)((const char *)&plain + rows[i].at));
    CHECK_EQ(cfg.is_insecure, 0);
    CHECK_EQ(cfg.launcher, plain.launcher);
    config_clear(&cfg);
    free(example), free(conf);
}

/* Words that the completion offers are those that the help explains. */
TEST(manual_offers_what_the_help_explains) {
    size_t n, n_cmds;
    const struct config_row *rows = config_rows(&n);
    const struct cmd *all = cmd_all(&n_cmds);
    for (size_t i = 0; i < n; i++)
        for (int k = 0;
             rows[i].name && rows[i].kind == VALUE_TEXT && rows[i].words && rows[i].words[k]; k++)
            if (rows[i].cmds != CMD_TRAIN) CHECK_HAS(rows[i].help, rows[i].words[k]);
    for (size_t i = 0; i < n_cmds; i++) {
        char text[4096] = "", part[40];
        if (!all[i].words) continue;
        FILE *f = fmemopen(text, sizeof(text) - 1, "w");
        all[i].arguments(f);
        fclose(f);
        for (int k = 0; all[i].words[k]; k++) {
            snprintf(part, sizeof(part), " %s", all[i].words[k]);
            CHECK_HAS(text, part);
        }
        /* And the other way round: what begins a line of the table. */
        for (const char *s = strchr(text, '\n') + 1; *s; s += strcspn(s, "\n") + 1) {
            size_t len = strcspn(s + 2, " \n");
            int is_known = len == 0; /* a line that goes on */
            for (int k = 0; all[i].words[k]; k++)
                is_known |= strlen(all[i].words[k]) == len && !strncmp(all[i].words[k], s + 2, len);
            CHECK(is_known);
        }
    }
}

static void print_odd(FILE *to) { manual_roff(".a 'b' \\c -d\n'e ` ^ ~ .f", to); }

TEST(manual_text_is_no_request) {
    char *text = text_of(print_odd);
    CHECK_STR(text, "\\&.a \\(aqb\\(aq \\ec \\-d \\(aqe \\(ga \\(ha \\(ti .f\n");
    free(text);
}

static int fill(const char *page) {
    static char out[TEXT_MAX];
    FILE *from = fmemopen((void *)(uintptr_t)page, strlen(page), "r");
    FILE *to = fmemopen(out, sizeof(out), "w");
    int rc = manual_fill(from, to, NULL);
    fclose(from), fclose(to);
    return rc;
}

TEST(manual_knows_its_marks) {
    CHECK_EQ(fill("lammd @version@\n@keys@\n"), 0);
    CHECK_EQ(fill("@nothing@\n"), E_FORMAT);
    CHECK_EQ(fill("no end of a line"), E_TOO_BIG);
}
