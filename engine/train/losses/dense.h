/* dense.h - dense questions: what picture tokens are asked directly, beside the questions in words.
 *
 * A question in words teaches the tower one answer about one place, through the whole decoder. Here
 * all tokens of the sample's first picture are asked at once, by small heads that learn along and
 * are no part of what is exported:
 *
 *     h      = rmsnorm(token)                       (I, D) picture tokens, behind the connector
 *     inside   of each place of each token and each thing that the sample names: is it inside?
 *              key(place) . query(thing), key = Wk h + bk, query = Wq rmsnorm(sum of the
 *              embeddings of its name); binary cross-entropy, the mean over places and things
 *     box      of each token that shows a thing: the thing's box. Four numbers, each the mean of a
 *              distribution over DENSE_STEPS steps from 0 to 1; L1 + (1 - GIoU), the mean
 *     colour   of each token: red, green and blue of each of its places, 0 to 1; squared error, the
 *              mean
 *     feature  of each token: what another network saw there (sample.h), where that is known;
 *              squared error, the mean
 *
 * So a name, a colour, a position or an edge of a thing is learnt by where it is, and a token knows
 * what it shows. Each loss has a weight (train.h), and weighs in a sample as all its answer tokens
 * together do: packing changes nothing. A new head's last map is 0, so that it asks nothing of
 * a trained tower before it knows something itself; for the first `dense_alone` steps nothing goes
 * back from the heads at all.
 *
 * A token is a cell of the pixel grid: lamm-mini's has 2 x 8 places of 64 x 64. Where a grid
 * doesn't divide by the tokens, places are as near to its own as can be, at most DENSE_SIDE a side.
 *
 * Letters as in model.h, and P = I * cells places. Room-private. Thread: the trainer's.
 */
#ifndef ENGINE_TRAIN_LOSSES_DENSE_H
#define ENGINE_TRAIN_LOSSES_DENSE_H

#include "engine/train/mix.h"
#include "engine/train/train.h"

struct model_config;

enum {
    DENSE_KEY = 32,     /* numbers of a key and of a query */
    DENSE_STEPS = 32,   /* of a number of a box */
    DENSE_SIDE = 16,    /* places of a side of a token, at most */
    DENSE_QUERIES = 16, /* things of different names that are asked for in a sample, at most */
    DENSE_WORDS = 32    /* tokens of a name that are read */
};

struct dense_shape {
    int tokens_w, tokens_h, tokens; /* I = tokens_w * tokens_h */
    int cell_w, cell_h, cells;      /* places of a token */
    int places;                     /* P */
    int width;                      /* D */
};
struct dense_shape dense_shape_of(const struct model_config *c);

/* What is asked of one sample, on the host. Place p is place p % cells of token p / cells, both row
 * by row. */
struct dense_ask {
    struct dense_shape shape;
    int n_queries;
    int32_t *ids;       /* (n_ids) the names' tokens, one name behind the other */
    int32_t *name_off;  /* (n_queries + 1) */
    int n_ids;          /* at most DENSE_QUERIES * DENSE_WORDS */
    uint8_t *inside;    /* (n_queries, P) */
    int n_boxes;        /* tokens that show a thing, at most I */
    int32_t *box_token; /* (n_boxes) ascending */
    float *box;         /* (n_boxes, 4) */
};
/* Of a sample with things. Memory is the arena's. E_INVALID: more things than there may be, a box
 * that isn't finite; E_NOMEM. */
int dense_read(struct dense_ask *a, const struct dense_shape *shape, struct arena *mem,
               const struct train *t, const struct sample *s, struct err *e);

/* Are there dense questions? */
int dense_is_asked(const struct train_options *o);
/* E_INVALID: a weight or a rate out of range, nothing that could learn; E_UNSUPPORTED: tokens that
 * aren't a grid. */
int dense_check(const struct train_options *o, const struct model_config *c, struct err *e);
/* Device memory beside the heads, which are parameters. */
size_t dense_bytes(const struct train_options *o, const struct model_config *c);

/* Without dense questions these do nothing. */
int dense_open(struct train *t, struct err *e);
void dense_close(struct train *t); /* before the device */
/* A sample's questions go to the device: behind mix_build, whose wants say what they weigh. */
int dense_put(struct train *t, const struct mix *x, struct arena *mem, const struct sample *s,
              struct err *e);
/* Behind tower_forward: heads and losses. */
void dense_forward(struct train *t);
/* Before tower_back: buffers.dfeats +=, and the gradients of heads and embeddings. */
void dense_back(struct train *t);
/* What came of it, added to *out. */
int dense_get(struct train *t, struct train_loss *out, struct err *e);

#endif
