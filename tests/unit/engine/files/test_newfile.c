/* test_newfile.c - a file is whole or it isn't there, whatever fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/newfile.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/files/broken_disk.h"

struct place {
    char folder[64], file[96];
};

static struct place place_new(void) {
    struct place p = {"/tmp/newfile-XXXXXX", ""};
    CHECK(mkdtemp(p.folder) != NULL);
    snprintf(p.file, sizeof p.file, "%s/a", p.folder);
    return p;
}

static void check_holds(const char *path, const char *want) {
    char text[64] = "";
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    CHECK_STR(text, want);
}

/* Nothing but `file` is left in the folder. */
static void place_drop(const struct place *p) {
    unlink(p->file);
    CHECK_EQ(rmdir(p->folder), 0);
}

TEST(newfile_appears_whole) {
    struct place p = place_new();
    struct newfile f;
    struct err e = {0};
    CHECK_EQ(newfile_begin(&f, p.file, &e), 0);
    CHECK_EQ(newfile_add(&f, "one ", 4, &e), 0);
    CHECK(access(p.file, F_OK) != 0);
    CHECK_EQ(newfile_add(&f, "two", 3, &e), 0);
    CHECK_EQ(newfile_end(&f, 0, &e), 0);
    check_holds(p.file, "one two");
    CHECK_EQ(newfile_write(p.file, "three", 5, &e), 0);
    check_holds(p.file, "three");
    CHECK_EQ(newfile_write(p.file, "", 0, &e), 0);
    check_holds(p.file, "");
    place_drop(&p);
}

TEST(newfile_writes_in_the_folder_that_it_stands_in) {
    struct place p = place_new();
    CHECK_EQ(chdir(p.folder), 0);
    CHECK_EQ(newfile_write("a", "x", 1, NULL), 0);
    check_holds(p.file, "x");
    place_drop(&p);
}

TEST(newfile_drops_what_an_error_ended) {
    struct place p = place_new();
    struct newfile f;
    struct err e = {0};
    CHECK_EQ(newfile_write(p.file, "first", 5, &e), 0);
    CHECK_EQ(newfile_begin(&f, p.file, &e), 0);
    CHECK_EQ(newfile_add(&f, "second", 6, &e), 0);
    CHECK_EQ(newfile_end(&f, E_FORMAT, &e), E_FORMAT);
    check_holds(p.file, "first");
    place_drop(&p);
}

TEST(newfile_overwrites_what_a_killed_process_left) {
    struct place p = place_new();
    char temp[128];
    snprintf(temp, sizeof temp, "%s.tmp", p.file);
    FILE *f = fopen(temp, "wb");
    CHECK(f && fwrite("much more than the new one", 1, 26, f) == 26);
    fclose(f);
    CHECK_EQ(newfile_write(p.file, "new", 3, NULL), 0);
    check_holds(p.file, "new");
    place_drop(&p);
}

/* Where that can't be, a sentence with the path, and E_IO. */
static void check_refused(const char *path, int code, const char *says) {
    struct err e = {0};
    CHECK_EQ(newfile_write(path, "x", 1, &e), code);
    CHECK_HAS(e.text, says);
}

TEST(newfile_says_where_it_can_not_be) {
    struct place p = place_new();
    char path[NEWFILE_PATH_MAX + 2], temp[128];
    snprintf(path, sizeof path, "%s/none/a", p.folder);
    check_refused(path, E_IO, "No such file or directory");
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    check_refused(path, E_INVALID, "path is too long");
    check_refused("/dev/full/x", E_IO, "Not a directory");
    CHECK_EQ(mkdir(p.file, 0777), 0);
    check_refused(p.file, E_IO, "directory");
    CHECK_EQ(rmdir(p.file), 0);
    snprintf(temp, sizeof temp, "%s.tmp", p.file); /* somebody's link is not followed */
    CHECK_EQ(symlink("/tmp/newfile-must-not-be", temp), 0);
    check_refused(p.file, E_IO, "symbolic link");
    CHECK_EQ(unlink(temp), 0);
    place_drop(&p);
}

TEST(newfile_copies) {
    struct place p = place_new();
    struct err e = {0};
    char other[128];
    snprintf(other, sizeof other, "%s/b", p.folder);
    CHECK_EQ(newfile_write(other, "text", 4, &e), 0);
    CHECK_EQ(newfile_copy(p.file, other, &e), 0);
    check_holds(p.file, "text");
    CHECK_EQ(unlink(other), 0);
    CHECK_EQ(newfile_copy(p.file, other, &e), E_NOT_FOUND);
    e = (struct err){0};
    CHECK_EQ(newfile_copy(p.file, p.folder, &e), E_IO);
    check_holds(p.file, "text");
    place_drop(&p);
}

/* ---- a disk that is full or broken ---- */

static void check_disk(int nr, int error, const char *says) {
    struct place p = place_new();
    struct err e = {0};
    static char many[100000];
    CHECK_EQ(newfile_write(p.file, "first", 5, &e), 0);
    broken_disk(nr, nr == SYS_write ? sizeof many : 0, error);
    CHECK_EQ(newfile_write(p.file, many, sizeof many, &e), E_IO);
    CHECK_HAS(e.text, p.file);
    CHECK_HAS(e.text, says);
    check_holds(p.file, "first");
    place_drop(&p);
}

TEST(newfile_on_a_full_disk) { check_disk(SYS_write, ENOSPC, "No space left on device: free"); }
TEST(newfile_over_a_quota) { check_disk(SYS_write, EDQUOT, "quota exceeded: free"); }
TEST(newfile_on_a_broken_disk) { check_disk(SYS_write, EIO, "Input/output error"); }
TEST(newfile_full_at_the_sync) { check_disk(SYS_fsync, ENOSPC, "No space left"); }
TEST(newfile_broken_at_the_sync) { check_disk(SYS_fsync, EIO, "Input/output error"); }
TEST(newfile_broken_at_the_rename) { check_disk(SYS_rename, EIO, "Input/output error"); }
