/* intake.c - what comes in: may this request be answered, and what does it bring? See loop.h.
 *
 * The gate looks at the headers, the route says how much body there may be, and the body is
 * collected within that. What is fine goes to the workers.
 *
 * A request may be refused before its body has been read. A client that is still sending would then
 * see a reset instead of the answer. So the rest of the body is read and thrown away first, in the
 * time and at the speed that a body has (watch.h) and up to DISCARD_MAX; a client that takes longer
 * gets the answer before it is cut. Where the framing itself is in doubt, the answer goes out at
 * once and the connection is closed.
 *
 * Bodies are booked as they arrive, by what the buffer that holds them has grown to. Half of all
 * the room is one peer's share. A file on its way to the disk is booked by its ring: while that is
 * full the request is parked, until the disk has caught up (spool.h). TRAPS: headers lie in the
 * connection's memory, which may end before a worker is done with them: those that the API reads
 * are copied (kept).
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
    answer_text(code, detail, r->id, &r->last_words);
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
    watch_asker(r->conn, &r->caller.peer);
    if (code) refuse_later(r, code, r->caller.why[0] ? r->caller.why : NULL);
}

/* Copies of what the API reads. E_NOMEM. */
static int keep_headers(struct req *r) {
    const struct {
        const char *name, **to;
    } all[] = {{"Content-Type", &r->input.content_type},
               {"Accept", &r->input.accept},
               {"If-None-Match", &r->input.if_none_match},
               {"Idempotency-Key", &r->input.idempotency_key},
               {"Last-Event-ID", &r->input.last_event_id}};
    _Static_assert(ARRAY_LEN(all) == sizeof(r->kept) / sizeof(*r->kept), "one for each");
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const char *value = header(r, all[i].name);
        size_t n = value ? strlen(value) : 0;
        if (!value) continue;
        r->kept[i] = mem_try(n + 1);
        if (!r->kept[i]) return E_NOMEM;
        memcpy(r->kept[i], value, n);
        *all[i].to = r->kept[i];
    }
    return 0;
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

/* Book room for a body of which `n` bytes are here: as many as a buffer has that doubles; of one
 * that goes to the disk, what is held of it. */
static int book(struct req *r, uint64_t n) {
    struct http *h = http_of(r);
    size_t room = 256, all = h->opt.bodies_max;
    while (room < n && room < r->body_max)
        room *= 2;
    if (room > r->body_max) room = r->body_max;
    if (r->is_upload) room = r->form ? form_held(r->form) : 0;
    if (room <= r->conn->booked) return 0;
    return watch_book(r->conn, room, all / 2 > room ? all / 2 : room, all);
}

static int is_multipart(const char *type) {
    return type && strncasecmp(type, "multipart/form-data", 19) == 0;
}

static void wake(void *ud) { req_signal(ud); }

/* `length` < 0: not known. */
static void expect_form(struct req *r, size_t max, long long length) {
    const struct form_disk disk = {http_of(r)->opt.spool, length < 0 ? 0 : (uint64_t)length, wake,
                                   r};
    int rc = form_new(r->input.content_type, max, r->is_upload ? &disk : NULL, &r->form);
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
    r->is_following = api_route_follows(r->route);
    if (max == 0) return; /* what comes all the same is thrown away */
    r->is_upload = api_route_takes_file(r->route);
    if (r->is_upload && !http_of(r)->opt.spool) {
        refuse_later(r, PROBLEM_NO_STATE, NULL);
    } else if (length > (long long)max) {
        refuse_later(r, PROBLEM_BODY_TOO_LARGE, NULL);
    } else if (is_multipart(r->input.content_type) && (length || r->is_upload)) {
        expect_form(r, max, length);
        if (r->is_upload) watch_long(r->conn);
    } else if (r->is_upload) {
        refuse_later(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                     "a file comes as multipart/form-data, in a part named file");
    } else {
        buf_init(&r->body, length < 0 ? max : (size_t)length);
    }
    r->body_max = length < 0 ? max : (size_t)length;
}

