/* framing.h - where each request of a connection begins and ends, before libmicrohttpd reads it.
 *
 *     struct framing f = {0};
 *     framing_feed(&f, bytes, n, &out);        // what libmicrohttpd is to get is added to `out`
 *
 * libmicrohttpd 0.9.75 takes a folded Content-Length for none, cuts a value at a NUL byte, and ends
 * lines at a bare LF. A proxy that reads them otherwise then sees another request than we do. This
 * reader is strict (RFC 9112): what passes it has one meaning. Good bytes pass as they are, except
 * that chunks come out without extensions and trailers, and lengths without blanks. At the first
 * bad byte the request is ended with a header line of its own, FRAMING_HEADER, by which gate.c
 * answers 400 with the reason; a bad chunk becomes one that libmicrohttpd refuses. What the client
 * sends afterwards is swallowed. Holds no memory. Thread: the relay's.
 */
#ifndef SERVER_HTTP_FRAMING_H
#define SERVER_HTTP_FRAMING_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"

#define FRAMING_HEADER "Lammd-Framing"

enum framing_fault {
    FRAMING_FINE,
    FRAMING_BARE_LF,
    FRAMING_BARE_CR,
    FRAMING_NUL,
    FRAMING_FOLD,
    FRAMING_NAME,
    FRAMING_LINE,
    FRAMING_EMPTY_LINES,
    FRAMING_LENGTH,
    FRAMING_CODING,
    FRAMING_FAULTS
};

/* A connection's place in its bytes; all zero at its beginning. */
struct framing {
    int state;      /* see framing.c */
    int lines;      /* empty lines before a request line */
    char name[20];  /* of the header being read, in lower case: as much as tells the two */
    char value[24]; /* its value without blanks, in lower case, if it is one of the two */
    uint8_t n_name, n_value;
    uint8_t is_framing;       /* the name is Content-Length or Transfer-Encoding */
    uint8_t lengths, codings; /* how many of each the request has, 2 meaning more */
    uint8_t is_long;          /* `value` has not all of it */
    uint64_t left;            /* bytes of the body, or of the chunk, that are still to come */
    int n_digits;             /* of a chunk's length */
    uint32_t n_extra;         /* bytes of extensions and trailers of this body */
};

/* Reads n bytes. `out` gets at most n + 256 more. 0; -1 when `out` had no room: the connection must
 * end. */
int framing_feed(struct framing *f, const uint8_t *bytes, size_t n, struct buf *out);

/* What FRAMING_HEADER's value means, for people; NULL: it isn't one of framing's. */
const char *framing_reason(const char *value, size_t n);

#endif
