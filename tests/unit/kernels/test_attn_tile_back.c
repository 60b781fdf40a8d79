/* test_attn_tile_back.c - the way back behind CUDA's attention on the tensor cores, which rounds q,
 * k and v to fp16 on its way there. The truth is what the strict mode makes of them, which others
 * prove (test_attn_full_back.c, test_attn_tree_back.c); the plain version what it makes of them
 * rounded. Skipped without a device. */
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"
#include "tests/unit/kernels/tree.h"

#define TEST_TILE(id)                                                \
    static void op_##id(struct rig *r);                              \
    TEST_LIMIT(id##_cuda, 120) { rig_run("cuda", "tile", op_##id); } \
    static void op_##id(struct rig *r)

/* ---- pictures ---- */
struct full {
    int images, tokens, heads, size;
};

/* dqkv (rows, 3*width). The scale is a power of two, so that q may be rounded before it. */
static const float *full_back(struct rig *r, struct full f, const float *qkv, const float *dy) {
    int width = f.heads * f.size, rows = f.images * f.tokens;
    struct tensor x = tensor_in(r, qkv, rows, 3 * width, 3), y = tensor_out(r, rows, width, 1);
    struct tensor lse = tensor_out(r, rows, f.heads, 0), tdy = tensor_in(r, dy, rows, width, 1);
    struct tensor d = tensor_out(r, rows, 3 * width, 5);
    struct kern_attn_full fwd = {f.images, f.tokens, f.heads, f.size, 0.125f,  x.p,
                                 x.ld,     y.p,      y.ld,    lse.p,  KERN_F32};
    RUN_ON(r, attn_full, &fwd);
    RUN(r, train->attn_full_back, struct kern_attn_full_back, fwd, tdy.p, tdy.ld, d.p, d.ld);
    return tensor_get(r, &d);
}

TEST_TILE(attn_tile_full_back_is_right) {
    static const struct full all[] = {{2, 3, 3, 32},  {1, 1, 1, 16},   {2, 17, 2, 88},
                                      {1, 70, 1, 64}, {1, 40, 1, 128}, {2, 33, 1, 6}};
    struct rig strict;
    rig_open(&strict, "cuda", "strict", 1);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct full f = all[i];
        size_t cells = (size_t)(f.images * f.tokens) * (size_t)(f.heads * f.size);
        const float *qkv = host_random(r, 3 * cells, 1.5f), *dy = host_random(r, cells, 1e-9f);
        const float *rounded = host_rounded(qkv, 3 * cells, KERN_F16);
        tol_check_f16("dqkv", full_back(r, f, qkv, dy),
                      host_widened(full_back(&strict, f, qkv, dy), 3 * cells),
                      full_back(&strict, f, rounded, dy), 3 * cells);
    }
    rig_close(&strict);
}

/* ---- the tree ---- */
enum { STEM = 40, LANES = 21 };

/* A stem whose rows see each other, and lanes behind it, four to a branch. */
static struct pass *lanes_pass(struct rig *r, const struct pool *p) {
    struct pass *s = host_take(sizeof *s);
    group_begin(s, 3);
    for (int i = 0; i < STEM; i++)
        group_row(s, host_random(r, (size_t)p->width, 1), NULL, 0);
    group_begin(s, -1);
    group_span(s, 3, STEM);
    for (int i = 0; i < LANES; i++)
        group_row(s, host_random(r, (size_t)p->width, 1), (int[]){100 + i / 4, 200 + i}, 2);
    return s;
}

static void add_users(struct rig *r, const struct pass *s, struct kern_attn_tree_back *a) {
    int32_t *slot = host_take(SLOTS * 4), *off = host_take((SLOTS + 1) * 4);
    int32_t *user = host_take(TAILS * 4);
    int n = 0, at = 0;
    for (int i = 0; i < SLOTS; i++) {
        off[n] = at;
        for (int row = 0; row < s->rows; row++) {
            for (int t = s->tail_off[row]; t < s->tail_off[row + 1]; t++)
                if (s->tail[t] == i) user[at++] = row;
        }
        if (at > off[n]) slot[n++] = i;
    }
    off[n] = at;
    a->n_users = n;
    a->host_user_off = off;
    a->user_slot = rig_put(r, slot, SLOTS * 4);
    a->user_off = rig_put(r, off, (SLOTS + 1) * 4);
    a->user = rig_put(r, user, TAILS * 4);
}

