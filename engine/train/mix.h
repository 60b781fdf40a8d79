/* mix.h - the talks of a sample as one pass: each token that talks share is one row.
 *
 * Talks become token sequences, and these a trie. A run is a stretch of the trie without a fork:
 *
 *     BOS [INST] <Img> picture </Img> [reconstruct] loc: [ -+- 12, -+- 34] rgb: [/INST] [31,6,108]
 *                 the stem: the first run                   |       +- 35] rgb: [/INST] [30,7,99]
 *                                                           +- 13, ...
 * Rows are laid out for the attention (kern_attn_tree): a long run, and the stem, is a group that
 * sees itself row by row (own_slot), and what is above it as spans. Short runs behind the same long
 * one are one group together: it is their span, and what is between is in their tails. Row i has
 * slot i. No row is computed twice, and the last token of a talk, which predicts nothing, not at
 * all.
 *
 * A row that predicts tokens of answers, other than forced ones (legal.h), is a pick. Talks may
 * share it: then it has several targets, each with its part of the sum of weights.
 *
 * A mix is host memory of an arena, and its lists on the device behind mix_put. Room-private.
 */
#ifndef ENGINE_TRAIN_MIX_H
#define ENGINE_TRAIN_MIX_H

#include "engine/sample.h"
#include "kernels/base/mem.h"
#include "kernels/kern.h"

struct train;

/* An answer token that a talk wants at a pick. */
struct mix_want {
    int32_t pick, token;
    int32_t talk;
    int32_t task;
    int32_t set; /* the token is one of these (legal.h) */
    float weight;
    float teach; /* the teacher's share of it */
};

/* The lists on the device. */
struct mix_lists {
    struct kern_ptr src, pos, slot; /* (rows) */
    struct kern_ptr groups, spans, tail_off, tail;
    struct kern_ptr user_slot, user_off, user;
    struct kern_ptr pick_row, target_off, target, share, weight, legal;
    struct kern_ptr source_key, source_off, source_from;
    struct kern_ptr box_pick, box_target, box_weight, box_cols, box_cols_end;
    struct kern_ptr holds, hold_slots;
};

struct mix {
    int rows, pictures; /* pictures that any talk uses */
    int32_t *src, *pos; /* (rows) src as in kern_embed */
    int32_t *slot;      /* (rows) 0, 1, 2, ... */
    struct kern_attn_group *groups;
    int n_groups;
    struct kern_attn_span *spans;
    int n_spans;
    int32_t *tail_off, *tail; /* (rows + 1) */
    int n_users;              /* see kern_attn_tree_back */
    int32_t *user_slot, *user_off, *user;

    int picks;
    int32_t *pick_row;   /* (picks) ascending */
    int32_t *target_off; /* (picks + 1) */
    int32_t *target;
    float *share;
    float *weight;  /* (picks) */
    int32_t *legal; /* (picks) the set of tokens that may stand there (legal.h) */
    double *teach;  /* (picks) a teacher's part of the sum of weights; NULL: there is none */

    int n_sources; /* see kern_embed_back */
    int32_t *source_key, *source_off, *source_from;

    int boxes;
    int32_t *box_pick; /* (4 * boxes) picks */
    float *box_target; /* (4 * boxes) */
    float *box_weight; /* (boxes) */

    struct kern_attn_hold *holds;
    int n_holds;
    int32_t *hold_slots;
    int n_hold_slots;

    struct mix_want *wants; /* what talks want, for telling losses by task */
    int n_wants;
    double *pick_sum; /* (picks) the weight in double */
    uint64_t talks, tokens, rows_plain;

    struct mix_lists at; /* behind mix_put */
};

/* E_INVALID: a text that can't stand in a prompt, a talk that asks for pictures that aren't there;
 * E_TOO_BIG: more rows, positions or list entries than there is room for. The text names the talk.
 * Memory is the arena's. */
int mix_build(struct mix *x, struct arena *mem, struct train *t, const struct sample *s,
              struct err *e);
/* The lists go to the device, into buffers.index, in one piece. E_TOO_BIG: there is no room. */
int mix_put(struct mix *x, struct train *t, struct err *e);

/* ---- talk.c ---- */

/* A talk as tokens: ids[i] >= 0, or ~(row of the features) for a token of a picture. */
struct talk_answer {
    int32_t at, n; /* ids[at .. at+n), EOS included */
};
struct talk {
    int32_t *ids;
    int32_t n;
    struct talk_answer *answers; /* (n_answers) */
    int32_t n_answers;
    int32_t pictures;
};
int talk_read(struct talk *out, struct arena *mem, const struct train *t, const struct sample *s,
              uint32_t i, struct err *e);

/* ---- trie.c ---- */

/* Talks go in by ascending order of their tokens, so nodes are made depth first. */
struct trie {
    int32_t n, max;
    int32_t *id, *pos, *up, *kids; /* (max) of each node; up: the one above, -1: none */
    int32_t *row;                  /* (max) behind trie_lay: where it stands in the pass */
    int32_t *path;                 /* (longest talk) nodes of the latest talk */
    struct trie_run *runs;
    int32_t n_runs;
};
int trie_init(struct trie *t, struct arena *mem, int32_t nodes_max, int32_t longest, struct err *e);
/* n tokens, the first `same` of which are the latest talk's. E_TOO_BIG. */
int trie_add(struct trie *t, const int32_t *ids, int32_t n, int32_t same, struct err *e);
/* Rows, groups, spans, tails and their users of the mix. */
int trie_lay(struct trie *t, struct mix *x, struct arena *mem, struct err *e);

/* ---- aim.c ---- */

/* What talks want, by node, while the trie grows. */
struct aim_hold {
    int32_t node, talk;
    const int32_t *nodes; /* (n) tokens of pictures, ascending by position */
    int32_t n;
};
struct aim_box {
    int32_t node[4], value[4], talk;
};
struct aims {
    struct mix_want *wants; /* pick is a node as yet */
    int32_t n_wants;
    struct aim_hold *holds;
    int32_t n_holds;
    struct aim_box *boxes;
    int32_t n_boxes;
};
int aim_init(struct aims *a, struct arena *mem, const struct talk *talks, uint32_t n,
             struct err *e);
/* What talk i wants, whose nodes are trie.path. */
int aim_add(struct aims *a, struct arena *mem, const struct train *t, const struct trie *trie,
            const struct sample *s, const struct talk *talk, uint32_t i, struct err *e);
/* Picks, targets, boxes and holds of the mix, when rows are known. */
int aim_lay(struct aims *a, struct mix *x, struct arena *mem, const struct train *t,
            const struct trie *trie, const struct sample *s, struct err *e);

#endif
