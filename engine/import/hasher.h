/* hasher.h - the SHA-256 of what goes by, and whether its numbers are some, found out on a thread
 * of its own while the maker of the bytes writes them and goes on with the next ones.
 *
 *     hasher_start(&h, &e);
 *     hasher_give(&h, &tensor, bytes, n);   // they have to stay until hasher_end
 *     void *room = hasher_room(&h, &e);     // or: they are made here,
 *     hasher_give(&h, &tensor, room, n);    // and are the hasher's from here on
 *     if (hasher_is_over(&h)) ..            // nothing more is hashed: hasher_end says why
 *     rc = hasher_end(&h, rc, hex, &e);     // in any case
 *
 * Room-private. Thread: the caller's, and its own.
 */
#ifndef ENGINE_IMPORT_HASHER_H
#define ENGINE_IMPORT_HASHER_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/files/safetensors.h"
#include "kernels/base/queue.h"

enum {
    HASHER_PIECES = 32,   /* that may wait: the maker gets so far ahead */
    HASHER_ROOM = 1 << 20 /* bytes: two of them stay in the processor's cache */
};

struct hasher_piece {
    const struct st_tensor *of;
    const void *bytes;
    size_t n;
    void *room; /* (HASHER_ROOM); NULL: nobody has asked for it yet */
};

struct hasher {
    struct hasher_piece pieces[HASHER_PIECES];
    struct queue *todo, *idle;
    struct hasher_piece *next; /* taken from idle, to be given; NULL: none */
    void *sha;                 /* EVP_MD_CTX */
    pthread_t thread;
    int has_thread;
    atomic_int is_over;
    /* Owner of both: the thread. OpenSSL failed; a tensor with a number that is none. */
    int is_broken;
    const struct st_tensor *refused;
};

/* E_NOMEM, E_INTERNAL. hasher_end in any case. */
int hasher_start(struct hasher *h, struct err *e);
/* HASHER_ROOM bytes for what is given next. Waits while HASHER_PIECES wait. NULL: E_NOMEM. */
void *hasher_room(struct hasher *h, struct err *e);
/* Waits while HASHER_PIECES wait. of: whose numbers they are, whole ones, and it has to stay; NULL:
 * they are none. */
void hasher_give(struct hasher *h, const struct st_tensor *of, const void *bytes, size_t n);
int hasher_is_over(const struct hasher *h);
/* Ends the thread, at once where rc is an error. Returns rc if that is one, else 0 and the digest;
 * E_FORMAT: a number is infinite or none; E_INTERNAL. */
int hasher_end(struct hasher *h, int rc, char hex[65], struct err *e);

/* A weight that is no number spoils every answer that it gets near. Are these bytes of a tensor,
 * whole numbers, all finite? */
int hasher_is_finite(const struct st_tensor *of, const void *bytes, size_t n);
int hasher_refuse(const struct st_tensor *of, struct err *e); /* E_FORMAT */

#endif