/* dq (rows, width), then dk and dv (SLOTS, width), then the loss of a hold, in a row. */
static const float *tree_back(struct rig *r, const struct pool *p, const struct pass *s,
                              const float *dy) {
    size_t rows = (size_t)s->rows * (size_t)p->width, pool = (size_t)SLOTS * (size_t)p->width;
    static const struct kern_attn_hold hold = {STEM + 2, 1, 0, 3, 1e-9f};
    static const int32_t held[] = {5, 30, 100};
    const float *zeros = host_f32(pool);
    struct tensor y = tensor_out(r, s->rows, p->width, 1),
                  lse = tensor_out(r, s->rows, p->heads, 0);
    struct tensor tdy = tensor_in(r, dy, s->rows, p->width, 1);
    struct tensor dq = tensor_out(r, s->rows, p->width, 3), loss = tensor_out(r, 1, 1, 0);
    struct tensor dk = tensor_in(r, zeros, SLOTS, p->width, 0);
    struct tensor dv = tensor_in(r, zeros, SLOTS, p->width, 0);
    struct kern_attn_tree_back a = {.fwd = pass_args(r, p, s, &y), .dy = tdy.p, .lddy = tdy.ld};
    a.fwd.lse = lse.p;
    RUN_ON(r, attn_tree, &a.fwd);
    a.dq = dq.p, a.lddq = dq.ld, a.dk = dk.p, a.dv = dv.p;
    add_users(r, s, &a);
    a.holds = &hold, a.n_holds = 1, a.dev_holds = rig_put(r, &hold, sizeof hold);
    a.hold_slots = rig_put(r, held, sizeof held), a.hold_loss = loss.p;
    RUN_ON(r, train->attn_tree_back, &a);
    float *all = host_f32(rows + 2 * pool + 1);
    memcpy(all, tensor_get(r, &dq), rows * sizeof *all);
    memcpy(all + rows, tensor_get(r, &dk), pool * sizeof *all);
    memcpy(all + rows + pool, tensor_get(r, &dv), pool * sizeof *all);
    all[rows + 2 * pool] = *tensor_get(r, &loss);
    return all;
}

TEST_TILE(attn_tile_tree_back_is_right) {
    static const int shapes[][2] = {{2, 16}, {1, 64}};
    struct rig strict;
    rig_open(&strict, "cuda", "strict", 1);
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct pool p, rounded;
        pool_make(r, &p, KERN_F32, shapes[i][0], shapes[i][1]);
        size_t width = (size_t)p.width, pool = SLOTS * width;
        struct pass *s = lanes_pass(r, &p), *rough = host_take(sizeof *rough);
        *rough = *s;
        for (int row = 0; row < s->rows; row++)
            rough->q[row] = host_rounded(s->q[row], width, KERN_F16);
        rounded = p;
        rounded.k = host_rounded(p.k, pool, KERN_F16);
        rounded.v = host_rounded(p.v, pool, KERN_F16);
        size_t rows = (size_t)s->rows * width, n[] = {rows, pool, pool, 1}, at = 0;
        const float *dy = host_random(r, rows, 1e-9f), *got = tree_back(r, &p, s, dy);
        const float *want = tree_back(&strict, &p, s, dy);
        const float *plain = tree_back(&strict, &rounded, rough, dy);
        static const char *const what[] = {"dq", "dk", "dv", "loss"};
        for (size_t t = 0; t < ARRAY_LEN(n); at += n[t++])
            tol_check_f16(what[t], got + at, host_widened(want + at, n[t]), plain + at, n[t]);
    }
    rig_close(&strict);
}
