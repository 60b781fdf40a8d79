/* test_rehearse.c - questions behind a picture that no line asks. */
#include <stdio.h>
#include <string.h>

#include "data/sampler.h"
#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

enum { GRID = 16, STEPS = 40, REHEARSE = 12 };

static struct source *source_of(struct rig *r) {
    static const char lines[] =
        "{\"task\":\"vqa\",\"image\":\"0.png\",\"question\":\"what?\",\"answer\":\"it\"}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}]}\n";
    struct buf tar, png;
    struct source *s;
    struct err e = {0};
    rig_open(r);
    buf_init(&tar, 1 << 20);
    buf_init(&png, 1 << 16);
    tars_png(&png, 20, 16, 1);
    tars_add(&tar, "0.png", '0', png.p, png.len);
    tars_add(&tar, "x.jsonl", '0', lines, strlen(lines));
    tars_end(&tar);
    const char *path = rig_bytes(r, "x.tar", tar.p, tar.len);
    if (source_open(path, &(struct source_options){0}, &s, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    buf_clear(&png);
    buf_clear(&tar);
    return s;
}

static int open_sampler(struct source *s, enum sample_task task, uint32_t rehearse,
                        struct sampler **out, struct err *e) {
    const struct sampler_entry mix = {
        .source = s, .task = task, .ratio = 1, .talks = 2, .rehearse = rehearse};
    const struct sampler_options o = {
        .mix = &mix,
        .n_mix = 1,
        .seed = 5,
        .items = 1,
        .form = {.grid = GRID, .image_size = 32, .resize = resize_picture}};
    return sampler_open(&o, out, e);
}

static struct sampler_draw *drawn(const struct sampler *s, uint64_t step) {
    struct sampler_draw *d;
    struct err e = {0};
    if (sampler_draw(s, step, 0, &d, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return d;
}

static void check_pixel(const struct sample *s, const char *question, const char *answer) {
    uint8_t truth[GRID * GRID * 3];
    const struct sample_picture *p = &s->pictures[0];
    int x, y, rgb[3];
    CHECK_EQ(sscanf(question, "[reconstruct] loc: [%d,%d] rgb:", &x, &y), 2);
    CHECK_EQ(resize_picture(p->rgb, p->w, p->h, truth, GRID, GRID, NULL), 0);
    CHECK_EQ(sscanf(answer, "[%d,%d,%d]", &rgb[0], &rgb[1], &rgb[2]), 3);
    for (int c = 0; c < 3; c++)
        CHECK_EQ(rgb[c], truth[3 * (y * GRID + x) + c]);
}

/* A pixel's answer is the picture's; every other one is a stand-in in its task's form. */
static void check_talk(const struct sample *s, const struct sample_talk *t) {
    int b[4], end = 0;
    const char *question = t->turns[0].question, *answer = t->turns[0].answer;
    CHECK(t->n_turns == 1 && t->turns[0].n_pictures == 1);
    CHECK_NEAR(t->weight, 1, 0);
    CHECK_EQ(t->is_taught, t->task != SAMPLE_PIXELS);
    if (t->task == SAMPLE_PIXELS) {
        check_pixel(s, question, answer);
    } else if (t->task == SAMPLE_MASK) {
        CHECK(strncmp(question, "[segmentation] the ", 19) == 0 && strstr(question, " loc: ["));
        CHECK(strcmp(answer, "0") == 0 || strcmp(answer, "1") == 0);
    } else if (t->task == SAMPLE_REFER) {
        CHECK(strncmp(question, "[refer] ", 8) == 0);
        CHECK_EQ(sscanf(answer, "{<%d><%d><%d><%d>}%n", &b[0], &b[1], &b[2], &b[3], &end), 4);
        CHECK(end > 0 && b[0] < b[2] && b[1] < b[3] && b[2] <= 100 && b[3] <= 100);
    } else {
        CHECK(t->task == SAMPLE_VQA && strncmp(question, "[vqa] ", 6) == 0 && *answer);
    }
}

TEST(rehearse_asks_what_no_line_asks) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    int seen[SAMPLE_TASKS] = {0}, few = STEPS * REHEARSE / 8;
    CHECK_EQ(open_sampler(src, SAMPLE_VQA, REHEARSE, &s, NULL), 0);
    for (uint64_t step = 0; step < STEPS; step++) {
        struct sampler_draw *d = drawn(s, step), *again = drawn(s, step);
        CHECK_EQ(d->sample.n_talks, 1 + REHEARSE);
        CHECK_STR(d->sample.talks[0].turns[0].answer, "it");
        CHECK_EQ(d->sample.talks[0].is_taught, 0);
        for (uint32_t i = 1; i <= REHEARSE; i++) {
            const struct sample_talk *t = &d->sample.talks[i];
            check_talk(&d->sample, t);
            CHECK_STR(t->turns[0].question, again->sample.talks[i].turns[0].question);
            seen[t->task]++;
        }
        sampler_give_back(d);
        sampler_give_back(again);
    }
    CHECK(seen[SAMPLE_PIXELS] > few && seen[SAMPLE_MASK] > few);
    CHECK(seen[SAMPLE_REFER] > few && seen[SAMPLE_VQA] > few);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(rehearse_needs_a_picture) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    CHECK_EQ(open_sampler(src, SAMPLE_CHAT, REHEARSE, &s, NULL), 0);
    struct sampler_draw *d = drawn(s, 0);
    CHECK_EQ(d->sample.n_talks, 1);
    sampler_give_back(d);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(rehearse_has_a_limit) {
    struct rig r;
    struct source *src = source_of(&r);
    struct sampler *s;
    struct err e = {0};
    CHECK_EQ(open_sampler(src, SAMPLE_VQA, SAMPLE_REHEARSE_MAX + 1, &s, &e), E_INVALID);
    CHECK_HAS(e.text, "rehearse of vqa must be 0 to 64");
    source_close(src);
    rig_close(&r);
}
