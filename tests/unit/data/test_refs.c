/* test_refs.c - sentences and their masks, from COCO's files with RefCOCO's and from MiniGPT-v2's
 * list. */
#include "data/refs.h"

#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"

#define IMAGES                                                                         \
    "\"images\": [{\"id\": 5, \"file_name\": \"b.jpg\", \"width\": 4, \"height\": 3}," \
    " {\"id\": 2, \"file_name\": \"a.jpg\", \"width\": 8, \"height\": 6}]"
#define ANNS                                                                                   \
    "\"annotations\": [{\"id\": 9, \"image_id\": 5, \"bbox\": [1, 1, 2, 2], \"segmentation\":" \
    " [[1, 1, 3, 1, 3, 3, 1, 3]]}, {\"id\": 4, \"image_id\": 2, \"bbox\": [0, 0, 8, 6]}]"
#define REFS                                                                         \
    "\"refs\": [{\"image_id\": 5, \"ann_id\": 9, \"split\": \"val\", \"sentences\":" \
    " [{\"sent\": \"the disc\"}, {\"sent\": \"it\", \"kind\": \"name\"}]},"          \
    " {\"image_id\": 2, \"ann_id\": 4, \"sentences\": [{\"sent\": \"all\"}]}]"

static void check_three(const struct refs *got) {
    CHECK_EQ(got->n, 3);
    const struct ref *at = &got->at[1];
    CHECK_STR(at->sentence, "it");
    CHECK_STR(at->file, "b.jpg");
    CHECK_STR(at->split, "val");
    CHECK_STR(at->kind, "name");
    CHECK(at->w == 4 && at->h == 3);
    CHECK(at->box[0] == 1 && at->box[1] == 1 && at->box[2] == 3 && at->box[3] == 3);
    CHECK(got->at[0].kind == NULL && got->at[2].split == NULL && got->at[2].mask == NULL);
}

TEST(refs_in_one_file_and_in_two) {
    struct rig r;
    struct refs got;
    rig_open(&r);
    const char *one = rig_file(&r, "annotations.json", "{" IMAGES ", " ANNS ", " REFS "}");
    CHECK_EQ(refs_open(one, 0, &got, NULL), 0);
    check_three(&got);
    refs_close(&got);
    CHECK_EQ(refs_open(r.dir, 2, &got, NULL), 0);
    CHECK_EQ(got.n, 2);
    refs_close(&got);
    rig_close(&r);
    rig_open(&r);
    rig_file(&r, "instances.json", "{" IMAGES ", " ANNS "}");
    rig_file(&r, "refs.json", "{" REFS "}");
    CHECK_EQ(refs_open(r.dir, 0, &got, NULL), 0);
    check_three(&got);
    refs_close(&got);
    rig_close(&r);
}

TEST(refs_of_a_list) {
    struct rig r;
    struct refs got;
    rig_open(&r);
    const char *path = rig_file(&r, "list.json",
                                "[{\"img_id\": \"COCO_1\", \"sents\": \"left cup\", \"bbox\":"
                                " [1, 2, 3, 4], \"height\": 20, \"width\": 10}]");
    CHECK_EQ(refs_open(path, 0, &got, NULL), 0);
    CHECK_EQ(got.n, 1);
    CHECK_STR(got.at[0].file, "COCO_1");
    CHECK(got.at[0].w == 10 && got.at[0].h == 20 && got.at[0].box[3] == 6);
    CHECK_EQ(refs_check_size(&got.at[0], 10, 20, NULL), 0);
    struct err e = {0};
    CHECK_EQ(refs_check_size(&got.at[0], 20, 10, &e), E_FORMAT);
    CHECK_HAS(e.text, "20 x 10, not 10 x 20");
    refs_close(&got);
    rig_close(&r);
}

/* Opens the file, whose first sentence's mask is wanted. */
static int mask_of(const char *segmentation, uint8_t **bits, struct err *e) {
    struct rig r;
    struct refs got;
    char text[1000];
    snprintf(text, sizeof(text),
             "[{\"file_name\": \"a\", \"sentence\": \"x\", \"bbox\": [0, 0, 1, 1], \"height\": 3,"
             " \"width\": 4, \"segmentation\": %s}]",
             segmentation);
    rig_open(&r);
    *e = (struct err){0};
    CHECK_EQ(refs_open(rig_file(&r, "a.json", text), 0, &got, NULL), 0);
    int rc = refs_mask(&got.at[0], bits, e);
    refs_close(&got);
    rig_close(&r);
    return rc;
}

