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

const char *rig_file(struct rig *r, const char *name, const char *text) {
    CHECK(r->n < RIG_FILES);
    char *path = r->path[r->n++], all[sizeof(r->path[0])];
    snprintf(all, sizeof(all), "%s/%s", r->dir, name);
    memcpy(path, all, sizeof(all));
    if (!text) return path;
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, strlen(text), f) == strlen(text) && fclose(f) == 0);
    return path;
}

void rig_close(struct rig *r) {
    for (int i = 0; i < r->n; i++)
        unlink(r->path[i]);
    CHECK_EQ(rmdir(r->dir), 0);
}
