/* internal.h - the inside of the training room.
 *
 *     open.c     options checked, the model opened, everything made
 *     params.c   what learns: a list made from config and options alone, then masters and moments
 *     plan.c     the buffers of a sample
 *     kept.c     what is kept of them in 16 bits
 *     count.c    all bytes, counted without allocating
 *     talk.c     talks -> tokens, and where answers lie
 *     mix.c      the talks of a sample -> one pass: rows, groups, tails, targets
 *     tower.c decoder.c lora.c    walks that keep what the way back needs, and the ways back
 *     legal.c    which tokens may stand where
 *     loss.c     logits, cross-entropy, boxes
 *     losses/    dense questions to the tower, a teacher's answers
 *     step.c     the tree of gradients, clipping, the update
 *     adapter.c export.c ckpt.c   files (out.h, carry.h)
 *
 * Room-private, but for tests.
 */
#ifndef ENGINE_TRAIN_INTERNAL_H
#define ENGINE_TRAIN_INTERNAL_H

#include "engine/files/sptok.h"
#include "engine/model/net.h"
#include "engine/train/comm.h"
#include "engine/train/mix.h"
#include "engine/train/params.h"
#include "engine/train/train.h"
#include "engine/train/walk.h"
#include "kernels/kern.h"

struct adapter;
struct dense;
struct legal;
struct teach;

/* A LoRA beside a matrix: y += x A' (s B)'. */
struct train_lora_mats {
    struct kern_mat *a, *b; /* (r, in), (out, r) */
};

/* numbers.c: which tokens are numbers, to be learnt softly or as the edges of boxes. */
enum { TRAIN_NUMBERS = 256, TRAIN_FAMILIES_MAX = 64, TRAIN_BOX_MOST = 100 };
struct train_family {
    char end[24];                 /* what stands behind the number: "", ",", "><" */
    int32_t token[TRAIN_NUMBERS]; /* of 0..255; -1: there is none */
    int n;                        /* 0..n-1 are all there */
};
struct train_numbers {
    int16_t *value, *family; /* (V) of a token; -1: it is no number */
    struct train_family *families;
    int n_families;
    int16_t box,
        box_end; /* families of a box's first three numbers, and its last; -1: it is spelled
                             otherwise */
};
int numbers_find(struct train_numbers *n, const struct sptok *t, int vocab, struct err *e);
void numbers_clear(struct train_numbers *n);

enum { TRAIN_PIECE = 1 << 17 }; /* floats of a gradient that ranks add at a time */

/* The gradients of the samples of a step, on their way to their sum (step.c): a stack of partial
 * sums, the latest on top. */
struct train_tree {
    int samples, lanes, added;   /* of this rank in a step */
    int stack[PARAM_LEVELS_MAX]; /* indices of params.grad; -1: of skipped samples alone */
    int depth;
    struct train_loss *losses; /* (samples) */
};

struct train {
    struct train_options o; /* with defaults filled in; its texts are the caller's no more: */
    char *model, *device;   /* owned; o.model and o.device point here */
    struct train_form form;
    const struct kern_ops *ops;
    const struct kern_train_ops *back; /* ops->train */
    struct kern *k;
    struct model *m; /* model_config(t->m), model_digest(t->m) */
    struct sptok *tok;
    struct train_numbers numbers;
    struct params params;
    struct train_lora_mats *lora; /* (layers * LORA_TARGETS); NULL without */

    struct kern_ptr room; /* the block of all buffers */
    struct buffers b;
    char *staging;        /* host: what goes to b.index */
    float *host;          /* (TRAIN_PIECE): for other ranks; NULL: alone */
    uint8_t *square;      /* (S, S, 3) a picture for the tower */
    struct kern_ptr grad; /* where the sample being added puts its gradients */
    uint64_t sample;      /* number of the sample being added, in all ranks' order */
    int is_judging;       /* nothing falls out */
    struct train_tree tree;
    struct dense *dense; /* losses/dense.h; NULL: nothing is asked */
    struct legal *legal; /* legal.h; NULL: the loss is over the whole vocabulary */
    struct teach *teach; /* losses/teach.h; NULL: nobody teaches */
    int is_guest;        /* on the device of another train, which closes it */

    /* What a checkpoint has beside the blocks of params. */
    uint64_t steps;     /* that have ended */
    uint64_t updates;   /* of them: that changed weights */
    int skipped_in_row; /* ten: diverged */

    struct adapter
        *carried; /* what an earlier stage left in weights that don't learn now (carry.h);
                                NULL: nothing */

    int is_average; /* do the model's matrices hold the average at present? */

    model_tap_fn *tap; /* tests: as model_set_tap */
    void *tap_ud;
};

/* params.c: the parameter of that name; NULL: there is none that learns. */
const struct param *params_find(const struct params *p, const char *name);
/* Masters (or the average, when t->is_average) -> the matrices and vectors that the model reads.
 * Whoever writes into params.value or params.average calls it. */
void params_settle(struct train *t);
/* The gradient of a parameter, of the sample being added; addr NULL: index is -1. */
struct kern_ptr params_grad(const struct train *t, int index);
/* dW += dy' x of n parameters that are stacked in one matrix, dy (m, all their rows), x (m, k).
 * index[0] < 0: they don't learn, and nothing happens. */
void params_grad_stack(struct train *t, const int *index, int n, int m, struct kern_ptr dy,
                       int lddy, struct kern_ptr x, int ldx);
/* db += the sum of dy's rows; index < 0: nothing. */
void params_grad_bias(struct train *t, int index, int m, struct kern_ptr dy, int lddy);

/* step.c: the first n pictures of the sample go to buffers.rgb. */
int step_pictures(struct train *t, const struct sample *s, int n, struct err *e);

/* open.c: a model that learns nothing, on the device of `host` and with room for its samples: a
 * teacher. Its walks go there only. open_guest_plan: what it takes. */
int open_guest(const char *model, const struct train *host, struct train **out, struct err *e);
int open_guest_plan(const char *model, const struct train_options *host, const struct kern_ops *ops,
                    struct train_memory *out, struct err *e);

/* open.c: shows a tensor to the tap, if there is one. */
void train_show(struct train *t, const char *name, struct kern_ptr p, int rows, int cols, int ld);

#endif
