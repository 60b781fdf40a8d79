/* params.h - what learns: the masters of weights, their gradients and moments.
 *
 * All parameters that learn lie behind each other in a few long blocks of device memory, in the
 * same order in each: masters, first and second moments, average, and blocks of gradients for the
 * tree over lanes. So a sum over ranks, a norm and an update are a few long operations.
 * Parameters of one rate and one decay are neighbours.
 *
 * After an update each parameter goes to where the model reads it: rows of a matrix (mat_set), or a
 * vector. Room-private. Thread: the trainer's.
 */
#ifndef ENGINE_TRAIN_PARAMS_H
#define ENGINE_TRAIN_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/model/net.h"
#include "engine/train/train.h"
#include "kernels/kern.h"

enum { PARAM_NAME_MAX = 160, PARAM_DIMS_MAX = 4 };

struct param {
    /* Of the model's file ("model.layers.0.mlp.down_proj.weight"), or, of a LoRA, peft's without
     * its prefix "base_model.model.": "model.layers.0.self_attn.q_proj.lora_A.weight". */
    char name[PARAM_NAME_MAX];
    int is_lora;
    int ndim;
    int64_t shape[PARAM_DIMS_MAX];
    size_t at, n; /* floats: where it begins in each block, and how many it has */
    int decays;
    int is_tower; /* learns with the tower's rate */
    int is_dense; /* of a dense question's head: learns with their rate, is no part of the model */
    /* Where the model reads it: rows row0.. of a matrix, or a vector; tied embeddings: both. */
    struct kern_mat *mat;
    int row0;
    struct kern_ptr vec;
    float scale; /* of what goes there: a LoRA's B carries alpha / r; else 1. The master doesn't */
};

/* A stretch of neighbours with the same rate and decay. */
struct param_group {
    size_t at, n; /* floats */
    int decays, is_tower, is_dense;
};
enum { PARAM_GROUPS = 6, PARAM_LANES = 4, PARAM_LEVELS_MAX = 3 };

/* Which parameter each weight is: an index of params.at; -1: it doesn't learn. */
struct params_vit_block {
    int norm1_w, norm1_b, qkv, q_b, v_b, proj, proj_b;
    int norm2_w, norm2_b, fc1, fc1_b, fc2, fc2_b;
};
struct params_layer {
    int norm1, q, k, v, o, norm2, gate, up, down;
    int lora_a[7], lora_b[7]; /* in the order of train_lora_words */
};
struct params_dense {
    int key, key_b, query, box, box_b, colour, colour_b, feature, feature_b;
};
struct params_map {
    struct params_dense dense;
    int cls, pos, patch, patch_b, ln_w, ln_b, proj, proj_b;
    struct params_vit_block *blocks;
    int embed, head, norm; /* tied: head is embed */
    struct params_layer *layers;
};

struct params {
    struct param *at; /* (n) */
    int n;
    size_t floats; /* of all together */
    struct param_group groups[PARAM_GROUPS];
    int n_groups;
    struct params_map map;
    struct kern_ptr value, m, v; /* (floats) f32 */
    struct kern_ptr average;     /* addr NULL: none is kept */
    struct kern_ptr grad[PARAM_LEVELS_MAX];
    int levels;
};

/* The list, from config and options alone: names, shapes, places in the blocks. E_NOMEM. */
int params_list(struct params *p, const struct model_config *c, const struct train_options *o,
                struct err *e);
void params_clear(struct params *p); /* the list; device memory is the caller's */
/* The lanes of this rank (step.c), when it has so many samples of a step; */
int params_lanes(const struct train_options *o, int samples);
/* and the blocks of gradients that a tree over them needs. */
int params_levels(int lanes);
/* The scale of a LoRA. */
float params_scale(const struct train_lora *l);
/* Rows and columns of LoRA target i beside its matrix. */
void params_lora_shape(const struct model_config *c, int target, int *out, int *in);

#endif
