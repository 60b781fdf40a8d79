/* finetune.c - see finetune.h. */
#include "server/finetune.h"

#include "kernels/base/log.h"

static void on_done(void *ud, const char *name) {
    log_event(LOG_LEVEL_INFO, "adapter", "name=%s", name);
    api_offer_adapter(ud, name, NULL);
}

int finetune_open(const struct jobs_options *o, struct api *api, struct jobs **out, struct err *e) {
    struct jobs_options opt = *o;
    *out = NULL;
    if (!o->dir) return 0;
    opt.done = on_done;
    opt.ud = api;
    int rc = jobs_open(&opt, out, e);
    if (rc == 0) api_set_jobs(api, *out);
    return rc;
}

void finetune_start(struct jobs *j, const char *base) {
    struct err e = {0};
    if (j && jobs_start(j, base, &e))
        log_event(LOG_LEVEL_ERROR, "jobs", "no job runs here: %s", e.text);
}
