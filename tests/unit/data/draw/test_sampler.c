/* test_sampler.c - samples as a function of seed, step and item: which pictures are shown, how
 * often, in which order, and what is set aside or refused. */
#include "data/sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/prefetch.h"
#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "sampler_rig.h"
#include "tests/check.h"
#include "tests/unit/data/tars.h"

/* ---- pixels ---- */

TEST(sampler_pixels_are_true_of_what_is_shown) {
    struct rig r;
    struct source *src = sampler_rig_source(&r, ALL_PIXELS);
    const struct sampler_entry mix[] = {{.source = src,
                                         .task = SAMPLE_PIXELS,
                                         .ratio = 1,
                                         .talks = 40,
                                         .crop = 0.3f,
                                         .jitter = 1,
                                         .flip = 0.5f}};
    struct sampler *s = sampler_rig_open(mix, 1, 4);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, (uint32_t)step % 4);
        uint8_t truth[GRID * GRID * 3], seen[GRID * GRID] = {0};
        CHECK(d->sample.n_pictures == 1 && d->sample.n_talks == 40);
        const struct sample_picture *p = &d->sample.pictures[0];
        CHECK_EQ(resize_picture(p->rgb, p->w, p->h, truth, GRID, GRID, NULL), 0);
        for (uint32_t k = 0; k < 40; k++) {
            const struct sample_talk *t = &d->sample.talks[k];
            int x, y, rgb[3], end = 0;
            CHECK(t->task == SAMPLE_PIXELS && t->n_turns == 1 && t->weight == 1);
            CHECK(sscanf(t->turns[0].question, "[reconstruct] loc: [%d,%d] rgb:%n", &y, &x, &end) ==
                  2);
            CHECK(end > 0 && t->turns[0].n_pictures == 1 && !seen[y * GRID + x]++);
            CHECK(sscanf(t->turns[0].answer, "[%d,%d,%d]", &rgb[0], &rgb[1], &rgb[2]) == 3);
            for (int c = 0; c < 3; c++)
                CHECK_EQ(rgb[c], truth[3 * (y * GRID + x) + c]);
            for (int i = 0; i < 16; i++)
                CHECK_EQ(t->hold[i], i == y / 4 * 4 + x / 4);
        }
        sampler_give_back(d);
    }
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

/* ---- order ---- */

