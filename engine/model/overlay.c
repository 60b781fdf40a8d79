/* overlay.c - a table, and who reads it. */
#include "engine/model/overlay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum dim { ONE, THREE, WIDTH, WIDTH_3, FFN, ROWS, PATCH, TEXT, JOINED };

#define OF_BLOCK(f) offsetof(struct vit_block, f)
#define OF_VIT(f)   offsetof(struct vit, f)

static const struct overlay_row block_rows[OVERLAY_BLOCK_ROWS] = {
    {"norm1.weight", 0, OF_BLOCK(norm1_w), 1, 0, 1, {WIDTH}},
    {"norm1.bias", 0, OF_BLOCK(norm1_b), 1, 0, 1, {WIDTH}},
    {"attn.qkv.weight", 1, OF_BLOCK(qkv), 0, 0, 2, {WIDTH_3, WIDTH}},
    {"attn.q_bias", 0, OF_BLOCK(qkv_b), 3, 0, 1, {WIDTH}}, /* k has none */
    {"attn.v_bias", 0, OF_BLOCK(qkv_b), 3, 2, 1, {WIDTH}},
    {"attn.proj.weight", 1, OF_BLOCK(proj), 0, 0, 2, {WIDTH, WIDTH}},
    {"attn.proj.bias", 0, OF_BLOCK(proj_b), 1, 0, 1, {WIDTH}},
    {"norm2.weight", 0, OF_BLOCK(norm2_w), 1, 0, 1, {WIDTH}},
    {"norm2.bias", 0, OF_BLOCK(norm2_b), 1, 0, 1, {WIDTH}},
    {"mlp.fc1.weight", 1, OF_BLOCK(fc1), 0, 0, 2, {FFN, WIDTH}},
    {"mlp.fc1.bias", 0, OF_BLOCK(fc1_b), 1, 0, 1, {FFN}},
    {"mlp.fc2.weight", 1, OF_BLOCK(fc2), 0, 0, 2, {WIDTH, FFN}},
    {"mlp.fc2.bias", 0, OF_BLOCK(fc2_b), 1, 0, 1, {WIDTH}}};

static const struct overlay_row tower_rows[OVERLAY_TOWER_ROWS] = {
    {"visual_encoder.cls_token", 0, OF_VIT(cls), 1, 0, 3, {ONE, ONE, WIDTH}},
    {"visual_encoder.pos_embed", 0, OF_VIT(pos), 1, 0, 3, {ONE, ROWS, WIDTH}},
    {"visual_encoder.patch_embed.proj.weight",
     1,
     OF_VIT(patch),
     0,
     0,
     4,
     {WIDTH, THREE, PATCH, PATCH}},
    {"visual_encoder.patch_embed.proj.bias", 0, OF_VIT(patch_b), 1, 0, 1, {WIDTH}},
    {"ln_vision.weight", 0, OF_VIT(ln_w), 1, 0, 1, {WIDTH}},
    {"ln_vision.bias", 0, OF_VIT(ln_b), 1, 0, 1, {WIDTH}},
    {"llama_proj.weight", 1, OF_VIT(proj), 0, 0, 2, {TEXT, JOINED}},
    {"llama_proj.bias", 0, OF_VIT(proj_b), 1, 0, 1, {TEXT}}};

static int overlay_size_of(const struct model_config *c, int dim) {
    const struct model_vision *v = &c->vision;
    switch ((enum dim)dim) {
    case ONE: return 1;
    case THREE: return 3;
    case WIDTH: return v->hidden_size;
    case WIDTH_3: return 3 * v->hidden_size;
    case FFN: return v->intermediate_size;
    case ROWS: return 1 + c->n_patches;
    case PATCH: return v->patch_size;
    case TEXT: return c->text.hidden_size;
    case JOINED: return c->concat * v->hidden_size;
    }
    return 0;
}

const struct overlay_row *overlay_row(int block, int row) {
    if (block == OVERLAY_TOWER) return row < OVERLAY_TOWER_ROWS ? &tower_rows[row] : NULL;
    return row < OVERLAY_BLOCK_ROWS ? &block_rows[row] : NULL;
}

/* "visual_encoder.blocks.3." without signs or leading zeros. What stands behind it, or NULL. */
static const char *read_block(const char *name, int *block) {
    static const char begin[] = "visual_encoder.blocks.";
    if (strncmp(name, begin, sizeof begin - 1)) return NULL;
    name += sizeof begin - 1;
    size_t digits = strspn(name, "0123456789");
    if (!digits || digits > 4 || (digits > 1 && *name == '0') || name[digits] != '.') return NULL;
    *block = (int)strtol(name, NULL, 10);
    return name + digits + 1;
}

int overlay_find(const struct model_config *c, const char *name, int *block, int *row) {
    *block = OVERLAY_TOWER;
    const char *tail = read_block(name, block), *sought = tail ? tail : name;
    if (tail && *block >= c->vision.layers) return E_NOT_FOUND;
    const struct overlay_row *r;
    for (*row = 0; (r = overlay_row(*block, *row)) != NULL; ++*row)
        if (!strcmp(r->name, sought)) return 0;
    return E_NOT_FOUND;
}

void overlay_shape(const struct model_config *c, const struct overlay_row *r,
                   int64_t shape[ST_NDIM_MAX]) {
    for (int i = 0; i < r->ndim; i++)
        shape[i] = overlay_size_of(c, r->shape[i]);
}

void overlay_size(const struct model_config *c, const struct overlay_row *r, int *n, int *k) {
    *n = r->is_mat ? overlay_size_of(c, r->shape[0]) : 1;
    *k = 1;
    for (int i = r->is_mat; i < r->ndim; i++)
        *k *= overlay_size_of(c, r->shape[i]);
}

void *overlay_field(struct vit *v, int block, const struct overlay_row *r) {
    return (char *)(block == OVERLAY_TOWER ? (void *)v : (void *)&v->blocks[block]) + r->field;
}
