/* access.c - see access.h. */
#include "server/access.h"

#include "kernels/base/log.h"
#include "server/keys/audit.h"
#include "server/keys/keys.h"

/* The first listener that others than this machine can reach, and that is plain if `is_plain`; -1:
 * none. */
static int open_to_others(const struct listeners *l, int is_plain) {
    for (int i = 0; i < l->n; i++)
        if (!listeners_is_local(l, i) && !(is_plain && l->is_tls[i])) return i;
    return -1;
}

static int access_check(const struct serve_options *o, const struct listeners *l, struct err *e) {
    char url[128];
    int i = open_to_others(l, o->keys != NULL);
    if (i < 0) return 0;
    listeners_url(l, i, url, sizeof(url));
    if (!o->keys && !o->is_insecure)
        return err_set(e, E_INVALID,
                       "%s can be reached from elsewhere, and there are no keys: --keys FILE says "
                       "who may ask (lammd keys new makes one); --insecure lets everybody",
                       url);
    if (!o->keys)
        log_event(LOG_LEVEL_WARN, "insecure", "whoever reaches %s may ask: there are no keys", url);
    else if (!o->http.callers.n_proxies)
        log_event(
            LOG_LEVEL_WARN, "insecure",
            "keys come to %s unencrypted: use --listen-tls, or put a proxy with TLS in front, "
            "and name it with --trusted-proxy",
            url);
    return 0;
}

int access_open(struct access *a, const struct serve_options *o, const struct listeners *l,
                struct err *e) {
    *a = (struct access){.keys = NULL};
    int rc = access_check(o, l, e);
    if (!rc && o->keys) rc = keys_open(o->keys, &a->keys, e);
    if (!rc && o->audit) rc = audit_open(o->audit, &a->audit, e);
    if (rc) {
        keys_close(a->keys);
        *a = (struct access){.keys = NULL};
        return rc;
    }
    pthread_mutex_init(&a->mu, NULL);
    return 0;
}

void access_close(struct access *a) {
    keys_close(a->keys);
    audit_close(a->audit);
    pthread_mutex_destroy(&a->mu);
}

int access_reload(void *ud, int *n_keys, struct err *e) {
    struct access *a = ud;
    struct err why = {0};
    *n_keys = -1;
    pthread_mutex_lock(&a->mu);
    if (a->keys && keys_reload(a->keys, n_keys, &why)) (void)err_in(&why, "the file of keys");
    if (a->audit) (void)audit_reopen(a->audit, &why);
    pthread_mutex_unlock(&a->mu);
    if (why.code) {
        log_event(LOG_LEVEL_ERROR, "reload", "%s; what was loaded stays", why.text);
        return err_set(e, why.code, "%s", why.text);
    }
    if (a->keys)
        log_event(LOG_LEVEL_INFO, "reload", "keys=%d", *n_keys);
    else
        log_event(LOG_LEVEL_INFO, "reload", "there are no keys to reload");
    return 0;
}
