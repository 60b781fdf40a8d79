/* question.h - one line of a batch, in OpenAI's shape:
 *
 *     {"custom_id": "a", "method": "POST", "url": "/v1/vqa", "body": {"image": ..., ...}}
 *
 * `url` is a call of the API that has one answer (api_route_is_batchable), `body` its JSON. What
 * the body holds the API itself checks. Thread: any, a line each.
 */
#ifndef BATCH_QUESTION_H
#define BATCH_QUESTION_H

#include "api/api.h"
#include "kernels/base/buf.h"

enum {
    QUESTION_LINE_MAX = 16 << 20, /* bytes */
    QUESTION_ID_MAX = 256,
    QUESTION_DEPTH_MAX = 17, /* a body's own, and one */
    QUESTION_MARKS_MAX = 41000
};

struct question {
    char custom_id[QUESTION_ID_MAX + 1]; /* "": it has none, or no legal one */
    const struct api_route *route;
    struct buf body; /* JSON */
};

/* `endpoint`: what each `url` has to be; NULL or "*": any. E_FORMAT with what is wrong; custom_id
 * may be there. To be cleared either way. */
int question_read(const char *text, size_t len, const char *endpoint, struct question *q,
                  struct err *e);
void question_clear(struct question *q);

#endif
