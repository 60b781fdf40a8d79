/* test_exam.c - what a source's lines ask, whole: it is what a sampler never draws, and it is what
 * the lines say. */
#include "data/exam.h"

#include <stdio.h>
#include <string.h>

#include "data/sampler.h"
#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

enum { PICTURES = 20 };

static const char *const kinds[] = {
    "{\"task\": [\"refer\", \"identify\"], \"image\": \"%d.png\", \"sentence\": \"The cup.\", "
    "\"box\": [1, 2, 10, 12]}\n",
    "{\"task\": \"vqa\", \"image\": \"%d.png\", \"question\": \"what?\", \"answer\": [\"a\", "
    "\"b\"]}\n",
    "{\"task\": \"detection\", \"image\": \"%d.png\", \"phrases\": [{\"phrase\": \"cup\", "
    "\"boxes\": "
    "[[0, 0, 20, 16]]}, {\"phrase\": \"hat\", \"boxes\": [[0, 0, 10, 8], [10, 8, 20, 16]]}]}\n",
    "{\"task\": \"grounding\", \"image\": \"%d.png\", \"caption\": \"a cup here\", \"phrases\": "
    "[{\"phrase\": \"cup\", \"boxes\": [[0, 0, 20, 16]]}]}\n",
    "{\"task\": \"mask\", \"image\": \"%d.png\", \"sentence\": \"it\", \"mask\": [[2, 2, 9, 2, 9, "
    "9, "
    "2, 9]]}\n",
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hello %d\"}, {\"role\": \"assistant\", "
    "\"content\": \"hi\"}]}\n"};

