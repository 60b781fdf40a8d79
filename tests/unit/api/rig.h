/* rig.h - one request at a time through the API, over the fake engine, without a socket.
 *
 *     struct rig r;
 *     rig_open(&r, 8);
 *     rig_send(&r, &(struct rig_request){.path = "/v1/reconstruct", .query = "width=4",
 *                                        .type = "image/png", .body = png.p, .len = png.len});
 *     CHECK_EQ(r.reply->status, 200);
 *     rig_close(&r);
 */
#ifndef TESTS_UNIT_API_RIG_H
#define TESTS_UNIT_API_RIG_H

#include <jansson.h>
#include <stdatomic.h>

#include "api/api.h"
#include "tests/check.h"
#include "tests/unit/api/fake_engine.h"
#include "tests/unit/media/rig.h"

struct rig {
    struct eng *eng;
    struct api *api;
    struct api_call *call;
    enum api_step step;
    const struct api_reply *reply; /* once the step says so */
    atomic_int wakes;
    struct api_field query[16];
    char text[16][2][256]; /* what query points into */
};

struct rig_request {
    const char *method, *path, *query, *type, *accept, *if_none_match; /* method NULL: POST */
    const void *body;
    size_t len;
    const struct api_field *form;
    size_t n_form;
    const struct api_caller *caller;
    const struct api_visit *visit;
};

void rig_open(struct rig *r, int grid);
void rig_open_with(struct rig *r, int grid, const struct api_options *opt);
void rig_close(struct rig *r);
/* Make the call and step it once; the one before is freed. */
void rig_begin(struct rig *r, const struct rig_request *q);
void rig_step(struct rig *r);
/* The same, the engine answering at once. */
void rig_send(struct rig *r, const struct rig_request *q);
/* POST a JSON text to `path`. */
void rig_send_json(struct rig *r, const char *path, const char *json);
/* The same, made by printf. */
void rig_send_jsonf(struct rig *r, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A picture of w x h as a raw body; `accept` may be NULL. */
void rig_send_png(struct rig *r, const char *path, const char *query, const char *accept, int w,
                  int h);
/* A data URL of such a picture, mem_free. */
char *rig_data_url(int w, int h);
/* The whole stream from now on, NUL-terminated, mem_free. Turns the engine's crank by `n` answers
 * whenever there is nothing to read. */
char *rig_read_all(struct rig *r, uint32_t n);
const char *rig_header(const struct rig *r, const char *name); /* NULL: absent */
json_t *rig_json(const struct rig *r);                         /* json_decref */
const char *rig_text(const json_t *object, const char *key);   /* NULL when it is no string */
double rig_number(const json_t *object, const char *key);      /* 0 when it is none */
/* The data of the n-th event of that name in a stream, json_decref; NULL: there are fewer. */
json_t *rig_event(const char *stream, const char *name, int n);
/* Every allocation of this request fails once, whatever it asks: it is answered all the same, and
 * nothing is left behind. */
void rig_starve(struct rig *r, const struct rig_request *q);
/* The reply is this problem: status, code word, and (NULL: any) param and a piece of the detail. */
void rig_check_problem(struct rig *r, int status, const char *code, const char *param,
                       const char *piece);

#endif
