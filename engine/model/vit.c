/* vit.c - the vision tower and the connector: a picture becomes rows that the decoder can read.
 *
 * EVA-CLIP's pre-norm transformer (docs/model.md section 1) followed by ln_vision and one linear
 * map over `concat` neighbours of a row of patches (docs/model.md section 2). One picture at a
 * time. The buffers are those of struct work, sized by model_plan.
 *
 * TRAPS: The residual stream (vit_x) stays f32 from end to end. q is scaled, not the scores. The
 * cls row goes through every block and is dropped by starting at row 1. Joining four patches is a
 * reshape, since neighbours of a row follow each other.
 */
#include <math.h>
#include <stdio.h>

#include "engine/model/internal.h"

static size_t vit_floats(size_t n) { return n * sizeof(float); }

static void vit_embed(struct model *m, const struct vit *tower) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    int n = v->hidden_size, k = 3 * v->patch_size * v->patch_size;
    struct kern_patchify cut = {
        .side = v->image_size, .patch = v->patch_size, .rgb = w->rgb, .y = w->patches};
    for (int i = 0; i < 3; i++) {
        cut.mean[i] = v->mean[i];
        cut.std[i] = v->std[i];
    }
    m->ops->patchify(m->k, &cut);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = m->c.n_patches, /* (P, k) -> rows 1.. of (1+P, E) */
                                           .x = w->patches,
                                           .ldx = k,
                                           .w = tower->patch,
                                           .bias = tower->patch_b,
                                           .y = kern_at(w->vit_x, vit_floats((size_t)n)),
                                           .ldy = n});
    m->ops->add_pos(m->k, &(struct kern_add_pos){.rows = 1 + m->c.n_patches,
                                                 .width = n,
                                                 .cls = tower->cls,
                                                 .pos = tower->pos,
                                                 .x = w->vit_x});
    tap_show(m, "vit.embed", w->vit_x, 1 + m->c.n_patches, n, n);
}

static void vit_norm(struct model *m, struct kern_ptr weight, struct kern_ptr bias, float eps) {
    int n = m->c.vision.hidden_size;
    m->ops->layernorm(m->k, &(struct kern_norm){.rows = 1 + m->c.n_patches,
                                                .width = n,
                                                .x = m->work.vit_x,
                                                .ldx = n,
                                                .weight = weight,
                                                .bias = bias,
                                                .eps = eps,
                                                .y = m->work.vit_h,
                                                .ldy = n});
}

static void vit_attention(struct model *m, const struct vit_block *b) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    int n = v->hidden_size, rows = 1 + m->c.n_patches, head = n / v->heads;
    vit_norm(m, b->norm1_w, b->norm1_b, v->layer_norm_eps);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows, /* (1+P, E) -> (1+P, 3E) */
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .w = b->qkv,
                                           .bias = b->qkv_b,
                                           .y = w->vit_wide,
                                           .ldy = 3 * n});
    m->ops->attn_full(m->k, &(struct kern_attn_full){.images = 1,
                                                     .tokens = rows,
                                                     .heads = v->heads,
                                                     .head_size = head,
                                                     .scale = (float)(1.0 / sqrt(head)),
                                                     .qkv = w->vit_wide,
                                                     .ld = 3 * n,
                                                     .y = w->vit_h,
                                                     .ldy = n});
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows,
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .w = b->proj,
                                           .bias = b->proj_b,
                                           .y = w->vit_x,
                                           .ldy = n,
                                           .accumulate = 1});
}

static void vit_ffn(struct model *m, const struct vit_block *b) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    int n = v->hidden_size, ffn = v->intermediate_size, rows = 1 + m->c.n_patches;
    vit_norm(m, b->norm2_w, b->norm2_b, v->layer_norm_eps);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows, /* (1+P, E) -> (1+P, F) */
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .w = b->fc1,
                                           .bias = b->fc1_b,
                                           .y = w->vit_wide,
                                           .ldy = ffn,
                                           .act = KERN_ACT_GELU});
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows,
                                           .x = w->vit_wide,
                                           .ldx = ffn,
                                           .w = b->fc2,
                                           .bias = b->fc2_b,
                                           .y = w->vit_x,
                                           .ldy = n,
                                           .accumulate = 1});
}

void vit_issue(struct model *m, const struct vit *tower, struct kern_ptr out) {
    const struct work *w = &m->work;
    int n = m->c.vision.hidden_size, d = m->c.text.hidden_size, joined = m->c.concat * n;
    vit_embed(m, tower);
    for (int i = 0; i < m->c.vision.layers; i++) {
        char name[32];
        model_beat(m);
        vit_attention(m, &tower->blocks[i]);
        vit_ffn(m, &tower->blocks[i]);
        snprintf(name, sizeof name, "vit.%d", i);
        tap_show(m, name, w->vit_x, 1 + m->c.n_patches, n, n);
    }
    vit_norm(m, tower->ln_w, tower->ln_b, m->c.ln_vision_eps);
    tap_show(m, "ln_vision", w->vit_h, 1 + m->c.n_patches, n, n);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = m->c.n_image_tokens, /* (I, concat*E) -> (I, D) */
                                           .x = kern_at(w->vit_h, vit_floats((size_t)n)),
                                           .ldx = joined,
                                           .w = tower->proj,
                                           .bias = tower->proj_b,
                                           .y = out,
                                           .ldy = d});
    tap_show(m, "proj", out, m->c.n_image_tokens, d, d);
}
