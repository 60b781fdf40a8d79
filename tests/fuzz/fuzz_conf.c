/* fuzz_conf.c - bytes as a lammd.conf. What is accepted lies within the bounds of the table; what
 * isn't is said with the file and the line, or by what doesn't fit together. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cli/config_file.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const struct config *cfg, const struct config_row *r) {
    const void *at = (const char *)cfg + r->at;
    const struct config_list *list = at;
    if (!r->name || !(r->cmds & CMD_SERVE)) return;
    if (r->kind == VALUE_NUMBER)
        must(*(const int64_t *)at >= r->least && *(const int64_t *)at <= r->most);
    if (r->kind == VALUE_FLAG) must(*(const int64_t *)at == 0 || *(const int64_t *)at == 1);
    if (r->kind == VALUE_TEXT) must(!*(const char *const *)at || **(const char *const *)at);
    if (r->kind != VALUE_LIST) return;
    must(list->n >= 0 && list->n <= CONFIG_LIST_MAX);
    for (int i = 0; i < list->n; i++)
        must(*list->at[i] && !strchr(list->at[i], '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config cfg;
    struct err e = {0};
    size_t n;
    const struct config_row *rows = config_rows(&n);
    char *exact = mem_must(size ? size : 1); /* so that a byte too far is seen */
    if (size) memcpy(exact, data, size);
    must(config_parse(&cfg, CMD_SERVE, 0, NULL, NULL) == 0);
    int rc = config_file_parse("fuzz.conf", exact, size, &cfg, &e);
    mem_free(exact);
    if (rc) {
        must(rc == e.code && !strchr(e.text, '\n') && strncmp(e.text, "fuzz.conf:", 10) == 0);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        check_row(&cfg, &rows[i]);
    config_clear(&cfg);
    return 0;
}
