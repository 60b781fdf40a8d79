/* tls.c - see tls.h. OpenSSL 3; RFC 8446, RFC 5246, RFC 7301 (ALPN: http/1.1 alone).
 *
 * A context is counted by OpenSSL, so one that was replaced lives as long as its last session.
 * TRAPS: OpenSSL keeps errors in a queue of the thread, and an old one there makes SSL_get_error
 * lie; it is emptied before each call.
 */
#include "server/relay/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "kernels/base/mem.h"

struct tls {
    struct tls_options opt;
    pthread_mutex_t mu;
    SSL_CTX *ctx; /* guarded by mu */
};

struct tls_session {
    SSL *ssl;
};

/* ---- the context ---- */

static int tls_refuse(struct err *e, const char *what, const char *file) {
    unsigned long code = ERR_peek_last_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;
    return err_set(e, E_INVALID, "%s %s: %s", what, file, why ? why : "can't be used");
}

static int choose_http(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *ud) {
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)ud;
    unsigned char *at = NULL;
    int rc = SSL_select_next_proto(&at, out_len, ours, sizeof(ours) - 1, in, in_len);
    *out = at;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A key with a passphrase is refused: OpenSSL would ask for it at the terminal. */
static int no_passphrase(char *to, int size, int rwflag, void *ud) {
    (void)to;
    (void)size;
    (void)rwflag;
    (void)ud;
    return 0;
}

static void set_rules(SSL_CTX *ctx) {
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384");
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"lammd", 5);
    SSL_CTX_set_alpn_select_cb(ctx, choose_http, NULL);
}

static int load_files(SSL_CTX *ctx, const struct tls_options *o, struct err *e) {
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert) != 1)
        return tls_refuse(e, "--tls-cert", o->cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM) != 1)
        return tls_refuse(e, "--tls-key", o->key);
    if (SSL_CTX_check_private_key(ctx) != 1) return tls_refuse(e, "--tls-key", o->key);
    if (!o->client_ca) return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->client_ca);
    if (!names || SSL_CTX_load_verify_locations(ctx, o->client_ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_refuse(e, "--tls-client-ca", o->client_ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names); /* it owns them now */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static SSL_CTX *context(const struct tls_options *o, struct err *e) {
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        err_set(e, E_NOMEM, "no memory for TLS");
        return NULL;
    }
    set_rules(ctx);
    int rc = load_files(ctx, o, e);
    ERR_clear_error();
    if (rc == 0) return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

int tls_open(const struct tls_options *opt, struct tls **out, struct err *e) {
    SSL_CTX *ctx = context(opt, e);
    if (!ctx) return e->code;
    struct tls *t = mem_must(sizeof(*t));
    t->opt = *opt;
    t->ctx = ctx;
    pthread_mutex_init(&t->mu, NULL);
    *out = t;
    return 0;
}

int tls_reload(struct tls *t, struct err *e) {
    SSL_CTX *fresh = context(&t->opt, e);
    if (!fresh) return e->code;
    pthread_mutex_lock(&t->mu);
    SSL_CTX *old = t->ctx;
    t->ctx = fresh;
    pthread_mutex_unlock(&t->mu);
    SSL_CTX_free(old);
    return 0;
}

void tls_close(struct tls *t) {
    if (!t) return;
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->mu);
    mem_free(t);
}

/* ---- a session ---- */

struct tls_session *tls_session(struct tls *t, int fd) {
    struct tls_session *s = mem_try(sizeof(*s));
    if (!s) return NULL;
    pthread_mutex_lock(&t->mu);
    s->ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->mu);
    if (!s->ssl || SSL_set_fd(s->ssl, fd) != 1) {
        tls_session_free(s);
        return NULL;
    }
    SSL_set_accept_state(s->ssl);
    return s;
}

void tls_session_free(struct tls_session *s) {
    if (!s) return;
    SSL_free(s->ssl);
    mem_free(s);
}

static long result(struct tls_session *s, int rc) {
    if (rc > 0) return rc;
    int why = SSL_get_error(s->ssl, rc);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ) return TLS_WAIT_READ;
    if (why == SSL_ERROR_WANT_WRITE) return TLS_WAIT_WRITE;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : TLS_OVER;
}

int tls_handshake(struct tls_session *s) {
    ERR_clear_error();
    long rc = result(s, SSL_do_handshake(s->ssl));
    return rc > 0 ? 0 : rc == 0 ? TLS_OVER : (int)rc;
}

long tls_read(struct tls_session *s, void *to, size_t max) {
    ERR_clear_error();
    return result(s, SSL_read(s->ssl, to, (int)(max < (1 << 30) ? max : (1 << 30))));
}

long tls_write(struct tls_session *s, const void *from, size_t n) {
    ERR_clear_error();
    long rc = result(s, SSL_write(s->ssl, from, (int)(n < (1 << 30) ? n : (1 << 30))));
    return rc == 0 ? TLS_OVER : rc;
}

void tls_end(struct tls_session *s) {
    if (!SSL_is_init_finished(s->ssl)) return;
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}
