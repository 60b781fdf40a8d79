/* http_client_read.c - see http_client_read.h.
 *
 *     status line, fields, an empty line      16 KiB together at most; 1xx are passed over
 *     body by Content-Length | by chunks | until the end of the connection
 *
 * A length that is given twice, or beside chunks, is refused: two readers could differ about it.
 */
#include "cli/http_client_read.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "kernels/base/jsonscan.h"

enum { HEAD_MAX = 16 << 10, ROOM = 32 << 10, INTERIM_MAX = 8, LENGTH_DIGITS = 15 };
enum { BY_END, BY_LENGTH, BY_CHUNKS };

struct reader {
    http_client_source_fn *source;
    void *ud;
    const struct http_request *q;
    struct http_reply *r;
    char room[ROOM];
    size_t at, len; /* bytes that have come and are not used yet: room[at..len) */
    int framing;
    uint64_t length;
    int is_enough; /* q->take has said so */
};

/* ---- bytes and lines ---- */

/* More bytes behind those there are. 1; 0: the end; or an error. */
static int http_client_read_fill(struct reader *in, struct err *e) {
    if (in->at > 0) {
        memmove(in->room, in->room + in->at, in->len - in->at);
        in->len -= in->at;
        in->at = 0;
    }
    if (in->len == sizeof(in->room))
        return err_set(e, E_TOO_BIG, "a line of the answer is too long");
    long n;
    do
        n = in->source(in->ud, in->room + in->len, sizeof(in->room) - in->len);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return err_set(e, E_TIMEOUT, "the server was silent for too long");
    if (n < 0) return err_set(e, E_IO, "the connection broke: %s", strerror(errno));
    in->len += (size_t)n;
    return n > 0;
}

static int cut_short(struct err *e) { return err_set(e, E_IO, "the answer was cut short"); }

/* The next line without its CRLF, NUL-terminated, in the room until the next call. */
static int next_line(struct reader *in, char **out, struct err *e) {
    for (size_t seen = 0;;) {
        char *from = in->room + in->at, *end = memchr(from + seen, '\n', in->len - in->at - seen);
        seen = in->len - in->at;
        if (!end) {
            int rc = http_client_read_fill(in, e);
            if (rc <= 0) return rc ? rc : cut_short(e);
            continue;
        }
        size_t n = (size_t)(end - from);
        in->at += n + 1;
        if (n == 0 || from[n - 1] != '\r' || memchr(from, '\0', n) || memchr(from, '\r', n - 1))
            return err_set(e, E_FORMAT,
                           "this is no HTTP server: a line of its answer is malformed");
        from[n - 1] = '\0';
        *out = from;
        return 0;
    }
}

/* ---- the head ---- */

static int read_status(struct reader *in, struct err *e) {
    char *line;
    int rc = next_line(in, &line, e);
    if (rc) return rc;
    int is_http = strncmp(line, "HTTP/1.", 7) == 0 && (line[7] == '0' || line[7] == '1') &&
                  line[8] == ' ' && strspn(line + 9, "0123456789") == 3 &&
                  (line[12] == ' ' || !line[12]) && line[9] >= '1' && line[9] <= '5';
    if (!is_http) return err_set(e, E_FORMAT, "this is no HTTP server");
    in->r->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    return 0;
}

static int set_framing(struct reader *in, int framing, struct err *e) {
    if (in->framing != BY_END) return err_set(e, E_FORMAT, "the answer says twice how long it is");
    in->framing = framing;
    return 0;
}

static int read_length(struct reader *in, const char *value, struct err *e) {
    size_t n = strspn(value, "0123456789");
    if (n == 0 || n > LENGTH_DIGITS || value[n])
        return err_set(e, E_FORMAT, "the answer's length is malformed");
    for (in->length = 0; *value; value++)
        in->length = in->length * 10 + (uint64_t)(*value - '0');
    return set_framing(in, BY_LENGTH, e);
}

/* Without parameters, in small letters. */
static void read_type(struct http_reply *r, const char *value) {
    size_t n = strcspn(value, "; \t");
    if (n >= sizeof(r->type)) return;
    for (size_t i = 0; i < n; i++)
        r->type[i] = (char)(value[i] >= 'A' && value[i] <= 'Z' ? value[i] + 32 : value[i]);
    r->type[n] = '\0';
}

static int read_field(struct reader *in, char *line, struct err *e) {
    char *colon = strchr(line, ':');
    if (!colon || colon == line || strcspn(line, " \t") < (size_t)(colon - line))
        return err_set(e, E_FORMAT, "a header of the answer is malformed");
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    *colon = '\0';
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    if (strcasecmp(line, "Content-Length") == 0) return read_length(in, value, e);
    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        if (strcasecmp(value, "chunked") == 0) return set_framing(in, BY_CHUNKS, e);
        return err_set(e, E_FORMAT, "the answer is encoded in a way that is not known here");
    }
    if (strcasecmp(line, "Content-Type") == 0) read_type(in->r, value);
    if (strcasecmp(line, "Location") == 0 && strlen(value) < sizeof(in->r->location))
        memcpy(in->r->location, value, strlen(value) + 1);
    size_t digits = strspn(value, "0123456789");
    if (strcasecmp(line, "Retry-After") == 0 && digits && digits < 7 && !value[digits])
        for (in->r->retry_s = 0; *value; value++)
            in->r->retry_s = in->r->retry_s * 10 + (unsigned)(*value - '0');
    return 0;
}