TEST(sampler_shows_all_before_any_again) {
    struct rig r;
    struct source *src = sampler_rig_source(
        &r, ALL_PIXELS "{\"task\":\"caption\",\"image\":\"3.png\",\"caption\":\"c\"}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_PIXELS, .ratio = 3, .talks = 1},
        {.source = src, .task = SAMPLE_CAPTION, .ratio = 1, .talks = 5}};
    struct sampler *s = sampler_rig_open(mix, 2, 4);
    int first[2][PICTURES], counts[2] = {0};
    for (int i = 0; i < 8 * 4 * PICTURES; i++) {
        struct sampler_draw *d = sampler_rig_draw(s, (uint64_t)i / 4, (uint32_t)i % 4);
        int n = counts[d->entry]++;
        CHECK(d->entry == 0 ? d->sample.talks[0].task == SAMPLE_PIXELS
                            : d->sample.talks[0].task == SAMPLE_CAPTION && d->sample.n_talks == 1);
        if (d->entry == 0 && n < 2 * PICTURES) {
            first[n / PICTURES][n % PICTURES] = d->sample.pictures[0].w - 20;
            for (int k = 0; k < n % PICTURES; k++)
                CHECK(first[n / PICTURES][k] != first[n / PICTURES][n % PICTURES]);
        }
        /* Shares are kept at any time, not only in the end. */
        CHECK(abs(counts[0] - 3 * (i + 1) / 4) <= 1);
        sampler_give_back(d);
    }
    CHECK(memcmp(first[0], first[1], sizeof(first[0])) != 0); /* each epoch has its order */
    CHECK_EQ(sampler_epoch_steps(s, 0), 3);                   /* 7 pictures, 3 a step */
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

static uint64_t digest(const struct sample *s) {
    uint64_t h = 0;
    for (uint32_t k = 0; k < s->n_pictures; k++)
        for (int i = 0; i < 3 * s->pictures[k].w * s->pictures[k].h; i++)
            h = h * 31 + s->pictures[k].rgb[i];
    for (uint32_t k = 0; k < s->n_talks; k++)
        for (uint32_t i = 0; i < s->talks[k].n_turns; i++) {
            for (const char *c = s->talks[k].turns[i].question; *c; c++)
                h = h * 31 + (uint8_t)*c;
            for (const char *c = s->talks[k].turns[i].answer; *c; c++)
                h = h * 31 + (uint8_t)*c;
        }
    return h;
}

TEST(sampler_and_prefetch_are_functions_of_step_and_item) {
    struct rig r;
    struct source *src = sampler_rig_source(
        &r, ALL_PIXELS "{\"task\":[\"mask\",\"refer\",\"identify\"],\"image\":\"1.png\","
                       "\"sentence\":\"s\",\"box\":[2,2,9,9],"
                       "\"mask\":[[2,2,9,2,9,9]]}\n");
    struct sampler_entry mix[] = {
        {src, SAMPLE_PIXELS, 2, 9, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u},
        {src, SAMPLE_MASK, 1, 9, 0, 2, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u},
        {src, SAMPLE_IDENTIFY, 1, 3, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u}};
    struct sampler *s = sampler_rig_open(mix, 3, 4), *again = sampler_rig_open(mix, 3, 4);
    uint64_t want[60];
    for (uint32_t i = 60; i-- > 0;) { /* backwards */
        struct sampler_draw *d = sampler_rig_draw(s, i / 4, i % 4);
        want[i] = digest(&d->sample);
        sampler_give_back(d);
    }
    struct prefetch *p;
    CHECK_EQ(
        prefetch_open(again, &(struct prefetch_range){.step = 0, .item = 0, .n = 4}, 5, &p, NULL),
        0);
    for (uint32_t i = 0; i < 60; i++) {
        const struct sampler_draw *d;
        CHECK_EQ(prefetch_next(p, &d, NULL), 0);
        CHECK(digest(&d->sample) == want[i]);
    }
    prefetch_close(p);
    /* The second rank of two, from step 7. */
    CHECK_EQ(
        prefetch_open(again, &(struct prefetch_range){.step = 7, .item = 2, .n = 2}, 1, &p, NULL),
        0);
    for (uint32_t i = 0; i < 16; i++) {
        const struct sampler_draw *d;
        CHECK_EQ(prefetch_next(p, &d, NULL), 0);
        CHECK(digest(&d->sample) == want[(7 + i / 2) * 4 + 2 + i % 2]);
    }
    prefetch_close(p);
    CHECK_EQ(prefetch_open(again, &(struct prefetch_range){0, 0, 0}, 1, &p, NULL), E_INVALID);
    prefetch_close(NULL);
    sampler_close(s);
    sampler_close(again);
    source_close(src);
    rig_close(&r);
}

/* ---- what is set aside ---- */

/* The widths less 20 of all pictures that the entry shows, a bit each. */
static unsigned shown(const struct source *src, enum sample_task task, float held, int is_held) {
    const struct sampler_entry mix[] = {
        {.source = src, .task = task, .ratio = 1, .talks = 1, .held = held}};
    const struct sampler_options o = {
        .mix = mix, .n_mix = 1, .items = 1, .is_held = is_held, .form = sampler_rig_form};
    struct sampler *s;
    unsigned seen = 0;
    if (sampler_open(&o, &s, NULL)) return 0;
    for (uint64_t step = 0; step < PICTURES; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
        seen |= 1u << (d->sample.pictures[0].w - 20);
        sampler_give_back(d);
    }
    sampler_close(s);
    return seen;
}

TEST(sampler_never_learns_what_is_set_aside) {
    struct rig r;
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < PICTURES; i++)
        buf_printf(&b, "{\"task\":\"caption\",\"image\":\"%d.png\",\"caption\":\"c\"}\n", i);
    buf_str(&b, ALL_PIXELS);
    struct source *src = sampler_rig_source(&r, (const char *)b.p);
    static const struct {
        float share;
        int n;
    } cases[] = {{0, 0}, {0.01f, 1}, {0.3f, 2}, {0.5f, 4}, {0.99f, 6}, {1, 7}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned judged = shown(src, SAMPLE_PIXELS, cases[i].share, 1);
        CHECK_EQ(__builtin_popcount(judged), cases[i].n);
        CHECK_EQ(judged ^ shown(src, SAMPLE_PIXELS, cases[i].share, 0), 127);
        CHECK_EQ(judged, shown(src, SAMPLE_CAPTION, cases[i].share, 1)); /* whatever is asked */
    }
    /* Entries of which nothing is set aside are passed over. */
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_PIXELS, .ratio = 9, .talks = 1},
        {.source = src, .task = SAMPLE_CAPTION, .ratio = 1, .talks = 1, .held = 0.5f}};
    struct sampler *s;
    const struct sampler_options o = {
        .mix = mix, .n_mix = 2, .items = 1, .is_held = 1, .form = sampler_rig_form};
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
        CHECK_EQ(d->entry, 1);
        sampler_give_back(d);
    }
    CHECK(sampler_epoch_steps(s, 0) == 0 && sampler_epoch_steps(s, 1) == 4);
    sampler_close(s);
    struct err e = {0};
    const struct sampler_options all = {
        .mix = &(struct sampler_entry){.source = src, .ratio = 1, .talks = 1, .held = 1},
        .n_mix = 1,
        .items = 1,
        .form = sampler_rig_form};
    CHECK_EQ(sampler_open(&all, &s, &e), E_INVALID);
    CHECK_HAS(e.text, "no line for pixels that isn't set aside");
    source_close(src);
    rig_close(&r);
    buf_clear(&b);
}

