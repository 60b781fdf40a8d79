/* newfolder.c - see newfolder.h. */
#include "engine/files/newfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is it one of the names, or the temporary of one? */
static int newfolder_is_known(const struct newfolder *f, const char *file) {
    if (!strcmp(file, ".") || !strcmp(file, "..")) return 1;
    for (const char *const *name = f->names; *name; name++) {
        size_t n = strlen(*name);
        if (!strncmp(file, *name, n) && (!file[n] || !strcmp(file + n, ".tmp"))) return 1;
    }
    return 0;
}

/* That there is either nothing at `path`, or a folder that we might have made. */
static int check_ours(const struct newfolder *f, const char *path, struct err *e) {
    struct stat s;
    if (lstat(path, &s)) return 0;
    DIR *d = S_ISDIR(s.st_mode) ? opendir(path) : NULL;
    if (!d) return err_set(e, E_INVALID, "%s: exists, and is no folder of ours", path);
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d)) != NULL;)
        if (!newfolder_is_known(f, entry->d_name))
            rc = err_set(e, E_INVALID, "%s: has other files (%.64s): choose another folder", path,
                         entry->d_name);
    closedir(d);
    return rc;
}

/* The known files, then the folder. */
static int remove_ours(const struct newfolder *f, const char *path, struct err *e) {
    char file[NEWFILE_PATH_MAX + 256];
    for (const char *const *name = f->names; *name; name++) {
        (void)snprintf(file, sizeof file, "%s/%s", path, *name);
        (void)unlink(file);
        (void)snprintf(file, sizeof file, "%s/%s.tmp", path, *name);
        (void)unlink(file);
    }
    if (!rmdir(path) || errno == ENOENT) return 0;
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

int newfolder_begin(struct newfolder *f, const char *path, const char *const *names,
                    struct err *e) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    f->is_begun = 0;
    f->names = names;
    if (!n || n > NEWFILE_PATH_MAX) return err_set(e, E_INVALID, "the folder's name is too long");
    (void)snprintf(f->path, sizeof f->path, "%.*s", (int)n, path);
    (void)snprintf(f->temp, sizeof f->temp, "%s.tmp", f->path);
    int rc = check_ours(f, f->path, e);
    if (!rc) rc = check_ours(f, f->temp, e);
    if (!rc) rc = remove_ours(f, f->temp, e);
    if (!rc && mkdir(f->temp, 0777)) rc = err_set(e, E_IO, "%s: %s", f->temp, strerror(errno));
    f->is_begun = !rc;
    return rc;
}

const char *newfolder_file(struct newfolder *f, const char *name) {
    (void)snprintf(f->file, sizeof f->file, "%s/%.120s", f->temp, name);
    return f->file;
}

/* The two folders change places; the earlier one is at `temp` behind that. */
static int change_places(const struct newfolder *f, struct err *e) {
    if (!renameat2(AT_FDCWD, f->temp, AT_FDCWD, f->path, RENAME_EXCHANGE)) return 0;
    if (errno == ENOENT && !rename(f->temp, f->path)) return 0; /* there was none */
    if (errno == EINVAL || errno == ENOSYS) { /* the file system can't: one after the other */
        char old[NEWFILE_PATH_MAX + 8];
        (void)snprintf(old, sizeof old, "%s.old", f->path);
        if (!rename(f->path, old) && !rename(f->temp, f->path) && !rename(old, f->temp)) return 0;
    }
    return err_set(e, E_IO, "%s: %s", f->path, strerror(errno));
}

int newfolder_end(struct newfolder *f, int rc, struct err *e) {
    if (!f->is_begun) return rc;
    f->is_begun = 0;
    if (!rc) rc = newfile_sync_folder(f->temp, e);
    if (!rc) rc = change_places(f, e);
    if (rc) {
        (void)remove_ours(f, f->temp, NULL);
        return rc;
    }
    rc = newfile_sync_around(f->path, e);
    return rc ? rc : remove_ours(f, f->temp, e);
}
