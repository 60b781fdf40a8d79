/* test_bind.c - weights files that don't fit: each refused by the tensor's name, and nothing
 * left behind. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/hex.h"
#include "tests/unit/engine/model/model_rig.h"

#define ODD "tests/golden/odd"

struct bend {
    struct rig r;
    struct model_config c;
    struct maker maker;
};

static struct bend *bend_new(void) {
    struct bend *b = mem_must(sizeof *b);
    rig_kern(&b->r, "ref");
    CHECK_EQ(model_read_config(ODD, &b->c, NULL), 0);
    maker_model(&b->maker, &b->c, ST_F32);
    return b;
}

/* Opens the bent table; on success the model is in r.m. */
static int bend_open(struct bend *b, struct err *e) {
    size_t len;
    struct st *st;
    struct kern_stats s;
    *e = (struct err){0};
    uint8_t *file = maker_file(&b->maker, &len);
    CHECK_EQ(st_parse(file, len, &st, e), 0);
    int rc = model_open_tensors(&b->c, st, b->r.ops, b->r.k, &b->r.m, e);
    st_close(st);
    mem_free(file);
    b->r.ops->stats(b->r.k, &s);
    CHECK_EQ(rc == 0, b->r.m != NULL);
    CHECK_EQ(rc == 0, s.live_bytes != 0);
    return rc;
}

static void bend_free(struct bend *b) {
    rig_close(&b->r);
    mem_free(b);
}

TEST(bind_opens_what_fits) {
    struct bend *b = bend_new();
    struct err e;
    CHECK_EQ(bend_open(b, &e), 0);
    uint64_t n = 0;
    for (int i = 0; i < b->maker.n; i++)
        n += maker_bytes(&b->maker.t[i]) / 4;
    CHECK_EQ(model_parameters(b->r.m), n);
    CHECK_EQ(strlen(model_digest(b->r.m)), 64u);
    bend_free(b);
}

TEST(bind_refuses_each_missing_tensor) {
    struct bend *b = bend_new();
    struct maker whole = b->maker;
    struct err e;
    for (int i = 0; i < whole.n; i++) {
        b->maker = whole;
        maker_drop(&b->maker, whole.t[i].name);
        CHECK_EQ(bend_open(b, &e), E_FORMAT);
        char says[128];
        snprintf(says, sizeof says, "tensor %s: missing", whole.t[i].name);
        CHECK_HAS(e.text, says);
    }
    bend_free(b);
}

TEST(bind_refuses_each_wrong_shape) {
    struct bend *b = bend_new();
    struct maker whole = b->maker;
    struct err e;
    for (int i = 0; i < whole.n; i++)
        for (int k = 0; k <= whole.t[i].ndim; k++) {
            b->maker = whole;
            if (k < whole.t[i].ndim)
                b->maker.t[i].shape[k]++;
            else if (whole.t[i].ndim < 4)
                b->maker.t[i].shape[b->maker.t[i].ndim++] = 1;
            else
                b->maker.t[i].ndim--;
            CHECK_EQ(bend_open(b, &e), E_FORMAT);
            CHECK_HAS(e.text, whole.t[i].name);
            CHECK_HAS(e.text,
                      strstr(whole.t[i].name, "pos_embed") && k == 1 ? "square" : "needs [");
        }
    bend_free(b);
}

TEST(bind_refuses_each_wrong_dtype) {
    struct bend *b = bend_new();
    struct maker whole = b->maker;
    struct err e;
    for (int i = 0; i < whole.n; i++) {
        b->maker = whole;
        b->maker.t[i].dtype = ST_OTHER;
        CHECK_EQ(bend_open(b, &e), E_UNSUPPORTED);
        CHECK_HAS(e.text, whole.t[i].name);
        CHECK_HAS(e.text, "I64");
    }
    bend_free(b);
}

TEST(bind_says_which_name_was_meant) {
    static const char *const slips[][2] = {
        {"llama_proj.weight", "llama_proj.weigth"},
        {"model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.upproj.weight"},
        {"visual_encoder.blocks.0.attn.qkv.weight", "visual_encoder.blocks.O.attn.qkv.weight"},
    };
    struct bend *b = bend_new();
    struct maker whole = b->maker;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(slips); i++) {
        b->maker = whole;
        maker_rename(&b->maker, slips[i][0], slips[i][1]);
        CHECK_EQ(bend_open(b, &e), E_FORMAT);
        CHECK_HAS(e.text, slips[i][0]);
        CHECK_HAS(e.text, slips[i][1]);
    }
    b->maker = whole; /* nothing like it: no guess */
    maker_rename(&b->maker, "model.norm.weight", "something.else");
    CHECK_EQ(bend_open(b, &e), E_FORMAT);
    CHECK(!strstr(e.text, "there is"));
    bend_free(b);
}

