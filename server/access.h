/* access.h - who may come in: the files of keys and of the audit, and what a start without them
 * means.
 *
 * Thread: main's; access_reload: any.
 */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include <pthread.h>

#include "server/accept.h"
#include "server/serve.h"

struct access {
    struct keys *keys;
    struct audit *audit;
    pthread_mutex_t mu; /* one reload at a time */
};

/* E_INVALID: the listeners are open to others than this machine, and nothing says who may ask.
 * Other errors are those of keys_open and audit_open. On failure there is nothing to close. */
int access_open(struct access *a, const struct serve_options *o, const struct listeners *l,
                struct err *e);
void access_close(struct access *a);
/* api_reload_fn of a struct access: read the keys again, open the audit file again. What fails
 * stays as it was. */
int access_reload(void *ud, int *n_keys, struct err *e);

#endif
