/* internal.h - the inside of the model room: weights, buffers and who computes what.
 *
 *     open.c   -> room.c, bind.c (positions.c), weights.h, digest.h   opening and closing
 *     plan.c   -> pass.c                                        sizes of all buffers
 *     head.c   -> plan.c                                        rows of lm_head, before any pass
 *     berth.c  -> cargo.h, overlay.c                            room for adapters
 *     run.c    -> pass.c, vit.c, llama.c, section.c (tap.c)     a picture or a pass on the device
 * All allocate through memory.c.
 *
 * No outsider includes this, but tests that build a model from memory.
 */
#ifndef ENGINE_MODEL_INTERNAL_H
#define ENGINE_MODEL_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/files/peft.h"
#include "engine/files/safetensors.h"
#include "engine/model/digest.h"
#include "engine/model/net.h"

/* Everything on the device that model_close has to give back, but logits and heads. */
struct memory {
    struct kern_ptr *blocks;
    int n_blocks, blocks_max;
    struct kern_mat **mats;
    int n_mats, mats_max;
};

/* Device buffers of a pass, carved out of one block by model_plan. */
struct work {
    /* Pictures, one behind the other; `patches` of one. `wide` is the larger of qkv (1+P, 3E) and
     * the ffn (1+P, F); `x` stays f32. */
    struct kern_ptr rgb, patches, vit_x, vit_h, vit_wide;
    /* Decoder. `wide` is the larger of qkv (N, 3D) and gate, up (N, 2F). */
    struct kern_ptr x, h, wide, act; /* (N, D) (N, D) (N, ...) (N, F); h, act: in any x_dtype */
    struct kern_ptr pick_x, pick_h;  /* (picks, D) */
    struct kern_ptr best;            /* (picks) i32 */
    struct kern_ptr inside;          /* (N, 3 * most rank): x A^T of a section; with berths */
    struct kern_ptr index;           /* the index arrays of a pass, filled by one put */
};

struct model_head {
    struct kern_mat *mat; /* (n, D) */
    int n;
};

/* Room for one adapter (berth.h). */
enum { BERTH_STACKS = 4 }; /* q k v; o; gate up; down: places with the same input */
struct berth_layer {
    struct kern_mat *a[BERTH_STACKS]; /* (places * most rank, K) */
    struct kern_mat *b[PEFT_PLACES];  /* (N, most rank) */
    unsigned places;                  /* a bit for each peft_place that the adapter has here */
};
struct berth {
    struct berth_layer *layers; /* (L) */
    int rank;
    int is_filled;
    struct vit vit;          /* what it sees with: the base's, but what the overlay has */
    struct vit room;         /* the overlay's own; all NULL without room for one */
    struct kern_ptr vectors; /* of room */
};

struct model {
    struct model_config c;
    const struct kern_ops *ops;
    struct kern *k;
    struct vit vit;
    struct llama llama;
    struct model_ids ids;
    uint64_t parameters;
    enum kern_keep keep;             /* the form of matrices that was chosen (room.h) */
    int is_as_stored;                /* none was, and those of 16 bits stay so */
    const struct model_learn *learn; /* NULL: it serves. During model_open alone */
    struct memory memory;

    int is_planned;
    struct model_plan plan;
    struct work work;
    struct berth *berths;  /* (plan.berths) */
    struct kern_ptr stage; /* where tensors pass on their way into a berth */
    enum kern_dtype pool_dtype;
    struct kern_ptr pool;          /* (L, 2, slots, D) of pool_dtype: k, then v of each layer */
    struct kern_ptr feats;         /* (feats_max, I, D) */
    struct kern_ptr logits, probs; /* (picks_max, head_max) */
    int head_max;                  /* rows of the largest head so far */
    char *staging;                 /* host: what goes to work.index */
    size_t staging_bytes;

    _Atomic uint64_t beats; /* layers that were issued. One writer: step */
    model_tap_fn *tap;
    void *tap_ud;
};

/* open.c: the same as model_open, from a parsed config and checked tensors (borrowed). */
int model_open_tensors(const struct model_config *c, const struct st *st,
                       const struct kern_ops *ops, struct kern *k, struct model **out,
                       struct err *e);

