/* rig.c - see rig.h. */
#include "tests/unit/data/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/check.h"

void rig_open(struct rig *r) {
    memset(r, 0, sizeof(*r));
    snprintf(r->dir, sizeof(r->dir), "/tmp/lammd-test-XXXXXX");
    CHECK(mkdtemp(r->dir) != NULL);
}

const char *rig_bytes(struct rig *r, const char *name, const void *bytes, size_t n) {
    CHECK(r->n < RIG_FILES);
    char *path = r->path[r->n++], all[sizeof(r->path[0])];
    snprintf(all, sizeof(all), "%s/%s", r->dir, name);
    memcpy(path, all, sizeof(all));
    if (!bytes) return path;
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
    return path;
}

const char *rig_file(struct rig *r, const char *name, const char *text) {
    return rig_bytes(r, name, text, text ? strlen(text) : 0);
}

void rig_close(struct rig *r) {
    for (int i = 0; i < r->n; i++)
        unlink(r->path[i]);
    CHECK_EQ(rmdir(r->dir), 0);
}
