/* hasher.h - the SHA-256 of what goes by, taken on a thread of its own while the maker of the bytes
 * goes on with the next ones.
 *
 *     hasher_start(&h, &e);
 *     hasher_give(&h, bytes, n);            // they have to stay
 *     hasher_wait(&h);                      // until here: all that was given is hashed
 *     rc = hasher_end(&h, rc, hex, &e);     // in any case
 *
 * Room-private. Thread: the caller's, and its own.
 */
#ifndef ENGINE_IMPORT_HASHER_H
#define ENGINE_IMPORT_HASHER_H

#include <pthread.h>
#include <stdatomic.h>

#include "kernels/base/err.h"
#include "kernels/base/queue.h"

enum { HASHER_PIECES = 4 /* that may wait */ };

struct hasher_piece {
    const void *bytes;
    size_t n;
};

struct hasher {
    struct hasher_piece pieces[HASHER_PIECES];
    struct queue *todo, *idle;
    void *sha; /* EVP_MD_CTX */
    pthread_t thread;
    int has_thread;
    atomic_int is_cancelled;
    int is_broken; /* OpenSSL failed. Owner: the thread */
};

/* E_NOMEM, E_INTERNAL. hasher_end in any case. */
int hasher_start(struct hasher *h, struct err *e);
/* Waits while HASHER_PIECES wait. */
void hasher_give(struct hasher *h, const void *bytes, size_t n);
void hasher_wait(struct hasher *h);
/* Ends the thread, at once where rc is an error. Returns rc if that is one, else 0 and the digest,
 * or E_INTERNAL. */
int hasher_end(struct hasher *h, int rc, char hex[65], struct err *e);

#endif
