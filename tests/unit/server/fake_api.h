/* fake_api.h - an API without a model, linked in place of the real one: its calls do what a test
 * says.
 *
 *     GET  /reply     replies at once: 200, "hello"
 *     GET  /quick     the same, and it is quick
 *     GET  /watch     replies at once, whatever is held: 200, "alive"
 *     GET  /wait      waits for fake_finish, then replies "done"
 *     GET  /stream    a stream of what fake_say says, until fake_finish
 *     GET  /steps     the same, but it is to be stepped before each piece
 *     POST /echo      replies with its body, or its form's fields, as "name=bytes\n"; it takes
 *                     1000 bytes at most
 *     POST /file      takes a file: replies with its form's other fields, and behind them
 *                     "path=PATH name=NAME bytes=N sha256=HEX end"
 *     POST /act       as /reply, for the scope admin
 *     GET  /who       who asks: "key=ID peer=... scopes=HEX."; open to anybody
 * All others are for the scope ask. A problem's reply is its code and its text. Thread: any.
 */
#ifndef TESTS_UNIT_SERVER_FAKE_API_H
#define TESTS_UNIT_SERVER_FAKE_API_H

#include "api/api.h"

enum { FAKE_BODY_MAX = 1000, FAKE_FILE_MAX = 64 << 20 };

struct fake_counts {
    int calls, freed;      /* so far */
    int steps, steps_most; /* of all calls; of one call at a time */
    int held;              /* steps, now */
    int cancelled, expired;
    int draining, engines, stuck;
    int visits, visits_max;   /* requests inside, and how many may be; 0: any number */
    int counted, last_status; /* api_count */
};
struct fake_counts fake_counts(struct api *a);
struct api_server_stats fake_server_stats(struct api *a);

/* The API that was made last. */
struct api *fake_last(void);
/* The n-th call, from 0; waits until there is one. Fails the test after half a minute. */
struct api_call *fake_call(struct api *a, int n);
/* Steps that have decided what to return stay where they are until this is undone. */
void fake_hold(struct api *a, int is_held);
/* Wake the call. */
void fake_wake(struct api_call *c);
/* How often it was stepped. */
int fake_steps(struct api_call *c);
/* Let it end, and wake it. */
void fake_finish(struct api_call *c);
/* More for its stream, and wake it. */
void fake_say(struct api_call *c, const char *text);

/* How many requests may be inside; 0: any number. */
void fake_visits(struct api *a, int most);
/* Call what the server set for reloads. */
int fake_reload(struct api *a, int *n_keys, struct err *e);

/* Wait until it is so; fails the test after half a minute. */
#define FAKE_WAIT(is_so)                                        \
    do {                                                        \
        uint64_t fake_end = clock_ns() + UINT64_C(30000000000); \
        while (!(is_so)) {                                      \
            CHECK(clock_ns() < fake_end && #is_so);             \
            nanosleep(&(struct timespec){0, 1000000}, NULL);    \
        }                                                       \
    } while (0)

#endif
