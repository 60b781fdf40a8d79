/* newfile.h - a file that appears whole or not at all.
 *
 *     struct newfile f;
 *     int rc = newfile_begin(&f, "step-00000100.safetensors", &e);
 *     if (!rc) rc = newfile_add(&f, bytes, n, &e);
 *     rc = newfile_end(&f, rc, &e);       // always called; rc != 0 drops what there is
 *
 * What is added goes to `<path>.tmp`. The end syncs it, renames it, and syncs the folder. Whatever
 * fails before that leaves an earlier file as it was, and no temporary. A process that is killed
 * leaves a temporary, which the next one of that path overwrites. Thread: its owner's.
 */
#ifndef ENGINE_FILES_NEWFILE_H
#define ENGINE_FILES_NEWFILE_H

#include <stddef.h>

#include "kernels/base/err.h"

enum { NEWFILE_PATH_MAX = 4000 };

struct newfile {
    int fd; /* -1: not begun */
    char path[NEWFILE_PATH_MAX + 1], temp[NEWFILE_PATH_MAX + 8];
};

/* E_INVALID: the path is too long. E_IO. */
int newfile_begin(struct newfile *f, const char *path, struct err *e);
int newfile_add(struct newfile *f, const void *bytes, size_t n, struct err *e); /* E_IO */
/* Returns rc if that is an error, else 0 or E_IO. Nothing is left open. */
int newfile_end(struct newfile *f, int rc, struct err *e);

/* The three in one. */
int newfile_write(const char *path, const void *bytes, size_t n, struct err *e);
/* A copy of the file at `from`: E_NOT_FOUND when there is none, E_IO. */
int newfile_copy(const char *path, const char *from, struct err *e);

/* Makes what was renamed or made in a folder last. E_IO. */
int newfile_sync_folder(const char *folder, struct err *e);
/* The same of the folder that `path` stands in. */
int newfile_sync_around(const char *path, struct err *e);

#endif
