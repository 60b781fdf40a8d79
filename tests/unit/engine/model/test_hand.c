/* test_hand.c - what operations hand over to products in 16 bits: a whole model has the same bits
 * as when all of it is f32, and the device less to do. */
#include "tests/unit/engine/model/model_rig.h"
#include "tests/unit/kernels/emu_rig.h"

enum { ROUNDINGS = 4 }; /* passes over x that a layer or a block of the tower is spared */

static int launches(const struct rig *r) {
    struct emu_control *card = emu_find(r->ops);
    return card ? card->calls[EMU_LAUNCH] : 0;
}

struct said {
    float *feats, *probs;
    size_t n_feats, n_probs;
    int of_tower, of_pass; /* launches; 0 on a real card */
};

static struct said say(const char *mode, const struct rig_file *f, int is_wide) {
    struct rig r;
    struct said s = {0};
    struct err e = {0};
    struct rig_pass *p = mem_must(sizeof *p);
    rig_kern(&r, mode);
    if (is_wide) rig_wide(&r, rig_f32);
    CHECK_EQ(model_open_tensors(&f->c, f->st, r.ops, r.k, &r.m, &e), 0);
    rig_ready(&r, RIG_ROWS, 512);
    s.n_feats = (size_t)f->c.n_image_tokens * (size_t)f->c.text.hidden_size;
    s.n_probs = 2 * (size_t)f->c.text.vocab_size;
    s.feats = mem_must(s.n_feats * sizeof *s.feats);
    int before = launches(&r);
    rig_encode(&r, 0);
    s.of_tower = launches(&r) - before;
    CHECK_EQ(r.ops->get(r.k, s.feats, r.m->feats, s.n_feats * sizeof *s.feats, NULL), 0);
    rig_begin(&r, p);
    for (int i = 0; i < 20; i++)
        rig_row(p, i < 4 ? ~i : i, i, i);
    rig_group(p, 0, 0, 0);
    rig_pick(p, 3);
    rig_pick(p, 19);
    before = launches(&r);
    s.probs = rig_run(&r, p);
    s.of_pass = launches(&r) - before;
    mem_free(p);
    rig_close(&r);
    return s;
}

static void hand_over(const char *dir, enum st_dtype type, const char *mode, int is_whole) {
    struct rig_file f;
    rig_make(&f, dir, type);
    struct said narrow = say(mode, &f, 0), wide = say(mode, &f, 1);
    CHECK_MEM(narrow.feats, wide.feats, wide.n_feats * sizeof *wide.feats);
    CHECK_MEM(narrow.probs, wide.probs, wide.n_probs * sizeof *wide.probs);
    printf("%s %s: launches of the tower %d, not %d; of a pass %d, not %d\n", mode, dir,
           narrow.of_tower, wide.of_tower, narrow.of_pass, wide.of_pass);
    if (is_whole && narrow.of_pass) { /* and one of the connector, and of the head */
        CHECK_EQ(wide.of_tower - narrow.of_tower, ROUNDINGS * f.c.vision.layers + 1);
        CHECK_EQ(wide.of_pass - narrow.of_pass, ROUNDINGS * f.c.text.layers + 1);
    }
    mem_free(narrow.feats);
    mem_free(narrow.probs);
    mem_free(wide.feats);
    mem_free(wide.probs);
    rig_drop(&f);
}

/* In "odd" some rows are no whole vectors: they are padded instead of rounded. */
TEST(model_hand_over_keeps_the_bits_cuda) {
    hand_over(RIG_TINY, ST_BF16, "cuda-tile", 1);
    hand_over(RIG_TINY, ST_F16, "cuda-flat", 1);
    hand_over("tests/golden/odd", ST_BF16, "cuda-tile", 0);
    hand_over("tests/golden/odd", ST_F16, "cuda-tile+graphs", 0);
}
