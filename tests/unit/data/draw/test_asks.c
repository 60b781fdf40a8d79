/* test_asks.c - what a sample asks of each task, and that its answers are true of the pictures that
 * are shown. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/picture/resize.h"
#include "kernels/base/buf.h"
#include "media/coco.h"
#include "sampler_rig.h"
#include "tests/check.h"

/* The only sample of one line, drawn plainly. */
static struct sampler_draw *only(const struct source *src, enum sample_task task, uint32_t talks,
                                 int is_plain, struct sampler **s) {
    const struct sampler_entry mix[] = {{.source = src, .task = task, .ratio = 1, .talks = talks}};
    struct err e = {0};
    const struct sampler_options o = {
        .mix = mix, .n_mix = 1, .items = 1, .is_plain = is_plain, .form = sampler_rig_form};
    if (sampler_open(&o, s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return sampler_rig_draw(*s, 0, 0);
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
        struct source *src = sampler_rig_source(&r, cases[i].line);
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
    struct source *src = sampler_rig_source(&r, "{\"task\":[\"refer\",\"identify\"]," ANYTHING
                                                ",\"sentence\":\"The Dog.\",\"box\":[5,4,10,16]}");
    struct sampler_entry mix[] = {{.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1},
                                  {.source = src, .task = SAMPLE_IDENTIFY, .ratio = 1, .talks = 1}};
    for (int one = 0; one < 2; one++) {
        mix[0].has_one_form = mix[1].has_one_form = one;
        struct sampler *s = sampler_rig_open(mix, 2, 1);
        int others = 0;
        for (uint64_t step = 0; step < 60; step++) {
            struct sampler_draw *d = sampler_rig_draw(s, step, 0);
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
    struct source *src = sampler_rig_source(&r, "{\"task\":\"refer\"," ANYTHING
                                                ",\"sentence\":\"The Dog.\",\"box\":[5,4,10,16]}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1, .weight = 0.5f}};
    struct sampler *s = sampler_rig_open(mix, 1, 1);
    int first = 0;
    for (uint64_t step = 0; step < 100; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
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

/* A question that says what it is about: its boxes' tokens; none: nothing of the picture. */
TEST(sampler_holds_what_a_question_is_about) {
    struct rig r;
    struct source *src = sampler_rig_source(
        &r,
        "{\"task\":\"vqa\"," ANYTHING ",\"question\":\"how many?\",\"answer\":\"2\","
        "\"about\":[[5,4,10,16],[15,0,20,3]]}\n"
        "{\"task\":\"vqa\"," ANYTHING ",\"question\":\"a cat?\",\"answer\":\"no\",\"about\":[]}\n"
        "{\"task\":\"vqa\"," ANYTHING ",\"question\":\"what?\",\"answer\":\"a dog\"}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_VQA, .ratio = 1, .talks = 3, .has_one_form = 1}};
    struct sampler *s = sampler_rig_open(mix, 1, 1);
    struct sampler_draw *d = sampler_rig_draw(s, 0, 0);
    int seen = 0;
    CHECK_EQ(d->sample.n_talks, 3);
    for (uint32_t i = 0; i < d->sample.n_talks; i++) {
        const struct sample_talk *talk = &d->sample.talks[i];
        int is_many = strstr(talk->turns[0].question, "how many") != NULL;
        if (strstr(talk->turns[0].question, "what")) {
            CHECK(!talk->hold);
            continue;
        }
        seen += is_many ? 1 : 2;
        for (int k = 0; k < 16; k++)
            CHECK_EQ(talk->hold[k], is_many && ((k % 4 == 1 && k / 4 >= 1) || k == 3));
    }
    CHECK_EQ(seen, 3);
    sampler_give_back(d);
    sampler_close(s);
    source_close(src);
    rig_close(&r);
}

TEST(sampler_masks_are_true_and_packed) {
    struct rig r;
    struct source *src = sampler_rig_source(
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
    struct source *src = sampler_rig_source(&r, "{\"task\":[\"mask\",\"refer\"]," ANYTHING
                                                ",\"sentence\":\"one\",\"box\":[0,0,10,16],"
                                                "\"mask\":[[0,0,10,0,10,8,0,8]]}\n");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 4, .crop = 0.3f, .flip = 0.5f}};
    struct sampler *s = sampler_rig_open(mix, 1, 1);
    for (uint64_t step = 0; step < 20; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
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
    struct source *src = sampler_rig_source(&r, (const char *)b.p);
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_VQA, .ratio = 1, .talks = 4}};
    struct sampler *s = sampler_rig_open(mix, 1, 1);
    for (uint64_t step = 0; step < 5; step++) { /* 20 talks: each line twice */
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
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
    struct source *src = sampler_rig_source(
        &r, "{\"task\":\"refer\"," ANYTHING ",\"sentence\":\"the Left dog\",\"box\":[0,0,5,16]}\n"
            "{\"task\":\"refer\",\"image\":\"1.png\",\"sentence\":\"a "
            "leftover\",\"box\":[0,0,5,16]}\n");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_REFER, .ratio = 1, .talks = 1, .flip = 1}};
    struct sampler *s = sampler_rig_open(mix, 1, 1);
    for (uint64_t step = 0; step < 8; step++) {
        struct sampler_draw *d = sampler_rig_draw(s, step, 0);
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
    struct source *src = sampler_rig_source(
        &r, ALL_PIXELS "{\"task\":\"caption\",\"image\":\"3.png\",\"caption\":\"c\"}");
    const struct sampler_entry mix[] = {
        {.source = src, .task = SAMPLE_PIXELS, .ratio = 1, .talks = 1},
        {.source = src, .task = SAMPLE_CAPTION, .ratio = 1, .talks = 1}};
    struct sampler *s;
    const struct sampler_options o = {
        .mix = mix, .n_mix = 2, .items = 7, .is_step_pure = 1, .form = sampler_rig_form};
    CHECK_EQ(sampler_open(&o, &s, NULL), 0);
    int steps[2] = {0};
    for (uint64_t step = 0; step < 10; step++) {
        uint32_t entry = 9;
        int widths = 0;
        for (uint32_t item = 0; item < 7; item++) {
            struct sampler_draw *d = sampler_rig_draw(s, step, item);
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
