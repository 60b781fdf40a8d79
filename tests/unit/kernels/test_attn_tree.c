/* test_attn_tree.c - attention over the prompt tree: passes of every shape, and the same list of
 * keys asked for as spans, as own rows, as tails, in one group or in many, which must give the same
 * bits each time. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/rig.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/tree.h"

static const float *pass_run(struct rig *r, struct pool *p, const struct pass *s) {
    struct tensor y = tensor_out(r, s->rows, p->width, 1);
    struct kern_attn_tree a = pass_args(r, p, s, &y);
    RUN_ON(r, attn_tree, &a);
    return tensor_get(r, &y);
}

/* The truth is about the keys as they lie in the pool. On the tensor cores the plain version's q is
 * rounded to what is multiplied there: fp16, or bf16 like the pool; f32 keys, too. */
static void pass_check(struct rig *r, struct pool *p, const struct pass *s) {
    const float *got = pass_run(r, p, s);
    size_t cells = (size_t)(s->rows * p->width);
    size_t pool = SLOTS * (size_t)p->width;
    size_t heads = SLOTS * (size_t)p->heads;
    const float *pk = host_heads(p->k, heads, p->size, p->type);
    const float *pv = host_heads(p->v, heads, p->size, p->type);
    enum kern_dtype way = !rig_is_16bit(r) ? KERN_F32 : p->type == KERN_F32 ? KERN_F16 : p->type;
    const float *rk = host_rounded(pk, pool, way), *rv = host_rounded(pv, pool, way);
    double *want = host_f64(cells), scores64[KEYS];
    float *plain = host_f32(cells), scores32[KEYS];
    for (int i = 0; i < s->rows; i++) {
        for (int h = 0; h < p->width; h += p->size) {
            const float *k[KEYS], *v[KEYS], scale = 1 / sqrtf((float)p->size);
            for (int j = 0; j < s->n_keys[i]; j++) {
                k[j] = pk + s->keys[i][j] * p->width + h;
                v[j] = pv + s->keys[i][j] * p->width + h;
            }
            int at = i * p->width + h;
            plain_attend_f64(s->q[i] + h, k, v, s->n_keys[i], p->size, scale, scores64, want + at);
            for (int j = 0; j < s->n_keys[i]; j++) {
                k[j] = rk + s->keys[i][j] * p->width + h;
                v[j] = rv + s->keys[i][j] * p->width + h;
            }
            const float *q = host_rounded(s->q[i] + h, (size_t)p->size, way);
            plain_attend_f32(q, k, v, s->n_keys[i], p->size, scale, scores32, plain + at);
        }
    }
    if (way == KERN_F32) tol_check("attn_tree", got, want, plain, cells);
    if (way == KERN_F16) tol_check_f16("attn_tree", got, want, plain, cells);
    if (way == KERN_BF16) tol_check_bf16("attn_tree", got, want, plain, cells);
}

/* A pass like the engine's: two stems being prefilled, lanes behind stems with private tails, lanes
 * without any stem. */
static struct pass *mixed_pass(struct rig *r, const struct pool *p) {
    struct pass *s = host_take(sizeof(*s));
    int tail[9];
    group_begin(s, 0); /* the first rows of a stem: nothing before them */
    for (int i = 0; i < 17; i++)
        group_row(s, host_random(r, (size_t)p->width, 1), NULL, 0);
    group_begin(s, 150); /* a later chunk of a stem in two runs */
    group_span(s, 100, 33);
    group_span(s, 140, 10);
    for (int i = 0; i < 40; i++)
        group_row(s, host_random(r, (size_t)p->width, 1), NULL, 0);
    for (int g = 0; g < 3; g++) { /* lanes behind stems */
        group_begin(s, -1);
        group_span(s, g == 1 ? 300 : 100, g == 1 ? 129 : 88);
        if (g == 2) group_span(s, 520, 1);
        for (int i = 0; i < (g == 0 ? 1 : 88); i++) {
            int n = 1 + host_below(r, 9);
            for (int t = 0; t < n; t++)
                tail[t] = 430 + host_below(r, 80); /* in no order, shared between lanes */
            group_row(s, host_random(r, (size_t)p->width, 1), tail, n);
        }
    }
    group_begin(s, -1); /* no stem at all */
    tail[0] = 599;
    group_row(s, host_random(r, (size_t)p->width, 1), tail, 1);
    return s;
}

