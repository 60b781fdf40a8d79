/* test_lt_choose.c - which algorithms of cuBLASLt serve how many rows: only those with the base's
 * bytes, whatever their attributes say and however fast they are. The stand-in of the emulated card
 * (tests/cuda/emu/fake_lt.cc) offers some that look good and are not. Time is what it says that
 * its products take, so that nothing here depends on the machine's speed. */
#include <dlfcn.h>

#include "kernels/base/half.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"
#include "tests/cuda/emu/fake_lt.h"
#include "tests/unit/kernels/emu_rig.h"

enum {
    K = 96,
    N_MOST = 48,
    M = 128,
    WIDE = 32000,
    BASE = 12,
    BASE_CODES = 10,
    TWIN = FAKE_LT_TWIN
};

enum kind { BF16, F16, CODES, SCALED, KINDS };
static const int columns[KINDS] = {40, 40, 40, 48}; /* scales want whole 16 of them */

struct card {
    const struct kern_ops *ops;
    struct kern *k;
    struct emu_control *emu;
    struct fake_lt_control *lt;
    int notes;
    char note[400];
    struct kern_ptr x, y, bias;
};

static void take_note(void *ud, const char *text) {
    struct card *c = ud;
    CHECK(strlen(text) < sizeof c->note);
    memcpy(c->note, text, strlen(text) + 1);
    c->notes++;
}

static struct kern_ptr put(struct card *c, size_t n, uint64_t stream) {
    static float x[M * K];
    struct kern_ptr p;
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(test_seed() + stream, i);
    CHECK_EQ(c->ops->alloc(c->k, n * sizeof *x, &p, NULL), 0);
    c->ops->put(c->k, p, x, n * sizeof *x);
    return p;
}

static void buffers(struct card *c) {
    c->x = put(c, M * K, 1);
    c->bias = put(c, N_MOST, 3);
    CHECK_EQ(c->ops->alloc(c->k, sizeof(float) * M * WIDE, &c->y, NULL), 0);
}

/* A card on which every matrix is worth a choice, among `more` algorithms or the usual ones. */
static void card_open(struct card *c, const char *isa, int more) {
    struct err e = {0};
    *c = (struct card){0};
    if (kern_find("cuda", &c->ops, &e)) skip("%s", e.text);
    c->emu = emu_find(c->ops);
    if (!c->emu) skip("no emulated card");
    c->emu->l2 = 1;
    c->emu->is_timed = 1;
    c->emu->memory = 0;
    const struct kern_config cfg = {.isa = isa, .note = take_note, .note_ud = c};
    CHECK_EQ(c->ops->open(&cfg, &c->k, &e), 0);
    void *library = dlopen(FAKE_LT_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    c->lt = library ? dlsym(library, FAKE_LT_CONTROL) : NULL;
    if (!c->lt) skip("cuda: needs the stand-in for cuBLASLt, see make test-cuda-emu");
    *c->lt = (struct fake_lt_control){.more = more};
    buffers(c);
}

static void card_close(struct card *c) {
    CHECK_EQ(c->ops->sync(c->k, NULL), 0);
    c->ops->close(c->k);
}

/* Random numbers, or zeros; memory for proofs of 128 rows. */
static struct kern_mat *matrix(struct card *c, enum kind kind, int is_zero) {
    static uint16_t w[N_MOST * K];
    enum kern_dtype type = kind == F16 ? KERN_F16 : KERN_BF16;
    struct kern_mat *m = NULL;
    for (size_t i = 0; i < N_MOST * K; i++) {
        float v = is_zero ? 0 : rng_normal(test_seed() + 4, i);
        w[i] = type == KERN_F16 ? half_to_f16(v) : half_to_bf16(v);
    }
    struct kern_mat_part part = {w, columns[kind], type};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = K};
    if (kind >= CODES) src.keep = KERN_KEEP_FP8;
    if (!c->emu->memory) c->emu->memory = kind == CODES ? 180 << 10 : 36 << 20;
    CHECK_EQ(c->ops->mat_new(c->k, &src, &m, NULL), 0);
    c->emu->memory = 0;
    return m;
}

struct way {
    int rows, has_bias, accumulate, ldy;
};

