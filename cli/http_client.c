/* http_client.c - see http_client.h: the connection and the request. The answer is read by
 * http_client_read.c.
 *
 * Each send and each receive waits `wait_s` at most. A server that answers before it has read the
 * whole body (413, 401) closes; what it said is read all the same.
 */
#include "cli/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/http_client_read.h"

enum { WAIT_S = 60, PIECE_BYTES = 64 << 10, HEAD_BYTES = 8 << 10 };

/* ---- where to, and with which key ---- */

/* HOST[:PORT], [ADDRESS][:PORT] behind http:// and before an end or a slash. */
static int read_url(struct http_client *c, const char *url, struct err *e) {
    static const char scheme[] = "http://";
    if (strncmp(url, "https://", 8) == 0)
        return err_set(e, E_UNSUPPORTED,
                       "%s: lammd speaks no TLS here; use http:// on the server's own machine, its "
                       "--admin-socket, or a tunnel such as ssh -L",
                       url);
    if (strncmp(url, scheme, 7) != 0)
        return err_set(e, E_INVALID, "--url takes http://HOST:PORT, not \"%s\"", url);
    const char *host = url + 7;
    int is_v6 = *host == '[';
    size_t n = is_v6 ? strcspn(++host, "]") : strcspn(host, ":/");
    const char *at = host + n + (is_v6 && host[n]);
    const char *port = *at == ':' ? at + 1 : "80";
    size_t digits = strspn(port, "0123456789");
    const char *end = *at == ':' ? port + digits : at;
    if (n == 0 || n >= sizeof(c->host) || (is_v6 && host[n] != ']') || digits == 0 ||
        digits >= sizeof(c->port) ||
        strspn(host, is_v6 ? "0123456789abcdefABCDEF:."
                           : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
                             "opqrstuvwxyz0123456789.-_") != n ||
        (*end && strcmp(end, "/") != 0))
        return err_set(e, E_INVALID, "--url takes http://HOST:PORT, not \"%s\"", url);
    memcpy(c->host, host, n);
    memcpy(c->port, port, digits);
    return 0;
}

static int keep_key(struct http_client *c, const char *text, size_t n, const char *where,
                    struct err *e) {
    int is_plain = 1;
    for (size_t i = 0; i < n; i++)
        is_plain &= text[i] > ' ' && text[i] < 0x7f;
    if (n == 0 || n > HTTP_CLIENT_KEY_MAX || !is_plain)
        return err_set(e, E_INVALID, "%s holds no key: it looks like lammd_ID_SECRET", where);
    memcpy(c->key, text, n);
    return 0;
}

static int read_key_file(struct http_client *c, const char *path, struct err *e) {
    char line[HTTP_CLIENT_KEY_MAX + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "--key-file %s: %s", path,
                       strerror(errno));
    ssize_t n = read(fd, line, sizeof(line) - 1);
    int why = errno;
    close(fd);
    if (n < 0) return err_set(e, E_IO, "--key-file %s: %s", path, strerror(why));
    line[n] = '\0';
    return keep_key(c, line, strcspn(line, "\r\n"), path, e);
}

/* A key on a wire that others can read. */
static void warn_of_key(const struct http_client *c) {
    int is_here = strncmp(c->host, "127.", 4) == 0 || strcmp(c->host, "::1") == 0 ||
                  strcmp(c->host, "localhost") == 0;
    if (c->key[0] && !is_here)
        fprintf(stderr,
                "lammd: warning: the key goes to %s unencrypted; use the server's own machine, or "
                "a tunnel such as ssh -L\n",
                c->host);
}

int http_client_open(struct http_client *c, const char *url, const char *socket,
                     const char *key_file, struct err *e) {
    *c = (struct http_client){.wait_s = WAIT_S};
    if (url && socket) return err_set(e, E_INVALID, "--url and --admin-socket exclude each other");
    if (socket && strlen(socket) >= sizeof(c->socket))
        return err_set(e, E_INVALID, "--admin-socket: the path is too long");
    if (socket) memcpy(c->socket, socket, strlen(socket) + 1);
    int rc = socket ? 0 : read_url(c, url ? url : "http://127.0.0.1:8080", e);
    const char *key = key_file ? NULL : getenv("LAMMD_KEY");
    if (!rc && key_file) rc = read_key_file(c, key_file, e);
    if (!rc && key && *key && !socket) rc = keep_key(c, key, strlen(key), "LAMMD_KEY", e);
    if (!rc && !socket) warn_of_key(c);
    return rc;
}

/* ---- the connection ---- */

