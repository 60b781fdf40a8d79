/* test_sampler.c - samples as a function of seed, step and item: what is asked, how often, and that
 * answers are true of the pictures that are shown. */
#include "data/sampler.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/prefetch.h"
#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "media/coco.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"
#include "tests/unit/data/tars.h"

enum { GRID = 16, PICTURES = 7 };

static const struct sampler_form form = {.grid = GRID,
                                         .is_yx = 1,
                                         .image_size = 32,
                                         .tokens_w = 4,
                                         .tokens_h = 4,
                                         .has_things = 1,
                                         .resize = resize_picture};

/* A tar of pictures 0.png .. 6.png, (20 + i) x 16, and these lines. */
static struct source *source_of(struct rig *r, const char *lines) {
    struct buf tar;
    struct source *s;
    struct err e = {0};
    rig_open(r);
    buf_init(&tar, 1 << 20);
    for (int i = 0; i < PICTURES; i++) {
        struct buf b;
        char name[16];
        buf_init(&b, 1 << 16);
        tars_png(&b, 20 + i, 16, i);
        snprintf(name, sizeof(name), "%d.png", i);
        tars_add(&tar, name, '0', b.p, b.len);
        buf_clear(&b);
    }
    tars_add(&tar, "x.jsonl", '0', lines, strlen(lines));
    tars_end(&tar);
    const char *path = rig_bytes(r, "x.tar", tar.p, tar.len);
    if (source_open(path, &(struct source_options){0}, &s, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    const struct source_report *p = source_report(s);
    if (p->bad) test_failed(__FILE__, __LINE__, "%s: %s", p->errors[0].code, p->errors[0].reason);
    buf_clear(&tar);
    return s;
}

static struct sampler *sampler_of(const struct sampler_entry *mix, uint32_t n, uint32_t items) {
    struct sampler *s;
    struct err e = {0};
    const struct sampler_options o = {
        .mix = mix, .n_mix = n, .seed = 5, .items = items, .form = form};
    if (sampler_open(&o, &s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return s;
}

static struct sampler_draw *drawn(const struct sampler *s, uint64_t step, uint32_t item) {
    struct sampler_draw *d;
    struct err e = {0};
    if (sampler_draw(s, step, item, &d, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return d;
}

#define PIXELS(n)  "{\"task\":\"pixels\",\"image\":\"" #n ".png\"}\n"
#define ALL_PIXELS PIXELS(0) PIXELS(1) PIXELS(2) PIXELS(3) PIXELS(4) PIXELS(5) PIXELS(6)

/* ---- pixels ---- */

TEST(sampler_pixels_are_true_of_what_is_shown) {
    struct rig r;
    struct source *src = source_of(&r, ALL_PIXELS);
    const struct sampler_entry mix[] = {{.source = src,
                                         .task = SAMPLE_PIXELS,
                                         .ratio = 1,
                                         .talks = 40,
                                         .crop = 0.3f,
                                         .jitter = 1,
                                         .flip = 0.5f}};
    struct sampler *s = sampler_of(mix, 1, 4);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = drawn(s, step, (uint32_t)step % 4);
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
    struct source *src =
        source_of(&r, ALL_PIXELS "{\"task\":\"caption\",\"image\":\"3.png\",\"caption\":\"c\"}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_PIXELS, .ratio = 3, .talks = 1},
        {.source = src, .task = SAMPLE_CAPTION, .ratio = 1, .talks = 5}};
    struct sampler *s = sampler_of(mix, 2, 4);
    int first[2][PICTURES], counts[2] = {0};
    for (int i = 0; i < 8 * 4 * PICTURES; i++) {
        struct sampler_draw *d = drawn(s, (uint64_t)i / 4, (uint32_t)i % 4);
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
    struct source *src =
        source_of(&r, ALL_PIXELS "{\"task\":[\"mask\",\"refer\",\"identify\"],\"image\":\"1.png\","
                                 "\"sentence\":\"s\",\"box\":[2,2,9,9],"
                                 "\"mask\":[[2,2,9,2,9,9]]}\n");
    struct sampler_entry mix[] = {
        {src, SAMPLE_PIXELS, 2, 9, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u},
        {src, SAMPLE_MASK, 1, 9, 0, 2, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u},
        {src, SAMPLE_IDENTIFY, 1, 3, 0, 0, 0.5f, 0.5f, 0.5f, 0, 0, 2, ~0u}};
    struct sampler *s = sampler_of(mix, 3, 4), *again = sampler_of(mix, 3, 4);
    uint64_t want[60];
    for (uint32_t i = 60; i-- > 0;) { /* backwards */
        struct sampler_draw *d = drawn(s, i / 4, i % 4);
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

/* ---- what is asked ---- */

/* The only sample of one line, drawn plainly. */
static struct sampler_draw *only(const struct source *src, enum sample_task task, uint32_t talks,
                                 int is_plain, struct sampler **s) {
    const struct sampler_entry mix[] = {{.source = src, .task = task, .ratio = 1, .talks = talks}};
    struct err e = {0};
    const struct sampler_options o = {
        .mix = mix, .n_mix = 1, .items = 1, .is_plain = is_plain, .form = form};
    if (sampler_open(&o, s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return drawn(*s, 0, 0);
}

#define ANYTHING "\"image\":\"0.png\""

TEST(sampler_asks_every_task) {
    static const struct {
        const char *line;
        enum sample_task task;
        const char *question, *answer;
    } cases[] = {
        {"{\"task\":\"refer\"," ANYTHING ",\"sentence\":\"The Dog.\",\"box\":[5,4,10.9,16]}",
         SAMPLE_REFER, "[refer] give me the location of The Dog.", "{<25><25><54><100>}"},
        {"{\"task\":\"identify\"," ANYTHING ",\"sentence\":\"a dog\",\"box\":[5,4,10,16]}",
         SAMPLE_IDENTIFY, "[identify] {<25><25><50><100>}", "a dog"},
        {"{\"task\":\"caption\"," ANYTHING ",\"caption\":\"A dog.\"}", SAMPLE_CAPTION,
         "[caption] Briefly describe this image.", "A dog."},
        {"{\"task\":\"vqa\"," ANYTHING ",\"question\":\"what?\",\"answer\":[\"a\",\"b\"]}",
         SAMPLE_VQA,
         "[vqa] Based on the image, respond to this question with a short answer: what?", "a"},
        {"{\"task\":\"grounding\"," ANYTHING
         ",\"caption\":\"see a dog and a cat here\",\"phrases\":["
         "{\"phrase\":\"a dog\",\"boxes\":[[0,0,10,8],[10,8,20,16]]},{\"phrase\":\"a "
         "cat\",\"boxes\":["
         "[5,4,10,8]]}]}",
         SAMPLE_GROUNDING, "[grounding] please describe this image in details",
         "see <p>a dog</p> {<0><0><50><50>}<delim>{<50><50><100><100>} and <p>a cat</p> "
         "{<25><25><50><50>} here"},
        {"{\"task\":\"detection\"," ANYTHING
         ",\"phrases\":[{\"phrase\":\"dog\",\"boxes\":[[0,0,10,8]]}]}",
         SAMPLE_DETECTION, "[detection] dog", "<p>dog</p> {<0><0><50><50>}"},
        {"{\"task\":\"detection\"," ANYTHING
         ",\"caption\":\"a dog, a cat\",\"phrases\":[{\"phrase\":\"dog\","
         "\"boxes\":[[0,0,10,8]]},{\"phrase\":\"cat\",\"boxes\":[[0,0,10,8]]}]}",
         SAMPLE_DETECTION, "[detection] a dog, a cat",
         "<p>dog</p> {<0><0><50><50>} <p>cat</p> {<0><0><50><50>}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
         "\"a\"}]}",
         SAMPLE_CHAT, "q", "a"},
        {"{\"task\":\"act\",\"game\":\"car_racing\",\"images\":[\"0.png\",\"1.png\"],\"action\":[8,"
         "10,20]}",
         SAMPLE_DRIVE, sample_drive_text, "[8,10,20]"},
        {"{\"task\":\"act\",\"game\":\"space_invaders\",\"images\":[\"0.png\",\"1.png\",\"2.png\","
         "\"3.png\"],"
         "\"action\":2}",
         SAMPLE_SHOOT, sample_shoot_text, "2"}};
    static const uint32_t things[] = {1, 1, 0, 0, 3, 1, 2, 0, 0, 0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig r;
        struct sampler *s;
        struct source *src = source_of(&r, cases[i].line);
        struct sampler_draw *d = only(src, cases[i].task, 10, 1, &s);
        CHECK_EQ(d->sample.n_things, things[i]);
        CHECK_EQ(d->sample.n_talks, 1);
        CHECK_EQ(d->sample.talks[0].n_turns, 1);
        CHECK_STR(d->sample.talks[0].turns[0].question, cases[i].question);
        CHECK_STR(d->sample.talks[0].turns[0].answer, cases[i].answer);
        CHECK_EQ(d->sample.talks[0].turns[0].n_pictures, d->sample.n_pictures);
        CHECK_HAS(d->where, "x.jsonl: line 1");
        sampler_give_back(d);
        sampler_close(s);
        source_close(src);
        rig_close(&r);
    }
}

TEST(sampler_asks_in_one_form_where_it_shall) {
    struct rig r;
    struct source *src = source_of(&r, "{\"task\":[\"refer\",\"identify\"]," ANYTHING
                                       ",\"sentence\":\"The Dog.\",\"box\":[5,4,10,16]}");
    struct sampler_entry mix[] = {{.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1},
                                  {.source = src, .task = SAMPLE_IDENTIFY, .ratio = 1, .talks = 1}};
    for (int one = 0; one < 2; one++) {
        mix[0].has_one_form = mix[1].has_one_form = one;
        struct sampler *s = sampler_of(mix, 2, 1);
        int others = 0;
        for (uint64_t step = 0; step < 60; step++) {
            struct sampler_draw *d = drawn(s, step, 0);
            const char *asked = d->sample.talks[0].turns[0].question;
            others += strcmp(asked, "[refer] give me the location of the dog") != 0 &&
                      strncmp(asked, "[identify] {<", 13) != 0;
            sampler_give_back(d);
        }
        CHECK(one ? !others : others > 30);
        sampler_close(s);
    }
    source_close(src);
    rig_close(&r);
}

TEST(sampler_cleans_and_varies_what_it_trains_on) {
    struct rig r;
    struct source *src = source_of(&r, "{\"task\":\"refer\"," ANYTHING
                                       ",\"sentence\":\"The Dog.\",\"box\":[5,4,10,16]}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1, .weight = 0.5f}};
    struct sampler *s = sampler_of(mix, 1, 1);
    int first = 0;
    for (uint64_t step = 0; step < 100; step++) {
        struct sampler_draw *d = drawn(s, step, 0);
        CHECK_HAS(d->sample.talks[0].turns[0].question, "the dog");
        CHECK(d->sample.talks[0].weight == 0.5f);
        first += strcmp(d->sample.talks[0].turns[0].question, "[refer] the dog") == 0;
        const struct sample_thing *thing = &d->sample.things[0];
        CHECK_EQ(d->sample.n_things, 1);
        CHECK_STR(thing->text, "the dog");
        CHECK(!thing->mask && thing->box[0] == 0.25f && thing->box[2] == 0.5f &&
              thing->box[3] == 1);
        /* The box's tokens: columns 1 .. 1, rows 1 .. 3 of 4 x 4. */
        for (int i = 0; i < 16; i++)
            CHECK_EQ(d->sample.talks[0].hold[i], i % 4 == 1 && i / 4 >= 1);
        sampler_give_back(d);
    }
    CHECK(first > 3 && first < 35);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(sampler_masks_are_true_and_packed) {
    struct rig r;
    struct source *src = source_of(
        &r,
        "{\"task\":\"mask\"," ANYTHING ",\"sentence\":\"one\",\"mask\":[[0,0,10,0,10,16,0,16]]}\n"
        "{\"task\":\"mask\"," ANYTHING ",\"sentence\":\"two\",\"mask\":[[10,0,20,0,20,8,10,8]]}\n"
        "{\"task\":\"mask\"," ANYTHING
        ",\"sentence\":\"none\",\"mask\":{\"size\":[16,20],\"counts\":[320]}}\n");
    struct sampler *s;
    struct sampler_draw *d = only(src, SAMPLE_MASK, 90, 0, &s);
    int ones[3] = {0};
    CHECK_EQ(d->sample.n_talks, 90);
    for (uint32_t k = 0; k < 90; k++) {
        char word[10];
        int x, y;
        const struct sample_turn *t = d->sample.talks[k].turns;
        CHECK(sscanf(t->question, "[segmentation] %9s loc: [%d,%d] mask:", word, &y, &x) == 3);
        int is_one = strcmp(word, "one") == 0, is_two = strcmp(word, "two") == 0;
        int want = (is_one && x < 8) || (is_two && x >= 8 && y < 8);
        CHECK_STR(t->answer, want ? "1" : "0");
        ones[is_one ? 0 : is_two ? 1 : 2] += want;
    }
    CHECK_EQ(d->sample.n_things, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct sample_thing *thing = &d->sample.things[i];
        int is_one = strcmp(thing->text, "one") == 0, is_two = strcmp(thing->text, "two") == 0;
        for (int p = 0; p < GRID * GRID; p++)
            CHECK_EQ(thing->mask[p],
                     (is_one && p % GRID < 8) || (is_two && p % GRID >= 8 && p / GRID < 8));
    }
    CHECK(ones[0] >= 5 && ones[0] <= 25 && ones[1] >= 5 && ones[1] <= 25 && ones[2] == 0);
    sampler_give_back(d);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

/* What a sentence means is shown by its mask, where the line has one. */
TEST(sampler_things_are_masks_where_they_are_known) {
    struct rig r;
    struct source *src = source_of(&r, "{\"task\":[\"mask\",\"refer\"]," ANYTHING
                                       ",\"sentence\":\"one\",\"box\":[0,0,10,16],"
                                       "\"mask\":[[0,0,10,0,10,8,0,8]]}\n");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 4, .crop = 0.3f, .flip = 0.5f}};
    struct sampler *s = sampler_of(mix, 1, 1);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = drawn(s, step, 0);
        CHECK_EQ(d->sample.n_things, 1);
        const struct sample_thing *thing = &d->sample.things[0];
        int inside = 0;
        for (int p = 0; p < GRID * GRID; p++)
            inside += thing->mask[p];
        int above = 0;
        for (int p = 0; p < GRID; p++)
            above += thing->mask[p];
        CHECK(inside > 0 && above > 0 && !thing->mask[GRID * GRID - 1 - GRID / 2]);
        sampler_give_back(d);
    }
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(sampler_draws_lines_of_a_picture_in_turn) {
    struct rig r;
    struct buf b;
    int seen[10] = {0};
    buf_init(&b, 1 << 16);
    for (int i = 0; i < 10; i++)
        buf_printf(
            &b, "{\"task\":\"vqa\",\"image\":\"2.png\",\"question\":\"q\",\"answer\":\"%d\"}\n", i);
    struct source *src = source_of(&r, (const char *)b.p);
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_VQA, .ratio = 1, .talks = 4}};
    struct sampler *s = sampler_of(mix, 1, 1);
    for (uint64_t step = 0; step < 5; step++) { /* 20 talks: each line twice */
        struct sampler_draw *d = drawn(s, step, 0);
        CHECK(d->sample.n_talks == 4 && d->sample.pictures[0].w == 22);
        for (int k = 0; k < 4; k++)
            seen[atoi(d->sample.talks[k].turns[0].answer)]++;
        sampler_give_back(d);
    }
    for (int i = 0; i < 10; i++)
        CHECK_EQ(seen[i], 2);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
    buf_clear(&b);
}

TEST(sampler_never_mirrors_left_and_right) {
    struct rig r;
    struct source *src = source_of(&r, "{\"task\":\"refer\"," ANYTHING
                                       ",\"sentence\":\"the Left dog\",\"box\":[0,0,5,16]}\n"
                                       "{\"task\":\"refer\",\"image\":\"1.png\",\"sentence\":\"a "
                                       "leftover\",\"box\":[0,0,5,16]}\n");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1, .flip = 1}};
    struct sampler *s = sampler_of(mix, 1, 1);
    for (uint64_t step = 0; step < 8; step++) {
        struct sampler_draw *d = drawn(s, step, 0);
        int is_sided = strstr(d->sample.talks[0].turns[0].question, "left dog") != NULL;
        CHECK(is_sided == (d->sample.pictures[0].w == 20));
        CHECK_STR(d->sample.talks[0].turns[0].answer,
                  is_sided ? "{<0><0><25><100>}" : "{<76><0><100><100>}");
        sampler_give_back(d);
    }
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(sampler_steps_of_one_entry) {
    struct rig r;
    struct source *src =
        source_of(&r, ALL_PIXELS "{\"task\":\"caption\",\"image\":\"3.png\",\"caption\":\"c\"}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_PIXELS, .ratio = 1, .talks = 1},
        {.source = src, .task = SAMPLE_CAPTION, .ratio = 1, .talks = 1}};
    struct sampler *s;
    const struct sampler_options o = {
        .mix = mix, .n_mix = 2, .items = 7, .is_step_pure = 1, .form = form};
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    int steps[2] = {0};
    for (uint64_t step = 0; step < 10; step++) {
        uint32_t entry = 9;
        int widths = 0;
        for (uint32_t item = 0; item < 7; item++) {
            struct sampler_draw *d = drawn(s, step, item);
            if (item == 0) entry = d->entry;
            CHECK_EQ(d->entry, entry);
            widths |= 1 << (d->sample.pictures[0].w - 20);
            sampler_give_back(d);
        }
        CHECK_EQ(widths, entry == 0 ? 127 : 8); /* seven items: an epoch of pictures */
        steps[entry]++;
    }
    CHECK(steps[0] == 5 && steps[1] == 5);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

/* ---- what is set aside ---- */

/* The widths less 20 of all pictures that the entry shows, a bit each. */
static unsigned shown(const struct source *src, enum sample_task task, float held, int is_held) {
    const struct sampler_entry mix[] = {
        {.source = src, .task = task, .ratio = 1, .talks = 1, .held = held}};
    const struct sampler_options o = {
        .mix = mix, .n_mix = 1, .items = 1, .is_held = is_held, .form = form};
    struct sampler *s;
    unsigned seen = 0;
    if (sampler_open(&o, &s, NULL)) return 0;
    for (uint64_t step = 0; step < PICTURES; step++) {
        struct sampler_draw *d = drawn(s, step, 0);
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
    struct source *src = source_of(&r, (const char *)b.p);
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
        .mix = mix, .n_mix = 2, .items = 1, .is_held = 1, .form = form};
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = drawn(s, step, 0);
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
        .form = form};
    CHECK_EQ(sampler_open(&all, &s, &e), E_INVALID);
    CHECK_HAS(e.text, "no line for pixels that isn't set aside");
    source_close(src);
    rig_close(&r);
    buf_clear(&b);
}

/* ---- what is wrong ---- */

TEST(sampler_says_what_is_wrong) {
    struct rig r;
    struct source *src = source_of(&r, ALL_PIXELS);
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
            .mix = &wrong[i].m, .n_mix = 1, .items = wrong[i].items, .form = form};
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
    struct sampler_options o = {.mix = mix, .n_mix = 1, .items = 2, .is_plain = 1, .form = form};
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
    source_close(source_of(&r, "{\"task\":[\"mask\",\"refer\"]," ANYTHING
                               ",\"sentence\":\"one\",\"box\":"
                               "[0,0,9,9],\"mask\":[[0,0,9,0,9,9]]}\n" ALL_PIXELS));
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
            .mix = mix, .n_mix = 3, .items = 3, .bad_max = 9, .form = form};
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