/* Count it against what its caller may have at once; `length` as in expect_body. */
static void intake_count(struct req *r, long long length) {
    uint64_t bytes =
        length < 0 ? api_route_body_max(r->desk->api, r->route) : (unsigned long long)length;
    if (r->is_upload) bytes = UPLOAD_RING + FORM_BESIDE_MAX;
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

/* These are told after the framing was looked at: what follows the headers is surely a body. */
static int is_framing_sound(enum problem_code code) {
    return code == PROBLEM_FORBIDDEN || code == PROBLEM_UNSUPPORTED_MEDIA_TYPE;
}

enum MHD_Result intake_begin(struct req *r, const char *method, const char *version) {
    name_request(r);
    snprintf(r->method, sizeof(r->method), "%s", method);
    r->is_http10 = strcmp(version, "HTTP/1.0") == 0;
    struct gate_verdict verdict = pass_gate(r, method, version);
    if (verdict.code) atomic_fetch_add(&http_of(r)->gate_refused, 1);
    if (verdict.code && !is_framing_sound(verdict.code))
        return answer_problem(r, verdict.code, verdict.detail, 1);
    long long n = body_length(r);
    watch_enter(r->conn, n ? WATCH_BODY : WATCH_WORK, r);
    if (verdict.code) {
        refuse_later(r, verdict.code, verdict.detail);
    } else {
        find_route(r, method);
        intake_caller(r);
    }
    if (r->route && keep_headers(r)) refuse_later(r, PROBLEM_NO_MEMORY, NULL);
    if (r->route && !r->problem_code) expect_body(r, n);
    if (r->route && !r->problem_code) intake_count(r, n);
    int is_waiting = header(r, "Expect") != NULL; /* with its body, for 100 Continue */
    if (r->problem_code && (n == 0 || is_waiting))
        return answer_problem(r, r->problem_code, r->problem_detail, n != 0);
    return MHD_YES;
}

/* ---- the body ---- */

static int take_piece(struct req *r, const char *bytes, size_t n, const char **why) {
    *why = "too many bodies are being received; come back later";
    if (r->body_bytes <= r->body_max && book(r, r->body_bytes)) return E_NOMEM;
    int rc = r->form ? form_feed(r->form, bytes, n) : buf_add(&r->body, bytes, n);
    *why = rc && r->form ? form_why(r->form) : NULL;
    return rc;
}

static enum problem_code problem_of_body(int rc) {
    switch (rc) {
    case E_TOO_BIG: return PROBLEM_BODY_TOO_LARGE;
    case E_NOMEM: return PROBLEM_NO_MEMORY;
    case E_UNSUPPORTED: return PROBLEM_UNSUPPORTED_MEDIA_TYPE;
    case E_BUSY: return PROBLEM_NO_SPACE;
    case E_IO: return PROBLEM_STATE_UNWRITABLE; /* only a file's bytes go to the disk */
    default: return PROBLEM_BAD_MULTIPART;
    }
}

/* Its body is not wanted any more. */
static void intake_drop(struct req *r, int rc, const char *why) {
    refuse_later(r, problem_of_body(rc), why);
    buf_clear(&r->body);
    form_free(r->form);
    r->form = NULL;
    (void)watch_book(r->conn, 0, 0, 0);
}

/* Is there room for n bytes? 1: yes; 0: no, and the request is parked; -1: nobody sends any more,
 * or everything is ending. */
static int intake_room(struct req *r, size_t n) {
    for (;;) {
        struct req_view v = req_view(r);
        if (v.is_gone || v.is_late) return -1;
        if (!r->form || form_has_room(r->form, n)) return 1;
        int parked = req_park(r);
        if (parked) return parked > 0 ? 0 : -1;
    }
}

enum MHD_Result intake_body(struct req *r, const char *bytes, size_t *n_bytes) {
    size_t n = *n_bytes;
    const char *why;
    int room = r->is_upload ? intake_room(r, n) : 1;
    if (room == 0) return MHD_YES; /* it comes again after the wake */
    if (room < 0) {
        refuse_later(r, PROBLEM_DRAINING, NULL);
        watch_refuse(r->conn);
        return MHD_NO;
    }
    *n_bytes = 0;
    watch_bytes(r->conn, n);
    r->body_bytes += n;
    int is_wanted = r->route && api_route_body_max(r->desk->api, r->route) > 0;
    if (!r->problem_code && is_wanted) {
        int rc = take_piece(r, bytes, n, &why);
        if (rc == 0) return MHD_YES;
        intake_drop(r, rc, why);
    }
    r->discarded_bytes += n;
    if (r->discarded_bytes <= DISCARD_MAX) return MHD_YES;
    watch_refuse(r->conn);
    return MHD_NO;
}

/* Its form has ended: are all parts there? 1: yes, or the problem says why not; 0: its file is not
 * on the disk yet, and the request is parked; -1: nobody waits any more. */
static int intake_form(struct req *r) {
    for (;;) {
        int rc = form_end(r->form, &r->input.form, &r->input.n_form);
        if (rc < 0) refuse_later(r, problem_of_body(rc), form_why(r->form));
        if (rc <= 0) return 1;
        struct req_view v = req_view(r);
        if (v.is_gone) return -1;
        if (v.is_late) {
            refuse_later(r, PROBLEM_DEADLINE, NULL);
            return 1;
        }
        watch_enter_once(r->conn, WATCH_WORK, r);
        int parked = req_park(r);
        if (parked) return parked > 0 ? 0 : -1;
    }
}

static int intake_record(void *ud) {
    struct req *r = ud;
    return caller_act(&r->caller, &http_of(r)->opt.callers, r->route, r->id);
}

enum MHD_Result intake_end(struct req *r) {
    int ended = r->form && !r->problem_code ? intake_form(r) : 1;
    if (ended <= 0) return ended == 0 ? MHD_YES : MHD_NO;
    if (r->problem_code) return answer_problem(r, r->problem_code, r->problem_detail, 1);
    if (r->form) {
        r->input.file = form_file(r->form);
    } else {
        r->input.body = r->body.p;
        r->input.body_len = r->body.len;
    }
    r->input.query = r->target.query;
    r->input.n_query = r->target.n_query;
    r->input.request_id = r->id;
    r->input.caller = &r->caller.who;
    r->input.record = intake_record;
    r->input.record_ud = r;
    r->input.visit = &r->visit;
    struct err e = {0};
    if (api_call_new(r->desk->api, r->route, &r->input, wake, r, &r->call, &e))
        return answer_problem(r, PROBLEM_NO_MEMORY, NULL, 1);
    if (r->route->pace == API_WATCH) {
        req_work_here(r);
    } else if (req_work(r)) {
        api_call_free(r->call); /* it has done nothing yet */
        r->call = NULL;
        return answer_problem(r, PROBLEM_QUEUE_FULL, NULL, 0);
    }
    watch_enter(r->conn, WATCH_WORK, r);
    return answer_call(r);
}