/* y (M, WIDE) after a product. */
static void multiply(struct card *c, const struct kern_mat *m, struct way w, float *y) {
    static float before[M * WIDE];
    size_t n = (size_t)w.rows * (size_t)w.ldy;
    struct kern_gemm a = {.m = w.rows,
                          .x = c->x,
                          .ldx = K,
                          .w = m,
                          .y = c->y,
                          .ldy = w.ldy,
                          .accumulate = w.accumulate};
    if (w.has_bias) a.bias = c->bias;
    for (size_t i = 0; i < n; i++)
        before[i] = (float)(i % 11);
    c->ops->put(c->k, c->y, before, n * sizeof *y);
    c->ops->gemm(c->k, &a);
    CHECK_EQ(c->ops->get(c->k, y, c->y, n * sizeof *y, NULL), 0);
}

static uint64_t bits_of(struct card *c) {
    struct kern_stats s;
    c->ops->stats(c->k, &s);
    return s.bits;
}

/* What the log is told of the i-th kind of matrices. */
static const char *told(struct card *c, int i) {
    static char text[4000];
    int n = c->ops->products(c->k, i, text, sizeof text);
    CHECK(n >= 0 && n < (int)sizeof text);
    if (!n) text[0] = '\0';
    CHECK_EQ(strlen(text), n);
    return text;
}

/* Of one kind of matrix, in all ways, at numbers of rows on both sides of each bound: the bytes of
 * a card that knows one algorithm alone. */
static void check_kind(enum kind kind) {
    static const int rows[] = {1, 7, 8, 9, 16, 17, 40, 41, 42, 63, 64, 65, 100, 128};
    static float want[M * WIDE], got[M * WIDE];
    struct card plain, many;
    card_open(&plain, "tile+base", 0);
    struct kern_mat *by_base = matrix(&plain, kind, 0);
    uint64_t name = bits_of(&plain);
    card_open(&many, NULL, 1);
    struct kern_mat *m = matrix(&many, kind, 0);
    CHECK_HAS(many.note, "id 15, ");
    CHECK_HAS(many.note, "rows have other bits in other company, so it is not taken");
    for (size_t i = 0; i < ARRAY_LEN(rows) * 4; i++) {
        struct way w = {rows[i / 4], i % 2, i / 2 % 2, i % 5 == 4 ? WIDE : N_MOST};
        multiply(&plain, by_base, w, want);
        CHECK_EQ(plain.lt->by, kind == CODES ? BASE_CODES : BASE);
        multiply(&many, m, w, got);
        CHECK_MEM(got, want, (size_t)w.rows * (size_t)w.ldy * sizeof *got);
        CHECK_EQ(many.lt->by, w.rows <= FAKE_LT_TWIN_ROWS ? TWIN
                              : kind == CODES             ? BASE_CODES
                                                          : BASE);
    }
    CHECK_EQ(bits_of(&many), name); /* which of the same bits is fastest is nobody's business */
    card_close(&plain);
    card_close(&many);
}

TEST_LIMIT(cublaslt_choice_of_bf16_has_the_bits_of_the_base, 120) { check_kind(BF16); }
TEST_LIMIT(cublaslt_choice_of_fp16_has_the_bits_of_the_base, 120) { check_kind(F16); }
TEST_LIMIT(cublaslt_choice_of_codes_has_the_bits_of_the_base, 120) { check_kind(CODES); }
TEST_LIMIT(cublaslt_choice_of_scaled_codes_has_the_bits_of_the_base, 120) { check_kind(SCALED); }

/* Also on the way back. */
TEST_LIMIT(cublaslt_choice_is_told, 120) {
    struct card c;
    card_open(&c, NULL, 1);
    CHECK_STR(told(&c, 0), "");
    struct kern_mat *m = matrix(&c, BF16, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_HAS(told(&c, i), i ? "40 x 96 bf16, bias: id 12, " : "40 x 96 bf16: id 12, ");
        CHECK_HAS(told(&c, i), ", proved for 128 rows; ");
        CHECK_HAS(told(&c, i), ", 1 failed; to 8 rows id 13, ");
        CHECK_HAS(told(&c, i), ", 50.0 us for 100.0; to 16 rows id 13, ");
        CHECK_HAS(told(&c, i), "; to 64 rows id 13, ");
        CHECK(!strstr(told(&c, i), "to 128 rows") && !strstr(told(&c, i), "0 unequal"));
        for (int id = TWIN + 1; id <= TWIN + 5; id++) {
            char text[8] = {'i', 'd', ' ', '1', (char)('0' + id % 10), ',', '\0'};
            CHECK(!strstr(told(&c, i), text));
        }
    }
    CHECK_HAS(told(&c, 2), "proved and chosen in ");
    CHECK_STR(told(&c, 3), "");
    c.ops->mat_free(c.k, m);
    CHECK_HAS(told(&c, 2), "proved and chosen in ");
    card_close(&c);
}

