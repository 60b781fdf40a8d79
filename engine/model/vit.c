/* vit.c - the vision tower and the connector: a picture becomes rows that the decoder can read.
 *
 * EVA-CLIP's pre-norm transformer (docs/model.md section 1) followed by ln_vision and one linear
 * map over `concat` neighbours of a row of patches (docs/model.md section 2). A call takes one
 * picture or a few, one behind the other, as many as the device likes (kern_ops.pass_pictures):
 * attention stays inside of each, all else is row by row, so a picture's bits are its own. The
 * buffers are those of struct work, sized by model_plan.
 *
 * TRAPS: The residual stream (vit_x) stays f32 from end to end; what a norm, the attention or GELU
 * leaves has the type that the next product's matrix likes. q is scaled, not the scores. The cls
 * row goes through every block and is dropped by starting at row 1 of a picture. Joining four
 * patches is a reshape, since neighbours of a row follow each other.
 */
#include <math.h>
#include <stdio.h>

#include "engine/model/internal.h"

/* Row `row` of picture i in a buffer of rows of `n` numbers. */
static struct kern_ptr vit_row(const struct model *m, struct kern_ptr p, int i, int row, int n,
                               enum kern_dtype type) {
    size_t rows = (size_t)i * (size_t)(1 + m->c.n_patches) + (size_t)row;
    return kern_at(p, rows * (size_t)n * kern_dtype_bytes(type));
}

static int vit_rows(const struct model *m, const struct vit_call *call) {
    return call->n * (1 + m->c.n_patches);
}

/* Picture i into its rows of vit_x. */
static void vit_embed(struct model *m, const struct vit_call *call, int i) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    const struct vit *tower = call->tower;
    int n = v->hidden_size, k = 3 * v->patch_size * v->patch_size;
    size_t side = (size_t)v->image_size;
    struct kern_patchify cut = {.side = v->image_size,
                                .patch = v->patch_size,
                                .rgb = kern_at(w->rgb, (size_t)i * side * side * 3),
                                .y = w->patches};
    for (int c = 0; c < 3; c++) {
        cut.mean[c] = v->mean[c];
        cut.std[c] = v->std[c];
    }
    m->ops->patchify(m->k, &cut);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = m->c.n_patches, /* (P, k) -> rows 1.. of (1+P, E) */
                                           .x = w->patches,
                                           .ldx = k,
                                           .w = tower->patch,
                                           .bias = tower->patch_b,
                                           .y = vit_row(m, w->vit_x, i, 1, n, KERN_F32),
                                           .ldy = n});
    m->ops->add_pos(m->k, &(struct kern_add_pos){.rows = 1 + m->c.n_patches,
                                                 .width = n,
                                                 .cls = tower->cls,
                                                 .pos = tower->pos,
                                                 .x = vit_row(m, w->vit_x, i, 0, n, KERN_F32)});
}

static void vit_norm(struct model *m, int rows, struct kern_ptr weight, struct kern_ptr bias,
                     float eps, enum kern_dtype type) {
    int n = m->c.vision.hidden_size;
    m->ops->layernorm(m->k, &(struct kern_norm){.rows = rows,
                                                .width = n,
                                                .x = m->work.vit_x,
                                                .ldx = n,
                                                .weight = weight,
                                                .bias = bias,
                                                .eps = eps,
                                                .y = m->work.vit_h,
                                                .ldy = n,
                                                .y_dtype = type});
}

