/* load.c - see load.h. Reading a model can't be broken off: who stops meanwhile waits for it. */
#include "server/load.h"

#include "kernels/base/clock.h"
#include "kernels/base/log.h"

static void *load_run(void *ud) {
    struct load *l = ud;
    uint64_t start = clock_ns();
    l->rc = eng_open(l->options, &l->eng, &l->err);
    if (l->rc == 0) {
        const struct eng_info *info = eng_info(l->eng);
        log_event(LOG_LEVEL_INFO, "model",
                  "name=%s parameters=%llu sha256=%.12s backend=\"%s\" ms=%.0f", info->name,
                  (unsigned long long)info->parameters, info->digest, info->backend,
                  (double)(clock_ns() - start) / 1e6);
        if (!info->is_summed)
            log_event(LOG_LEVEL_WARN, "model_unchecked",
                      "no SHA256SUMS in the model's folder, so nothing tells whether its files are "
                      "whole; sha256sum config.json model.safetensors tokenizer.model > SHA256SUMS "
                      "makes one");
        if (info->note[0]) log_event(LOG_LEVEL_INFO, "device", "using the CPU: %s", info->note);
        l->rc = api_set_engine(l->api, l->eng, &l->err);
    }
    atomic_store(&l->is_over, 1);
    return NULL;
}

void load_start(struct load *l, const struct eng_options *o, struct api *api) {
    *l = (struct load){.options = o, .api = api};
    must(pthread_create(&l->thread, NULL, load_run, l) == 0);
}

int load_is_over(struct load *l) { return atomic_load(&l->is_over); }

int load_end(struct load *l, struct eng **out, struct err *e) {
    pthread_join(l->thread, NULL);
    *out = l->eng;
    return l->rc ? err_set(e, l->rc, "%s", l->err.text) : 0;
}
