/* lfs.c - see lfs.h. */
#include "engine/files/lfs.h"

#include <string.h>

enum { FIRST_LINE = 200 };

int lfs_refuse(const void *bytes, size_t len, struct err *e) {
    static const char first[] = "version ";
    if (len < sizeof first - 1 || memcmp(bytes, first, sizeof first - 1) != 0) return 0;
    if (!memmem(bytes, len < FIRST_LINE ? len : FIRST_LINE, "git-lfs", 7)) return 0;
    return err_set(e, E_FORMAT,
                   "this is a pointer of git-LFS, not the file itself: git lfs pull fetches it");
}
