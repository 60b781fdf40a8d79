/* heads.h - the inside of dense questions: what dense.c makes and heads.c works with. */
#ifndef ENGINE_TRAIN_LOSSES_HEADS_H
#define ENGINE_TRAIN_LOSSES_HEADS_H

#include "engine/train/internal.h"
#include "engine/train/losses/dense.h"

/* Pieces of device memory, of 4 bytes an item; what they hold is in room_sizes. */
enum room {
    ONES, /* weights of norms that have none */
    H,
    DH,
    KEYS,
    DKEYS,
    ASKED,
    DASKED,
    LOGITS,
    OFF,
    SHARE,
    TARGET,
    WEIGHT,
    LOSS,
    SUM,
    IDS,
    IOTA,
    NAME_OFF,
    WORDS,
    QSUM,
    QUERY,
    DQUERY,
    WORD_KEY,
    WORD_OFF,
    WORD_FROM,
    BOXES,
    DBOXES,
    BOX_ROW,
    BOX_COLS,
    BOX_TARGET,
    BOX_WEIGHT,
    BOX_LOSS,
    COLOURS,
    DCOLOURS,
    TRUTH,
    SQUARES,
    FEATURES,
    DFEATURES,
    FEATURE_TRUTH,
    FEATURE_SQUARES,
    ROOMS
};

/* A head of squared error: n numbers of a token, and what is asked of the sample at hand. */
struct dense_squares {
    struct kern_mat *w; /* NULL: not asked */
    struct kern_ptr b;
    enum room y, dy, truth, sum;
    int n;
    int is_known; /* is there a truth for the sample? */
    float by;     /* what a squared difference weighs */
};

struct dense {
    struct dense_shape shape;
    struct kern_mat *key, *query, *box; /* NULL: not asked */
    struct kern_mat *asked;             /* (2 DENSE_QUERIES, DENSE_KEY) */
    struct kern_ptr key_b, box_b;
    struct dense_squares colour, feature;
    struct kern_ptr block, at[ROOMS];
    uint8_t *places; /* (places high, wide, 3): the picture on the places, for colours */
    void *staging;   /* 4 bytes for each place and query, or each number of colours */

    /* Of the sample at hand. */
    struct dense_ask ask;
    int has_picture, n_words; /* n_words: different ones of all names */
};

#endif
