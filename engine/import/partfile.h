/* partfile.h - a long file that goes on where an earlier process was ended.
 *
 * What is added is compared with what is there already, and written from the first byte on that
 * differs. So nothing has to be remembered about how far the earlier one came, and a file that a
 * power cut left with holes is mended. Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_PARTFILE_H
#define ENGINE_IMPORT_PARTFILE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct partfile {
    int fd;              /* -1: not open */
    uint64_t at, pushed; /* the next byte's place; how far the disk was told to write */
    int is_new;          /* nothing is there from here on */
    const char *path;
    void *room;
};

/* Borrows the path. E_IO, E_NOMEM. partfile_close in any case. */
int partfile_open(struct partfile *f, const char *path, struct err *e);
int partfile_add(struct partfile *f, const void *bytes, size_t n, struct err *e); /* E_IO */
/* Cuts what is behind, and makes it last. Returns rc if that is an error, else 0 or E_IO. What is
 * there stays there. */
int partfile_close(struct partfile *f, int rc, struct err *e);

#endif
