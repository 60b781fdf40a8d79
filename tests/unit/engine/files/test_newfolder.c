/* test_newfolder.c - a folder appears whole, replaces its own kind and touches nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/newfolder.h"
#include "tests/check.h"
#include "tests/unit/engine/files/broken_disk.h"

static const char *const names[] = {"a", "b", NULL};

struct place {
    char above[64], folder[80];
};
static struct place place_new(void) {
    struct place p = {"/tmp/newfolder-XXXXXX", ""};
    CHECK(mkdtemp(p.above) != NULL);
    snprintf(p.folder, sizeof p.folder, "%s/it", p.above);
    return p;
}

static const char *in(const struct place *p, const char *file) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", p->folder, file);
    return path;
}

static void place_drop(const struct place *p) {
    unlink(in(p, "a"));
    unlink(in(p, "b"));
    rmdir(p->folder);
    CHECK_EQ(rmdir(p->above), 0); /* nothing else is left */
}

static int make(const char *path, const char *a, const char *b, int rc, struct err *e) {
    struct newfolder f;
    int got = newfolder_begin(&f, path, names, e);
    if (!got && a) got = newfile_write(newfolder_file(&f, "a"), a, strlen(a), e);
    if (!got && b) got = newfile_write(newfolder_file(&f, "b"), b, strlen(b), e);
    return newfolder_end(&f, got ? got : rc, e);
}

static void check_holds(const struct place *p, const char *file, const char *want) {
    char text[16] = "";
    int fd = open(in(p, file), O_RDONLY);
    CHECK_EQ(fd >= 0, want != NULL);
    if (!want) return;
    CHECK(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    CHECK_STR(text, want);
}

TEST(newfolder_appears_and_is_replaced) {
    struct place p = place_new();
    char slashed[100];
    snprintf(slashed, sizeof slashed, "%s//", p.folder);
    CHECK_EQ(make(slashed, "one", NULL, 0, NULL), 0);
    check_holds(&p, "a", "one");
    CHECK_EQ(make(p.folder, NULL, "two", 0, NULL), 0);
    check_holds(&p, "a", NULL); /* the earlier one is gone as a whole */
    check_holds(&p, "b", "two");
    place_drop(&p);
}

TEST(newfolder_drops_what_an_error_ended) {
    struct place p = place_new();
    CHECK_EQ(make(p.folder, "one", "x", 0, NULL), 0);
    CHECK_EQ(make(p.folder, "two", NULL, E_NOMEM, NULL), E_NOMEM);
    check_holds(&p, "a", "one");
    check_holds(&p, "b", "x");
    place_drop(&p);
}

TEST(newfolder_takes_away_what_a_killed_process_left) {
    struct place p = place_new();
    char temp[128];
    snprintf(temp, sizeof temp, "%s.tmp", p.folder);
    CHECK_EQ(mkdir(temp, 0777), 0);
    snprintf(temp, sizeof temp, "%s.tmp/a.tmp", p.folder);
    CHECK_EQ(newfile_write(temp, "half", 4, NULL), 0);
    CHECK_EQ(make(p.folder, "one", NULL, 0, NULL), 0);
    check_holds(&p, "a", "one");
    place_drop(&p);
}

TEST(newfolder_touches_nobody_elses) {
    struct place p = place_new();
    struct err e = {0};
    CHECK_EQ(mkdir(p.folder, 0777), 0);
    CHECK_EQ(newfile_write(in(&p, "thesis.doc"), "x", 1, NULL), 0);
    CHECK_EQ(make(p.folder, "one", NULL, 0, &e), E_INVALID);
    CHECK_HAS(e.text, "other files (thesis.doc)");
    check_holds(&p, "thesis.doc", "x");
    CHECK_EQ(unlink(in(&p, "thesis.doc")), 0);
    CHECK_EQ(make(p.folder, "one", NULL, 0, NULL), 0); /* an empty one may be taken */
    e = (struct err){0};
    CHECK_EQ(make(in(&p, "a"), "one", NULL, 0, &e), E_INVALID); /* a file in its place */
    CHECK_HAS(e.text, "no folder of ours");
    e = (struct err){0};
    CHECK_EQ(make("/tmp/newfolder-none/x/y", "one", NULL, 0, &e), E_IO);
    CHECK_EQ(make("", "one", NULL, 0, NULL), E_INVALID);
    place_drop(&p);
}

static void check_disk(int nr, uint32_t least, int error) {
    struct place p = place_new();
    struct err e = {0};
    CHECK_EQ(make(p.folder, "one", "x", 0, NULL), 0);
    broken_disk(nr, least, error);
    CHECK_EQ(make(p.folder, "a text of 24 characters.", NULL, 0, &e), E_IO);
    check_holds(&p, "a", "one");
    check_holds(&p, "b", "x");
    place_drop(&p);
}
TEST(newfolder_on_a_full_disk) { check_disk(SYS_write, 24, ENOSPC); }
TEST(newfolder_on_a_broken_disk) { check_disk(SYS_fsync, 0, EIO); }
TEST(newfolder_broken_at_the_rename) { check_disk(SYS_renameat2, 0, EIO); }

TEST(newfolder_where_folders_can_not_change_places) {
    struct place p = place_new();
    CHECK_EQ(make(p.folder, "one", "x", 0, NULL), 0);
    broken_disk(SYS_renameat2, 0, EINVAL);
    CHECK_EQ(make(p.folder, "two", NULL, 0, NULL), 0);
    check_holds(&p, "a", "two");
    check_holds(&p, "b", NULL);
    place_drop(&p);
}
