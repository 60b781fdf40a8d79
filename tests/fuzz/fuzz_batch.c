/* fuzz_batch.c - bytes as lines of a batch: of questions, and of the file of answers that is read
 * when it goes on. A question that is taken has a name, a call and a body; another one has a
 * reason. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "batch/question.h"
#include "batch/record.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        struct question q;
        struct record_line line;
        struct err e = {0};
        int rc = question_read(at, n, NULL, &q, &e);
        must(rc == 0 || (rc == E_FORMAT && e.text[0]));
        must(strlen(q.custom_id) <= QUESTION_ID_MAX && utf8_is_plain(q.custom_id));
        if (rc == 0) must(q.custom_id[0] && api_route_is_batchable(q.route) && q.body.p[0] == '{');
        question_clear(&q);
        if (record_read_line(at, n, &line) == 0) must(line.custom_id[0] && line.print[0]);
        at += n + 1;
    }
    return 0;
}
