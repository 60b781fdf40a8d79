/* batches.c - /v1/batches: a file of questions is asked while nobody else asks.
 *
 * The shape is OpenAI's. Here a batch is only noted down, looked at and cancelled; batch/ asks its
 * lines. A batch is its owner's. Whoever has the scope admin sees those of all, and may end them.
 * Thread: a worker.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/admin/fine_tuning.h"
#include "api/wire/json_write.h"
#include "jobs/batches.h"
#include "kernels/base/mem.h"

enum { ERRORS_BYTES_MAX = 256 << 10 };

/* What jobs/ said -> the problem. Returns -1. */
static int batches_refuse(struct api_call *c, int rc, const char *param, const struct err *e) {
    if (rc == E_NOT_FOUND) return problem_set(&c->problem, PROBLEM_BATCH_NOT_FOUND, param, NULL);
    return fine_tuning_refuse(c, rc, param, e);
}

/* ---- a batch as OpenAI shapes it ---- */

static void write_id(struct buf *b, const char *name, const char *id) {
    buf_printf(b, *id ? ",\"%s\":\"%s\"" : ",\"%s\":null", name, id);
}

static void batches_write_time(struct buf *b, const char *name, int64_t t) {
    buf_printf(b, t ? ",\"%s\":%" PRId64 : ",\"%s\":null", name, t);
}

/* JSON that jobs/ keeps, or null. */
typedef int json_fn(struct jobs *j, const char *id, struct buf *out, struct err *e);
static void write_kept(struct api_call *c, const char *name, const char *id, json_fn *read) {
    struct buf text;
    buf_init(&text, ERRORS_BYTES_MAX);
    int rc = read(c->api->jobs, id, &text, NULL);
    buf_printf(&c->body, ",\"%s\":", name);
    if (rc || !text.len)
        buf_str(&c->body, "null");
    else
        buf_add(&c->body, text.p, text.len);
    buf_clear(&text);
}

static int64_t ended_as(const struct jobs_batch *b, enum jobs_batch_state state) {
    return b->state == state ? b->ended : 0;
}

static void batches_write(struct api_call *c, const struct jobs_batch *b) {
    struct buf *to = &c->body;
    buf_printf(to, "{\"id\":\"%s\",\"object\":\"batch\",\"endpoint\":\"%s\"", b->id, b->endpoint);
    write_kept(c, "errors", b->id, jobs_batch_errors);
    write_id(to, "input_file_id", b->input_file);
    buf_printf(to, ",\"completion_window\":\"24h\",\"status\":\"%s\"", jobs_batch_words[b->state]);
    write_id(to, "output_file_id", b->output_file);
    write_id(to, "error_file_id", b->error_file);
    buf_printf(to, ",\"created_at\":%" PRId64, b->created);
    batches_write_time(to, "in_progress_at", b->in_progress);
    batches_write_time(to, "expires_at", b->expires);
    batches_write_time(to, "finalizing_at", b->finalizing);
    batches_write_time(to, "completed_at", ended_as(b, JOBS_BATCH_COMPLETED));
    batches_write_time(to, "failed_at", ended_as(b, JOBS_BATCH_FAILED));
    batches_write_time(to, "expired_at", ended_as(b, JOBS_BATCH_EXPIRED));
    batches_write_time(to, "cancelling_at", b->cancelling);
    batches_write_time(to, "cancelled_at", ended_as(b, JOBS_BATCH_CANCELLED));
    buf_printf(to,
               ",\"request_counts\":{\"total\":%" PRId64 ",\"completed\":%" PRId64
               ",\"failed\":%" PRId64 "}",
               b->total, b->completed, b->failed);
    write_kept(c, "metadata", b->id, jobs_batch_metadata);
    if (*b->waits) /* a plain word */
        buf_printf(to, ",\"lammd\":{\"waits_for\":\"%s\"}}", b->waits);
    else
        buf_str(to, ",\"lammd\":{\"waits_for\":null}}");
}

