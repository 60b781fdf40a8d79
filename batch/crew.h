/* crew.h - questions on their way: some calls of the API at once, stepped by threads of ours.
 *
 *     struct crew *d = crew_open(api, &options, &e);
 *     item = crew_take(d);                       // a free place, or NULL
 *     item->question = ..., crew_send(d, item);  // the crew has it until crew_next gives it back
 *     item = crew_next(d, timeout_ns);           // one whose answer is in item->reply; or NULL
 *     crew_give(d, item);                        // its place is free again
 *     crew_close(d);                             // what is on its way is cancelled
 *
 * An item is touched by one thread at a time. Its `turn` says by whom:
 *
 *     REST --wake--> DUE --worker--> STEP --WAIT--> REST
 *                                     |  '--wake--> AGAIN --WAIT--> DUE
 *                                     '--the answer--> the queue of those that are done
 *
 * Thread: one owner. The engine's step thread wakes items, the crew's own threads step them.
 */
#ifndef BATCH_CREW_H
#define BATCH_CREW_H

#include "api/api.h"
#include "batch/question.h"

struct crew;
struct crew_item {
    /* the owner's, before it is sent */
    struct question question;
    uint64_t line, seq;
    struct api_batch batch;
    /* the crew's, when it comes back */
    int status;       /* of the reply, as HTTP has it */
    int is_busy;      /* there was no room for it: send it again later */
    struct buf reply; /* JSON, without a line end */
    uint64_t rows;    /* of the engine, that it took */
    char problem[300];
    char print[API_PRINT_BYTES]; /* of what answered; "": nothing did */
    /* the crew's own */
    struct crew *_crew;
    struct api_call *_call;
    struct api_input _in;
    char _id[64];
    _Atomic int _turn;
    struct crew_item *next; /* whoever has it */
};

struct crew_options {
    int places, threads;
    const char *name;                /* what ids of requests begin with, in front of the number */
    const struct api_caller *caller; /* who asks; NULL: the command line */
    const struct api_visit *visit;   /* what it is counted against; NULL: nothing */
    int niceness;                    /* of the threads, as nice(1) has it */
};
/* Borrows what the options point at. NULL: E_NOMEM. */
struct crew *crew_open(struct api *api, const struct crew_options *o, struct err *e);
struct crew_item *crew_take(struct crew *d);
void crew_send(struct crew *d, struct crew_item *item);
struct crew_item *crew_next(struct crew *d, uint64_t timeout_ns);
void crew_give(struct crew *d, struct crew_item *item);
int crew_sent(const struct crew *d); /* items that are on their way */
void crew_close(struct crew *d);

#endif
