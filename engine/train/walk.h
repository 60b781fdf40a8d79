/* walk.h - the walks through tower and decoder that keep what the way back needs.
 *
 * What is kept of a layer is decided once, by giving the buffers of `struct tower_keep` and `struct
 * text_keep` memory of their own or memory that all layers share (plan.c):
 *     recompute 0   each buffer of each layer is its own
 *     recompute 1   outputs of norms and activations are shared, and made again on the way back
 *     recompute 2   only the rows that come into a layer are its own: the layer runs again, and the
 *                   way back takes place in what it has done with
 * Of a tower that doesn't learn all is shared. One walk serves all of these.
 *
 * Where products round what they multiply to 16 bits, 16 bits are kept of it (kept_types). A layer
 * takes place in f32 that all layers share; what its way back needs is rounded to bf16 when it is
 * there (kept_put), and widened into the same place before it is needed (kept_get). Norms and
 * activations are made again, so recompute 0 is as 1. The residual goes on in f32: it is a sum over
 * all layers, and small additions to a large sum would be lost in 16 bits. Its copies are rounded
 * once each. Gradients are f32, since they are sums likewise. The attention reads q, k and v as
 * they were rounded, so that its way back makes the same weights again.
 *
 * Letters as in model.h, and T = pictures * (1 + P), the rows of the tower. Room-private.
 */
#ifndef ENGINE_TRAIN_WALK_H
#define ENGINE_TRAIN_WALK_H

#include "engine/model/model.h"
#include "engine/train/train.h"

struct train;
struct mix;
struct kern_ops;

enum { LORA_TARGETS = 7 }; /* q k v o gate up down, the order of train_lora_words */

/* A layer of the tower: x -> norm1 h1 -> qkv -> attention a -> x1 = x + a Wo'
 *                        -> norm2 h2 -> fc1 f -> gelu g -> the next layer's x = x1 + g W2' */
struct tower_keep {
    struct kern_ptr x, x1, a, h1, h2; /* (T, E) */
    struct kern_ptr qkv, lse;         /* (T, 3E) (T, heads) */
    struct kern_ptr f, g;             /* (T, F) */
    struct {
        struct kern_ptr x, x1, qkv, a, f;
    } kept; /* of them, in 16 bits; addr NULL: not kept so */
};
/* A layer of the decoder, with N rows; of the last one x1, h2, gu, act and what comes out have the
 * rows that predict something, picks, alone. */
struct text_keep {
    struct kern_ptr x, x1, a, h1, h2;   /* (N, D) */
    struct kern_ptr qkv, lse;           /* (N, 3D), of which q is used; (N, H) */
    struct kern_ptr q;                  /* where it is in qkv, when the attention reads it */
    struct kern_ptr k, v;               /* (N, D): the pools; row i has slot i */
    struct kern_ptr gu, act;            /* (N, 2F) (N, F) */
    struct kern_ptr lora[LORA_TARGETS]; /* (N, r): x A' */
    struct {
        struct kern_ptr x, x1, q, k, v, a, gu;
    } kept; /* of them, in 16 bits; addr NULL: not kept so */
};

/* What is kept of each number, KERN_F32 or KERN_BF16: in plans and in opened trains. */
struct kept_types {
    enum kern_dtype tower, text;
};

/* Device memory of one sample, carved out of one block. */
struct buffers {
    struct kern_ptr rgb, patches; /* (pictures, S, S, 3) u8; (pictures*P, 3*patch*patch) */
    struct tower_keep *tower;     /* (layers) */
    struct kern_ptr tower_x;      /* (T, E): what comes out of the last layer */
    struct kern_ptr tower_h;      /* (T, E): behind ln_vision */
    struct kern_ptr feats;        /* (pictures*I, D) */
    struct text_keep *text;       /* (layers) */
    struct kern_ptr text_x;       /* (N, D): picks behind the last layer */
    struct kern_ptr pick_a;       /* (N, D): attention of the picks in the last layer */
    struct kern_ptr xn;           /* (N, D): picks behind the last norm */
    struct kern_ptr logits;       /* (chunk, V) */
    struct kern_ptr box_logits;   /* (chunk, V), when boxes have a loss; and of legal masks */
    struct kern_ptr legal;        /* (sets, V): masks (legal.h) */
    struct kern_ptr box_x;        /* (chunk, D) */
    /* The way back. */
    struct kern_ptr dx, dh;         /* of a residual and of a norm's output: (N, D) or (T, E) */
    struct kern_ptr dy;             /* (N, D): the rows of all, in the last layer */
    struct kern_ptr dwide, dact;    /* (N, 3D), (N, 2F) or (T, 3E); (N, F) or (T, F) */
    struct kern_ptr dk, dv, dfeats; /* (N, D) (N, D) (pictures*I, D) */
    struct kern_ptr lora_h, lora_dh, lora_x;   /* (N, r) (N, r); (N, max(D, F)) with dropout */
    struct kern_ptr index;                     /* the lists of a mix, filled by one put */
    struct kern_ptr loss, box_loss, hold_loss; /* (N) f32 each */
    struct kern_ptr sum;                       /* (1) f64 */
    struct kern_ptr scaled;                    /* the largest LoRA B, times its scale */
    size_t index_bytes;
    size_t idle_bytes; /* from rgb on: they hold nothing between two samples */
    struct kept_types kept;
};
#define TRAIN_BOX_BETA 0.01f /* a number of a box, of 100: below it the distance is smooth */
enum { LOSS_CHUNK = KERN_BACK_ROWS }; /* rows whose logits are there at once */

