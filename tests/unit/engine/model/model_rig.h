/* model_rig.h - a model on a backend with a pass to fill: what the tests of the model room
 * share. */
#ifndef TESTS_UNIT_ENGINE_MODEL_MODEL_RIG_H
#define TESTS_UNIT_ENGINE_MODEL_MODEL_RIG_H

#include <stdio.h>
#include <string.h>

#include "engine/model/internal.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/golden/gold.h"

#define RIG_TINY "tests/golden/tiny"
static const char *const rig_backends[] = {"ref", "cpu"};

struct rig {
    const struct kern_ops *ops;
    struct kern *k;
    struct model *m;
    struct model_head *head; /* the whole vocabulary */
    int32_t *ids, *cols, col_off[2];
};

/* "cuda-flat" is cuda with isa flat, and so on; skips where there is no device. */
static inline void rig_kern(struct rig *r, const char *backend) {
    struct err e = {0};
    *r = (struct rig){0};
    int is_cuda = strncmp(backend, "cuda-", 5) == 0;
    struct kern_config cfg = {.threads = 2, .isa = is_cuda ? backend + 5 : NULL};
    int rc = kern_find(is_cuda ? "cuda" : backend, &r->ops, &e);
    if (!rc) rc = r->ops->open(&cfg, &r->k, &e);
    if (is_cuda && (rc == E_NOT_FOUND || rc == E_UNSUPPORTED)) skip("%s", e.text);
    CHECK_EQ(rc, 0);
}

/* The same device, but whatever is handed to a product is f32. */
static inline void rig_wide(struct rig *r, enum kern_dtype (*x_dtype)(const struct kern *,
                                                                      const struct kern_mat *)) {
    struct kern_ops *ops = mem_must(sizeof *ops); /* lives as long as the process */
    *ops = *r->ops;
    ops->x_dtype = x_dtype;
    r->ops = ops;
}
static inline enum kern_dtype rig_f32(const struct kern *k, const struct kern_mat *m) {
    return (void)k, (void)m, KERN_F32;
}

/* A head of all tokens, one column set of all columns, and buffers of that plan. */
static inline void rig_ready_for(struct rig *r, const struct model_plan *plan) {
    struct err e = {0};
    int n = model_config(r->m)->text.vocab_size;
    r->ids = mem_must((size_t)n * sizeof *r->ids);
    r->cols = mem_must((size_t)n * sizeof *r->cols);
    for (int i = 0; i < n; i++)
        r->ids[i] = r->cols[i] = i;
    r->col_off[1] = n;
    CHECK_EQ(model_head_new(r->m, r->ids, n, &r->head, &e), 0);
    CHECK_EQ(model_plan(r->m, plan, &e), 0);
    if (e.code) printf("%s\n", e.text);
}
static inline void rig_ready(struct rig *r, int rows, int slots) {
    rig_ready_for(r, &(struct model_plan){
                         .rows_max = rows, .picks_max = rows, .kv_slots = slots, .feats_max = 2});
}

static inline void rig_open(struct rig *r, const char *backend, const char *dir) {
    struct err e = {0};
    rig_kern(r, backend);
    CHECK_EQ(model_open(dir, NULL, r->ops, r->k, &r->m, &e), 0);
    if (e.code) printf("%s\n", e.text);
}

/* The model of <dir>/config.json with made weights: a file in memory. */
struct rig_file {
    struct model_config c;
    uint8_t *bytes;
    struct st *st;
};

static inline void rig_make(struct rig_file *f, const char *dir, enum st_dtype matrices) {
    struct err e = {0};
    struct maker *maker = mem_must(sizeof *maker);
    size_t len;
    CHECK_EQ(model_read_config(dir, &f->c, &e), 0);
    maker_model(maker, &f->c, matrices);
    f->bytes = maker_file(maker, &len);
    CHECK_EQ(st_parse(f->bytes, len, &f->st, &e), 0);
    mem_free(maker);
}

static inline void rig_drop(struct rig_file *f) {
    st_close(f->st);
    mem_free(f->bytes);
}

static inline void rig_open_file(struct rig *r, const char *backend, const struct rig_file *f) {
    struct err e = {0};
    rig_kern(r, backend);
    CHECK_EQ(model_open_tensors(&f->c, f->st, r->ops, r->k, &r->m, &e), 0);
}

static inline void rig_close(struct rig *r) {
    if (r->head) model_head_free(r->m, r->head);
    model_close(r->m);
    struct kern_stats s;
    r->ops->stats(r->k, &s);
    CHECK_EQ(s.live_bytes, 0u); /* nothing of ours is left */
    r->ops->close(r->k);
    mem_free(r->ids);
    mem_free(r->cols);
}

static inline void rig_encode(struct rig *r, int feat) {
    int side = model_config(r->m)->vision.image_size;
    size_t bytes = (size_t)side * (size_t)side * 3;
    char path[64];
    snprintf(path, sizeof path, "tests/golden/pictures/%d.rgb", side);
    uint8_t *rgb = mem_must(bytes);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    CHECK_EQ(fread(rgb, 1, bytes, f), bytes);
    fclose(f);
    model_encode(r->m, MODEL_BASE, rgb, feat);
    mem_free(rgb);
}

