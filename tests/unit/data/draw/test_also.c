/* test_also.c - what other tasks know of the picture of a sample is asked beside it. */
#include <stdio.h>
#include <string.h>

#include "data/sampler.h"
#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

enum { GRID = 16, STEPS = 60, W = 40, H = 32, ALSO = 3, ALL = (1 << SAMPLE_TASKS) - 1 };

/* A picture with one small thing, one as large as the picture, and words. */
static const char lines[] =
    "{\"task\":[\"refer\",\"identify\",\"mask\"],\"image\":\"0.png\",\"sentence\":\"small\","
    "\"box\":[4,4,8,8],\"mask\":{\"size\":[32,40],\"counts\":[132,4,28,4,28,4,28,4,1048]}}\n"
    "{\"task\":\"refer\",\"image\":\"0.png\",\"sentence\":\"large\",\"box\":[0,0,40,32]}\n"
    "{\"task\":\"refer\",\"image\":\"0.png\",\"sentence\":\"left\",\"box\":[4,4,8,8]}\n"
    "{\"task\":\"vqa\",\"image\":\"0.png\",\"question\":\"how many?\",\"answer\":\"two\"}\n"
    "{\"task\":\"caption\",\"image\":\"0.png\",\"caption\":\"two things\"}\n";

static struct source *source_of(struct rig *r) {
    struct buf tar, png;
    struct source *s;
    struct err e = {0};
    rig_open(r);
    buf_init(&tar, 1 << 20);
    buf_init(&png, 1 << 16);
    tars_png(&png, W, H, 1);
    tars_add(&tar, "0.png", '0', png.p, png.len);
    tars_add(&tar, "x.jsonl", '0', lines, strlen(lines));
    tars_end(&tar);
    const char *path = rig_bytes(r, "x.tar", tar.p, tar.len);
    if (source_open(path, &(struct source_options){0}, &s, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    CHECK_EQ(source_report(s)->bad, 0);
    buf_clear(&png);
    buf_clear(&tar);
    return s;
}

static int open_sampler(struct sampler_entry mix, int is_plain, struct sampler **out,
                        struct err *e) {
    mix.ratio = 1;
    mix.talks = 8;
    const struct sampler_options o = {
        .mix = &mix,
        .n_mix = 1,
        .seed = 5,
        .items = 1,
        .is_plain = is_plain,
        .form = {.grid = GRID, .image_size = 32, .has_things = 1, .resize = resize_picture}};
    return sampler_open(&o, out, e);
}

static struct sampler_draw *drawn(const struct sampler *s, uint64_t step) {
    struct sampler_draw *d;
    struct err e = {0};
    if (sampler_draw(s, step, 0, &d, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return d;
}

static void count_tasks(const struct sample *s, int *n) {
    memset(n, 0, SAMPLE_TASKS * sizeof(*n));
    for (uint32_t i = 0; i < s->n_talks; i++)
        n[s->talks[i].task]++;
}

static int is_asked(const struct sample *s, const char *what) {
    for (uint32_t i = 0; i < s->n_talks; i++)
        if (strstr(s->talks[i].turns[0].question, what)) return 1;
    return 0;
}

static void check_pixels(const struct sample *s) {
    uint8_t truth[GRID * GRID * 3];
    const struct sample_picture *p = &s->pictures[0];
    CHECK_EQ(resize_picture(p->rgb, p->w, p->h, truth, GRID, GRID, NULL), 0);
    for (uint32_t i = 0; i < s->n_talks; i++) {
        int x, y, rgb[3];
        const struct sample_turn *t = s->talks[i].turns;
        if (s->talks[i].task != SAMPLE_PIXELS) continue;
        CHECK_EQ(sscanf(t->question, "[reconstruct] loc: [%d,%d] rgb:", &x, &y), 2);
        CHECK_EQ(sscanf(t->answer, "[%d,%d,%d]", &rgb[0], &rgb[1], &rgb[2]), 3);
        for (int c = 0; c < 3; c++)
            CHECK_EQ(rgb[c], truth[3 * (y * GRID + x) + c]);
    }
}

TEST(also_asks_every_other_task) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    const struct sampler_entry mix = {
        .source = src, .task = SAMPLE_VQA, .also = ALSO, .tasks = ALL, .weight = 2};
    CHECK_EQ(open_sampler(mix, 0, &s, NULL), 0);
    for (uint64_t step = 0; step < STEPS; step++) {
        int n[SAMPLE_TASKS];
        struct sampler_draw *d = drawn(s, step), *again = drawn(s, step);
        count_tasks(&d->sample, n);
        CHECK_EQ(d->sample.talks[0].task, SAMPLE_VQA);
        CHECK_EQ(n[SAMPLE_VQA], 1);
        CHECK_EQ(n[SAMPLE_PIXELS], ALSO);
        CHECK_EQ(n[SAMPLE_MASK], ALSO);
        CHECK_EQ(n[SAMPLE_REFER], ALSO);
        CHECK_EQ(n[SAMPLE_IDENTIFY], 1);
        CHECK_EQ(n[SAMPLE_CAPTION], 1);
        CHECK(d->sample.n_things > 0);
        check_pixels(&d->sample);
        CHECK_EQ(again->sample.n_talks, d->sample.n_talks);
        for (uint32_t i = 0; i < d->sample.n_talks; i++) {
            CHECK_NEAR(d->sample.talks[i].weight, 2, 0);
            CHECK_STR(d->sample.talks[i].turns[0].question,
                      again->sample.talks[i].turns[0].question);
        }
        sampler_give_back(d);
        sampler_give_back(again);
    }
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

/* Of a part neither a count nor a thing that isn't wholly in it; of a mirrored one no side. */
TEST(also_asks_what_holds_for_a_part) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    int parts = 0, small = 0;
    const struct sampler_entry mix = {
        .source = src, .task = SAMPLE_PIXELS, .also = ALSO, .tasks = ALL, .crop = 0.3f, .flip = 1};
    CHECK_EQ(open_sampler(mix, 0, &s, NULL), 0);
    for (uint64_t step = 0; step < STEPS; step++) {
        struct sampler_draw *d = drawn(s, step);
        const struct sample_picture *p = &d->sample.pictures[0];
        int is_part = p->w < W || p->h < H;
        CHECK(!is_asked(&d->sample, "left"));
        CHECK(!is_asked(&d->sample, "how many"));
        CHECK(!is_part || !is_asked(&d->sample, "large"));
        parts += is_part;
        small += is_asked(&d->sample, "small");
        check_pixels(&d->sample);
        sampler_give_back(d);
    }
    CHECK(parts > STEPS / 2 && small > 0 && small < STEPS);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(also_asks_the_tasks_that_it_is_told) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    int n[SAMPLE_TASKS];
    struct sampler_entry mix = {
        .source = src, .task = SAMPLE_REFER, .also = ALSO, .tasks = 1 << SAMPLE_CAPTION};
    CHECK_EQ(open_sampler(mix, 0, &s, NULL), 0);
    struct sampler_draw *d = drawn(s, 0);
    count_tasks(&d->sample, n);
    CHECK_EQ(n[SAMPLE_REFER], 3);
    CHECK_EQ(n[SAMPLE_CAPTION], 1);
    CHECK_EQ(d->sample.n_talks, 4);
    sampler_give_back(d);
    sampler_close(s);
    CHECK_EQ(open_sampler(mix, 1, &s, NULL), 0); /* to judge: each task as it is */
    d = drawn(s, 0);
    CHECK_EQ(d->sample.n_talks, 3);
    sampler_give_back(d);
    sampler_close(s);
    struct err e = {0};
    mix.also = SAMPLE_ALSO_MAX + 1;
    CHECK_EQ(open_sampler(mix, 0, &s, &e), E_INVALID);
    CHECK_HAS(e.text, "also of refer must be 0 to 256");
    source_close(src);
    rig_close(&r);
}

/* ---- where the attention is held ---- */

static const uint8_t *held_of(const struct sample *s, enum sample_task task, const char *what) {
    for (uint32_t i = 0; i < s->n_talks; i++)
        if (s->talks[i].task == task && strstr(s->talks[i].turns[0].question, what))
            return s->talks[i].hold;
    return NULL;
}

/* The small thing covers 4 .. 8 of 40 x 32 pixels: a token of 4 x 4 and no other by more than
 * half. */
TEST(also_masks_hold_the_thing) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    const struct sampler_entry mix = {.source = src,
                                      .task = SAMPLE_REFER,
                                      .ratio = 1,
                                      .talks = 8,
                                      .also = ALSO,
                                      .tasks = 1 << SAMPLE_MASK};
    const struct sampler_options o = {.mix = &mix,
                                      .n_mix = 1,
                                      .seed = 5,
                                      .items = 1,
                                      .form = {.grid = GRID,
                                               .image_size = 32,
                                               .tokens_w = 8,
                                               .tokens_h = 8,
                                               .has_things = 1,
                                               .is_thing_held = 1,
                                               .resize = resize_picture}};
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    struct sampler_draw *d = drawn(s, 0);
    const uint8_t *mask = held_of(&d->sample, SAMPLE_MASK, "small");
    const uint8_t *refer = held_of(&d->sample, SAMPLE_REFER, "small");
    const uint8_t *large = held_of(&d->sample, SAMPLE_REFER, "large");
    CHECK(mask && refer && large);
    int n = 0;
    for (int i = 0; i < 64; i++) {
        CHECK_EQ(mask[i], refer[i]);
        CHECK_EQ(large[i], 1); /* its box alone is known */
        n += mask[i];
    }
    CHECK(n >= 1 && n <= 2 && mask[1 * 8 + 1]);
    sampler_give_back(d);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}
