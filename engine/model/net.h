/* net.h - the weights of a network on its device: what both doors of the engine walk over.
 *
 * Serving walks in vit.c and llama.c; engine/train walks the same weights, keeps what the way back
 * needs, and changes them. Letters for dimensions as in model.h. Thread: the one that owns the
 * device.
 */
#ifndef ENGINE_MODEL_NET_H
#define ENGINE_MODEL_NET_H

#include "engine/model/model.h"

struct vit_block {
    struct kern_ptr norm1_w, norm1_b, norm2_w, norm2_b; /* (E) */
    struct kern_mat *qkv, *proj, *fc1, *fc2;            /* (3E, E) (E, E) (F, E) (E, F) */
    struct kern_ptr qkv_b, proj_b, fc1_b, fc2_b;        /* q's bias, zeros for k, v's bias; ... */
};
struct vit {
    struct kern_ptr cls, pos; /* (E) (1+P, E) */
    struct kern_mat *patch;   /* (E, 3*patch*patch) */
    struct kern_ptr patch_b;  /* (E) */
    struct vit_block *blocks;
    struct kern_ptr ln_w, ln_b; /* (E), ln_vision */
    struct kern_mat *proj;      /* (D, concat*E), the connector */
    struct kern_ptr proj_b;     /* (D) */
};

struct llama_layer {
    struct kern_ptr norm1, norm2;              /* (D) */
    struct kern_mat *qkv, *o, *gate_up, *down; /* (3D, D) (D, D) (2F, D) (D, F) */
};
struct llama {
    struct kern_ptr embed; /* (V, D) of embed_dtype */
    enum kern_dtype embed_dtype;
    struct llama_layer *layers;
    struct kern_ptr norm; /* (D) */
    void *head;           /* host: lm_head (V, D) of head_dtype, for model_head_new, or */
    enum kern_dtype head_dtype;
    struct kern_mat *head_mat; /* the same on the device, of a model that learns */
};

const struct vit *model_vit(const struct model *m);
const struct llama *model_llama(const struct model *m);

/* ---- a model that learns ---- */

/* A tensor that has just been bound: its numbers, and where the model reads them. Tied embeddings
 * are told twice, as the table and as lm_head. */
struct model_bound {
    const char *name; /* of the file */
    const void *data; /* host, n numbers, of any alignment; during the call only */
    enum kern_dtype dtype;
    size_t n;
    struct kern_mat *mat; /* rows row0.. of it, or */
    int row0;
    struct kern_ptr vec; /* an f32 vector or table */
};

/* model_how.learn: lm_head becomes a matrix (so model_head_new is E_UNSUPPORTED), and gradients can
 * go back through the matrices of the decoder. */
struct model_learn {
    int has_tower; /* and through those of tower and connector */
    int has_table; /* embed_tokens is kept in f32 */
    int (*bound)(void *ud, const struct model_bound *b, struct err *e); /* NULL: nobody asks */
    void *ud;
};

#endif
