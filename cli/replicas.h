/* replicas.h - some lammd serve behind one HAProxy, as children, for as long as something is
 * measured. All listen on 127.0.0.1, on free ports. Thread: main's. */
#ifndef CLI_REPLICAS_H
#define CLI_REPLICAS_H

#include "kernels/base/err.h"

enum { REPLICAS_MAX = 3 };

struct replicas;
struct replicas_how {
    const char *config; /* deploy/haproxy.cfg: its ports and its socket are put in their places */
    const char *model;  /* folder */
    int n, threads;     /* of them; of each */
};
/* Returns when HAProxy has seen all of them ready, and those that aren't there gone. E_NOT_FOUND:
 * no HAProxy, or no such file; E_FORMAT: a place is missing in it; E_IO, E_TIMEOUT. */
int replicas_start(const struct replicas_how *how, struct replicas **out, struct err *e);
int replicas_port(const struct replicas *r); /* HAProxy's */
void replicas_end(struct replicas *r);       /* NULL is legal */

#endif