static int batches_answer(struct api_call *c, const struct jobs_batch *b) {
    batches_write(c, b);
    buf_char(&c->body, '\n');
    return call_answer(c, 200, "application/json");
}

/* ---- POST ---- */

struct batches_create {
    struct jobs_batch_new asked;
    char digest[65], metadata[JOBS_METADATA_MAX + 1];
};

/* What lines may ask: a call with one answer, or any of them. */
static int is_endpoint(const char *text) {
    const char *arg, *allow;
    int status;
    if (strcmp(text, "*") == 0) return 1;
    const struct api_route *r = api_route("POST", text, &arg, &status, &allow);
    return r && api_route_is_batchable(r) && strlen(text) < JOBS_ENDPOINT_BYTES;
}

static int batches_check(struct api_call *c, const struct jobs_batch_new *n, const char *window) {
    if (!n->input_file)
        return problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "input_file_id",
                           "input_file_id is needed: the id that POST /v1/files gave");
    if (!n->endpoint)
        return problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "endpoint",
                           "endpoint is needed: the url of all lines, such as /v1/segment, or * "
                           "where each line says its own");
    if (!is_endpoint(n->endpoint))
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "endpoint",
                           "endpoint must be a call with one answer, such as /v1/segment or "
                           "/v1/chat/completions, or * where each line says its own");
    if (!window || strcmp(window, "24h") != 0)
        return problem_set(&c->problem,
                           window ? PROBLEM_INVALID_PARAMETER : PROBLEM_MISSING_PARAMETER,
                           "completion_window", "completion_window must be 24h");
    return 0;
}

static int batches_read(struct api_call *c, struct input *in) {
    struct batches_create *to = c->state;
    struct jobs_batch_new *n = &to->asked;
    const char *window = NULL;
    json_t *metadata = NULL;
    n->owner = fine_tuning_owner(c);
    n->by = fine_tuning_eyes(c);
    n->window_s = JOBS_BATCH_WINDOW_S;
    int rc = input_text(in, "input_file_id", JOBS_ID_BYTES - 1, &n->input_file);
    if (!rc) rc = input_text(in, "endpoint", 200, &n->endpoint);
    if (!rc) rc = input_text(in, "completion_window", 20, &window);
    if (!rc) rc = input_json(in, "metadata", &metadata);
    if (!rc) rc = batches_check(c, n, window);
    if (!rc && metadata) rc = fine_tuning_read_metadata(c, metadata, to->metadata);
    if (!rc && metadata) n->metadata = to->metadata;
    n->digest = to->digest;
    n->once = c->in.idempotency_key;
    if (!rc) rc = fine_tuning_digest(c, to->digest);
    json_decref(metadata);
    return rc;
}

static int batches_create_refuse(struct api_call *c, int rc, const struct jobs_outcome *how,
                                 const struct err *e) {
    enum problem_code code = PROBLEM_NONE;
    const char *param = how->param;
    switch (rc) {
    case E_NOT_FOUND: code = PROBLEM_FILE_NOT_FOUND; break;
    case E_UNSUPPORTED: code = PROBLEM_FILE_NOT_PROCESSED; break;
    case E_TOO_BIG: code = PROBLEM_TOO_MANY_OWN_BYTES; break;
    case E_BUSY:
        code = how->is_owner ? PROBLEM_TOO_MANY_OWN_BATCHES : PROBLEM_TOO_MANY_BATCHES;
        break;
    case E_CANCELLED:
        if (param) code = PROBLEM_IDEMPOTENCY_CONFLICT;
        break;
    default: break;
    }
    if (rc == E_NOT_FOUND || rc == E_UNSUPPORTED) param = "input_file_id";
    if (code == PROBLEM_NONE)
        (void)batches_refuse(c, rc, param, e);
    else
        problem_set(&c->problem, code, param, e->text[0] ? "%s" : NULL, e->text);
    return call_fail(c);
}

