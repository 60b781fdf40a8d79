/* test_pos_back.c - the way back through rotary angles, embeddings and gathering. */
#include "tests/unit/kernels/plain.h"
#include "tests/unit/kernels/tol.h"
#include "tests/unit/kernels/train_rig.h"

struct rope_case {
    int rows, heads, size;
    double theta;
};

static struct tensor run_rope(struct rig *r, struct rope_case c, const float *dqkv,
                              const float *pool[2], const int32_t *pos, const int32_t *slot,
                              int slots) {
    int width = c.heads * c.size;
    struct tensor t = tensor_in(r, dqkv, c.rows, 3 * width, 5);
    size_t bytes = (size_t)c.rows * sizeof *pos + !c.rows;
    TRAIN(r, rope_back, struct kern_rope_back, c.rows, c.heads, c.size, c.theta, t.p, t.ld,
          rig_put(r, pos, bytes), rig_put(r, slot, bytes), tensor_in(r, pool[0], slots, width, 0).p,
          tensor_in(r, pool[1], slots, width, 0).p);
    return t;
}

static void check_rope(struct rig *r, struct rope_case c) {
    int width = c.heads * c.size, slots = c.rows + 7;
    size_t w = (size_t)width, rows = (size_t)c.rows;
    float *dqkv = host_random(r, rows * 3 * w, 1);
    const float *pool[] = {host_random(r, (size_t)slots * w, 1),
                           host_random(r, (size_t)slots * w, 1)};
    int32_t *pos = host_take((rows + 1) * 4), *slot = host_take((rows + 1) * 4);
    struct truth q = truth_from(NULL, rows * w), k = truth_from(NULL, rows * w);
    for (size_t i = 0; i < rows * 2 * w; i++)
        dqkv[i / (2 * w) * 3 * w + w + i % (2 * w)] = NAN; /* is not read */
    for (int i = 0; i < c.rows; i++) {
        pos[i] = i == 0 ? 0 : i == 1 ? 4095 : host_below(r, 2000);
        slot[i] = slots - 3 - i;
        for (int h = 0; h < width; h += c.size) {
            const float *dq = dqkv + i * 3 * width + h, *dk = pool[0] + slot[i] * width + h;
            plain_turn_f64(dq, c.size, -pos[i], c.theta, q.want + i * width + h);
            plain_turn_f32(dq, c.size, -pos[i], c.theta, q.plain + i * width + h);
            plain_turn_f64(dk, c.size, -pos[i], c.theta, k.want + i * width + h);
            plain_turn_f32(dk, c.size, -pos[i], c.theta, k.plain + i * width + h);
        }
    }
    struct tensor t = run_rope(r, c, dqkv, pool, pos, slot, slots);
    const float *got = tensor_get(r, &t);
    float *got_q = host_f32(rows * w), *got_k = host_f32(rows * w);
    for (size_t i = 0; i < rows; i++) {
        memcpy(got_q + i * w, got + i * 3 * w, w * sizeof *got);
        memcpy(got_k + i * w, got + i * 3 * w + w, w * sizeof *got);
        CHECK_MEM(got + i * 3 * w + 2 * w, pool[1] + (size_t)slot[i] * w, w * sizeof *got);
    }
    truth_check("dq", &q, got_q);
    truth_check("dk", &k, got_k);
}

TRAIN_TEST(rope_back_turns_back_and_takes_from_its_slot) {
    check_rope(r, (struct rope_case){0, 2, 16, 10000});
    check_rope(r, (struct rope_case){1, 1, 2, 10000});
    check_rope(r, (struct rope_case){17, 3, 32, 10000});
    check_rope(r, (struct rope_case){88, 2, 88, 10000});
    check_rope(r, (struct rope_case){3, 4, 128, 500000});
    check_rope(r, (struct rope_case){257, 1, 16, 10000});
}

/* A turn keeps products: <turn(x), y> = <x, turn back(y)>, through rope itself. */
TRAIN_TEST(rope_back_is_the_transpose_of_rope) {
    enum { ROWS = 23, HEADS = 2, SIZE = 16, W = HEADS * SIZE, CELLS = ROWS * W };
    const float *qkv = host_random(r, CELLS * 3, 1), *dq = host_random(r, CELLS * 3, 1);
    const float *dpool[] = {host_random(r, CELLS, 1), host_random(r, CELLS, 1)};
    int32_t pos[ROWS], slot[ROWS];
    for (int i = 0; i < ROWS; i++)
        pos[i] = host_below(r, 500), slot[i] = (i * 7 + 3) % ROWS;
    struct tensor x = tensor_in(r, qkv, ROWS, 3 * W, 1);
    struct tensor k = tensor_out(r, ROWS, W, 0), v = tensor_out(r, ROWS, W, 0);
    RUN(r, rope, struct kern_rope, ROWS, HEADS, SIZE, 10000, x.p, x.ld, rig_put(r, pos, sizeof pos),
        rig_put(r, slot, sizeof slot), k.p, v.p, KERN_F32);
    struct tensor d =
        run_rope(r, (struct rope_case){ROWS, HEADS, SIZE, 10000}, dq, dpool, pos, slot, ROWS);
    const float *turned = tensor_get(r, &x), *back = tensor_get(r, &d);
    const float *pool[] = {tensor_get(r, &k), tensor_get(r, &v)};
    double there = 0, here = 0;
    for (int i = 0; i < CELLS; i++) {
        int at = i / W * 3 * W + i % W;
        there += (double)turned[at] * (double)dq[at];
        for (int j = 0; j < 2; j++)
            there += (double)pool[j][i] * (double)dpool[j][i];
        for (int j = 0; j < 3; j++)
            here += (double)qkv[at + j * W] * (double)back[at + j * W];
    }
    CHECK_NEAR(there, here, 1e-4);
}

