/* test_shelf.c - pictures by name: where they are looked for, and that the last few are kept. */
#include "cli/eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/files.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static char root[64];

/* Valid until the next call but one. */
static const char *path(const char *name) {
    static char text[2][200];
    static int at;
    at = !at;
    snprintf(text[at], sizeof(text[at]), "%s/%s", root, name);
    return text[at];
}

static void write_picture(const char *name) {
    static const uint8_t rgb[12] = {200, 30, 30};
    CHECK_EQ(file_write_png(path(name), rgb, 2, 2, NULL), 0);
}

static const char *found(struct eval *v, const char *where) {
    CHECK_EQ(eval_find_pictures(v, where, NULL), 0);
    return v->pictures;
}

TEST(shelf_finds_the_folder) {
    struct config cfg = {0};
    struct eval v = {.cfg = &cfg};
    struct err e = {0};
    snprintf(root, sizeof(root), "/tmp/lammd-shelf-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    CHECK_STR(found(&v, root), root);
    CHECK_STR(found(&v, path("refs.json")), root); /* beside the annotations */
    CHECK_STR(found(&v, "refs.json"), ".");
    CHECK_EQ(mkdir(path("images"), 0700), 0);
    CHECK_STR(found(&v, root), path("images"));
    CHECK_STR(found(&v, path("refs.json")), path("images"));
    cfg.images = root;
    CHECK_STR(found(&v, "/elsewhere"), root);
    cfg.images = "/nowhere";
    CHECK_EQ(eval_find_pictures(&v, root, &e), E_IO);
    CHECK_HAS(e.text, "--images /nowhere: no such folder");
    rmdir(path("images"));
    CHECK_EQ(rmdir(root), 0);
}

TEST(shelf_knows_names_and_keeps_the_last) {
    struct config cfg = {.images = root};
    struct eval v = {.cfg = &cfg};
    struct eng_picture *a, *again, *b;
    struct err e = {0};
    int w, h;
    CHECK_EQ(
        eng_open(&(struct eng_options){.model = "tests/golden/tiny", .threads = 1}, &v.eng, NULL),
        0);
    snprintf(root, sizeof(root), "/tmp/lammd-shelf-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    write_picture("a.png");
    write_picture("COCO_train2014_000000000007.jpg"); /* what it holds, not its name, decides */
    CHECK_STR(found(&v, ""), root);
    CHECK_EQ(eval_picture(&v, "a.png", &a, &w, &h, NULL), 0);
    CHECK(w == 2 && h == 2);
    unlink(path("a.png"));
    CHECK_EQ(eval_picture(&v, "a.png", &again, &w, &h, NULL), 0); /* kept */
    CHECK(again == a);
    CHECK_EQ(eval_picture(&v, "a", &b, &w, &h, &e), E_NOT_FOUND);
    write_picture("a.png");
    CHECK_EQ(eval_picture(&v, "a", &b, &w, &h, NULL), 0); /* an ending is found */
    CHECK_EQ(eval_picture(&v, "COCO_train2014_000000000007_12", &b, &w, &h, NULL), 0);
    for (int i = 0; i < EVAL_SHELF; i++) {
        char name[20];
        snprintf(name, sizeof(name), "%d.png", i);
        write_picture(name);
        CHECK_EQ(eval_picture(&v, name, &b, &w, &h, NULL), 0);
        unlink(path(name));
    }
    unlink(path("a.png"));
    CHECK_EQ(eval_picture(&v, "a.png", &a, &w, &h, NULL), E_NOT_FOUND); /* pushed out */
    unlink(path("COCO_train2014_000000000007.jpg"));
    eval_clear_pictures(&v);
    eng_close(v.eng);
    CHECK_EQ(rmdir(root), 0);
}