TEST(bind_knows_strangers) {
    static const struct {
        const char *name;
        int is_fine;
    } strangers[] = {
        {"visual_encoder.blocks.2.norm1.weight", 1}, /* the block behind the last one in use */
        {"visual_encoder.norm.weight", 1},
        {"visual_encoder.head.bias", 1},
        {"model.layers.0.self_attn.rotary_emb.inv_freq", 1},
        {"visual_encoder.blocks.3.norm1.weight", 0},
        {"visual_encoder.blocks.20.norm1.weight", 0},
        {"visual_encoder.blocks.0.attn.k_bias", 0},
        {"visual_encoder.norm", 0},
        {"model.layers.3.mlp.up_proj.weight", 0},
        {"model.layers.0.self_attn.q_proj.lora_A.weight", 0},
        {"extra", 0},
    };
    struct bend *b = bend_new();
    struct maker whole = b->maker;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        b->maker = whole;
        maker_add(&b->maker, ST_F32, 1, 0, strangers[i].name, (int[]){3, 0});
        int rc = bend_open(b, &e);
        if (strangers[i].is_fine) {
            CHECK_EQ(rc, 0);
            model_close(b->r.m);
            b->r.m = NULL;
            continue;
        }
        CHECK_EQ(rc, E_FORMAT);
        CHECK_HAS(e.text, strangers[i].name);
        CHECK_HAS(e.text, "unexpected");
    }
    bend_free(b);
}

TEST(bind_ln_vision_may_be_absent) {
    struct bend *b = bend_new();
    struct err e;
    maker_drop(&b->maker, "ln_vision.bias");
    maker_drop(&b->maker, "ln_vision.weight");
    CHECK_EQ(bend_open(b, &e), 0);
    float v[24];
    CHECK_EQ(b->r.ops->get(b->r.k, v, b->r.m->vit.ln_w, sizeof v, NULL), 0);
    for (int i = 0; i < 24; i++)
        CHECK(v[i] == 1);
    CHECK_EQ(b->r.ops->get(b->r.k, v, b->r.m->vit.ln_b, sizeof v, NULL), 0);
    for (int i = 0; i < 24; i++)
        CHECK(v[i] == 0);
    bend_free(b);
}

TEST(bind_tied_head) {
    struct bend *b = bend_new();
    struct err e;
    b->c.text.is_tied = 1;
    CHECK_EQ(bend_open(b, &e), E_FORMAT);
    CHECK_HAS(e.text, "lm_head.weight: unexpected");
    maker_drop(&b->maker, "lm_head.weight");
    CHECK_EQ(bend_open(b, &e), 0);
    struct maker_tensor *t = maker_find(&b->maker, "model.embed_tokens.weight");
    float *want = mem_must(maker_bytes(t));
    maker_fill(t, (uint8_t *)want);
    CHECK(!memcmp(b->r.m->llama.head, want, maker_bytes(t)));
    mem_free(want);
    bend_free(b);
}

/* k's part of the bias is zero, q's and v's are where they belong. */
TEST(bind_qkv_bias) {
    struct bend *b = bend_new();
    struct err e;
    CHECK_EQ(bend_open(b, &e), 0);
    float bias[72], q[24], v[24];
    maker_fill(maker_find(&b->maker, "visual_encoder.blocks.1.attn.q_bias"), (uint8_t *)q);
    maker_fill(maker_find(&b->maker, "visual_encoder.blocks.1.attn.v_bias"), (uint8_t *)v);
    CHECK_EQ(b->r.ops->get(b->r.k, bias, b->r.m->vit.blocks[1].qkv_b, sizeof bias, NULL), 0);
    for (int i = 0; i < 24; i++)
        CHECK(bias[i] == q[i] && bias[24 + i] == 0 && bias[48 + i] == v[i]);
    bend_free(b);
}

TEST(bind_without_memory) {
    struct bend *b = bend_new();
    size_t len;
    struct st *st;
    struct err e;
    uint8_t *file = maker_file(&b->maker, &len);
    CHECK_EQ(st_parse(file, len, &st, NULL), 0);
    struct mem_stats before, after;
    mem_stats(&before);
    int rc = -1, failed = 0;
    for (uint64_t n = 1; rc && n < 2000; n++) {
        e = (struct err){0};
        mem_fail_at(n);
        rc = model_open_tensors(&b->c, st, b->r.ops, b->r.k, &b->r.m, &e);
        mem_fail_at(0);
        if (!rc) break;
        CHECK_EQ(rc, E_NOMEM);
        CHECK(e.code == E_NOMEM && b->r.m == NULL);
        mem_stats(&after);
        CHECK_EQ(after.live_bytes, before.live_bytes);
        failed++;
    }
    CHECK_EQ(rc, 0);
    CHECK(failed > 50); /* each vector, each matrix, the tables */
    st_close(st);
    mem_free(file);
    bend_free(b);
}
