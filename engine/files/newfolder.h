/* newfolder.h - a folder of a few known files that appears whole or not at all.
 *
 *     static const char *const names[] = {"a.json", "b.safetensors", NULL};
 *     struct newfolder f;
 *     int rc = newfolder_begin(&f, "adapters/mine", names, &e);
 *     if (!rc) rc = newfile_write(newfolder_file(&f, "a.json"), text, len, &e);
 *     rc = newfolder_end(&f, rc, &e);     // always called; rc != 0 drops what there is
 *
 * It is made as `<path>.tmp` and changes places with an earlier one in a single step where the file
 * system can do that. The earlier one's files are removed then; a folder that has any file but
 * those of the names is never touched. Thread: its owner's.
 */
#ifndef ENGINE_FILES_NEWFOLDER_H
#define ENGINE_FILES_NEWFOLDER_H

#include "engine/files/newfile.h"

struct newfolder {
    int is_begun;
    const char *const *names; /* borrowed, NULL-ended */
    char path[NEWFILE_PATH_MAX + 1], temp[NEWFILE_PATH_MAX + 8], file[NEWFILE_PATH_MAX + 136];
};

/* E_INVALID: the path is too long, or there is a folder with other files or a file in its place.
 * E_IO. */
int newfolder_begin(struct newfolder *f, const char *path, const char *const *names, struct err *e);
/* The path of a file in the making; valid until the next call. */
const char *newfolder_file(struct newfolder *f, const char *name);
/* Returns rc if that is an error, else 0 or E_IO. */
int newfolder_end(struct newfolder *f, int rc, struct err *e);

#endif
