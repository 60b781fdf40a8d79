/* state.c - makes and frees what state.h describes. Thread: see api.h. */
#include <jansson.h>
#include <time.h>

#include "api/state.h"
#include "kernels/base/mem.h"

int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e) {
    *out = NULL;
    if (opt->stored_images < 0 || opt->stored_images > API_IMAGES_MAX)
        return err_set(e, E_INVALID, "stored images must be from 1 to %d", API_IMAGES_MAX);
    if (opt->sessions < 0 || opt->sessions > API_SESSIONS_MAX)
        return err_set(e, E_INVALID, "sessions must be from 1 to %d", API_SESSIONS_MAX);
    if (opt->pixels_max > ENG_PICTURE_PIXELS_MAX)
        return err_set(e, E_INVALID, "at most %d pixels can be allowed", ENG_PICTURE_PIXELS_MAX);
    struct api *a = mem_must(sizeof(*a));
    a->opt = *opt;
    if (!a->opt.json_max) a->opt.json_max = 16 << 20;
    if (!a->opt.picture_max) a->opt.picture_max = 12 << 20;
    if (!a->opt.pixels_max) a->opt.pixels_max = 40 * 1000 * 1000;
    if (!a->opt.stored_images) a->opt.stored_images = 64;
    if (!a->opt.image_ttl_s) a->opt.image_ttl_s = 3600;
    if (!a->opt.sessions) a->opt.sessions = 64;
    if (!a->opt.session_ttl_s) a->opt.session_ttl_s = 600;
    if (eng) api_set_engine(a, eng);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    a->born_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    a->images = images_new(a->opt.stored_images, a->opt.image_ttl_s);
    a->sessions = sessions_new(a->opt.sessions, a->opt.session_ttl_s);
    a->counters = counters_new();
    pthread_mutex_init(&a->mu, NULL);
    json_object_seed(0);
    json_set_alloc_funcs(mem_plain, mem_plain_free);
    *out = a;
    return 0;
}

void api_free(struct api *a) {
    if (!a) return;
    images_free(a->images);
    sessions_free(a->sessions);
    counters_free(a->counters);
    pthread_mutex_destroy(&a->mu);
    mem_free(a);
}

void api_set_server(struct api *a, api_server_stats_fn *fn, void *ud) {
    pthread_mutex_lock(&a->mu);
    a->server_stats = fn;
    a->server_ud = ud;
    pthread_mutex_unlock(&a->mu);
}

void api_set_engine(struct api *a, struct eng *eng) {
    a->eng = eng;
    atomic_store(&a->has_engine, 1);
}

void api_set_stuck(struct api *a, int is_stuck) { atomic_store(&a->is_stuck, is_stuck); }

void api_set_draining(struct api *a) { atomic_store(&a->draining, 1); }

enum problem_code api_trouble(struct api *a) {
    struct eng_stats s;
    if (atomic_load(&a->draining)) return PROBLEM_DRAINING;
    if (!atomic_load(&a->has_engine)) return PROBLEM_LOADING;
    if (eng_health(a->eng)) return PROBLEM_DEVICE_LOST;
    if (atomic_load(&a->is_stuck)) return PROBLEM_STUCK;
    eng_stats(a->eng, &s);
    int is_full = (s.queue_tokens_max && s.queue_tokens >= s.queue_tokens_max) ||
                  (s.queue_seconds_max > 0 && s.queue_seconds > s.queue_seconds_max);
    return is_full ? PROBLEM_QUEUE_FULL : PROBLEM_NONE;
}