/* Each kind of line about each of the pictures. */
static struct source *exam_source(struct rig *r) {
    struct buf tar, lines;
    struct source *s;
    struct err e = {0};
    rig_open(r);
    buf_init(&tar, 1 << 20);
    buf_init(&lines, 1 << 20);
    for (int i = 0; i < PICTURES; i++) {
        struct buf b;
        char name[16];
        buf_init(&b, 1 << 16);
        tars_png(&b, 20, 16, i);
        snprintf(name, sizeof(name), "%d.png", i);
        tars_add(&tar, name, '0', b.p, b.len);
        buf_clear(&b);
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            char line[400];
            snprintf(line, sizeof(line), kinds[k], i);
            buf_str(&lines, line);
        }
    }
    tars_add(&tar, "x.jsonl", '0', lines.p, lines.len);
    tars_end(&tar);
    const char *path = rig_bytes(r, "x.tar", tar.p, tar.len);
    if (source_open(path, &(struct source_options){0}, &s, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    const struct source_report *p = source_report(s);
    if (p->bad) test_failed(__FILE__, __LINE__, "%s: %s", p->errors[0].code, p->errors[0].reason);
    buf_clear(&tar);
    buf_clear(&lines);
    return s;
}

static uint32_t listed(const struct source *s, enum sample_task task, float held,
                       struct exam_pick **picks) {
    struct err e = {0};
    uint32_t n = 0;
    CHECK_EQ(exam_list(s, task, held, picks, &n, &e), 0);
    return n;
}

TEST(exam_lists_what_is_there) {
    struct rig r;
    struct source *s = exam_source(&r);
    static const struct {
        enum sample_task task;
        uint32_t n;
    } want[] = {{SAMPLE_REFER, PICTURES},         {SAMPLE_VQA, PICTURES},
                {SAMPLE_DETECTION, 2 * PICTURES}, {SAMPLE_PIXELS, PICTURES},
                {SAMPLE_CHAT, PICTURES},          {SAMPLE_DRIVE, 0}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct exam_pick *picks;
        CHECK_EQ(listed(s, want[i].task, 1, &picks), want[i].n);
        for (uint32_t k = 1; k < want[i].n; k++)
            CHECK(picks[k].order != picks[0].order);
        mem_free(picks);
    }
    source_close(s);
    rig_close(&r);
}

/* The share that is kept apart is what a sampler of it never draws, and nothing else. */
TEST(exam_is_what_is_held) {
    struct rig r;
    struct source *s = exam_source(&r);
    struct exam_pick *picks;
    struct sampler *sp;
    struct err e = {0};
    uint32_t n = listed(s, SAMPLE_VQA, 0.3f, &picks), hits = 0;
    const struct sampler_entry mix = {
        .source = s, .task = SAMPLE_VQA, .ratio = 1, .talks = 1, .held = 0.3f};
    struct sampler_options o = {.mix = &mix,
                                .n_mix = 1,
                                .items = 1,
                                .is_held = 1,
                                .form = {.grid = 4, .image_size = 32, .resize = resize_picture}};
    CHECK(n > 0 && n < PICTURES);
    for (o.is_held = 0; o.is_held < 2; o.is_held++) {
        CHECK_EQ(sampler_open(&o, &sp, &e), 0);
        CHECK_EQ(sampler_epoch_steps(sp, 0), o.is_held ? n : PICTURES - n);
        for (uint64_t step = 0; step < PICTURES; step++) {
            struct sampler_draw *d;
            CHECK_EQ(sampler_draw(sp, step, 0, &d, &e), 0);
            for (uint32_t i = 0; i < n; i++) {
                struct exam_item x;
                CHECK_EQ(exam_read(s, SAMPLE_VQA, &picks[i], &x, &e), 0);
                hits += !o.is_held && memcmp(x.pictures[0].rgb, d->sample.pictures[0].rgb, 64) == 0;
                exam_clear(&x);
            }
            sampler_give_back(d);
        }
        sampler_close(sp);
    }
    CHECK_EQ(hits, 0);
    mem_free(picks);
    source_close(s);
    rig_close(&r);
}

/* Question i of a task, read. */
static struct exam_item item_of(const struct source *s, enum sample_task task, uint32_t i) {
    struct exam_pick *picks;
    struct exam_item x;
    struct err e = {0};
    uint32_t n = listed(s, task, 1, &picks);
    CHECK(i < n);
    CHECK_EQ(exam_read(s, task, &picks[i], &x, &e), 0);
    mem_free(picks);
    return x;
}

TEST(exam_reads_texts) {
    struct rig r;
    struct source *s = exam_source(&r);
    struct exam_item x = item_of(s, SAMPLE_REFER, 0);
    CHECK_STR(x.text, "The cup.");
    CHECK(x.box[0] == 1 && x.box[3] == 12 && x.n_pictures == 1 && x.pictures[0].w == 20);
    exam_clear(&x);
    x = item_of(s, SAMPLE_IDENTIFY, 0);
    CHECK(!x.text && x.n_answers == 1 && x.box[2] == 10);
    CHECK_STR(x.answers[0], "The cup.");
    exam_clear(&x);
    x = item_of(s, SAMPLE_VQA, 0);
    CHECK_EQ(x.n_answers, 2);
    CHECK_STR(x.text, "what?");
    CHECK_STR(x.answers[1], "b");
    exam_clear(&x);
    x = item_of(s, SAMPLE_CHAT, 0);
    CHECK(x.n_turns == 1 && x.n_pictures == 0);
    CHECK_STR(x.answers[0], "hi");
    exam_clear(&x);
    source_close(s);
    rig_close(&r);
}

TEST(exam_reads_boxes_and_masks) {
    struct rig r;
    struct source *s = exam_source(&r);
    struct exam_item x = item_of(s, SAMPLE_DETECTION, 1);
    CHECK_STR(x.text, "hat");
    CHECK_STR(x.answers[0], "<p>hat</p> {<0><0><50><50>}<delim>{<50><50><100><100>}");
    exam_clear(&x);
    x = item_of(s, SAMPLE_GROUNDING, 0);
    CHECK(!x.text);
    CHECK_STR(x.answers[0], "a <p>cup</p> {<0><0><100><100>} here");
    exam_clear(&x);
    x = item_of(s, SAMPLE_MASK, 0);
    CHECK(x.mask[5 * 20 + 5] == 1 && x.mask[0] == 0 && x.mask[15 * 20 + 19] == 0);
    exam_clear(&x);
    x = item_of(s, SAMPLE_PIXELS, 0);
    CHECK(!x.text && x.n_pictures == 1);
    exam_clear(&x);
    source_close(s);
    rig_close(&r);
}
