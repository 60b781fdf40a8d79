/* test_metric.c - the metrics of docs/model.md section 7 on cases worked out by hand. */
#include "cli/eval/metric.h"

#include "kernels/base/err.h"
#include "tests/check.h"

#define BOX(...) ((double[4]){__VA_ARGS__})

TEST(eval_iou_adds_a_pixel) {
    CHECK_NEAR(metric_iou(BOX(0, 0, 9, 9), BOX(0, 0, 9, 9)), 1, 0);
    /* widths 10 and 10, 5 in common: 50 of 150 */
    CHECK_NEAR(metric_iou(BOX(0, 0, 9, 9), BOX(5, 0, 14, 9)), 50.0 / 150, 1e-12);
    /* side by side without a pixel in common; but boxes that touch share a line of the +1 */
    CHECK_NEAR(metric_iou(BOX(0, 0, 9, 9), BOX(10, 0, 19, 9)), 0, 0);
    CHECK_NEAR(metric_iou(BOX(0, 0, 10, 9), BOX(10, 0, 20, 9)), 10.0 / 210, 1e-12);
    CHECK_NEAR(metric_iou(BOX(5, 5, 5, 5), BOX(5, 5, 5, 5)), 1, 0);     /* one pixel, not none */
    CHECK_NEAR(metric_iou(BOX(10, 10, 0, 0), BOX(0, 0, 10, 10)), 0, 0); /* turned around */
    CHECK_NEAR(metric_iou(BOX(1, 0, 0, 0), BOX(1, 0, 0, 0)), 0, 0);     /* no union at all */
}

TEST(eval_hit_is_strictly_over_a_half) {
    /* 10 x 10 in 10 x 20: just a half; one line more is over it */
    CHECK(!metric_hit(BOX(0, 0, 9, 9), BOX(0, 0, 9, 19)));
    CHECK(metric_hit(BOX(0, 0, 9, 10), BOX(0, 0, 9, 19)));
    /* the +1 makes a hit: 1*1 of 2*1 without, 2*2 of 3*2 with it */
    CHECK(metric_hit(BOX(0, 0, 1, 1), BOX(0, 0, 2, 1)));
}

TEST(eval_boxes_in_hundredths) {
    uint8_t spoken[4];
    double box[4];
    metric_box_pixels((uint8_t[4]){0, 25, 50, 100}, 640, 480, box);
    CHECK(box[0] == 0 && box[1] == 120 && box[2] == 320 && box[3] == 480);
    metric_box_spoken(BOX(6.3, 120, 639.9, 481), 640, 480, spoken); /* truncated, kept inside */
    CHECK(spoken[0] == 0 && spoken[1] == 25 && spoken[2] == 99 && spoken[3] == 100);
    metric_box_spoken(BOX(-3, 6.4, 12.9, 0), 640, 480, spoken);
    CHECK(spoken[0] == 0 && spoken[1] == 1 && spoken[2] == 2 && spoken[3] == 0);
}

TEST(eval_boxes_on_the_grid) {
    struct metric_cells c = metric_box_cells((uint8_t[4]){0, 1, 50, 100}, 64);
    CHECK(c.x1 == 0 && c.y1 == 0 && c.x2 == 32 && c.y2 == 64);
    c = metric_box_cells((uint8_t[4]){2, 51, 51, 52}, 64); /* 1.28, 32.64, 32.64, 33.28 */
    CHECK(c.x1 == 1 && c.y1 == 32 && c.x2 == 33 && c.y2 == 34);
    c = metric_box_cells((uint8_t[4]){50, 0, 50, 9}, 64);
    CHECK(c.x2 <= c.x1);
    c = metric_pixel_cells(BOX(10, -3, 11, 500), 640, 480, 64);
    CHECK(c.x1 == 1 && c.x2 == 2 && c.y1 == 0 && c.y2 == 64);
}

TEST(eval_vizwiz_is_a_third_each) {
    const char *people[] = {"red", "red", "dark red", "red", "red", "unanswerable"};
    CHECK_NEAR(metric_vizwiz("red", people, 6), 1, 0);
    CHECK_NEAR(metric_vizwiz("red", people, 2), 2.0 / 3, 1e-12);
    CHECK_NEAR(metric_vizwiz("dark red", people, 6), 1.0 / 3, 1e-12);
    CHECK_NEAR(metric_vizwiz("blue", people, 6), 0, 0);
}

TEST(eval_says_whole_words) {
    CHECK(metric_says("a red t-shirt on a floor", "t-shirt"));
    CHECK(metric_says("a red t-shirt on a floor", "shirt")); /* a hyphen ends a word */
    CHECK(metric_says("apple", "apple"));
    CHECK(metric_says("pineapples, an apple", "apple")); /* the second one */
    CHECK(!metric_says("pineapples", "apple"));
    CHECK(!metric_says("apples", "apple"));
    CHECK(metric_says("a traffic light.", "traffic light"));
    CHECK(!metric_says("", "a"));
    CHECK(!metric_says("caf\xc3\xa9s", "caf")); /* bytes above 127 are letters */
}

/* 7 of 10: (0.7 + z^2/20 -+ z sqrt(0.021 + z^2/400)) / (1 + z^2/10), with z^2 = 3.841459. */
TEST(eval_wilson) {
    double low, high;
    metric_wilson(7, 10, &low, &high);
    CHECK_NEAR(low, 0.396778, 1e-6);
    CHECK_NEAR(high, 0.892209, 1e-6);
    metric_wilson(0, 10, &low, &high);
    CHECK_NEAR(low, 0, 1e-12);
    CHECK_NEAR(high, 3.841459 / 13.841459, 1e-6);
    metric_wilson(10, 10, &low, &high);
    CHECK_NEAR(low, 10 / 13.841459, 1e-6);
    CHECK_NEAR(high, 1, 1e-12);
}

TEST(eval_best_constant) {
    struct metric_vote votes[] = {{"count", "2", 1}, {"yesno", "yes", 1},   {"count", "3", 1},
                                  {"count", "2", 1}, {"yesno", "no", 1},    {"yesno", "no", 1},
                                  {"odd", "2", 1},   {"odd", "no", 1.0 / 3}};
    const char *answer;
    CHECK_NEAR(metric_best_constant(votes, ARRAY_LEN(votes), "count", &answer), 2, 0);
    CHECK_STR(answer, "2");
    CHECK_NEAR(metric_best_constant(votes, ARRAY_LEN(votes), "yesno", &answer), 2, 0);
    CHECK_STR(answer, "no");
    CHECK_NEAR(metric_best_constant(votes, ARRAY_LEN(votes), NULL, &answer), 3, 0);
    CHECK_STR(answer, "2");
    CHECK_NEAR(metric_best_constant(votes, 0, NULL, &answer), 0, 0);
    CHECK_STR(answer, "");
}

TEST(eval_median_is_the_lower_middle) {
    CHECK_EQ(metric_median((int[]){10, 3, 20}, 3), 10);
    CHECK_EQ(metric_median((int[]){10, 3, 20, 4}, 4), 4);
    CHECK_EQ(metric_median(NULL, 0), 0);
}
