/* fuzz_adapters.c - bytes as gate.json of an adapter, as a line of the history of adapters, and as
 * what a server answers to `lammd adapters`. What is taken keeps its limits. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/store/history.h"
#include "api/store/verdict.h"
#include "cli/http_client_read.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_verdict(const char *text, size_t size) {
    struct verdict v;
    struct err e = {0};
    if (verdict_parse(text, size, &v, &e)) {
        must(e.code && e.text[0] && !v.root);
        return;
    }
    must(v.root && strlen(v.why) <= VERDICT_TEXT_MAX && v.decision <= VERDICT_NOT_DECIDED);
    const json_t *rows = json_object_get(v.root, "tasks");
    must(json_array_size(rows) <= VERDICT_ROWS_MAX);
    for (size_t i = 0; i < json_array_size(rows); i++)
        must(isfinite(json_number_value(json_object_get(json_array_get(rows, i), "after"))));
    verdict_clear(&v);
}

static void fuzz_line(const char *text, size_t size) {
    struct history_line line;
    struct err e = {0};
    if (history_parse(text, size, &line, &e))
        must(e.code == E_FORMAT && e.text[0]);
    else
        must(strlen(line.name) < HISTORY_NAME_BYTES && line.event <= HISTORY_ROLLBACK);
}

struct feed {
    const uint8_t *at;
    size_t left, piece;
};

static long feed_on(void *ud, void *to, size_t max) {
    struct feed *f = ud;
    size_t n = f->left < f->piece ? f->left : f->piece;
    if (n > max) n = max;
    if (n) memcpy(to, f->at, n);
    f->at += n;
    f->left -= n;
    errno = 0;
    return (long)n;
}

/* The same bytes in one piece and byte by byte mean the same. */
static void fuzz_answer(const uint8_t *data, size_t size) {
    const struct http_request q = {.method = "GET", .path = "/"};
    struct http_reply r[2];
    int rc[2];
    for (int i = 0; i < 2; i++) {
        struct feed f = {data, size, i ? 1 : SIZE_MAX};
        struct err e = {0};
        r[i] = (struct http_reply){.status = 0};
        buf_init(&r[i].body, 1 << 20);
        rc[i] = http_client_read_from(feed_on, &f, &q, &r[i], &e);
        must(rc[i] == e.code && (rc[i] || (r[i].status >= 200 && r[i].status < 600)));
        if (rc[i] == 0) (void)http_client_check(&r[i], &e);
    }
    must(rc[0] == rc[1] && r[0].status == r[1].status);
    must(rc[0] || (r[0].body.len == r[1].body.len && strcmp(r[0].type, r[1].type) == 0));
    http_client_drop(&r[0]);
    http_client_drop(&r[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = mem_try(size + 1);
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    fuzz_verdict(text, size);
    fuzz_line(text, size);
    fuzz_answer(data, size);
    mem_free(text);
    return 0;
}