/* Layers share it; another shape, or another type, has its own. */
TEST_LIMIT(cublaslt_choice_is_made_once_for_a_shape, 120) {
    struct card c;
    card_open(&c, NULL, 1);
    (void)matrix(&c, BF16, 0);
    int asked = c.lt->asked, products = c.lt->products;
    uint64_t name = bits_of(&c);
    for (int layer = 1; layer < 3; layer++)
        (void)matrix(&c, BF16, 0);
    CHECK_EQ(c.lt->asked, asked);
    CHECK_EQ(c.lt->products, products);
    CHECK_EQ(bits_of(&c), name);
    (void)matrix(&c, F16, 0);
    CHECK(c.lt->asked > asked && c.lt->products > products && bits_of(&c) != name);
    card_close(&c);
}

/* The base takes over, in the same bits; and our own product when that fails, too. */
TEST_LIMIT(cublaslt_choice_that_fails_gives_way_to_the_base, 120) {
    static float want[M * N_MOST], got[M * N_MOST];
    for (int kind = 0; kind < KINDS; kind++) {
        struct card c;
        card_open(&c, NULL, 1);
        struct kern_mat *m = matrix(&c, (enum kind)kind, 0),
                        *other = matrix(&c, (enum kind)kind, 0);
        struct way w = {16, 0, 0, N_MOST}, fewer = {13, 0, 0, N_MOST}, few = {8, 0, 0, N_MOST};
        uint64_t name = bits_of(&c);
        int notes = c.notes, base = kind == CODES ? BASE_CODES : BASE;
        multiply(&c, m, w, want);
        CHECK_EQ(c.lt->by, TWIN);
        c.lt->fail_rows = 16;
        c.lt->fail_by = TWIN;
        for (int i = 0; i < 2; i++) {
            multiply(&c, m, w, got);
            CHECK_MEM(got, want, (size_t)w.rows * N_MOST * sizeof *got);
            CHECK_EQ(c.lt->by, base);
            CHECK_EQ(c.notes, notes + 1);
        }
        CHECK_HAS(c.note, "cuBLASLt failed for 16 rows by ");
        CHECK_HAS(c.note, "with the algorithm for up to 16 rows: another from now on");
        c.lt->fail_by = 0;
        c.lt->fail_rows = 0;
        multiply(&c, other, fewer, got); /* the shape's, not the matrix's */
        CHECK_EQ(c.lt->by, base);
        multiply(&c, m, few, got);
        CHECK_EQ(c.lt->by, TWIN);
        CHECK_EQ(bits_of(&c), name);
        c.lt->fail_rows = 16;
        multiply(&c, m, w, got);
        CHECK_HAS(c.note, "our own product from now on");
        CHECK(bits_of(&c) != name); /* like no other from now on */
        card_close(&c);
    }
}

struct issued {
    struct card *c;
    struct kern_mat *m;
    int n;
};

static void issue_eight(void *ud) {
    struct issued *i = ud;
    i->c->ops->gemm(i->c->k,
                    &(struct kern_gemm){
                        .m = 8, .x = i->c->x, .ldx = K, .w = i->m, .y = i->c->y, .ldy = N_MOST});
    i->n++;
}