/* On every backend, with pools of every type that it takes. */
#define POOL_TEST(id)                                                                          \
    static void pool_##id(struct rig *r, enum kern_dtype type);                                \
    OP_TEST_TILE(id) {                                                                         \
        for (int type = KERN_F32; type <= KERN_INT8; type++)                                   \
            if (rig_takes_pool(r, (enum kern_dtype)type)) pool_##id(r, (enum kern_dtype)type); \
    }                                                                                          \
    static void pool_##id(struct rig *r, enum kern_dtype type)

POOL_TEST(attn_tree_is_right_for_stems_lanes_and_what_lies_between) {
    static const int shapes[][2] = {{2, 16}, {1, 32}, {2, 88}, {1, 128}, {3, 6}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct pool p;
        pool_make(r, &p, type, shapes[i][0], shapes[i][1]);
        pass_check(r, &p, mixed_pass(r, &p));
    }
}

/* Lanes behind stems that end anywhere in a kernel's block of keys, with tails of several such
 * blocks or of nothing, long and short ones next to each other. */
POOL_TEST(attn_tree_tails_are_as_long_as_they_like) {
    static const int stems[] = {1, 31, 32, 53, 95};
    struct pool p;
    pool_make(r, &p, type, 2, 24);
    size_t row_bytes = (size_t)p.width * sizeof(float);
    for (size_t i = 0; i < ARRAY_LEN(stems); i++) {
        struct pass *s = host_take(sizeof(*s)), *one = host_take(sizeof(*one));
        int tail[100];
        group_begin(s, -1);
        group_span(s, 7, stems[i]);
        for (int row = 0; row < 37; row++) {
            int n = row % 3 == 0 ? host_below(r, 100) : host_below(r, 12);
            for (int t = 0; t < n; t++)
                tail[t] = 200 + host_below(r, 300);
            group_row(s, host_random(r, (size_t)p.width, 1), tail, n);
        }
        pass_check(r, &p, s);
        const float *all = pass_run(r, &p, s);
        for (int row = 0; row < s->rows; row += 5) {
            memset(one, 0, sizeof(*one));
            group_begin(one, -1);
            group_row(one, s->q[row], s->keys[row], s->n_keys[row]);
            CHECK_MEM(pass_run(r, &p, one), all + row * p.width, row_bytes);
        }
    }
}

/* Rows that go along paths of the tree, some keys a row, have the bits that they have alone. */
POOL_TEST(attn_tree_rows_go_along_paths) {
    struct pool p;
    pool_make(r, &p, type, 2, 24);
    size_t row_bytes = (size_t)p.width * sizeof(float);
    for (int most = 1; most < 30; most += 9) {
        struct pass *s = host_take(sizeof(*s)), *one = host_take(sizeof(*one));
        int tail[100];
        group_begin(s, -1);
        group_span(s, 7, 85);
        for (int t = 0; t < 100; t++)
            tail[t] = 200 + host_below(r, 300);
        for (int row = 0, n = 0; row < 120; row++) {
            n += 1 + host_below(r, 3);
            if (n > most) { /* another path, which begins as this one does */
                n = host_below(r, most);
                for (int t = n; t < 100; t++)
                    tail[t] = 200 + host_below(r, 300);
            }
            group_row(s, host_random(r, (size_t)p.width, 1), tail, n);
        }
        pass_check(r, &p, s);
        const float *all = pass_run(r, &p, s);
        for (int row = 0; row < s->rows; row += 1 + host_below(r, 9)) {
            memset(one, 0, sizeof(*one));
            group_begin(one, -1);
            group_row(one, s->q[row], s->keys[row], s->n_keys[row]);
            CHECK_MEM(pass_run(r, &p, one), all + row * p.width, row_bytes);
        }
    }
}

POOL_TEST(attn_tree_takes_an_empty_pass) {
    struct pool p;
    pool_make(r, &p, type, 1, 16);
    pass_run(r, &p, host_take(sizeof(struct pass)));
}

POOL_TEST(attn_tree_survives_large_scores) {
    struct pool p;
    pool_make(r, &p, type, 1, 16);
    for (int i = 0; i < SLOTS * p.width; i++)
        p.k[i] *= 1000;
    struct pass *s = mixed_pass(r, &p);
    const float *y = pass_run(r, &p, s);
    for (int i = 0; i < s->rows * p.width; i++)
        CHECK(isfinite(y[i]) && fabsf(y[i]) < 10);
}

