/* test_from.c - COCO's files and recorded rounds, as lines. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/source/internal.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

static struct source *open_all_good(const char *path, const struct source_options *o) {
    struct source *s;
    struct err e = {0};
    if (source_open(path, o, &s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    const struct source_report *p = source_report(s);
    if (p->bad) test_failed(__FILE__, __LINE__, "%s: %s", p->errors[0].code, p->errors[0].reason);
    return s;
}

static const char *made(const struct source *s, uint32_t file) {
    return (const char *)s->files[file].made.p;
}

#define IMAGES "\"images\":[{\"id\":5,\"file_name\":\"b.png\",\"width\":10,\"height\":8}]"
#define CATEGORIES                                                             \
    "\"categories\":[{\"id\":1,\"name\":\"dog\"},{\"id\":2,\"name\":\"cat\"}," \
    "{\"id\":3,\"name\":\"wall-other-merged\",\"isthing\":0}]"

TEST(from_instances) {
    struct rig r;
    rig_open(&r);
    tars_put_png(&r, "b.png", 10, 8, 1);
    const char *path = rig_file(&r, "some.json",
                                "{" IMAGES "," CATEGORIES ",\"annotations\":["
                                "{\"id\":1,\"image_id\":5,\"category_id\":2,\"bbox\":[1,1,2,2],"
                                "\"segmentation\":[[1,1,3,1,3,3]]},"
                                "{\"id\":2,\"image_id\":5,\"category_id\":1,\"bbox\":[4,4,9,2],"
                                "\"segmentation\":[[4,4,6,4,6,6]]},"
                                "{\"id\":3,\"image_id\":5,\"category_id\":2,\"bbox\":[6,1,2,2],"
                                "\"segmentation\":[[6,1,8,1,8,3]]}]}");
    struct source *s = open_all_good(path, &(struct source_options){.is_deep = 1});
    CHECK_STR(
        made(s, 0),
        "{\"task\":[\"mask\",\"refer\"],\"image\":\"b.png\",\"sentence\":\"dog\",\"orient\":"
        "\"stored\","
        "\"mask\":[[4,4,6,4,6,6]],\"box\":[4.0,4.0,10.0,6.0]}\n"
        "{\"task\":[\"mask\"],\"image\":\"b.png\",\"sentence\":\"cat\",\"orient\":\"stored\","
        "\"mask\":[[1,1,3,1,3,3],[6,1,8,1,8,3]]}\n"
        "{\"task\":\"detection\",\"image\":\"b.png\",\"phrases\":[{\"phrase\":\"dog\",\"boxes\":"
        "[[4.0,4.0,10.0,6.0]]},{\"phrase\":\"cat\",\"boxes\":[[1.0,1.0,3.0,3.0],"
        "[6.0,1.0,8.0,3.0]]}],\"orient\":\"stored\"}\n");
    CHECK_EQ(s->n_groups, 1);
    source_close(s);
    rig_close(&r);
}

TEST(from_panoptic) {
    struct rig r;
    rig_open(&r);
    tars_put_png(&r, "b.png", 10, 8, 1);
    tars_put_png(&r, "seg.png", 10, 8, 2);
    const char *path = rig_file(
        &r, "panoptic.json",
        "{" IMAGES "," CATEGORIES ",\"annotations\":[{\"image_id\":5,\"file_name\":\"seg.png\","
        "\"segments_info\":[{\"id\":70,\"category_id\":3,\"bbox\":[0,0,10,8],\"iscrowd\":0},"
        "{\"id\":80,\"category_id\":1,\"bbox\":[1,1,2,2],\"iscrowd\":0},"
        "{\"id\":90,\"category_id\":2,\"bbox\":[1,1,2,2],\"iscrowd\":1}]}]}");
    struct source *s = open_all_good(path, &(struct source_options){0});
    CHECK_STR(
        made(s, 0),
        "{\"task\":[\"mask\",\"refer\"],\"image\":\"b.png\",\"sentence\":\"dog\",\"orient\":"
        "\"stored\","
        "\"mask\":{\"file\":\"seg.png\",\"ids\":[80]},\"box\":[1.0,1.0,3.0,3.0]}\n"
        "{\"task\":[\"mask\"],\"image\":\"b.png\",\"sentence\":\"wall\",\"orient\":\"stored\","
        "\"mask\":{\"file\":\"seg.png\",\"ids\":[70]}}\n"
        "{\"task\":\"detection\",\"image\":\"b.png\",\"phrases\":[{\"phrase\":\"dog\",\"boxes\":"
        "[[1.0,1.0,3.0,3.0]]}],\"orient\":\"stored\"}\n");
    source_close(s);
    rig_close(&r);
}

TEST(from_refs) {
    struct rig r;
    rig_open(&r);
    tars_put_png(&r, "b.png", 10, 8, 1);
    rig_file(&r, "instances.json",
             "{" IMAGES
             ",\"annotations\":[{\"id\":9,\"image_id\":5,\"bbox\":[1,1,2,2],\"segmentation\":"
             "[[1,1,3,1,3,3,1,3]]}]}");
    rig_file(&r, "refs.json",
             "[{\"image_id\":5,\"ann_id\":9,\"split\":\"train\",\"sentences\":[{\"sent\":\"the "
             "disc\"}]},"
             "{\"image_id\":5,\"ann_id\":9,\"split\":\"val\",\"sentences\":[{\"sent\":\"it\"}]}]");
    struct source *s = open_all_good(r.dir, &(struct source_options){.split = "train"});
    CHECK_STR(
        made(s, 0),
        "{\"task\":[\"mask\",\"refer\",\"identify\"],\"image\":\"b.png\",\"sentence\":\"the disc\","
        "\"orient\":\"stored\",\"mask\":[[1,1,3,1,3,3,1,3]],\"box\":[1.0,1.0,3.0,3.0]}\n");
    source_close(s);
    rig_close(&r);
    rig_open(&r); /* MiniGPT-v2's list: no endings */
    tars_put_png(&r, "COCO_5.png", 10, 8, 1);
    const char *path = rig_file(&r, "list.json",
                                "[{\"img_id\":\"COCO_5\",\"sents\":\"left cup\",\"bbox\":[1,2,3,4],"
                                "\"height\":8,\"width\":10}]");
    s = open_all_good(path, &(struct source_options){0});
    CHECK_HAS(made(s, 0), "[\"refer\",\"identify\"],\"image\":\"COCO_5.png\"");
    source_close(s);
    rig_close(&r);
}