TEST(refs_masks_of_every_form) {
    /* column by column: 4 zeros, 2 ones, 1 zero, 2 ones, 3 zeros */
    static const uint8_t want[12] = {0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0};
    static const char *const same[] = {
        "[[1, 1, 3, 1, 3, 3, 1, 3]]",
        "[[1, 1, 2, 1, 2, 3, 1, 3], [2, 1, 3, 1, 3, 3, 2, 3]]", /* two polygons together */
        "{\"size\": [3, 4], \"counts\": [4, 2, 1, 2, 3]}",
        "{\"size\": [3, 4], \"counts\": \"42102\"}"}; /* from the fourth on: differences, 0 and 2 */
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        uint8_t *bits = NULL;
        struct err e;
        CHECK_EQ(mask_of(same[i], &bits, &e), 0);
        CHECK_MEM(bits, want, sizeof(want));
        mem_free(bits);
    }
}

TEST(refs_masks_say_what_is_wrong) {
    static const char *const wrong[][2] = {
        {"3", "polygons or run lengths"},
        {"[]", "polygons or run lengths"},
        {"[[1, 1, 2, 1]]", "at least three corners"},
        {"[[1, 1, 2, 1, 2]]", "at least three corners"},
        {"[[1, 1, 2, 1, 2, \"x\"]]", "numbers only"},
        {"[[1, 1, 2, 1, 1e9, 2]]", "far outside"},
        {"{\"size\": [4, 3], \"counts\": [12]}", "size is not [3, 4]"},
        {"{\"size\": [3, 4], \"counts\": 3}", "a text or an array"},
        {"{\"size\": [3, 4], \"counts\": [11]}", "less than 4 x 3"},
        {"{\"size\": [3, 4], \"counts\": [4, 9]}", "more than 4 x 3"},
        {"{\"size\": [3, 4], \"counts\": [4, -1]}", "whole numbers within"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        uint8_t *bits;
        struct err e;
        CHECK_EQ(mask_of(wrong[i][0], &bits, &e), E_FORMAT);
        CHECK(bits == NULL);
        CHECK_HAS(e.text, wrong[i][1]);
    }
}

TEST(refs_say_what_is_wrong) {
    static const char *const wrong[][2] = {
        {"{" IMAGES ", " ANNS ", \"refs\": []}", "no sentence"},
        {"{" IMAGES ", " ANNS "}", "\"refs\" must be an array"},
        {"{" IMAGES ", \"annotations\": [{\"id\": 1}, {\"id\": 1}], " REFS "}", "the id 1 twice"},
        {"{" IMAGES ", \"annotations\": [], " REFS "}", "refs[0]: no annotation 9"},
        {"{\"images\": [], " ANNS ", " REFS "}", "refs[0]: no image 5"},
        {"{" IMAGES ", " ANNS ", \"refs\": [{\"image_id\": 2, \"ann_id\": 9, \"sentences\": []}]}",
         "annotation 9 is of another image"},
        {"{" IMAGES ", " ANNS ", \"refs\": [{\"image_id\": 5, \"ann_id\": 9, \"sentences\": []}]}",
         "\"sentences\" must be an array that is not empty"},
        {"[{\"img_id\": \"a\", \"sents\": \"x\", \"bbox\": [1, 2, 3], \"height\": 2, \"width\": "
         "2}]",
         "\"bbox\" must be 4 numbers"},
        {"[{\"img_id\": \"a\", \"sents\": \"x\", \"bbox\": [1, 2, -3, 1], \"height\": 2, "
         "\"width\": 2}]",
         "negative side"},
        {"[{\"img_id\": \"a\", \"sents\": \"x\", \"bbox\": [1, 2, 3, 1], \"height\": 32768, "
         "\"width\":"
         " 32768}]",
         "too large"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct rig r;
        struct refs got;
        struct err e = {0};
        rig_open(&r);
        CHECK_EQ(refs_open(rig_file(&r, "a.json", wrong[i][0]), 0, &got, &e), E_FORMAT);
        CHECK_HAS(e.text, wrong[i][1]);
        refs_close(&got);
        rig_close(&r);
    }
    struct rig r;
    struct refs got;
    struct err e = {0};
    rig_open(&r);
    CHECK_EQ(refs_open(r.dir, 0, &got, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "neither annotations.json nor instances.json with refs.json");
    refs_close(&got);
    rig_close(&r);
}
