/* state.c - makes and frees what state.h describes. Thread: see api.h. */
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "api/state.h"
#include "jobs/jobs.h"
#include "kernels/base/mem.h"

int api_new(const struct api_options *opt, struct eng *eng, struct api **out, struct err *e) {
    *out = NULL;
    if (opt->stored_images < 0 || opt->stored_images > API_IMAGES_MAX)
        return err_set(e, E_INVALID, "stored images must be from 1 to %d", API_IMAGES_MAX);
    if (opt->sessions < 0 || opt->sessions > API_SESSIONS_MAX)
        return err_set(e, E_INVALID, "sessions must be from 1 to %d", API_SESSIONS_MAX);
    if (opt->pixels_max > ENG_PICTURE_PIXELS_MAX)
        return err_set(e, E_INVALID, "at most %d pixels can be allowed", ENG_PICTURE_PIXELS_MAX);
    struct ids *ids;
    int rc = ids_new(opt->replica, &ids, e);
    if (rc) return rc;
    json_object_seed(0);
    json_set_alloc_funcs(mem_plain, mem_plain_free);
    struct catalog *catalog;
    rc = catalog_open(opt->adapters, opt->shared_adapters, &catalog, e);
    if (rc) {
        ids_free(ids);
        return rc;
    }
    struct api *a = mem_must(sizeof(*a));
    a->catalog = catalog;
    a->ids = ids;
    a->opt = *opt;
    if (!a->opt.json_max) a->opt.json_max = 16 << 20;
    if (!a->opt.picture_max) a->opt.picture_max = 12 << 20;
    if (!a->opt.upload_max) a->opt.upload_max = (size_t)1 << 30;
    if (!a->opt.pixels_max) a->opt.pixels_max = 16 * 1000 * 1000;
    if (!a->opt.costly_max) a->opt.costly_max = 4 * 1000 * 1000;
    if (!a->opt.stored_images) a->opt.stored_images = 64;
    if (!a->opt.image_ttl_s) a->opt.image_ttl_s = 3600;
    if (!a->opt.sessions) a->opt.sessions = 64;
    if (!a->opt.session_ttl_s) a->opt.session_ttl_s = 600;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    a->born_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    a->images = images_new(a->opt.stored_images, a->opt.limits.images, a->opt.image_ttl_s);
    a->decoded = decoded_new(a->opt.decoded_max);
    a->sessions = sessions_new(a->opt.sessions, a->opt.limits.sessions, a->opt.session_ttl_s);
    a->counters = counters_new();
    a->quotas = quotas_new(&a->opt.limits);
    pthread_mutex_init(&a->mu, NULL);
    rc = eng ? api_set_engine(a, eng, e) : 0;
    if (rc)
        api_free(a);
    else
        *out = a;
    return rc;
}

void api_free(struct api *a) {
    if (!a) return;
    catalog_close(a->catalog);
    images_free(a->images);
    decoded_free(a->decoded);
    sessions_free(a->sessions);
    counters_free(a->counters);
    quotas_free(a->quotas);
    ids_free(a->ids);
    pthread_mutex_destroy(&a->mu);
    mem_free(a);
}

void api_set_server(struct api *a, api_server_stats_fn *fn, void *ud) {
    pthread_mutex_lock(&a->mu);
    a->server_stats = fn;
    a->server_ud = ud;
    pthread_mutex_unlock(&a->mu);
}

void api_set_jobs(struct api *a, struct jobs *jobs) { a->jobs = jobs; }

void api_set_reload(struct api *a, api_reload_fn *fn, void *ud) {
    pthread_mutex_lock(&a->mu);
    a->reload = fn;
    a->reload_ud = ud;
    pthread_mutex_unlock(&a->mu);
}

int api_enter(struct api *a, const struct api_route *r, const struct api_caller *who,
              uint64_t body_bytes, struct api_visit *visit) {
    char name[API_PEER_BYTES + 1], most[API_LIMIT_BYTES];
    *visit = (struct api_visit){.body_bytes = body_bytes, .is_upload = api_route_takes_file(r)};
    int is_admin_socket = !who->key[0] && who->scopes == API_SCOPES_ALL;
    if (r->scope == API_ANYBODY || is_admin_socket) return 0;
    snprintf(name, sizeof(name), who->key[0] ? "=%s" : "@%s", who->key[0] ? who->key : who->peer);
    enum quota over = quotas_enter(a->quotas, name, body_bytes, visit->is_upload, &visit->account);
    visit->is_inside = over == QUOTA_NONE;
    if (over == QUOTA_NONE) return 0;
    quotas_text(a->quotas, over, most);
    quotas_fields(a->quotas, over, visit->policy, visit->left);
    snprintf(visit->why, sizeof(visit->why), "one caller may have %s", most);
    return E_BUSY;
}

void api_leave(struct api *a, struct api_visit *visit) {
    if (visit->is_inside)
        quotas_leave(a->quotas, visit->account, visit->body_bytes, visit->is_upload);
    visit->is_inside = 0;
}

void api_visit_end(struct api *a, struct api_visit *visit) {
    api_leave(a, visit);
    if (visit->account) quotas_end(a->quotas, visit->account);
    visit->account = NULL;
}

int api_set_engine(struct api *a, struct eng *eng, struct err *e) {
    int rc = catalog_begin(a->catalog, eng, e);
    if (rc) return rc;
    if (a->opt.is_queue_shared && !a->opt.limits.tokens) {
        struct eng_stats s;
        eng_stats(eng, &s);
        quotas_set_tokens(a->quotas, s.queue_tokens_max / 2);
    }
    a->eng = eng;
    atomic_store(&a->has_engine, 1);
    return 0;
}

void api_offer_adapter(struct api *a, const char *name, const char *by) {
    catalog_offer(a->catalog, name, by);
}

void api_set_stuck(struct api *a, int is_stuck) { atomic_store(&a->is_stuck, is_stuck); }

void api_set_leaving(struct api *a) { atomic_store(&a->is_leaving, 1); }

void api_set_draining(struct api *a) {
    atomic_store(&a->draining, 1);
    if (a->jobs) jobs_wake(a->jobs); /* streams of events end */
}

enum problem_code api_trouble(struct api *a) {
    struct eng_stats s;
    if (atomic_load(&a->draining) || atomic_load(&a->is_leaving)) return PROBLEM_DRAINING;
    if (!atomic_load(&a->has_engine)) return PROBLEM_LOADING;
    if (eng_health(a->eng)) return PROBLEM_DEVICE_LOST;
    if (atomic_load(&a->is_stuck)) return PROBLEM_STUCK;
    eng_stats(a->eng, &s);
    int is_full = (s.queue_tokens_max && s.queue_tokens >= s.queue_tokens_max) ||
                  (s.queue_seconds_max > 0 && s.queue_seconds > s.queue_seconds_max);
    return is_full ? PROBLEM_QUEUE_FULL : PROBLEM_NONE;
}