static int batches_create(struct api_call *c) {
    const struct batches_create *s = c->state;
    struct jobs_batch b;
    struct jobs_outcome how;
    struct err e = {0};
    int rc = jobs_batch_create(c->api->jobs, &s->asked, &b, &how, &e);
    if (rc) return batches_create_refuse(c, rc, &how, &e);
    call_header_printf(c, "Location", "/v1/batches/%s", b.id);
    snprintf(c->summary, sizeof(c->summary), "batch=%s", b.id);
    return batches_answer(c, &b);
}

/* ---- one, and cancel ---- */

static int batches_one(struct api_call *c, int rc, const struct jobs_batch *b,
                       const struct err *e) {
    if (rc == 0) return batches_answer(c, b);
    (void)batches_refuse(c, rc, NULL, e);
    return call_fail(c);
}

static int batches_get(struct api_call *c) {
    struct jobs_batch b;
    struct err e = {0};
    int rc = jobs_batch_get(c->api->jobs, c->in.arg, fine_tuning_eyes(c).owner, &b, &e);
    return batches_one(c, rc, &b, &e);
}

static int batches_cancel(struct api_call *c) {
    struct jobs_batch b;
    struct err e = {0};
    const char *owner = fine_tuning_eyes(c).owner;
    int rc = jobs_batch_get(c->api->jobs, c->in.arg, owner, &b, &e);
    if (rc == 0 && strcmp(b.owner, fine_tuning_owner(c)) != 0 && fine_tuning_record(c))
        return call_fail(c);
    if (rc == 0) rc = jobs_batch_cancel(c->api->jobs, c->in.arg, owner, &b, &e);
    return batches_one(c, rc, &b, &e);
}

/* ---- all ---- */

static int batches_page(struct api_call *c, struct input *in) {
    return fine_tuning_read_page(in, c->state);
}

static int batches_list(struct api_call *c) {
    const struct fine_tuning_page *page = c->state;
    struct jobs_batch *all = mem_try(JOBS_LIST_MAX * sizeof(*all));
    struct err e = {0};
    struct buf *b = &c->body;
    int n = 0, more = 0;
    if (!all) return call_fail_as(c, PROBLEM_NO_MEMORY);
    int rc = jobs_batch_list(c->api->jobs, fine_tuning_eyes(c).owner, page->after, page->limit, all,
                             &n, &more, &e);
    if (rc) {
        mem_free(all);
        (void)batches_refuse(c, rc, "after", &e);
        return call_fail(c);
    }
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        batches_write(c, &all[i]);
    }
    buf_printf(b, n ? "],\"first_id\":\"%s\"" : "],\"first_id\":null", n ? all[0].id : "");
    buf_printf(b, n ? ",\"last_id\":\"%s\"" : ",\"last_id\":null", n ? all[n - 1].id : "");
    buf_printf(b, ",\"has_more\":%s}\n", more ? "true" : "false");
    mem_free(all);
    return call_answer(c, 200, "application/json");
}

static const char *const create_known[] = {"input_file_id", "endpoint", "completion_window",
                                           "metadata", NULL};
static const struct input_wants create_wants = {.known = create_known, .only_json = 1};

const struct endpoint batches_create_endpoint = {.wants = &create_wants,
                                                 .media = &media_json,
                                                 .state_size = sizeof(struct batches_create),
                                                 .enter = fine_tuning_enter,
                                                 .read = batches_read,
                                                 .answer = batches_create};
const struct endpoint batches_list_endpoint = {.wants = &fine_tuning_page,
                                               .media = &media_json,
                                               .state_size = sizeof(struct fine_tuning_page),
                                               .enter = fine_tuning_enter,
                                               .read = batches_page,
                                               .answer = batches_list};
const struct endpoint batches_get_endpoint = {
    .media = &media_json, .enter = fine_tuning_enter, .answer = batches_get};
const struct endpoint batches_cancel_endpoint = {
    .media = &media_json, .enter = fine_tuning_enter, .answer = batches_cancel};