/* In a recorded pass it may be the capture that failed: the pass comes again, plainly. */
TEST_LIMIT(cublaslt_choice_that_fails_in_a_recorded_pass_keeps_the_bits, 120) {
    static float want[8 * N_MOST], got[8 * N_MOST];
    struct card c;
    card_open(&c, "auto+graphs", 1);
    struct kern_mat *m = matrix(&c, BF16, 0);
    multiply(&c, m, (struct way){8, 0, 0, N_MOST}, want);
    int notes = c.notes;
    for (int pass = 0; pass < 4; pass++) { /* seen; recorded; in vain; plainly */
        struct issued i = {&c, m, 0};
        c.lt->fail_rows = pass == 2 ? 8 : 0;
        c.lt->fail_by = TWIN;
        c.ops->pass(c.k, 1, issue_eight, &i);
        CHECK_EQ(i.n, 1 + (pass == 2));
        CHECK_EQ(c.notes, notes + (pass >= 2));
        CHECK_EQ(c.ops->get(c.k, got, c.y, sizeof got, NULL), 0);
        for (int row = 0; row < 8; row++)
            CHECK_MEM(got + row * N_MOST, want + row * N_MOST, 40 * sizeof *got);
    }
    card_close(&c);
}

/* Zeros are the same in any order: the next matrix of the shape is asked. */
TEST_LIMIT(cublaslt_choice_is_not_made_by_a_matrix_that_proves_nothing, 120) {
    struct card c;
    card_open(&c, NULL, 1);
    (void)matrix(&c, BF16, 1);
    CHECK_HAS(told(&c, 0), ", nothing to prove it by");
    (void)matrix(&c, BF16, 0);
    CHECK_HAS(told(&c, 0), ": id 12, ");
    CHECK_HAS(told(&c, 0), ", proved for 128 rows; ");
    card_close(&c);
}

/* Not worth it, not wanted: the first that keeps the rules, for all rows. Little room is no reason:
 * the stage has some, or there are fewer rows. */
TEST_LIMIT(cublaslt_choice_needs_a_large_matrix, 120) {
    static const char *const why[] = {", unproved", ", unproved", ", proved for 512 rows",
                                      ", proved for 64 rows"};
    for (int i = 0; i < 4; i++) {
        struct card c;
        card_open(&c, i == 1 ? "tile+base" : NULL, 0);
        int mallocs = c.emu->mallocs;
        if (i == 0) c.emu->l2 = 0; /* the usual one */
        c.ops->close(c.k);
        CHECK_EQ(c.ops->open(&(struct kern_config){.isa = i == 1 ? "tile+base" : NULL}, &c.k, NULL),
                 0);
        if (i == 2) c.emu->memory = 1 << 20;
        if (i == 3) c.emu->refuse[EMU_MALLOC] = 2; /* behind the matrix; the other end has room */
        (void)matrix(&c, BF16, 0);
        CHECK_HAS(told(&c, 0), why[i]);
        CHECK_HAS(told(&c, 1), i == 3 ? ", proved for 128 rows" : why[i]);
        CHECK_EQ(c.emu->mallocs, mallocs - 3 + 1); /* x, y and bias are gone, the matrix is there */
        card_close(&c);
    }
}

/* Row 0 alone, among eight and among all. */
static void check_company(struct card *c, const struct kern_mat *m, int n) {
    static const int rows[] = {1, 8, M};
    static float want[M * N_MOST], got[M * N_MOST];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        multiply(c, m, (struct way){rows[i], 0, 0, N_MOST}, i ? got : want);
        if (i) CHECK_MEM(got, want, (size_t)n * sizeof *got);
    }
}

/* Choosing has an end, proofs have none: each base is the right one, however late it comes. */
TEST_LIMIT(cublaslt_choice_has_its_time, 120) {
    struct card c;
    card_open(&c, NULL, 1);
    c.lt->slow = 1;
    for (int kind = 0, i = 0; kind < KINDS; kind++) {
        struct kern_mat *m = matrix(&c, (enum kind)kind, 0);
        for (int ends = kind >= CODES ? 1 : 2; ends > 0; ends--, i++) {
            CHECK_HAS(told(&c, i), kind == CODES ? ": id 10, " : ": id 12, ");
            CHECK_HAS(told(&c, i), ", proved for 128 rows; ");
            CHECK_HAS(told(&c, i), ", time was over");
            CHECK(!strstr(told(&c, i), "to 64 rows"));
        }
        check_company(&c, m, columns[kind]);
    }
    card_close(&c);
}

