/* reconstruct.c - `lammd reconstruct PHOTO -o SEEN.png`: the API's own call, without a server.
 *
 * The options go to POST /v1/reconstruct as its query, so that both understand and refuse the same
 * and give the same bytes.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "kernels/base/mem.h"
#include "kernels/base/queue.h"
#include "server/cmd/cmd.h"
#include "server/cmd/files.h"

enum { PHOTO_BYTES_MAX = 64 << 20 };

static size_t read_query(const struct config *cfg, struct api_field query[4]) {
    const char *const pairs[][2] = {{"width", cfg->width},
                                    {"height", cfg->height},
                                    {"region", cfg->region},
                                    {"estimate", cfg->estimate}};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (!pairs[i][1]) continue;
        query[n++] = (struct api_field){
            .name = pairs[i][0], .data = (const uint8_t *)pairs[i][1], .len = strlen(pairs[i][1])};
    }
    return n;
}

static void on_wake(void *ud) { queue_poke(ud); }

/* Step until there is a reply, and write it or say what is wrong. */
static int finish(struct api_call *call, struct queue *woken, const char *out, struct err *e) {
    void *nothing;
    while (api_call_step(call) == API_WAIT)
        (void)queue_pop(woken, UINT64_MAX, &nothing);
    const struct api_reply *reply = api_call_reply(call);
    const char *problem = api_call_problem(call);
    if (problem) return err_set(e, E_INVALID, "%s", problem);
    int rc = file_write(out, reply->body, reply->body_len, e);
    if (rc == 0) fprintf(stderr, "%s: %s\n", out, api_call_summary(call));
    return rc;
}

static int ask(const struct config *cfg, struct eng *eng, const struct buf *photo, struct err *e) {
    struct api_options opt = {.picture_max = PHOTO_BYTES_MAX, .pixels_max = ENG_IMAGE_PIXELS_MAX};
    struct api *api = NULL;
    if (api_new(&opt, eng, &api, e)) return e->code;
    int status;
    const char *arg, *allow;
    const struct api_route *route = api_route("POST", "/v1/reconstruct", &arg, &status, &allow);
    struct api_field query[4];
    int is_png = photo->len > 0 && photo->p[0] == 0x89;
    struct api_input in = {.query = query,
                           .n_query = read_query(cfg, query),
                           .content_type = is_png ? "image/png" : "image/jpeg",
                           .accept = "image/png",
                           .request_id = "local",
                           .body = photo->p,
                           .body_len = photo->len};
    struct queue *woken = queue_new(1);
    struct api_call *call = NULL;
    int rc = api_call_new(api, route, &in, on_wake, woken, &call, e);
    if (rc == 0) rc = finish(call, woken, cfg->out, e);
    api_call_free(call);
    queue_free(woken);
    api_free(api);
    return rc;
}

int cmd_reconstruct(const struct config *cfg) {
    if (cfg->rest.n != 1 || !cfg->out) {
        fputs("usage: lammd reconstruct PHOTO -o SEEN.png; see lammd reconstruct --help\n", stderr);
        return 2;
    }
    if (strcmp(cfg->out, "-") == 0 && isatty(STDOUT_FILENO)) {
        fputs("lammd: a PNG is nothing for a terminal; say -o FILE\n", stderr);
        return 2;
    }
    struct err e = {0};
    struct buf photo;
    buf_init(&photo, PHOTO_BYTES_MAX);
    char path[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, path));
    struct eng *eng = NULL;
    int rc = file_read(cfg->rest.at[0], &photo, &e);
    if (rc == 0) rc = eng_open(&opt, &eng, &e);
    if (rc == 0) {
        rc = ask(cfg, eng, &photo, &e);
        if (rc) err_in(&e, "%s", cfg->rest.at[0]);
    }
    eng_close(eng);
    buf_clear(&photo);
    return rc ? cmd_fail(&e) : 0;
}
