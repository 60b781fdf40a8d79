/* spool.h - uploads on their way to disk.
 *
 *     upload_begin(spool, length, wake, ud, &u);
 *     while (more bytes come)
 *         if (upload_has_room(u, n)) upload_put(u, bytes, n); else wait_for_wake();
 *     while ((rc = upload_end(u)) == 0) wait_for_wake();       // 1: it is on the disk
 *     upload_drop(u);
 *
 * Each upload is a file of a random name, for this user alone, in the spool's folder. Bytes go
 * through a ring of UPLOAD_RING bytes to the spool's thread, which writes them and computes their
 * SHA-256: whoever puts them never waits for the disk. Whoever accepts an upload moves its file
 * away before the drop. What has not been moved by then is removed, and what an earlier process
 * left is removed at start.
 *
 * `keep` bytes of the disk stay free. An upload whose length is known reserves that much, so it is
 * refused when it comes and not when the disk is full.
 *
 * Thread: one puts all uploads; `wake` is called from the spool's thread with a lock held, and
 * never after upload_drop has returned. upload_drop: any.
 */
#ifndef SERVER_HTTP_SPOOL_H
#define SERVER_HTTP_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { UPLOAD_RING = 1 << 20, UPLOAD_PATH_MAX = 4096 };

struct spool;
struct upload;
typedef void upload_wake_fn(void *ud);

/* Makes the folder, where it isn't there, and empties it. E_IO, E_INVALID (too long a path). */
int spool_open(const char *folder, uint64_t keep, struct spool **out, struct err *e);
void spool_close(struct spool *s); /* every upload has been dropped; NULL is legal */

/* `length`: how many bytes will come; 0: not known. E_BUSY: the disk has no room; E_NOMEM. */
int upload_begin(struct spool *s, uint64_t length, upload_wake_fn *wake, void *ud,
                 struct upload **out);
/* Are there n bytes of room? 0: no, and `wake` will be called when there are. */
int upload_has_room(struct upload *u, size_t n);
/* There must be room for them. E_BUSY: the disk has none left; E_IO. The first error stays, and
 * what comes after it is thrown away. */
int upload_put(struct upload *u, const void *bytes, size_t n);
/* All bytes were put. 1: they are on the disk, whatever happens to the machine; 0: not yet, and
 * `wake` will be called; E_BUSY, E_IO. */
int upload_end(struct upload *u);

struct upload_file {
    const char *path;
    char sha256[65];
    uint64_t bytes;
};
/* When upload_end has said 1. Borrowed until the drop. */
const struct upload_file *upload_file(const struct upload *u);
void upload_drop(struct upload *u); /* NULL is legal */

#endif
