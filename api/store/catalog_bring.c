/* catalog_bring.c - an adapter of this server's own runs comes into the shared folder: a copy, made
 * beside its place under a name that no adapter has, and moved there whole. Who is killed meanwhile
 * leaves a folder .bring-*, which the next one removes once it is old. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/store/catalog_internal.h"
#include "engine/files/newfile.h"

enum { BRING_PATH = 4096, BRING_LEFT_S = 3600 };

static const char bring_form[] = ".bring-XXXXXX";

static int bring_bad(struct err *e) { return err_set(e, E_IO, "%s", strerror(errno)); }

static int bring_join(const char *folder, const char *name, char path[BRING_PATH], struct err *e) {
    if (snprintf(path, BRING_PATH, "%s/%s", folder, name) < BRING_PATH) return 0;
    return err_set(e, E_INVALID, "the path is too long");
}

/* Each entry but . and .., until `each` fails. */
static int bring_each(const char *folder, const char *to,
                      int (*each)(const char *path, const char *to, const char *name,
                                  struct err *e),
                      struct err *e) {
    char path[BRING_PATH];
    DIR *d = opendir(folder);
    int rc = d ? 0 : bring_bad(e);
    for (const struct dirent *f; !rc && (f = readdir(d)) != NULL;) {
        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0) continue;
        rc = bring_join(folder, f->d_name, path, e);
        if (!rc) rc = each(path, to, f->d_name, e);
    }
    if (d) closedir(d);
    return rc;
}

static int bring_file(const char *path, const char *to, const char *name, struct err *e) {
    char there[BRING_PATH];
    struct stat s;
    if (stat(path, &s) || !S_ISREG(s.st_mode))
        return err_set(e, E_FORMAT, "%s is not a regular file", name);
    int rc = bring_join(to, name, there, e);
    return rc ? rc : newfile_copy(there, path, e);
}

static int bring_remove(const char *path, const char *to, const char *name, struct err *e) {
    (void)to, (void)name, (void)e;
    (void)unlink(path);
    return 0;
}

static void bring_drop(const char *folder) {
    (void)bring_each(folder, NULL, bring_remove, NULL);
    (void)rmdir(folder);
}

/* What somebody left who was killed. */
static int bring_sweep(const char *path, const char *to, const char *name, struct err *e) {
    struct stat s;
    (void)to, (void)e;
    int is_ours = strlen(name) == sizeof(bring_form) - 1 && strncmp(name, bring_form, 7) == 0;
    if (is_ours && stat(path, &s) == 0 && time(NULL) - s.st_mtime > BRING_LEFT_S) bring_drop(path);
    return 0;
}

int catalog_bring(const struct catalog *c, const char *name, struct err *e) {
    char from[BRING_PATH], to[BRING_PATH], temp[BRING_PATH];
    struct stat s;
    int rc = bring_join(c->folder, name, to, e);
    if (rc || stat(to, &s) == 0) return rc;
    if (!c->home) return err_set(e, E_NOT_FOUND, "there is no folder of that name");
    rc = bring_join(c->home, name, from, e);
    if (!rc) rc = bring_join(c->folder, bring_form, temp, e);
    if (!rc && stat(from, &s)) rc = err_set(e, E_NOT_FOUND, "there is no folder of that name");
    if (rc) return rc;
    (void)bring_each(c->folder, NULL, bring_sweep, NULL);
    if (!mkdtemp(temp)) return bring_bad(e);
    rc = bring_each(from, temp, bring_file, e);
    if (!rc && chmod(temp, 0755)) rc = bring_bad(e);
    if (!rc) rc = newfile_sync_folder(temp, e);
    if (!rc && rename(temp, to) && errno != EEXIST && errno != ENOTEMPTY) rc = bring_bad(e);
    if (!rc) (void)newfile_sync_folder(c->folder, NULL);
    bring_drop(temp); /* of a rename that went well nothing is left here */
    return rc;
}
