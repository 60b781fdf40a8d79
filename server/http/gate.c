/* gate.c - see gate.h. RFC 9110 sections 5.1 (names), 5.6.2 (tokens); RFC 9112 sections 3.2
 * (target), 6.3 (length).
 */
#include "server/http/gate.h"

#include <string.h>
#include <strings.h>

#include "server/http/framing.h"

#define REFUSE(code, detail) ((struct gate_verdict){code, detail})
#define COME_IN              ((struct gate_verdict){PROBLEM_NONE, NULL})

static int is_token(const char *s, size_t n) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        int is_alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        if (!is_alnum && (c == '\0' || !strchr(marks, c))) return 0;
    }
    return n > 0;
}

static int is_text(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return 0;
    }
    return 1;
}

static int named(const struct gate_header *h, const char *name) {
    return h->name_len == strlen(name) && strncasecmp(h->name, name, h->name_len) == 0;
}

/* How many headers of that name there are; *at: the last of them. */
static int gate_count(const struct gate_request *q, const char *name,
                      const struct gate_header **at) {
    int n = 0;
    for (size_t i = 0; i < q->n_headers; i++) {
        if (!named(&q->headers[i], name)) continue;
        *at = &q->headers[i];
        n++;
    }
    return n;
}

/* libmicrohttpd 0.9.75 glues a folded line to the header's name, and so takes `Content-Length:`
 * with its number on the next line for another header, and the body for a request. */
static int is_glued(const struct gate_header *h) {
    static const char *const framing[] = {"Content-Length", "Transfer-Encoding"};
    for (size_t i = 0; i < sizeof(framing) / sizeof(*framing); i++) {
        size_t n = strlen(framing[i]);
        if (h->name_len > n && strncasecmp(h->name, framing[i], n) == 0) return 1;
    }
    return 0;
}

static int value_is(const struct gate_header *h, const char *text) {
    return h->value_len == strlen(text) && strncasecmp(h->value, text, h->value_len) == 0;
}

/* What the relay found before libmicrohttpd could read it. */
static struct gate_verdict check_relayed(const struct gate_request *q) {
    const struct gate_header *h = NULL;
    if (!gate_count(q, FRAMING_HEADER, &h)) return COME_IN;
    return REFUSE(PROBLEM_HEADER_GATE, framing_reason(h->value, h->value_len));
}

/* ---- the request line ---- */

static struct gate_verdict check_line(const struct gate_request *q) {
    if (!is_token(q->method, strlen(q->method)))
        return REFUSE(PROBLEM_HEADER_GATE, "the method is not a word");
    if (strcmp(q->version, "HTTP/1.1") != 0 && strcmp(q->version, "HTTP/1.0") != 0)
        return REFUSE(PROBLEM_HEADER_GATE, "only HTTP/1.0 and HTTP/1.1 are supported");
    const char *t = q->target;
    size_t n = strlen(t);
    if (n > GATE_TARGET_MAX) return REFUSE(PROBLEM_URI_TOO_LONG, NULL);
    if (t[0] != '/')
        return REFUSE(PROBLEM_HEADER_GATE, "the request target must begin with a slash");
    for (size_t i = 0; i < n; i++) {
        if (t[i] <= ' ' || t[i] == 0x7f || t[i] == '#' || t[i] == '\\')
            return REFUSE(PROBLEM_HEADER_GATE,
                          "the request target has a byte that must be percent-encoded");
    }
    size_t path = strcspn(t, "?");
    for (size_t i = 0; i < path; i++) {
        if (t[i] != '/') continue;
        size_t len = strcspn(t + i + 1, "/?");
        int is_dots =
            (len == 1 && t[i + 1] == '.') || (len == 2 && memcmp(t + i + 1, "..", 2) == 0);
        int is_empty = len == 0 && i + 1 < path;
        if (is_dots || is_empty)
            return REFUSE(PROBLEM_HEADER_GATE,
                          "the path has an empty segment, or one that is . or ..");
    }
    return COME_IN;
}