/* plan.c: the bytes of all buffers, and where they lie in a block that begins at `base` (addr NULL:
 * they are counted only). SIZE_MAX: it overflows. */
size_t buffers_lay(const struct train_options *o, const struct model_config *c,
                   struct kept_types kept, struct kern_ptr base, struct buffers *out);

/* plan.c: does anything learn? A teacher (losses/teach.h) has no way back. */
int plan_goes_back(const struct train_options *o);

/* count.c: what a run on that backend keeps, by the types of the model's file. The one place that
 * decides it. */
struct kept_types kept_types(const struct train_options *o, const struct kern_ops *ops);

/* kept.c: rows of `width` numbers -> their place among what is kept, and back. Nothing where there
 * is no such place. kept_recompute: the option, as it is where such a type is kept. */
void kept_put(struct train *t, int rows, int width, struct kern_ptr x, int ldx,
              struct kern_ptr kept);
void kept_get(struct train *t, int rows, int width, struct kern_ptr kept, struct kern_ptr y,
              int ldy);
int kept_recompute(const struct train_options *o, enum kern_dtype kept);

/* count.c: all bytes, for options that are complete and the list of what learns. `samples`: of this
 * rank. E_TOO_BIG, E_UNSUPPORTED: a backend that can't train. */
struct params;
int plan_count(const struct train_options *o, const struct model_config *c, const struct params *p,
               int samples, const struct kern_ops *ops, struct train_memory *out, struct err *e);

/* tower.c: pictures 0..n-1, which are in buffers.rgb -> buffers.feats. Then the way back from
 * buffers.dfeats. Taps see what vit.c shows. */
void tower_forward(struct train *t, int n);
void tower_back(struct train *t, int n);

/* decoder.c: rows of the mix -> buffers.text_x, the picks behind the last layer. Then the way back
 * from buffers.dx, their gradient, to buffers.dfeats and the table. */
void decoder_forward(struct train *t, const struct mix *x);
void decoder_back(struct train *t, const struct mix *x);

/* lora.c: y (rows, out) += s B A dropout(x), where a LoRA stands; row_id: one of each row, for
 * dropout. lora_back: from dy its gradients, and dx += its own. */
struct lora_at {
    int layer, target, rows;
    struct kern_ptr row_id;
    struct kern_ptr x;
    int ldx;
};
void lora_forward(struct train *t, const struct lora_at *at, struct kern_ptr y, int ldy);
void lora_inside(struct train *t, const struct lora_at *at); /* A alone: what lora_back needs */
void lora_back(struct train *t, const struct lora_at *at, struct kern_ptr dy, int lddy,
               struct kern_ptr dx, int lddx);

/* loss.c: logits and losses of the picks in buffers.text_x. With is_back also buffers.dx, their
 * gradient, and those of lm_head and the last norm. Then what came of it, added to *out. */
void loss_issue(struct train *t, const struct mix *x, int is_back);
int loss_get(struct train *t, const struct mix *x, struct train_loss *out, struct err *e);
/* Its parts, for a teacher: the picks behind the last norm, in buffers.xn, and the logits of `rows`
 * of them from `at` on, LOSS_CHUNK at most, in buffers.logits. */
void loss_norm(struct train *t, const struct mix *x);
void loss_logits(struct train *t, int at, int rows);

#endif
