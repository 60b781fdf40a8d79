/* test_merge.c - a LoRA added to pieces of a matrix, against the sums one by one, to the bit. */
#include "engine/files/merge.h"

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/check.h"

enum { ROWS = 5 };

static float *merge_numbers(size_t n, uint64_t which) {
    float *x = mem_must(n * sizeof *x + 1);
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(test_seed() + which, i);
    return x;
}

/* The matrix as it is said: one number after the other, each a sum over ascending j. */
static void merge_plain(const struct merge *m, float *w) {
    for (size_t i = 0; i < ROWS * m->width; i++) {
        float delta = 0;
        for (size_t j = 0; j < m->r; j++)
            delta += m->b[i / m->width * m->r + j] * m->a[j * m->width + i % m->width];
        w[i] += m->scale * delta;
    }
}

/* Pieces of `most` numbers: all of them come out as the whole does. */
static void check_pieces(size_t r, size_t width, size_t most) {
    size_t n = ROWS * width;
    float *a = merge_numbers(r * width, 1), *b = merge_numbers(ROWS * r, 2);
    float *want = merge_numbers(n, 3), *got = merge_numbers(n, 3);
    struct merge m = {a, b, r, width, 0.37f, merge_numbers(r * MERGE_COLUMNS, 4)};
    merge_plain(&m, want);
    for (size_t at = 0; at < n; at += most) {
        float *piece = mem_must((most + 1) * sizeof *piece);
        size_t here = n - at < most ? n - at : most;
        memcpy(piece, got + at, here * sizeof *piece);
        piece[here] = 77;
        merge_add(&m, at, piece, here);
        CHECK(piece[here] == 77);
        memcpy(got + at, piece, here * sizeof *piece);
        mem_free(piece);
    }
    CHECK_MEM(got, want, n * sizeof *got);
    mem_free(a);
    mem_free(b);
    mem_free(m.panel);
    mem_free(want);
    mem_free(got);
}

TEST(merge_adds_the_same_wherever_pieces_end) {
    static const size_t widths[] = {1, 7, MERGE_COLUMNS, MERGE_COLUMNS + 1, 200};
    static const size_t ranks[] = {1, 3, 64};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++)
            for (size_t most = 1; most < 3 * widths[w]; most += 1 + widths[w] / 6)
                check_pieces(ranks[k], widths[w], most);
}

TEST(merge_adds_nothing_to_nothing) {
    float one = 1, panel[MERGE_COLUMNS], x = 5;
    struct merge m = {&one, &one, 1, 1, 1, panel};
    merge_add(&m, 0, &x, 0);
    CHECK(x == 5);
    merge_add(&m, 0, &x, 1);
    CHECK(x == 6);
}
