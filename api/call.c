/* call.c - the life of a call, from the request's bytes to the reply's.
 *
 * Who touches a call: the worker that steps it, the thread that reads its stream (never both at a
 * time), and two that may come at any moment: whoever cancels it, and the engine's step thread,
 * which wakes it. Those two touch nothing but this:
 *   cancelled, jobs   atomics; cancel sets the flag, then walks the list of jobs; call_ask puts
 *                     the job on the list, then looks at the flag; so whoever comes second stops
 *                     it. call_drop takes a job off the list, then waits until nobody walks it: who
 *                     comes later doesn't see the job.
 *   wake, ud          never change. The engine's door promises that no wake comes after the last
 *                     put of a job, and api_call_free puts them all before it frees anything.
 *
 * Thread: see api.h.
 */
#include "api/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/wire/json.h"
#include "jobs/jobs.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum { REPLY_BYTES_MAX = 64 << 20, RETRY_LOADING_S = 2 };

/* ---- new, cancel, free ---- */

/* E_NOMEM. */
static int keep_args(struct api_call *c, const char *arg) {
    size_t n = arg ? strlen(arg) + 1 : 0;
    if (!arg) return 0;
    c->arg_text = mem_try(n);
    if (!c->arg_text) return E_NOMEM;
    memcpy(c->arg_text, arg, n);
    (void)route_cut(c->route, c->arg_text, c->args);
    c->in.arg = c->args[0];
    return 0;
}

int api_call_new(struct api *a, const struct api_route *r, const struct api_input *in,
                 api_wake_fn *wake, void *ud, struct api_call **out, struct err *e) {
    *out = NULL;
    struct api_call *c = mem_try(sizeof(*c));
    if (!c) return err_set(e, E_NOMEM, "no memory for a call");
    c->api = a;
    c->route = r;
    c->in = *in;
    if (keep_args(c, in->arg)) {
        mem_free(c);
        return err_set(e, E_NOMEM, "no memory for a call");
    }
    c->wake = wake;
    c->ud = ud;
    c->born_ns = clock_ns();
    c->owner = in->caller ? ids_owner(a->ids, in->caller->key) : 0;
    c->payer = in->caller ? ids_payer(a->ids, in->caller->key, in->caller->peer) : 0;
    snprintf(c->request_id, sizeof(c->request_id), "%s", in->request_id);
    buf_init(&c->body, REPLY_BYTES_MAX);
    *out = c;
    return 0;
}

const struct api_reply *api_call_reply(const struct api_call *c) { return &c->reply; }

const char *api_call_problem(const struct api_call *c) {
    return c->problem.code ? problem_text(&c->problem) : NULL;
}

static void stop(struct api_call *c, atomic_int *why) {
    atomic_store(why, 1);
    atomic_fetch_add(&c->n_stopping, 1);
    for (int i = atomic_load(&c->n_jobs) - 1; i >= 0; i--) {
        struct eng_job *job = atomic_load(&c->jobs[i]);
        if (job) eng_job_cancel(job);
    }
    atomic_fetch_sub(&c->n_stopping, 1);
}

void api_call_cancel(struct api_call *c) { stop(c, &c->cancelled); }

void api_call_expire(struct api_call *c) { stop(c, &c->expired); }

void call_clear_state(struct api_call *c) {
    if (c->state && c->state_clear) c->state_clear(c->state);
    mem_free(c->state);
    c->state = NULL;
}

void api_call_free(struct api_call *c) {
    if (!c) return;
    for (int i = 0; i < atomic_load(&c->n_jobs); i++)
        eng_job_put(atomic_load(&c->jobs[i])); /* from here on it wakes nobody */
    for (int i = 0; i < atomic_load(&c->n_jobs); i++)
        if (c->costs[i])
            (void)quotas_tokens(c->api->quotas, c->in.visit->account, -(int64_t)c->costs[i]);
    for (uint32_t i = 0; i < c->n_pictures; i++)
        eng_picture_put(c->pictures[i]);
    call_clear_state(c);
    catalog_put(&c->model);
    arena_free(c->texts);
    buf_clear(&c->body);
    mem_free(c->arg_text);
    if (c->has_file) close(c->file.fd);
    mem_free(c);
}

void api_call_print(const struct api_call *c, char out[API_PRINT_BYTES]) {
    const struct eng_adapter *a = c->model.adapter;
    snprintf(out, API_PRINT_BYTES, "fp_%.12s",
             a ? eng_adapter_info(a)->digest : eng_info(c->api->eng)->digest);
}

const char *api_call_summary(const struct api_call *c) { return c->summary; }

/* ---- the reply ---- */