static void vit_attention(struct model *m, const struct vit_call *call, const struct vit_block *b) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    int n = v->hidden_size, rows = vit_rows(m, call), head = n / v->heads;
    enum kern_dtype normed = m->ops->x_dtype(m->k, b->qkv), seen = m->ops->x_dtype(m->k, b->proj);
    vit_norm(m, rows, b->norm1_w, b->norm1_b, v->layer_norm_eps, normed);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows, /* (rows, E) -> (rows, 3E) */
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .x_dtype = normed,
                                           .w = b->qkv,
                                           .bias = b->qkv_b,
                                           .y = w->vit_wide,
                                           .ldy = 3 * n});
    m->ops->attn_full(m->k, &(struct kern_attn_full){.images = call->n,
                                                     .tokens = 1 + m->c.n_patches,
                                                     .heads = v->heads,
                                                     .head_size = head,
                                                     .scale = (float)(1.0 / sqrt(head)),
                                                     .qkv = w->vit_wide,
                                                     .ld = 3 * n,
                                                     .y = w->vit_h,
                                                     .ldy = n,
                                                     .y_dtype = seen});
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows,
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .x_dtype = seen,
                                           .w = b->proj,
                                           .bias = b->proj_b,
                                           .y = w->vit_x,
                                           .ldy = n,
                                           .accumulate = 1});
}

static void vit_ffn(struct model *m, const struct vit_call *call, const struct vit_block *b) {
    const struct model_vision *v = &m->c.vision;
    const struct work *w = &m->work;
    int n = v->hidden_size, ffn = v->intermediate_size, rows = vit_rows(m, call);
    enum kern_dtype normed = m->ops->x_dtype(m->k, b->fc1), inner = KERN_F32;
    if (normed != KERN_F32) inner = m->ops->x_dtype(m->k, b->fc2); /* see kern_gemm */
    vit_norm(m, rows, b->norm2_w, b->norm2_b, v->layer_norm_eps, normed);
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows, /* (rows, E) -> (rows, F) */
                                           .x = w->vit_h,
                                           .ldx = n,
                                           .x_dtype = normed,
                                           .w = b->fc1,
                                           .bias = b->fc1_b,
                                           .y = w->vit_wide,
                                           .ldy = ffn,
                                           .y_dtype = inner,
                                           .act = KERN_ACT_GELU});
    m->ops->gemm(m->k, &(struct kern_gemm){.m = rows,
                                           .x = w->vit_wide,
                                           .ldx = ffn,
                                           .x_dtype = inner,
                                           .w = b->fc2,
                                           .bias = b->fc2_b,
                                           .y = w->vit_x,
                                           .ldy = n,
                                           .accumulate = 1});
}

/* Features of all pictures from what the blocks left. A tap sees what ln_vision leaves. */
static void vit_connect(struct model *m, const struct vit_call *call) {
    const struct vit *tower = call->tower;
    int n = m->c.vision.hidden_size, d = m->c.text.hidden_size, joined = m->c.concat * n;
    enum kern_dtype type = m->tap ? KERN_F32 : m->ops->x_dtype(m->k, tower->proj);
    vit_norm(m, vit_rows(m, call), tower->ln_w, tower->ln_b, m->c.ln_vision_eps, type);
    tap_show(m, "ln_vision", m->work.vit_h, vit_rows(m, call), n, n);
    for (int i = 0; i < call->n; i++) {
        m->ops->gemm(m->k,
                     &(struct kern_gemm){.m = m->c.n_image_tokens, /* (I, concat*E) -> (I, D) */
                                         .x = vit_row(m, m->work.vit_h, i, 1, n, type),
                                         .ldx = joined,
                                         .x_dtype = type,
                                         .w = tower->proj,
                                         .bias = tower->proj_b,
                                         .y = call->out[i],
                                         .ldy = d});
        tap_show(m, "proj", call->out[i], m->c.n_image_tokens, d, d);
    }
}

void vit_issue(struct model *m, const struct vit_call *call) {
    int n = m->c.vision.hidden_size;
    for (int i = 0; i < call->n; i++)
        vit_embed(m, call, i);
    tap_show(m, "vit.embed", m->work.vit_x, vit_rows(m, call), n, n);
    for (int i = 0; i < m->c.vision.layers; i++) {
        char name[32];
        model_beat(m);
        vit_attention(m, call, &call->tower->blocks[i]);
        vit_ffn(m, call, &call->tower->blocks[i]);
        snprintf(name, sizeof name, "vit.%d", i);
        tap_show(m, name, m->work.vit_x, vit_rows(m, call), n, n);
    }
    vit_connect(m, call);
}