TEST(from_rounds_in_folders_below) {
    struct rig r;
    char folder[2][100];
    rig_open(&r);
    for (int k = 0; k < 2; k++) {
        char name[32];
        snprintf(folder[k], sizeof(folder[k]), "%s/%d", r.dir, k);
        CHECK_EQ(mkdir(folder[k], 0700), 0);
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof(name), "%d/%d.png", k, i);
            tars_put_png(&r, name, 4, 4, i);
        }
        snprintf(name, sizeof(name), "%d/rollout.json", k);
        rig_file(
            &r, name,
            k ? "{\"game\":\"space_invaders\",\"steps\":[{\"frames\":[\"0.png\",\"1.png\",\"2."
                "png\","
                "\"3.png\"],\"action\":4}]}"
              : "{\"game\":\"car_racing\",\"steps\":[{\"frames\":[\"0.png\",\"1.png\"],\"action\":"
                "[1,2,3]},{\"frames\":[\"1.png\",\"2.png\"],\"action\":[4,5,6]}]}");
    }
    struct source *s = open_all_good(r.dir, &(struct source_options){0});
    const struct source_report *p = source_report(s);
    CHECK(p->tasks[SAMPLE_DRIVE] == 2 && p->tasks[SAMPLE_SHOOT] == 1 && p->pictures == 7);
    source_close(s);
    s = open_all_good(folder[0], &(struct source_options){0});
    CHECK_EQ(source_report(s)->lines, 2);
    source_close(s);
    for (int i = 0; i < r.n; i++)
        unlink(r.path[i]);
    CHECK(rmdir(folder[0]) == 0 && rmdir(folder[1]) == 0);
    rig_close(&r);
}

TEST(from_coco_says_what_is_wrong) {
    static const char *const wrong[][2] = {
        {"{" IMAGES "," CATEGORIES "}", "\"annotations\" must be an array"},
        {"{" IMAGES "," CATEGORIES ",\"annotations\":[{\"image_id\":6,\"category_id\":1}]}",
         "no image 6"},
        {"{" IMAGES "," CATEGORIES ",\"annotations\":[{\"image_id\":5,\"category_id\":7,"
         "\"segmentation\":[[0,0,1,0,1,1]]}]}",
         "no category 7"},
        {"{}", "\"images\" must be an array"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct rig r;
        struct source *s;
        struct err e = {0};
        rig_open(&r);
        const char *path = rig_file(&r, "a.json", wrong[i][0]);
        CHECK_EQ(source_open(path, &(struct source_options){0}, &s, &e), E_FORMAT);
        CHECK_HAS(e.text, wrong[i][1]);
        rig_close(&r);
    }
}