/* ---- embeddings ---- */
enum { VOCAB = 40, FEATS = 19, FROM = 600 };

/* Where the rows came from, the other way round. */
struct sources {
    int n;
    int32_t key[VOCAB + FEATS], off[VOCAB + FEATS + 1], from[FROM];
};

static void sources_of(struct sources *s, const int32_t *src) {
    int at = 0;
    *s = (struct sources){0};
    for (int key = -FEATS; key < VOCAB; key++) {
        s->off[s->n] = at;
        for (int i = 0; i < FROM; i++)
            if (src[i] == key) s->from[at++] = i;
        if (at > s->off[s->n]) s->key[s->n++] = key;
    }
    s->off[s->n] = at;
}

static void check_embed(struct rig *r, int width, int wants) {
    size_t w = (size_t)width;
    int32_t src[FROM];
    struct sources s;
    for (int i = 0; i < FROM; i++) /* token 5 is the usual one; some never come */
        src[i] = host_below(r, 2)   ? 5
                 : host_below(r, 2) ? host_below(r, VOCAB - 3)
                                    : ~host_below(r, FEATS - 2);
    sources_of(&s, src);
    const float *dy = host_random(r, FROM * w, 1);
    const float *begin[] = {host_random(r, VOCAB * w, 1), host_random(r, FEATS * w, 1)};
    struct tensor table = tensor_in(r, begin[0], VOCAB, width, 0);
    struct tensor feats = tensor_in(r, begin[1], FEATS, width, 0);
    struct truth t[] = {truth_from(begin[0], VOCAB * w), truth_from(begin[1], FEATS * w)};
    TWICE(r, embed_back, struct kern_embed_back, .sources = s.n, .width = width,
          .key = rig_put(r, s.key, sizeof s.key), .off = rig_put(r, s.off, sizeof s.off),
          .from = rig_put(r, s.from, sizeof s.from), .dy = tensor_in(r, dy, FROM, width, 0).p,
          .dtable = {wants & 1 ? table.p.addr : NULL}, .dfeats = {wants & 2 ? feats.p.addr : NULL});
    for (size_t i = 0; i < 2 * FROM * w; i++) {
        size_t row = i / w % FROM, c = i % w;
        int is_feat = src[row] < 0;
        if (!(wants & (is_feat ? 2 : 1))) continue;
        size_t to = (size_t)(is_feat ? ~src[row] : src[row]) * w + c;
        t[is_feat].want[to] += (double)dy[row * w + c];
        t[is_feat].plain[to] += dy[row * w + c];
    }
    truth_check("dtable", &t[0], tensor_get(r, &table));
    truth_check("dfeats", &t[1], tensor_get(r, &feats));
}

TRAIN_TEST(embed_back_adds_what_came_from_one_place) {
    static const int widths[] = {1, 17, 64, 130};
    for (size_t i = 0; i < ARRAY_LEN(widths); i++)
        check_embed(r, widths[i], 3);
    for (int wants = 0; wants < 3; wants++)
        check_embed(r, 9, wants);
}

TRAIN_TEST(gather_back_adds_to_its_rows) {
    enum { ANY = 90, WIDTH = 33 };
    static const int counts[] = {0, 1, 3, 17, 88};
    for (size_t s = 0; s < ARRAY_LEN(counts); s++) {
        const float *dy = host_random(r, (size_t)counts[s] * WIDTH, 1);
        const float *begin = host_random(r, ANY * WIDTH, 1);
        int32_t index[88];
        for (int i = 0; i < 88; i++)
            index[i] = (i * 77 + 89) % ANY;
        struct tensor dx = tensor_in(r, begin, ANY, WIDTH, 0);
        struct truth t = truth_from(begin, ANY * WIDTH);
        TWICE(r, gather_back, struct kern_gather_back, counts[s], WIDTH,
              rig_put(r, index, sizeof index), tensor_in(r, dy, counts[s], WIDTH, 0).p, dx.p);
        for (int i = 0; i < 2 * counts[s] * WIDTH; i++) {
            int row = i / WIDTH % (counts[s] ? counts[s] : 1), c = i % WIDTH;
            t.want[index[row] * WIDTH + c] += (double)dy[row * WIDTH + c];
            t.plain[index[row] * WIDTH + c] += dy[row * WIDTH + c];
        }
        truth_check("gather back", &t, tensor_get(r, &dx));
    }
}
