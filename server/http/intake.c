/* intake.c - what comes in: may this request be answered, and what does it bring? See loop.h.
 *
 * The gate looks at the headers, the route says how much body there may be, and the body is
 * collected within that. What is fine goes to the workers.
 *
 * A request may be refused before its body has been read. A client that is still sending would then
 * see a reset instead of the answer. So the rest of the body is read and thrown away first, within
 * limits (watch.h, DISCARD_MAX). Where the framing itself is in doubt, the answer goes out at once
 * and the connection is closed. TRAPS: headers lie in the connection's memory, which may end before
 * a worker is done with them: those that the API reads are copied (kept).
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "kernels/base/mem.h"
#include "server/http/gate.h"
#include "server/http/loop.h"

enum { DISCARD_MAX = 256 << 20 }; /* bytes of a body that is refused, or not wanted */

/* ---- the headers ---- */

struct header_list {
    struct gate_header at[GATE_HEADERS_MAX];
    size_t n;
};

static enum MHD_Result on_header(void *ud, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len) {
    (void)kind;
    struct header_list *l = ud;
    if (l->n < GATE_HEADERS_MAX)
        l->at[l->n] = (struct gate_header){name, value ? value : "", name_len, value_len};
    l->n++;
    return MHD_YES;
}

static const char *header(struct req *r, const char *name) {
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

/* The client's own id when it is a plain word, else a new one. */
static void name_request(struct req *r) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *given = header(r, "X-Request-Id");
    size_t n = given ? strlen(given) : 0;
    if (n >= 1 && n <= 64 && strspn(given, plain) == n) {
        memcpy(r->id, given, n + 1);
        return;
    }
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random)) random = r->born_ns;
    snprintf(r->id, sizeof(r->id), "r-%016llx", (unsigned long long)random);
}

/* Refuse when the body has been read. */
static void refuse_later(struct req *r, enum problem_code code, const char *detail) {
    if (r->problem_code) return;
    r->problem_code = code;
    r->problem_detail = detail;
    watch_enter(r->conn, WATCH_DISCARD, r);
}

enum { FORWARDED_MAX = 16 };

struct forwarded_list {
    const char *at[FORWARDED_MAX]; /* the last ones, if there are more */
    int n;
};

static enum MHD_Result on_forwarded(void *ud, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    (void)kind;
    struct forwarded_list *l = ud;
    if (!value || strcasecmp(name, "X-Forwarded-For") != 0) return MHD_YES;
    if (l->n == FORWARDED_MAX) memmove(l->at, l->at + 1, (size_t)--l->n * sizeof(l->at[0]));
    l->at[l->n++] = value;
    return MHD_YES;
}

/* Who sends this, and may he? */
static void intake_caller(struct req *r) {
    struct forwarded_list list = {.n = 0};
    (void)MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, on_forwarded, &list);
    enum problem_code code =
        caller_admit(&r->caller, &http_of(r)->opt.callers, &r->conn->from, list.at, list.n,
                     header(r, "Authorization"), r->route, r->id);
    if (code) refuse_later(r, code, r->caller.why[0] ? r->caller.why : NULL);
}

static char *intake_keep(struct req *r, int slot, const char *name) {
    const char *value = header(r, name);
    size_t n = value ? strlen(value) : 0;
    if (!value || !(r->kept[slot] = mem_try(n + 1))) return NULL;
    memcpy(r->kept[slot], value, n);
    return r->kept[slot];
}

static struct gate_verdict pass_gate(struct req *r, const char *method, const char *version) {
    struct http *h = http_of(r);
    struct header_list headers = {.n = 0};
    (void)MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, on_header, &headers);
    struct gate_request q = {.method = method,
                             .version = version,
                             .target = r->raw_target,
                             .headers = headers.at,
                             .n_headers = headers.n,
                             .rules = h->opt.origins};
    return gate_check(&q);
}

/* Take the bytes of a body out of the budget before they come. */
static int reserve(struct req *r, size_t n) {
    struct http *h = http_of(r);
    size_t before = atomic_fetch_add(&h->bodies, n);
    if (before + n > h->opt.bodies_max) {
        atomic_fetch_sub(&h->bodies, n);
        return E_BUSY;
    }
    r->reserved_bytes = n;
    return 0;
}

static int is_multipart(const char *type) {
    return type && strncasecmp(type, "multipart/form-data", 19) == 0;
}

static void expect_form(struct req *r, size_t max) {
    int rc = form_new(r->input.content_type, max, &r->form);
    if (rc == 0) return;
    if (rc == E_NOMEM)
        refuse_later(r, PROBLEM_NO_MEMORY, NULL);
    else
        refuse_later(r, PROBLEM_BAD_MULTIPART, form_why(r->form));
    form_free(r->form);
    r->form = NULL;
}

/* The route says how much body there may be; `length` < 0: not known. */
static void expect_body(struct req *r, long long length) {
    size_t max = api_route_body_max(r->desk->api, r->route);
    if (max == 0) return; /* what comes all the same is thrown away */
    if (length > (long long)max) {
        refuse_later(r, PROBLEM_BODY_TOO_LARGE, NULL);
    } else if (reserve(r, length < 0 ? max : (size_t)length)) {
        refuse_later(r, PROBLEM_NO_MEMORY, "too many bodies are being received; come back later");
    } else if (is_multipart(r->input.content_type)) {
        expect_form(r, max);
    } else {
        buf_init(&r->body, max);
    }
}

