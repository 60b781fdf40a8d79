/* disk.h - files and folders of a state folder. Thread: any. */
#ifndef JOBS_DISK_H
#define JOBS_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

/* E_IO with what the system said. */
int disk_bad(const char *path, struct err *e);
/* One folder; that it is there is no error. */
int disk_folder(const char *path, struct err *e);
/* A whole file: it appears, or the old one stays. On the disk when it returns. */
int disk_write(const char *path, const void *bytes, size_t len, struct err *e);
/* At most out->max bytes, from the file's beginning. E_NOT_FOUND, E_IO, E_TOO_BIG, E_NOMEM. */
int disk_read(const char *path, struct buf *out, struct err *e);
/* Renames, and has it on the disk. E_NOT_FOUND: there is nothing of the old name. */
int disk_move(const char *from, const char *to, struct err *e);
/* Removes a file, or a folder with all that is in it, two storeys deep at most. Errors are passed
 * over: what stays is found again at the next start. */
void disk_remove(const char *path);
/* The names in a folder, each of which `is_kept` may keep; the others are removed. */
typedef int disk_keep_fn(void *ud, const char *name);
void disk_sweep(const char *folder, disk_keep_fn *is_kept, void *ud);
/* A second name for a file, on the disk when it returns. That `to` is there is no error. */
int disk_link(const char *from, const char *to, struct err *e);
uint64_t disk_free(const char *path); /* bytes; UINT64_MAX: not known */

#endif