/* As many rows as four pictures have in the tower. */
TEST_LIMIT(cublaslt_choice_is_proved_for_four_pictures, 120) {
    struct card c;
    card_open(&c, NULL, 0);
    c.lt->first = FAKE_LT_CROWD;
    c.emu->memory = 64 << 20;
    (void)matrix(&c, CODES, 0);
    CHECK_HAS(c.note, "id 19, ");
    CHECK_HAS(told(&c, 0), ": id 10, ");
    CHECK_HAS(told(&c, 0), ", proved for 4608 rows; ");
    card_close(&c);
}

/* The bytes may be there from a call before. */
TEST_LIMIT(cublaslt_choice_has_no_gaps, 120) {
    for (int kind = 0; kind < KINDS; kind++) {
        struct card c;
        card_open(&c, NULL, 0);
        c.lt->first = FAKE_LT_GAPS;
        struct kern_mat *m = matrix(&c, (enum kind)kind, 0);
        CHECK_HAS(c.note, "id 20, ");
        CHECK_HAS(told(&c, 0), kind == CODES ? ": id 10, " : ": id 12, ");
        CHECK_HAS(told(&c, 0), ", proved for 128 rows; ");
        CHECK(!strstr(told(&c, 0), "id 20"));
        check_company(&c, m, columns[kind]);
        card_close(&c);
    }
}

/* Rows in 16 bits and a bias that lie no better than callers promise are multiplied, too. */
static void check_aligned(size_t x, size_t bias) {
    struct card c;
    card_open(&c, NULL, 0);
    struct kern_gemm a = {.m = 8,
                          .x = kern_at(c.x, x),
                          .x_dtype = KERN_BF16,
                          .ldx = K,
                          .w = matrix(&c, BF16, 0),
                          .y = c.y,
                          .ldy = N_MOST};
    if (bias) a.bias = kern_at(c.bias, bias);
    c.ops->gemm(c.k, &a);
    CHECK_EQ(c.lt->by, BASE);
    CHECK_EQ(c.notes, 0);
    card_close(&c);
}

TEST_LIMIT(cublaslt_choice_takes_rows_aligned_to_16, 120) { check_aligned(16, 0); }
TEST_LIMIT(cublaslt_choice_takes_a_bias_aligned_to_16, 120) { check_aligned(0, 16); }

/* The same bases on another chip are not the same bits. */
TEST_LIMIT(cublaslt_choice_is_named_with_its_chip, 120) {
    uint64_t name[3];
    for (int i = 0; i < 3; i++) {
        struct card c = {0};
        if (kern_find("cuda", &c.ops, NULL)) skip("no cuda");
        c.emu = emu_find(c.ops);
        if (!c.emu) skip("no emulated card");
        c.emu->major = i == 1 ? 10 : 0;
        c.emu->processors = i == 2 ? 114 : 0;
        card_open(&c, NULL, 0);
        name[i] = bits_of(&c);
        for (int j = 0; j < i; j++)
            CHECK(name[j] != name[i]);
        card_close(&c);
    }
}

/* Where the library or the card has no scales for codes, they go by the stage as before. */
TEST_LIMIT(cublaslt_scales_of_codes_are_put_where_that_can_be, 120) {
    enum { SCALES, NONE_OF_LIBRARY, NONE_OF_CARD, NOT_IN_16S, CASES };
    static float with[M * N_MOST], without[M * N_MOST];
    struct way w = {33, 1, 1, N_MOST};
    struct card c = {0};
    for (int i = 0; i < CASES; i++) {
        char text[400];
        if (i) c.emu->major = i == NONE_OF_CARD ? 8 : 0;
        card_open(&c, "tile+base", 0);
        c.lt->no_scales = i == NONE_OF_LIBRARY;
        struct kern_mat *m = matrix(&c, i == NOT_IN_16S ? CODES : SCALED, 0);
        CHECK(c.ops->mat_describe(c.k, m, text, sizeof text) > 0);
        CHECK_EQ(strstr(text, ", with scales") != NULL, i == SCALES);
        multiply(&c, m, w, i ? without : with);
        for (int j = 0; j < w.rows * N_MOST && i != NOT_IN_16S; j++)
            if (i) CHECK_NEAR(with[j], without[j], 1e-4);
        card_close(&c);
    }
}