/* memory.c: room for that many allocations; then device memory and matrices that live as long as
 * the model. */
int memory_init(struct memory *mem, int blocks_max, int mats_max, struct err *e);
int memory_alloc(struct model *m, size_t bytes, struct kern_ptr *out, struct err *e);
int memory_mat(struct model *m, const struct kern_mat_src *src, struct kern_mat **out,
               struct err *e);
void memory_clear(struct model *m);

struct weights;
/* bind.c: names of weights -> fields of m->vit and m->llama, every shape checked. */
int bind_weights(struct model *m, struct weights *w, struct err *e);
/* Bytes of device memory that it would take, with a head of the whole vocabulary, and nothing is
 * taken or made. UINT64_MAX: it overflows, or the device has no such form. */
int bind_count(struct model *m, struct weights *w, uint64_t *bytes, struct err *e);
/* positions.c: resizes the grid of positions (1 + from*from, width) to (1 + to*to, width). Row 0 is
 * kept. */
void positions_resize(const float *src, int from, float *dst, int to, int width);

/* pass.c: where each index array of a pass starts in the staging block. */
struct pass_index {
    size_t src, pos, slot, groups, spans, tail_off, tail, pick_row, set, col_off, cols, bytes;
};
/* 0 when the sizes overflow. */
int pass_layout(const struct model_plan *p, struct pass_index *out);
/* Check a pass against the plan, pack its arrays and send them to the device. */
void pass_put(struct model *m, const struct model_pass *p, struct pass_index *at);
/* Where the probabilities of a group lie on the device. */
struct kern_ptr pass_probs(const struct model *m, const struct model_pick_group *g);
/* Wait, and fetch what was picked. */
int pass_get(struct model *m, const struct model_pass *p, struct err *e);

/* plan.c: logits and probabilities for a head of n rows. */
int plan_logits(struct model *m, int n, struct err *e);

/* A layer is issued: the model gets on. */
static inline void model_beat(struct model *m) {
    atomic_fetch_add_explicit(&m->beats, 1, memory_order_relaxed);
}

/* tap.c: shows `rows` x `cols` floats, `ld` apart, to the tap if there is one. */
void tap_show(struct model *m, const char *name, struct kern_ptr p, int rows, int cols, int ld);

/* vit.c: issues the operations from n pictures in work.rgb to the features (I, D) of each. */
struct vit_call {
    const struct vit *tower;
    int n; /* 1 .. plan.pictures_max */
    struct kern_ptr out[KERN_PICTURES_MOST];
};
void vit_issue(struct model *m, const struct vit_call *call);

/* berth.c: makes plan.berths of them. berth_free_all frees also what was made halfway. */
int berth_plan(struct model *m, struct err *e);
void berth_free_all(struct model *m);
int berth_stack(enum peft_place place); /* 0 .. BERTH_STACKS-1 */
unsigned berth_places(int stack);       /* a bit for each place of a stack */

/* section.c: the sections of a pass's rows, or of its picks among each other. */
enum { SECTIONS_MAX = 2 * MODEL_BERTHS_MAX }; /* picks of two heads */
struct sections {
    struct model_section at[SECTIONS_MAX];
    int n;
};
void section_of_rows(const struct model_pass *p, struct sections *out);
void section_of_picks(const struct model_pass *p, struct sections *out);
/* must(): they are in order, inside of the pass, and of berths that are filled. */
void section_check(const struct model *m, const struct model_pass *p);
/* The type of x for a product by w, the base's of a stack: as the device likes it, but f32 where an
 * adapter reads x, too. Its matrices are f32 and see x as it is. */
enum kern_dtype section_x_dtype(const struct model *m, const struct sections *list, int layer,
                                int stack, const struct kern_mat *w);
/* y += what the sections' adapters add to a product of x, of the places of a stack. */
struct section_product {
    int stack;
    struct kern_ptr x;
    int ldx;
    enum kern_dtype x_dtype; /* of section_x_dtype */
    struct kern_ptr y;
    int ldy;
};
void section_issue(struct model *m, const struct sections *list, int layer,
                   const struct section_product *p);
/* llama.c: issues the operations of a pass. */
void llama_issue(struct model *m, const struct model_pass *p, const struct pass_index *at);

#endif
