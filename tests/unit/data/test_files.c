/* test_files.c - whole files: read within a bound, written whole or not at all. */
#include "data/files.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"

TEST(files_are_read_whole_and_within_a_bound) {
    struct rig r;
    struct buf b;
    struct err e = {0};
    rig_open(&r);
    const char *path = rig_file(&r, "a", "12345");
    buf_init(&b, 8);
    CHECK_EQ(file_read(path, &b, NULL), 0);
    CHECK_STR((const char *)b.p, "12345");
    CHECK_EQ(file_read(path, &b, &e), E_TOO_BIG); /* it appends */
    CHECK_HAS(e.text, path);
    buf_clear(&b);
    buf_init(&b, 8);
    e = (struct err){0};
    CHECK_EQ(file_read("/nowhere/a", &b, &e), E_IO);
    CHECK_STR(e.text, "/nowhere/a: No such file or directory");
    CHECK_EQ(file_read(r.dir, &b, NULL), E_IO);
    CHECK_EQ(b.len, 0);
    buf_clear(&b);
    rig_close(&r);
}

static int n_entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    for (const struct dirent *at; (at = readdir(d));)
        n += at->d_name[0] != '.';
    closedir(d);
    return n;
}

TEST(files_are_written_whole_or_not_at_all) {
    struct rig r;
    struct buf b;
    struct err e = {0};
    rig_open(&r);
    const char *path = rig_file(&r, "a", "before");
    CHECK_EQ(file_write(path, "after", 5, NULL), 0);
    buf_init(&b, 100);
    CHECK_EQ(file_read(path, &b, NULL), 0);
    CHECK_STR((const char *)b.p, "after");
    CHECK_EQ(n_entries(r.dir), 1); /* the temporary is gone */
    /* What can't be renamed leaves nothing behind: a folder stands in the way. */
    char folder[200];
    snprintf(folder, sizeof(folder), "%s/folder", r.dir);
    CHECK_EQ(mkdir(folder, 0700), 0);
    CHECK(!file_is_folder(path) && file_is_folder(folder) && !file_is_folder("/nowhere"));
    CHECK_EQ(file_write(folder, "x", 1, &e), E_IO);
    CHECK_HAS(e.text, folder);
    CHECK_EQ(n_entries(r.dir), 2);
    CHECK_EQ(file_write("/nowhere/a", "x", 1, NULL), E_IO);
    rmdir(folder);
    buf_clear(&b);
    rig_close(&r);
}

TEST(files_hold_pictures) {
    static const uint8_t red[12] = {255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0};
    struct rig r;
    struct err e = {0};
    uint8_t *rgb = NULL;
    int w = 0, h = 0;
    rig_open(&r);
    const char *path = rig_file(&r, "a.png", NULL), *text = rig_file(&r, "b.png", "not a picture");
    CHECK_EQ(file_write_png(path, red, 2, 2, NULL), 0);
    CHECK_EQ(file_picture(path, &rgb, &w, &h, NULL), 0);
    CHECK(w == 2 && h == 2);
    CHECK_MEM(rgb, red, sizeof(red));
    mem_free(rgb);
    CHECK_EQ(file_picture(text, &rgb, &w, &h, &e), E_UNSUPPORTED);
    CHECK_HAS(e.text, text);
    rig_close(&r);
}
