/* overlay.h - the tensors of tower, ln_vision and connector by name: where each belongs in
 * struct vit, and its shape. For overlays; bind.c walks the same names in a model's own file, where
 * none may be missing. Room-private.
 */
#ifndef ENGINE_MODEL_OVERLAY_H
#define ENGINE_MODEL_OVERLAY_H

#include "engine/files/safetensors.h"
#include "engine/model/net.h"

enum { OVERLAY_BLOCK_ROWS = 13, OVERLAY_TOWER_ROWS = 8, OVERLAY_TOWER = -1 };

struct overlay_row {
    const char *name; /* behind "visual_encoder.blocks.N.", or the whole of it */
    int is_mat;
    size_t field; /* of the kern_mat * or kern_ptr in struct vit_block or struct vit */
    int vectors;  /* of a vector: how many of its length the field has */
    int at;       /* and which of them it is */
    int ndim;
    int shape[ST_NDIM_MAX]; /* enum dim of overlay.c */
};

/* Row `row` of a block, or of the tower itself (block OVERLAY_TOWER). NULL: no such row. */
const struct overlay_row *overlay_row(int block, int row);
/* Which tensor is this? 0 and *block, *row; E_NOT_FOUND. */
int overlay_find(const struct model_config *c, const char *name, int *block, int *row);
/* The shape of a row's tensor. */
void overlay_shape(const struct model_config *c, const struct overlay_row *r,
                   int64_t shape[ST_NDIM_MAX]);
/* The same as a matrix (n, k), or a vector (1, k). */
void overlay_size(const struct model_config *c, const struct overlay_row *r, int *n, int *k);
/* Where a row's field stands in a tower. */
void *overlay_field(struct vit *v, int block, const struct overlay_row *r);

#endif