/* Count it against what its caller may have at once; `length` as in expect_body. */
static void intake_count(struct req *r, long long length) {
    uint64_t bytes =
        length < 0 ? api_route_body_max(r->desk->api, r->route) : (unsigned long long)length;
    if (api_enter(r->desk->api, r->route, &r->caller.who, bytes, &r->visit))
        refuse_later(r, PROBLEM_QUOTA_EXCEEDED, r->visit.why);
}

/* Bytes of the body; -1: chunked, so not known. The gate has seen digits, if anything. */
static long long body_length(struct req *r) {
    const char *length = header(r, "Content-Length");
    long long n = 0;
    if (header(r, "Transfer-Encoding")) return -1;
    return length && sscanf(length, "%18lld", &n) == 1 ? n : 0;
}

static void find_route(struct req *r, const char *method) {
    int status, rc = target_read(&r->target, r->raw_target);
    if (rc == E_NOMEM) {
        refuse_later(r, PROBLEM_NO_MEMORY, NULL);
    } else if (rc) {
        refuse_later(r, PROBLEM_HEADER_GATE,
                     "the request target is not properly percent-encoded, or has too many fields");
    } else {
        r->route = api_route(method, r->target.path, &r->input.arg, &status, &r->allow);
        if (!r->route)
            refuse_later(r, status == 405 ? PROBLEM_METHOD_NOT_ALLOWED : PROBLEM_NOT_FOUND, NULL);
    }
}

enum MHD_Result intake_begin(struct req *r, const char *method, const char *version) {
    name_request(r);
    snprintf(r->method, sizeof(r->method), "%s", method);
    struct gate_verdict verdict = pass_gate(r, method, version);
    if (verdict.code) {
        atomic_fetch_add(&http_of(r)->gate_refused, 1);
        return answer_problem(r, verdict.code, verdict.detail, 1);
    }
    long long n = body_length(r);
    watch_enter(r->conn, n ? WATCH_BODY : WATCH_WORK, r);
    find_route(r, method);
    r->input.content_type = intake_keep(r, 0, "Content-Type");
    r->input.accept = intake_keep(r, 1, "Accept");
    r->input.if_none_match = intake_keep(r, 2, "If-None-Match");
    intake_caller(r);
    if (r->route && !r->problem_code) expect_body(r, n);
    if (r->route && !r->problem_code) intake_count(r, n);
    int is_waiting = header(r, "Expect") != NULL; /* with its body, for 100 Continue */
    if (r->problem_code && (n == 0 || is_waiting))
        return answer_problem(r, r->problem_code, r->problem_detail, n != 0);
    return MHD_YES;
}

/* ---- the body ---- */

enum MHD_Result intake_body(struct req *r, const char *bytes, size_t n) {
    watch_bytes(r->conn, n);
    r->body_bytes += n;
    int is_wanted = r->route && api_route_body_max(r->desk->api, r->route) > 0;
    if (!r->problem_code && is_wanted) {
        int rc = r->form ? form_feed(r->form, bytes, n) : buf_add(&r->body, bytes, n);
        if (rc == 0) return MHD_YES;
        refuse_later(r,
                     rc == E_TOO_BIG       ? PROBLEM_BODY_TOO_LARGE
                     : rc == E_NOMEM       ? PROBLEM_NO_MEMORY
                     : rc == E_UNSUPPORTED ? PROBLEM_UNSUPPORTED_MEDIA_TYPE
                                           : PROBLEM_BAD_MULTIPART,
                     r->form ? form_why(r->form) : NULL);
        buf_clear(&r->body);
        form_free(r->form);
        r->form = NULL;
    }
    r->discarded_bytes += n;
    return r->discarded_bytes > DISCARD_MAX ? MHD_NO : MHD_YES;
}

static void wake(void *ud) { req_signal(ud); }

enum MHD_Result intake_end(struct req *r) {
    if (!r->problem_code && r->form && form_end(r->form, &r->input.form, &r->input.n_form))
        refuse_later(r, PROBLEM_BAD_MULTIPART, form_why(r->form));
    if (r->problem_code) return answer_problem(r, r->problem_code, r->problem_detail, 1);
    if (!r->form) {
        r->input.body = r->body.p;
        r->input.body_len = r->body.len;
    }
    r->input.query = r->target.query;
    r->input.n_query = r->target.n_query;
    r->input.request_id = r->id;
    r->input.caller = &r->caller.who;
    r->input.visit = &r->visit;
    struct err e = {0};
    if (api_call_new(r->desk->api, r->route, &r->input, wake, r, &r->call, &e))
        return answer_problem(r, PROBLEM_NO_MEMORY, NULL, 1);
    if (req_work(r)) {
        api_call_free(r->call); /* it has done nothing yet */
        r->call = NULL;
        return answer_problem(r, PROBLEM_QUEUE_FULL, NULL, 1);
    }
    watch_enter(r->conn, WATCH_WORK, r);
    return answer_call(r);
}