static void set_patience(int fd, unsigned wait_s) {
    struct timeval t = {.tv_sec = wait_s};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

static int connect_unix(const struct http_client *c, int *out, struct err *e) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", c->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) set_patience(fd, c->wait_s);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
        *out = fd;
        return 0;
    }
    err_set(e, E_IO, "%s: %s; is lammd serve --admin-socket running?", c->socket, strerror(errno));
    if (fd >= 0) close(fd);
    return E_IO;
}

static int connect_tcp(const struct http_client *c, int *out, struct err *e) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int why = getaddrinfo(c->host, c->port, &want, &found);
    if (why) return err_set(e, E_IO, "%s: %s", c->host, gai_strerror(why));
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) continue;
        set_patience(fd, c->wait_s);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) break;
        why = errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0)
        return err_set(e, E_IO, "%s:%s: %s; is lammd serve running there?", c->host, c->port,
                       strerror(why ? why : errno));
    *out = fd;
    return 0;
}

/* ---- the request ---- */

/* 0, or E_IO: also when the server hung up, which may have said why. */
static int send_all(int fd, const void *bytes, size_t n) {
    const char *at = bytes;
    while (n > 0) {
        ssize_t put = send(fd, at, n, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return E_IO;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

static int send_file(int fd, int file, uint64_t bytes) {
    char piece[PIECE_BYTES];
    while (bytes > 0) {
        size_t most = bytes < sizeof(piece) ? (size_t)bytes : sizeof(piece);
        ssize_t n = read(file, piece, most);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || send_all(fd, piece, (size_t)n)) return E_IO;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int open_body_file(const char *path, int *fd, uint64_t *bytes, struct err *e) {
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: %s", path, strerror(errno));
    if (fstat(*fd, &s) || !S_ISREG(s.st_mode))
        return err_set(e, E_INVALID, "%s is not a regular file", path);
    *bytes = (uint64_t)s.st_size;
    return 0;
}

static void http_client_write_head(const struct http_client *c, const struct http_request *q,
                                   uint64_t bytes, struct buf *b) {
    int is_v6 = strchr(c->host, ':') != NULL;
    buf_printf(b, "%s %s HTTP/1.1\r\n", q->method, q->path);
    if (c->socket[0])
        buf_str(b, "Host: localhost\r\n");
    else
        buf_printf(b, is_v6 ? "Host: [%s]:%s\r\n" : "Host: %s:%s\r\n", c->host, c->port);
    buf_printf(b, "Accept: %s\r\nConnection: close\r\n",
               q->accept ? q->accept : "application/json");
    if (c->key[0]) buf_printf(b, "Authorization: Bearer %s\r\n", c->key);
    if (q->header) buf_printf(b, "%s\r\n", q->header);
    if (q->type) buf_printf(b, "Content-Type: %s\r\n", q->type);
    if (q->type || bytes || strcmp(q->method, "GET") != 0)
        buf_printf(b, "Content-Length: %llu\r\n", (unsigned long long)bytes);
    buf_str(b, "\r\n");
}

/* What the server says counts, even if it didn't want to hear all. */
static void send_request(const struct http_client *c, const struct http_request *q, int fd,
                         int file, uint64_t file_bytes) {
    struct buf head;
    buf_init(&head, HEAD_BYTES);
    http_client_write_head(c, q, q->len + file_bytes + q->tail_len, &head);
    int rc = head.bad ? E_IO : send_all(fd, head.p, head.len);
    if (!rc && q->len) rc = send_all(fd, q->body, q->len);
    if (!rc && file_bytes) rc = send_file(fd, file, file_bytes);
    if (!rc && q->tail_len) (void)send_all(fd, q->tail, q->tail_len);
    buf_clear(&head);
}

int http_client_ask(const struct http_client *c, const struct http_request *q, struct http_reply *r,
                    struct err *e) {
    int fd = -1, file = -1;
    uint64_t file_bytes = 0;
    *r = (struct http_reply){.status = 0};
    buf_init(&r->body, HTTP_CLIENT_BODY_MAX);
    int rc = q->file ? open_body_file(q->file, &file, &file_bytes, e) : 0;
    if (!rc) rc = c->socket[0] ? connect_unix(c, &fd, e) : connect_tcp(c, &fd, e);
    if (!rc) {
        send_request(c, q, fd, file, file_bytes);
        rc = http_client_read(fd, q, r, e);
    }
    if (file >= 0) close(file);
    if (fd >= 0) close(fd);
    return rc;
}

void http_client_drop(struct http_reply *r) { buf_clear(&r->body); }

void http_client_segment(struct buf *out, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        int is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       strchr("-._~:", c);
        if (is_plain)
            buf_char(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}