void call_header(struct api_call *c, const char *name, const char *value) {
    must(c->reply.n_headers < (int)ARRAY_LEN(c->reply.headers));
    c->reply.headers[c->reply.n_headers++] = (struct api_header){name, value};
}

void call_header_printf(struct api_call *c, const char *name, const char *fmt, ...) {
    must(c->n_header_text < (int)ARRAY_LEN(c->header_text));
    char *text = c->header_text[c->n_header_text++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(c->header_text[0]), fmt, ap);
    va_end(ap);
    call_header(c, name, text);
}

int call_answer(struct api_call *c, int status, const char *content_type) {
    if (c->body.bad) return call_fail_as(c, PROBLEM_NO_MEMORY);
    c->reply.status = status;
    c->reply.content_type = content_type;
    c->reply.body = c->body.p;
    c->reply.body_len = c->body.len;
    return API_REPLY;
}

int call_answer_file(struct api_call *c, int fd, uint64_t bytes, const char *content_type) {
    must(!c->has_file);
    c->has_file = 1;
    c->file = (struct api_reply_file){fd, bytes};
    c->reply.status = 200;
    c->reply.content_type = content_type;
    c->reply.file = &c->file;
    return API_REPLY;
}

/* How much one caller may have of what outlives a request. */
static void call_say_kept(struct api_call *c) {
    const char *what = NULL, *unit = "";
    uint64_t most = 0;
    switch (c->problem.code) {
    case PROBLEM_TOO_MANY_OWN_JOBS: what = "jobs"; break;
    case PROBLEM_TOO_MANY_OWN_BATCHES: what = "batches"; break;
    case PROBLEM_TOO_MANY_OWN_BYTES:
        what = "batch-bytes";
        unit = ";qu=\"content-bytes\"";
        most = jobs_batch_bytes(c->api->jobs);
        break;
    default: return;
    }
    if (!most) most = (uint64_t)jobs_owner_max(c->api->jobs);
    call_header_printf(c, "RateLimit-Policy", "\"%s\";q=%llu%s", what, (unsigned long long)most,
                       unit);
    call_header_printf(c, "RateLimit", "\"%s\";r=0", what);
}

int call_fail(struct api_call *c) {
    const struct problem_row *row = problem_row(c->problem.code);
    static const uint8_t last_resort[] = "{\"type\":\"about:blank\",\"status\":503}\n";
    c->reply =
        (struct api_reply){.status = row->status, .content_type = "application/problem+json"};
    c->n_header_text = 0;
    buf_clear(&c->body);
    if (row->status == 429 || row->status == 503)
        call_header_printf(c, "Retry-After", "%u",
                           atomic_load(&c->api->has_engine) ? eng_retry_after(c->api->eng)
                                                            : RETRY_LOADING_S);
    if (c->problem.code == PROBLEM_QUOTA_EXCEEDED) {
        char policy[API_LIMIT_BYTES], left[API_LIMIT_BYTES];
        quotas_fields(c->api->quotas, c->over, policy, left);
        call_header_printf(c, "RateLimit-Policy", "%s", policy);
        call_header_printf(c, "RateLimit", "%s", left);
    }
    call_say_kept(c);
    if (problem_write(&c->problem, c->request_id, &c->body)) {
        c->reply.status = 503;
        c->reply.body = last_resort;
        c->reply.body_len = sizeof(last_resort) - 1;
        c->reply.is_static = 1;
        return API_REPLY;
    }
    c->reply.body = c->body.p;
    c->reply.body_len = c->body.len;
    snprintf(c->summary, sizeof(c->summary), "problem=%s", row->code);
    return API_REPLY;
}

int call_pick(struct api_call *c, const char *model) {
    char names[160], shown[48];
    if (model && strcmp(model, "lammd") != 0 && strlen(model) < sizeof(c->model_asked))
        memcpy(c->model_asked, model, strlen(model) + 1);
    if (catalog_pick(c->api->catalog, model, &c->model) == 0) return 0;
    c->model.name[0] = '\0';
    catalog_names(c->api->catalog, names, sizeof(names));
    json_quote(model, strlen(model), shown, sizeof(shown));
    return problem_set(&c->problem, PROBLEM_MODEL_NOT_FOUND, "model",
                       "there is no model %s here; there are %s", shown, names);
}

int call_over_quota(struct api_call *c, enum quota what) {
    char most[API_LIMIT_BYTES];
    c->over = what;
    quotas_text(c->api->quotas, what, most);
    return problem_set(&c->problem, PROBLEM_QUOTA_EXCEEDED, NULL, "one caller may have %s", most);
}

int call_fail_as(struct api_call *c, enum problem_code code) {
    c->problem = (struct problem){0};
    problem_set(&c->problem, code, NULL, NULL);
    return call_fail(c);
}