/* A pass with memory of its own, filled row by row. */
enum { RIG_ROWS = 160 };
struct rig_pass {
    struct model_pass p;
    int32_t src[RIG_ROWS], pos[RIG_ROWS], slot[RIG_ROWS], tail_off[RIG_ROWS + 1], tail[8192];
    struct kern_attn_group groups[RIG_ROWS];
    struct kern_attn_span spans[RIG_ROWS];
    int32_t pick_row[RIG_ROWS], pick_set[RIG_ROWS], best[RIG_ROWS];
    struct model_pick_group pick_group;
};

static inline void rig_begin(struct rig *r, struct rig_pass *p) {
    memset(p, 0, sizeof *p);
    p->pick_group.head = r->head;
    p->p = (struct model_pass){.src = p->src,
                               .pos = p->pos,
                               .slot = p->slot,
                               .groups = p->groups,
                               .spans = p->spans,
                               .tail_off = p->tail_off,
                               .tail = p->tail,
                               .pick_row = p->pick_row,
                               .pick_groups = &p->pick_group,
                               .pick_set = p->pick_set,
                               .col_off = r->col_off,
                               .cols = r->cols,
                               .n_sets = 1,
                               .best = p->best};
    p->pick_group.ldp = r->col_off[1];
}

static inline void rig_row(struct rig_pass *p, int src, int pos, int slot) {
    int i = p->p.rows++;
    p->src[i] = src;
    p->pos[i] = pos;
    p->slot[i] = slot;
    p->tail_off[i + 1] = p->tail_off[i];
}

/* The last row attends to this slot, too. */
static inline void rig_tail(struct rig_pass *p, int slot) {
    p->tail[p->tail_off[p->p.rows]++] = slot;
}

/* A group of the rows added since the last one. span len 0: none. */
static inline void rig_group(struct rig_pass *p, int own_slot, int span_slot, int span_len) {
    struct kern_attn_group *g = &p->groups[p->p.n_groups++];
    int row0 = p->p.n_groups > 1 ? g[-1].row0 + g[-1].rows : 0;
    *g = (struct kern_attn_group){
        .row0 = row0, .rows = p->p.rows - row0, .span0 = p->p.n_spans, .own_slot = own_slot};
    if (!span_len) return;
    g->spans = 1;
    p->spans[p->p.n_spans++] = (struct kern_attn_span){.slot = span_slot, .len = span_len};
}

static inline void rig_pick(struct rig_pass *p, int row) {
    p->pick_row[p->p.picks++] = row;
    p->p.n_pick_groups = 1;
    p->pick_group.picks = p->p.picks;
}

/* Prompt ids (-1: the picture of entry `feat`) as `src` of rows. */
static inline int rig_expand(const struct rig *r, const int32_t *ids, int n, int feat,
                             int32_t *src) {
    int count = 0, tokens = model_config(r->m)->n_image_tokens;
    for (int i = 0; i < n; i++) {
        if (ids[i] >= 0) src[count++] = ids[i];
        for (int j = 0; ids[i] < 0 && j < tokens; j++)
            src[count++] = ~(feat * tokens + j);
    }
    CHECK(count <= RIG_ROWS);
    return count;
}

static inline float *rig_run(struct rig *r, struct rig_pass *p) {
    struct err e = {0};
    float *probs = mem_must((size_t)p->p.picks * (size_t)p->pick_group.ldp * sizeof *probs + 1);
    p->pick_group.probs = p->p.picks ? probs : NULL;
    CHECK_EQ(model_run(r->m, &p->p, &e), 0);
    return probs;
}

/* ---- the golden prompt ---- */

struct rig_prompt {
    int32_t src[RIG_ROWS];
    int n;
};

/* The golden prompt of the tiny model with the picture of entry 0, which is encoded. */
static inline struct rig_prompt rig_tiny_prompt(struct rig *r) {
    struct rig_prompt p;
    struct gold g;
    int n;
    CHECK_EQ(gold_open(&g, RIG_TINY "/taps.safetensors", NULL), 0);
    const int32_t *ids = gold_ids(&g, &n);
    p.n = rig_expand(r, ids, n, 0, p.src);
    st_close(g.st);
    return p;
}

static inline void rig_open_tiny(struct rig *r, const char *backend) {
    rig_open(r, backend, RIG_TINY);
    rig_ready(r, RIG_ROWS, 512);
    rig_encode(r, 0);
}

/* Rows [from, to) of a prompt as one group whose earlier rows are in slots base .. base+from-1. */
static inline void rig_chunk(struct rig_pass *p, const struct rig_prompt *t, int from, int to,
                             int base) {
    for (int i = from; i < to; i++)
        rig_row(p, t->src[i], i, base + i);
    rig_group(p, base + from, base, from);
}

/* Probabilities behind the last token, the prompt run whole and alone. */
static inline float *rig_plain(struct rig *r, struct rig_pass *p, const struct rig_prompt *t) {
    rig_begin(r, p);
    rig_chunk(p, t, 0, t->n, 0);
    rig_pick(p, t->n - 1);
    return rig_run(r, p);
}

#endif