/* The heart of the product, in three parts. One: every row of a pass, alone in a pass of its
 * own. */
POOL_TEST(attn_tree_row_has_the_same_bits_alone) {
    struct pool p;
    pool_make(r, &p, type, 2, 24);
    struct pass *s = mixed_pass(r, &p), *one = host_take(sizeof(*one));
    const float *all = pass_run(r, &p, s);
    for (int g = 0; g < s->n_groups; g++) {
        const struct kern_attn_group *from = &s->groups[g];
        for (int row = from->row0; row < from->row0 + from->rows; row += 1 + host_below(r, 20)) {
            memset(one, 0, sizeof(*one));
            group_begin(one, -1);
            for (int i = 0; i < from->spans; i++)
                group_span(one, s->spans[from->span0 + i].slot, s->spans[from->span0 + i].len);
            int own = from->own_slot >= 0 ? row - from->row0 + 1 : 0;
            int *rest = s->keys[row] + s->n_keys[row] - own;
            if (!own) {
                own = s->tail_off[row + 1] - s->tail_off[row];
                rest = s->tail + s->tail_off[row];
            }
            group_row(one, s->q[row], rest, own);
            CHECK_MEM(pass_run(r, &p, one), all + row * p.width, (size_t)p.width * sizeof(float));
        }
    }
}

/* Two: the same list of keys, cut into spans, own rows and tail in every way. */
POOL_TEST(attn_tree_row_depends_on_its_list_alone_however_it_is_cut) {
    enum { LEN = 150, FIRST = 40 };
    struct pool p;
    pool_make(r, &p, type, 2, 24);
    const float *q = host_random(r, (size_t)p.width, 1), *want = NULL;
    for (int way = 0; way < 12; way++) {
        struct pass *s = host_take(sizeof(*s));
        int cut = way < 2 ? way * LEN : 1 + host_below(r, LEN - 1), tail[LEN], row = 0;
        if (way % 3 == 0) { /* prefill in one or two chunks: the row is the last of its group */
            group_begin(s, FIRST + (cut == LEN ? 0 : cut));
            if (cut > 0 && cut < LEN) group_span(s, FIRST, cut);
            row = LEN - 1 - (cut == LEN ? 0 : cut);
            for (int i = 0; i <= row; i++)
                group_row(s, q, NULL, 0);
        } else { /* a lane behind a stem in one to four runs */
            if (cut == LEN) cut--;
            group_begin(s, -1);
            for (int at = 0; at < cut;) {
                int len = way % 3 == 1 ? cut : 1 + host_below(r, cut - at);
                group_span(s, FIRST + at, len);
                at += len;
            }
            for (int i = cut; i < LEN; i++)
                tail[i - cut] = FIRST + i;
            group_row(s, q, tail, LEN - cut);
        }
        CHECK_EQ(s->n_keys[row], LEN);
        const float *got = pass_run(r, &p, s) + row * p.width;
        if (want) CHECK_MEM(got, want, (size_t)p.width * sizeof(float));
        want = got;
    }
}

/* Three: where in the pool the keys lie is nobody's business. */
POOL_TEST(attn_tree_row_has_the_same_bits_wherever_its_keys_are_stored) {
    enum { STEM = 70, TAIL = 5 };
    struct pool p;
    pool_make(r, &p, type, 2, 24);
    size_t row_bytes = (size_t)p.width * sizeof(float);
    float *k = host_random(r, (size_t)((STEM + TAIL) * p.width), 1);
    float *v = host_random(r, (size_t)((STEM + TAIL) * p.width), 1);
    const float *q = host_random(r, (size_t)p.width, 1), *want = NULL;
    for (int stem_at = 0; stem_at < 530; stem_at += 77) {
        struct pass *s = host_take(sizeof(*s));
        int tail[TAIL];
        for (int i = 0; i < TAIL; i++)
            tail[i] = (stem_at + STEM + i * 97) % SLOTS;
        for (int i = 0; i < STEM + TAIL; i++) {
            int slot = i < STEM ? stem_at + i : tail[i - STEM];
            memcpy(p.k + slot * p.width, k + i * p.width, row_bytes);
            memcpy(p.v + slot * p.width, v + i * p.width, row_bytes);
        }
        group_begin(s, -1);
        group_span(s, stem_at, STEM);
        group_row(s, q, tail, TAIL);
        const float *got = pass_run(r, &p, s);
        if (want) CHECK_MEM(got, want, row_bytes);
        want = got;
    }
}
