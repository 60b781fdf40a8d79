/* multipart.h - a multipart/form-data body, read while it arrives.
 *
 *     rc = multipart_open(&m, content_type, &sink, ud);     // finds the boundary
 *     while (more bytes come) rc = multipart_feed(&m, bytes, n);
 *     rc = multipart_end(&m);                               // was the closing boundary there?
 *
 * The sink gets each part as it comes: begin with its name, data in pieces of any size, end. The
 * reader keeps nothing of a part but its headers, and allocates nothing. So a sink may collect
 * parts in memory (form.h), or write one to a file. Thread: its owner's.
 *
 * It reads RFC 2046 section 5.1, RFC 7578 and RFC 2183 section 2, and is lenient where real clients
 * are: docs/clients.md names their dialects, test_multipart.c has them as a table.
 */
#ifndef SERVER_HTTP_MULTIPART_H
#define SERVER_HTTP_MULTIPART_H

#include <stddef.h>

enum {
    MULTIPART_BOUNDARY_MAX = 70, /* characters: RFC 2046 */
    MULTIPART_HEAD_MAX = 4096,   /* bytes of all headers of a part */
    MULTIPART_PADDING_MAX = 64   /* blanks behind a boundary; more of them are data */
};

/* Valid during the call of `begin`. */
struct multipart_part {
    const char *name;      /* never NULL */
    const char *file_name; /* as it was sent, a path for all we know; filename* wins. NULL: none */
    const char *type;      /* Content-Type with its parameters; NULL: none */
};

/* Each returns 0, or an error that ends the reading. */
struct multipart_sink {
    int (*begin)(void *ud, const struct multipart_part *part);
    int (*data)(void *ud, const char *bytes, size_t n); /* n > 0 */
    int (*end)(void *ud);
};

enum multipart_state { MULTIPART_PREAMBLE, MULTIPART_HEAD, MULTIPART_DATA, MULTIPART_EPILOGUE };

/* All fields are multipart.c's. */
struct multipart {
    const struct multipart_sink *sink; /* borrowed */
    void *ud;
    enum multipart_state state;
    char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1]; /* CR LF -- boundary */
    size_t delimiter_len;
    size_t first; /* of the delimiter's bytes that count: 0; 1 where lines end in LF alone */
    char held[4 + MULTIPART_BOUNDARY_MAX + MULTIPART_PADDING_MAX + 2]; /* maybe a delimiter */
    size_t n_held;
    size_t n_given; /* of the held bytes, those that are not in the body */
    char head[MULTIPART_HEAD_MAX + 1];
    size_t n_head;
    int rc;
    const char *why;
};

/* `content_type` is the whole header. E_FORMAT: it has no boundary, or a bad one. */
int multipart_open(struct multipart *m, const char *content_type, const struct multipart_sink *sink,
                   void *ud);
/* The next bytes of the body. E_FORMAT, E_UNSUPPORTED (a part's Content-Transfer-Encoding), or
 * what the sink said; the first error stays. */
int multipart_feed(struct multipart *m, const char *bytes, size_t n);
/* The body has ended. E_FORMAT also means that it was cut short. */
int multipart_end(struct multipart *m);
/* A sentence about the error, for the client. Static; NULL when the sink made it. */
const char *multipart_why(const struct multipart *m);

#endif
