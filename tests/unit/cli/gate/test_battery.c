/* test_battery.c - scenes drawn by code: what is said of them is so, and a seed always gives the
 * same. */
#include "cli/gate/battery.h"

#include <stdlib.h>
#include <string.h>

#include "cli/gate/scene.h"
#include "tests/check.h"

enum { S = SCENE_SIDE };

static void check_thing(const struct scene *s, int i) {
    const struct scene_thing *t = &s->things[i];
    int x1 = S, y1 = S, x2 = 0, y2 = 0, area = 0;
    for (int p = 0; p < S * S; p++) {
        if (s->ids[p] != i + 1) continue;
        int x = p % S, y = p / S;
        x1 = x < x1 ? x : x1;
        y1 = y < y1 ? y : y1;
        x2 = x + 1 > x2 ? x + 1 : x2;
        y2 = y + 1 > y2 ? y + 1 : y2;
        area++;
    }
    CHECK(area >= 30);
    CHECK(t->box[0] == x1 && t->box[1] == y1 && t->box[2] == x2 && t->box[3] == y2);
    for (int k = 0; k < i; k++)
        CHECK(s->things[k].shape != t->shape);
}

TEST(gate_scenes_are_true) {
    static struct scene s, again;
    int counts[SCENE_THINGS + 1] = {0};
    for (uint64_t seed = 0; seed < 40; seed++) {
        scene_draw(seed, &s);
        scene_draw(seed, &again);
        CHECK_MEM(s.rgb, again.rgb, sizeof(s.rgb));
        CHECK(s.n >= 1 && s.n <= SCENE_THINGS);
        counts[s.n]++;
        for (int i = 0; i < s.n; i++)
            check_thing(&s, i);
    }
    for (int n = 1; n <= SCENE_THINGS; n++)
        CHECK(counts[n] > 0);
}

TEST(gate_pictures_differ) {
    static uint8_t a[S * S * 3], b[S * S * 3];
    for (uint64_t seed = 0; seed < 12; seed++) {
        int least = 255, most = 0;
        scene_picture(seed, a);
        scene_picture(seed + 1, b);
        CHECK(memcmp(a, b, sizeof(a)) != 0);
        for (int i = 0; i < 3 * S * S; i++) {
            least = a[i] < least ? a[i] : least;
            most = a[i] > most ? a[i] : most;
        }
        CHECK(most - least > 40); /* something is to be seen */
    }
}

static void check_item(const struct exam_item *x, enum sample_task task) {
    CHECK(x->n_pictures == 1 && x->pictures[0].rgb && x->pictures[0].w == S);
    CHECK(!x->text == (task == SAMPLE_PIXELS));
    CHECK(!x->mask == (task != SAMPLE_MASK));
    CHECK_EQ(x->n_answers, task == SAMPLE_VQA);
    if (task == SAMPLE_REFER || task == SAMPLE_MASK) CHECK(x->box[2] > x->box[0]);
    if (task != SAMPLE_MASK) return;
    size_t inside = 0;
    for (int p = 0; p < S * S; p++) {
        int is_in =
            p % S >= x->box[0] && p % S < x->box[2] && p / S >= x->box[1] && p / S < x->box[3];
        CHECK(!x->mask[p] || is_in);
        inside += x->mask[p];
    }
    CHECK(inside > 0);
}

TEST(gate_battery_asks) {
    struct battery *b = battery_open();
    struct err e = {0};
    uint32_t yes = 0, there = 0;
    for (int t = 0; t < SAMPLE_TASKS; t++)
        for (uint32_t i = 0; i < battery_count((enum sample_task)t); i++) {
            struct exam_item x;
            uint64_t cluster;
            CHECK_EQ(battery_read(b, (enum sample_task)t, i, &cluster, &x, &e), 0);
            check_item(&x, (enum sample_task)t);
            if (t == SAMPLE_VQA && strncmp(x.text, "is there", 8) == 0) {
                there++;
                yes += strcmp(x.answers[0], "yes") == 0;
            }
            exam_clear(&x);
        }
    CHECK(there == BATTERY_SCENES && yes == there / 2); /* saying yes always is right by half */
    CHECK(battery_guess_box(b)[2] > battery_guess_box(b)[0]);
    CHECK_STR(battery_guess_word(b, 2), "yes");
    battery_close(b);
}
