/* local.c - see local.h. The calls are those that the server makes, so both accept and refuse the
 * same input and give the same bytes. Thread: main's; the engine has its own.
 */
#include "cli/local.h"

#include <stdio.h>
#include <string.h>

#include "data/files.h"
#include "kernels/base/queue.h"
#include "media/picture.h"

/* Media and engine know nothing of each other; both are here. */
_Static_assert((int)PICTURE_SIDE_MAX == ENG_PICTURE_SIDE_MAX &&
                   (int)PICTURE_PIXELS_MAX == ENG_PICTURE_PIXELS_MAX,
               "what is decoded is what can be asked");

static void local_on_wake(void *ud) { queue_poke(ud); }

/* Step until there is a reply, and write it or say what is wrong. */
static int local_finish(struct api_call *call, struct queue *woken, const char *out,
                        struct err *e) {
    void *nothing;
    while (api_call_step(call) == API_WAIT)
        (void)queue_pop(woken, UINT64_MAX, &nothing);
    const struct api_reply *reply = api_call_reply(call);
    const char *problem = api_call_problem(call);
    if (problem) return err_set(e, E_INVALID, "%s", problem);
    int rc = file_write(out, reply->body, reply->body_len, e);
    const char *what = strcmp(out, "-") == 0 ? "done" : out;
    if (rc == 0) fprintf(stderr, "%s: %s\n", what, api_call_summary(call));
    return rc;
}

static int call_on(struct eng *eng, const char *path, const struct api_input *in, const char *out,
                   struct err *e) {
    struct api_options opt = {.picture_max = FILE_PICTURE_MAX,
                              .pixels_max = ENG_PICTURE_PIXELS_MAX,
                              .costly_max = ENG_PICTURE_PIXELS_MAX};
    struct api *api = NULL;
    if (api_new(&opt, eng, &api, e)) return e->code;
    int status;
    const char *arg, *allow;
    const struct api_route *route = api_route("POST", path, &arg, &status, &allow);
    struct queue *woken = queue_new(1);
    struct api_call *call = NULL;
    int rc = route ? api_call_new(api, route, in, local_on_wake, woken, &call, e)
                   : err_set(e, E_NOT_FOUND, "there is no %s", path);
    if (rc == 0) rc = local_finish(call, woken, out, e);
    api_call_free(call);
    queue_free(woken);
    api_free(api);
    return rc;
}

int local_call(const struct config *cfg, const char *path, const struct api_input *in,
               const char *out, struct err *e) {
    char folder[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, folder));
    struct eng *eng = NULL;
    int rc = eng_open(&opt, &eng, e);
    if (rc == 0) rc = call_on(eng, path, in, out, e);
    eng_close(eng);
    return rc;
}
