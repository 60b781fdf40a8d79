/* load.h - the engine is opened on a thread of its own, so that the server answers meanwhile.
 *
 *     load_start(&l, &options, api);
 *     while (!load_is_over(&l)) ... look after signals ...
 *     rc = load_end(&l, &eng, &e);
 *
 * Thread: main's.
 */
#ifndef SERVER_LOAD_H
#define SERVER_LOAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "engine/engine.h"

struct load {
    const struct eng_options *options;
    struct api *api;
    pthread_t thread;
    atomic_int is_over;
    struct eng *eng;
    struct err err;
    int rc;
};

/* Borrows all three until load_end. An engine that is open becomes the API's. */
void load_start(struct load *l, const struct eng_options *o, struct api *api);
int load_is_over(struct load *l);
/* Waits for it. What eng_open returned, or api_set_engine; *out may be open all the same. */
int load_end(struct load *l, struct eng **out, struct err *e);

#endif
