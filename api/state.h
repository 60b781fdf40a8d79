/* state.h - what the files of this room know of the API as a whole.
 * Thread: any; what can change is atomic or says its lock. */
#ifndef API_STATE_H
#define API_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/store/catalog.h"
#include "api/store/counters.h"
#include "api/store/decoded.h"
#include "api/store/ids.h"
#include "api/store/images.h"
#include "api/store/quotas.h"
#include "api/store/sessions.h"

struct api {
    struct api_options opt; /* defaults filled in */
    struct eng *eng;        /* not before has_engine says so */
    atomic_int has_engine;
    struct images *images;
    struct decoded *decoded; /* NULL: none are kept */
    struct sessions *sessions;
    struct catalog *catalog; /* which adapters there are */
    struct counters *counters;
    struct ids *ids;
    struct quotas *quotas;
    struct jobs *jobs; /* NULL: there are none here */
    double born_s;     /* since the epoch */
    atomic_int draining, is_leaving, is_stuck;
    _Atomic uint64_t tile_ns; /* that a tile of the last whole painting took; 0: there was none */
    pthread_mutex_t mu;       /* guards what follows */
    api_server_stats_fn *server_stats;
    void *server_ud;
    api_reload_fn *reload;
    void *reload_ud;
};

/* Why no new work would be taken now; PROBLEM_NONE: it would. */
enum problem_code api_trouble(struct api *a);

#endif
