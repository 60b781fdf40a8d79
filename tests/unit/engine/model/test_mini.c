/* test_mini.c - the default model through the engine's door: what the PyTorch oracle answers to
 * three hundred pixel questions about one picture (tools/oracle/make_golden.py, mini), lammd
 * answers.
 */
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

enum { QUESTIONS_MAX = 512 };

struct golden {
    char digest[65];
    struct eng_point points[QUESTIONS_MAX];
    int rgb[QUESTIONS_MAX][3];
    float prob[QUESTIONS_MAX][3];
    uint32_t n;
};

static void golden_read(struct golden *g) {
    FILE *f = fopen("tests/golden/mini/answers-mode.txt", "r");
    CHECK(f != NULL);
    CHECK_EQ(fscanf(f, "%64s", g->digest), 1);
    for (;;) {
        int x, y, *c = g->rgb[g->n];
        float *p = g->prob[g->n];
        if (fscanf(f, "%d %d %d %d %d %f %f %f", &x, &y, c, c + 1, c + 2, p, p + 1, p + 2) != 8)
            break;
        g->points[g->n++] = (struct eng_point){(uint16_t)x, (uint16_t)y};
        CHECK(g->n < QUESTIONS_MAX);
    }
    fclose(f);
    CHECK(g->n > 200);
}

static struct eng_picture *read_picture(struct eng *eng, int side) {
    char path[64];
    size_t bytes = (size_t)side * (size_t)side * 3;
    uint8_t *rgb = mem_must(bytes);
    struct eng_picture *picture;
    struct err e = {0};
    snprintf(path, sizeof path, "tests/golden/pictures/%d.rgb", side);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    CHECK_EQ(fread(rgb, 1, bytes, f), bytes);
    fclose(f);
    CHECK_EQ(eng_picture_new(eng, rgb, side, side, &picture, &e), 0);
    mem_free(rgb);
    return picture;
}

TEST(model_mini_answers_like_the_oracle) {
    struct golden *g = mem_must(sizeof *g);
    struct eng *eng;
    struct eng_job *job;
    struct err e = {0};
    golden_read(g);
    struct eng_options opt = {.model = "models/lamm-mini", .device = "auto", .threads = 2};
    if (eng_open(&opt, &eng, &e)) printf("%s\n", e.text);
    CHECK_EQ(e.code, 0);
    /* A new edition needs new golden answers: make_golden.py tests/golden mini models/lamm-mini */
    CHECK_STR(eng_info(eng)->digest, g->digest);
    struct eng_picture *picture = read_picture(eng, eng_info(eng)->image_size);
    struct eng_ask ask = {.pictures = &picture,
                          .n_pictures = 1,
                          .points = g->points,
                          .n_points = g->n,
                          .distribution = 1};
    CHECK_EQ(eng_submit(eng, &ask, &job, &e), 0);
    uint32_t n = 0;
    while (eng_job_state(job) < ENG_DONE) {
        eng_job_answers(job, &n);
        CHECK_EQ(eng_job_wait(job, n, UINT64_MAX), 0);
    }
    CHECK_EQ(eng_job_state(job), ENG_DONE);
    const struct eng_answer *a = eng_job_answers(job, &n);
    CHECK_EQ(n, g->n);
    for (uint32_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) {
            CHECK_EQ(a[i].rgb[c], g->rgb[a[i].point][c]);
            CHECK_NEAR(a[i].prob[c], g->prob[a[i].point][c], 1e-3);
        }
    eng_job_put(job);
    eng_picture_put(picture);
    eng_close(eng);
    mem_free(g);
}