static int http_client_read_fields(struct reader *in, struct err *e) {
    for (size_t n = 0; n <= HEAD_MAX;) {
        char *line;
        int rc = next_line(in, &line, e);
        if (rc || !*line) return rc;
        n += strlen(line) + 2;
        rc = read_field(in, line, e);
        if (rc) return rc;
    }
    return err_set(e, E_TOO_BIG, "the answer's headers are too large");
}

static int http_client_read_head(struct reader *in, struct err *e) {
    for (int i = 0; i < INTERIM_MAX; i++) {
        in->framing = BY_END;
        int rc = read_status(in, e);
        if (!rc) rc = http_client_read_fields(in, e);
        if (rc || in->r->status >= 200) return rc;
    }
    return err_set(e, E_FORMAT, "the server says 1xx without an end");
}

/* ---- the body ---- */

static int give(struct reader *in, const char *bytes, size_t n, struct err *e) {
    int is_taken = in->q->take && in->r->status < 300;
    if (is_taken) {
        in->is_enough = in->q->take(in->q->ud, bytes, n) != 0;
        return 0;
    }
    int rc = buf_add(&in->r->body, bytes, n);
    return rc ? err_set(e, rc, "the answer has more than %d MiB", HTTP_CLIENT_BODY_MAX >> 20) : 0;
}

/* The next n bytes go to their taker. */
static int pass_on(struct reader *in, uint64_t n, struct err *e) {
    while (n > 0 && !in->is_enough) {
        if (in->at == in->len) {
            int rc = http_client_read_fill(in, e);
            if (rc <= 0) return rc ? rc : cut_short(e);
        }
        size_t have = in->len - in->at, some = n < have ? (size_t)n : have;
        int rc = give(in, in->room + in->at, some, e);
        if (rc) return rc;
        in->at += some;
        n -= some;
    }
    return 0;
}

static int read_to_end(struct reader *in, struct err *e) {
    for (int more = 1; more > 0 && !in->is_enough;) {
        int rc = pass_on(in, in->len - in->at, e);
        if (rc) return rc;
        more = in->is_enough ? 0 : http_client_read_fill(in, e);
        if (more < 0) return more;
    }
    return 0;
}

/* "1a2b" or "1a2b;extension" */
static int read_chunk_size(struct reader *in, uint64_t *out, struct err *e) {
    static const char hex[] = "0123456789abcdef";
    char *line;
    int rc = next_line(in, &line, e);
    if (rc) return rc;
    size_t n = strspn(line, "0123456789abcdefABCDEF");
    if (n == 0 || n > 8 || (line[n] && line[n] != ';'))
        return err_set(e, E_FORMAT, "a chunk of the answer is malformed");
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out = *out * 16 + (uint64_t)(strchr(hex, line[i] | (line[i] >= 'A' ? 32 : 0)) - hex);
    return 0;
}

static int read_chunks(struct reader *in, struct err *e) {
    while (!in->is_enough) {
        uint64_t n = 0;
        char *line;
        int rc = read_chunk_size(in, &n, e);
        if (!rc && n == 0) return http_client_read_fields(in, e); /* trailers; nobody needs them */
        if (!rc) rc = pass_on(in, n, e);
        if (rc || in->is_enough) return rc;
        rc = next_line(in, &line, e);
        if (!rc && *line) rc = err_set(e, E_FORMAT, "a chunk of the answer has no end");
        if (rc) return rc;
    }
    return 0;
}

static int read_body(struct reader *in, struct err *e) {
    int status = in->r->status;
    if (strcmp(in->q->method, "HEAD") == 0 || status == 204 || status == 304) return 0;
    if (in->framing == BY_LENGTH) return pass_on(in, in->length, e);
    if (in->framing == BY_CHUNKS) return read_chunks(in, e);
    return read_to_end(in, e);
}

/* ---- doors ---- */

int http_client_read_from(http_client_source_fn *source, void *ud, const struct http_request *q,
                          struct http_reply *r, struct err *e) {
    struct reader in = {.source = source, .ud = ud, .q = q, .r = r};
    int rc = http_client_read_head(&in, e);
    return rc ? rc : read_body(&in, e);
}

static long from_socket(void *ud, void *to, size_t max) { return read(*(int *)ud, to, max); }

int http_client_read(int fd, const struct http_request *q, struct http_reply *r, struct err *e) {
    return http_client_read_from(from_socket, &fd, q, r, e);
}

int http_client_check(const struct http_reply *r, struct err *e) {
    if (r->status >= 200 && r->status < 300) return 0;
    const char *text = (const char *)r->body.p;
    int is_problem = r->body.len && strcmp(r->type, "application/problem+json") == 0 &&
                     jsonscan_bound(text, r->body.len, 16, 40000, NULL) == 0;
    json_t *o = is_problem ? json_loadb(text, r->body.len, 0, NULL) : NULL;
    const char *detail = json_string_value(json_object_get(o, "detail"));
    const char *code = json_string_value(json_object_get(json_object_get(o, "error"), "code"));
    if (detail && code)
        err_set(e, E_INVALID, "%.180s (%d %.30s)", detail, r->status, code);
    else
        err_set(e, E_INVALID, "the server answered %d, and not as lammd does", r->status);
    json_decref(o);
    return E_INVALID;
}
