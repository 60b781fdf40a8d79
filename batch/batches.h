/* batches.h - the door for a server: the thread that asks the lines of its batches.
 *
 *     batches_open(&options, &b, &e);     // what jobs/ has of them goes on
 *     batches_drain(b);                   // no line is sent any more
 *     while (!batches_is_idle(b)) ...     // those on their way end
 *     batches_close(b);                   // what is still on its way is cancelled, and asked again
 *                                         //   at the next start
 *
 * One batch at a time has its turn; who waits, and is another owner's, gets the next one. A batch
 * that can't go on, for want of room on the disk, says so where it is looked at, and is tried again
 * every few seconds. Threads: its own, and one that steps calls. All of these: their owner's.
 */
#ifndef BATCH_BATCHES_H
#define BATCH_BATCHES_H

#include <stdint.h>

#include "kernels/base/err.h"

struct api;
struct eng;
struct jobs;
struct batches;

struct batches_options {
    struct api *api; /* that has its engine */
    struct eng *eng;
    struct jobs *jobs;
    uint64_t keep; /* bytes of the disk that answers leave free */
};

/* Borrows what the options name. E_NOMEM: no thread. */
int batches_open(const struct batches_options *o, struct batches **out, struct err *e);
void batches_drain(struct batches *b);
int batches_is_idle(const struct batches *b);
void batches_close(struct batches *b); /* NULL is legal, as for the others */

#endif