/* ---- the headers ---- */

static struct gate_verdict check_framing(const struct gate_request *q) {
    static const char *const once[] = {"Host",         "Content-Length", "Transfer-Encoding",
                                       "Content-Type", "Authorization",  "Origin"};
    const struct gate_header *h = NULL;
    for (size_t i = 0; i < sizeof(once) / sizeof(*once); i++) {
        if (gate_count(q, once[i], &h) > 1)
            return REFUSE(PROBLEM_HEADER_GATE, "a header that may come only once came twice");
    }
    int has_length = gate_count(q, "Content-Length", &h) != 0;
    if (has_length &&
        (h->value_len == 0 || h->value_len > 18 || strspn(h->value, "0123456789") < h->value_len))
        return REFUSE(PROBLEM_HEADER_GATE, "Content-Length is not a number");
    if (gate_count(q, "Transfer-Encoding", &h)) {
        if (has_length)
            return REFUSE(PROBLEM_HEADER_GATE,
                          "Content-Length and Transfer-Encoding exclude each other");
        if (!value_is(h, "chunked"))
            return REFUSE(PROBLEM_HEADER_GATE, "the only Transfer-Encoding accepted is chunked");
        if (strcmp(q->version, "HTTP/1.0") == 0)
            return REFUSE(PROBLEM_HEADER_GATE, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (gate_count(q, "Content-Encoding", &h) && !value_is(h, "identity"))
        return REFUSE(PROBLEM_UNSUPPORTED_MEDIA_TYPE, "a body must come without Content-Encoding");
    return COME_IN;
}

/* ---- who is asked, by whose page ---- */

/* A load balancer's probe: HTTP/1.0 has no Host, and no browser speaks it. */
static int is_probe(const struct gate_request *q) {
    int reads = strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0;
    int is_health = strcmp(q->target, "/livez") == 0 || strcmp(q->target, "/readyz") == 0;
    return reads && is_health && strcmp(q->version, "HTTP/1.0") == 0;
}

static struct gate_verdict check_identity(const struct gate_request *q) {
    const struct gate_header *h = NULL, *origin = NULL;
    struct origin_host host;
    int has_host = gate_count(q, "Host", &h) != 0;
    if (!has_host && !is_probe(q)) return REFUSE(PROBLEM_HEADER_GATE, "the Host header is missing");
    if (has_host && origin_read_host(h->value, h->value_len, &host))
        return REFUSE(PROBLEM_HEADER_GATE, "the Host header is not a host");
    if (has_host && !origin_is_served(&q->rules, &host))
        return REFUSE(PROBLEM_FORBIDDEN, "this Host name is not allowed; the server's option "
                                         "--allow-host allows it");
    if (gate_count(q, "Origin", &origin) &&
        !origin_may_ask(&q->rules, origin->value, origin->value_len, has_host ? &host : NULL))
        return REFUSE(PROBLEM_FORBIDDEN, "pages of this origin are not allowed to ask here; the "
                                         "server's option --allow-origin allows it");
    return COME_IN;
}

struct gate_verdict gate_check(const struct gate_request *q) {
    if (q->n_headers > GATE_HEADERS_MAX)
        return REFUSE(PROBLEM_HEADERS_TOO_LARGE, "a request may have at most 64 headers");
    struct gate_verdict v = check_relayed(q);
    if (!v.code) v = check_line(q);
    if (v.code) return v;
    for (size_t i = 0; i < q->n_headers; i++) {
        const struct gate_header *h = &q->headers[i];
        if (!is_token(h->name, h->name_len) || is_glued(h))
            return REFUSE(PROBLEM_HEADER_GATE, "a header's name is not a word");
        if (!is_text(h->value, h->value_len))
            return REFUSE(PROBLEM_HEADER_GATE, "a header's value has a control byte");
    }
    v = check_framing(q);
    return v.code ? v : check_identity(q);
}