/* ---- what is wrong ---- */

TEST(sampler_says_what_is_wrong) {
    struct rig r;
    struct source *src = sampler_rig_source(&r, ALL_PIXELS);
    struct {
        struct sampler_entry m;
        uint32_t items;
        const char *text;
    } wrong[] = {
        {{.source = src, .task = SAMPLE_VQA, .ratio = 1, .talks = 1},
         1,
         "x.tar has no line for vqa"},
        {{.source = src, .ratio = 0, .talks = 1}, 1, "the ratio of pixels must be above 0"},
        {{.source = src, .ratio = 1, .talks = 0}, 1, "talks of pixels must be 1 to 4096"},
        {{.source = src, .ratio = 1, .talks = 1, .crop = 2}, 1, "must be 0 to 1"},
        {{.source = src, .ratio = 1, .talks = 1, .weight = -1}, 1, "must not be negative"},
        {{.ratio = 1, .talks = 1}, 1, "has no source"},
        {{.source = src, .ratio = 1, .talks = 1}, 0, "has no sample"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct sampler *s;
        struct err e = {0};
        const struct sampler_options o = {
            .mix = &wrong[i].m, .n_mix = 1, .items = wrong[i].items, .form = sampler_rig_form};
        CHECK_EQ(sampler_open(&o, &s, &e), E_INVALID);
        CHECK(s == NULL);
        CHECK_HAS(e.text, wrong[i].text);
    }
    source_close(src);
    rig_close(&r);
}

TEST(sampler_tells_bad_lines_and_broken_pictures) {
    struct rig r;
    struct source *src;
    struct sampler *s;
    struct err e = {0};
    struct buf b;
    rig_open(&r);
    buf_init(&b, 1 << 16);
    tars_png(&b, 20, 16, 1);
    rig_bytes(&r, "a.png", b.p, b.len);
    rig_bytes(&r, "b.png", b.p, b.len / 2); /* its head is fine */
    buf_clear(&b);
    rig_file(
        &r, "x.jsonl",
        "{\"task\":\"pixels\",\"image\":\"a.png\"}\n{\"task\":\"pixels\",\"image\":\"b.png\"}\n"
        "{\"task\":\"pixels\",\"image\":\"c.png\"}\n");
    CHECK_EQ(source_open(r.dir, &(struct source_options){0}, &src, NULL), 0);
    const struct sampler_entry mix[] = {{.source = src, .ratio = 1, .talks = 1}};
    struct sampler_options o = {
        .mix = mix, .n_mix = 1, .items = 2, .is_plain = 1, .form = sampler_rig_form};
    CHECK_EQ(sampler_open(&o, &s, &e), E_FORMAT);
    CHECK_HAS(e.text, "x.jsonl: 1 of 3 lines are bad: line 3: image: there is no file c.png");
    o.bad_max = 1;
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    struct prefetch *p;
    CHECK_EQ(prefetch_open(s, &(struct prefetch_range){.n = 2}, 3, &p, NULL), 0);
    for (int i = 0; i < 6; i++) { /* after a failure comes the next one */
        const struct sampler_draw *d;
        e = (struct err){0};
        CHECK_EQ(prefetch_next(p, &d, &e), i % 2 ? E_FORMAT : 0);
        CHECK((d == NULL) == (i % 2));
        if (i % 2) CHECK_HAS(e.text, "x.jsonl: line 2: b.png");
    }
    prefetch_close(p);
    sampler_close(s);
    source_close(src);
    CHECK_EQ(source_open(r.dir, &(struct source_options){.is_deep = 1}, &src, NULL), 0);
    CHECK_EQ(source_report(src)->bad, 2);
    source_close(src);
    rig_close(&r);
}

/* Memory may fail anywhere: an error and no leak, or a sample as ever. */
TEST(sampler_bears_failing_memory) {
    struct rig r;
    uint64_t failures = 0;
    source_close(sampler_rig_source(&r, "{\"task\":[\"mask\",\"refer\"],\"image\":\"0.png\","
                                        "\"sentence\":\"one\",\"box\":[0,0,9,9],"
                                        "\"mask\":[[0,0,9,0,9,9]]}\n" ALL_PIXELS));
    for (uint64_t n = 1;; n++) {
        struct source *src = NULL;
        struct sampler *s = NULL;
        struct sampler_draw *d = NULL;
        struct err e = {0};
        mem_fail_at(n);
        int rc = source_open(r.path[0], &(struct source_options){.is_deep = 1}, &src, &e);
        const struct sampler_entry mix[] = {
            {src, SAMPLE_PIXELS, 1, 4, 0, 0, 0.5f, 0.5f, 0.5f, 0.3f, 0, 2, ~0u},
            {src, SAMPLE_MASK, 1, 4, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u},
            {src, SAMPLE_REFER, 1, 4, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u}};
        const struct sampler_options o = {
            .mix = mix, .n_mix = 3, .items = 3, .bad_max = 9, .form = sampler_rig_form};
        if (rc == 0) rc = sampler_open(&o, &s, &e);
        for (uint32_t i = 0; rc == 0 && i < 3; i++) {
            sampler_give_back(d);
            rc = sampler_draw(s, 0, i, &d, &e);
        }
        mem_fail_at(0);
        sampler_give_back(d);
        sampler_close(s);
        /* libpng's own memory: it only says that something is wrong. */
        const char *why =
            src && source_report(src)->n_errors ? source_report(src)->errors[0].reason : e.text;
        if (rc && rc != E_NOMEM && !strstr(why, "the PNG is damaged"))
            test_failed(__FILE__, __LINE__, "%d: %s: %s", (int)n, e.text, why);
        failures += rc != 0;
        uint64_t bad = src ? source_report(src)->bad : 1;
        source_close(src);
        if (rc == 0 && bad == 0 && n > 200) break;
        CHECK(n < 5000);
    }
    CHECK(failures > 20);
    rig_close(&r);
}
