/* tls.h - TLS as a server speaks it: certificate and key, and one session for each connection.
 *
 *     tls_open(&opt, &t, &e);
 *     s = tls_session(t, fd);                       // fd: a connected socket that does not block
 *     n = tls_read(s, bytes, max);                  // TLS_WAIT_READ: again when it is ready
 *
 * TLS 1.2 with forward secrecy and AEAD ciphers, and TLS 1.3. No renegotiation, no compression.
 * Sessions begin with the certificate of that moment: tls_reload changes it for those that come.
 * Thread: the relay's; tls_open and tls_close: main's; tls_session, tls_reload: any.
 */
#ifndef SERVER_RELAY_TLS_H
#define SERVER_RELAY_TLS_H

#include <stddef.h>

#include "kernels/base/err.h"

struct tls_options {
    const char *cert, *key; /* PEM files: the chain, the server's own certificate first; its key */
    const char
        *client_ca; /* PEM file: clients must show a certificate of these; NULL: none asked */
};

struct tls;
/* E_INVALID, with the name of the file and what is wrong with it. Borrows the options. */
int tls_open(const struct tls_options *opt, struct tls **out, struct err *e);
/* Read the files again. On an error everything stays as it was. */
int tls_reload(struct tls *t, struct err *e);
void tls_close(struct tls *t); /* the last; NULL is legal */

enum { TLS_WAIT_READ = -1, TLS_WAIT_WRITE = -2, TLS_OVER = -3 };

struct tls_session;
struct tls_session *tls_session(struct tls *t, int fd); /* NULL: no memory */
void tls_session_free(struct tls_session *s);           /* NULL is legal; leaves fd open */
/* 0: the session is up. TLS_WAIT_...; TLS_OVER: it failed. */
int tls_handshake(struct tls_session *s);
/* Bytes, at least 1; 0: the client ended its side; TLS_WAIT_...; TLS_OVER: broken. */
long tls_read(struct tls_session *s, void *to, size_t max);
/* Bytes, at least 1; TLS_WAIT_...; TLS_OVER. After a wait, the same bytes are offered again. */
long tls_write(struct tls_session *s, const void *from, size_t n);
/* Say that nothing more comes. Does not wait for the client to say so. */
void tls_end(struct tls_session *s);

#endif
