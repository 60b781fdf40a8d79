/* admin.c - POST /v1/admin/reload: what SIGHUP does, for those who are not on the machine.
 *
 * What is reloaded belongs to the server, which says how it went (api_set_reload). Who may ask for
 * it is the route's scope. Thread: a worker.
 */
#include "api/endpoint.h"

static int admin_reload(struct api_call *c) {
    struct api *a = c->api;
    struct err e = {0};
    int n_keys = -1;
    pthread_mutex_lock(&a->mu);
    api_reload_fn *fn = a->reload;
    void *ud = a->reload_ud;
    pthread_mutex_unlock(&a->mu);
    int rc = fn ? fn(ud, &n_keys, &e) : 0;
    if (rc) {
        problem_set(&c->problem, PROBLEM_RELOAD_FAILED, NULL, "%s; what was loaded stays", e.text);
        return call_fail(c);
    }
    if (n_keys < 0)
        buf_str(&c->body, "{\"keys\":null}\n");
    else
        buf_printf(&c->body, "{\"keys\":%d}\n", n_keys);
    return call_answer(c, 200, "application/json");
}

const struct endpoint admin_reload_endpoint = {.answer = admin_reload};
