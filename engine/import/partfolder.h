/* partfolder.h - a folder that appears whole, and whose making goes on after the maker was ended.
 *
 * It is made as `PATH.part`, which stays when something fails, and gets its name at the end. One
 * process at a time makes it. A folder that has files but those of the names is never touched.
 * (newfolder.h is for small ones, which start anew.) Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_PARTFOLDER_H
#define ENGINE_IMPORT_PARTFOLDER_H

#include <stdint.h>

#include "engine/files/newfile.h"

struct partfolder {
    int fd; /* holds the lock; -1: not begun */
    char path[NEWFILE_PATH_MAX + 1], part[NEWFILE_PATH_MAX + 8], file[NEWFILE_PATH_MAX + 136];
};

/* names: NULL-ended. E_INVALID: there is something at `path`, or it is too long; E_BUSY: another
 * process makes it; E_IO. */
int partfolder_begin(struct partfolder *f, const char *path, const char *const *names,
                     struct err *e);
/* The path of a file in the making; valid until the next call. */
const char *partfolder_file(struct partfolder *f, const char *name);
/* Has the disk room for the file to become so many bytes? E_IO. */
int partfolder_check_room(struct partfolder *f, const char *name, uint64_t bytes, struct err *e);
/* Returns rc if that is an error, else 0 or E_IO. */
int partfolder_end(struct partfolder *f, int rc, struct err *e);

#endif
