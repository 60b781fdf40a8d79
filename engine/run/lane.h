/* lane.h - one question being answered.
 *
 *   FEED: its tail, or what was chosen since, goes through the model; the last row is a pick
 *     -> the answer's tokens are walked along the grammar: forced ones ride along in the next FEED
 *   EXPLORE (only where a distribution is wanted and a channel takes several tokens): the likely
 *     children of the last picks go through the model as private branches, level by level; then
 *     the channel's value is chosen, its path is kept, the others are given back -> FEED
 *   done, as soon as the last channel's value is settled
 *
 * A level explores a child whose probability is at least 1/512 of its channel, and the greedy one
 * always, so every estimate sees the same distribution. At most explore_max tokens are held; where a
 * tokenizer could need more than LANE_EXPLORE_MAX the most likely ones are kept. What was left
 * out counts as impossible and the rest is scaled to one.
 *
 * A lane takes its slots one by one from what its job was promised for it (job.lane_slots).
 * Thread: step.
 */
#ifndef ENGINE_RUN_LANE_H
#define ENGINE_RUN_LANE_H

#include <stdint.h>

#include "engine/run/grammar.h"
#include "engine/run/job.h"
#include "engine/run/kv.h"

enum { LANE_EXPLORE_MAX = 64, LANE_DEPTH_MAX = 16, LANE_FIELDS = 3, LANE_VALUES = 256 };
#define LANE_BOUND (1.0 / 512) /* a child less likely than this is not explored */

struct batch;

struct lane_node { /* one token held while a channel is explored */
    int32_t node;  /* of the grammar */
    int32_t up;    /* the lane_node before it; -1: it follows the path */
    int32_t depth; /* tokens between the path and it */
    int32_t token, slot;
    double p; /* of the channel's value beginning so */
};

struct lane {
    struct eng_job *job;
    struct lane *prev, *next; /* of the job's lanes, or the free list */
    int32_t leaf;
    int32_t field, node;     /* where in the grammar the next pick falls */
    int32_t depth;           /* tokens of the field in front of `node` */
    int32_t *path, n_path;   /* slots of the tokens fed for good: tail, then answer */
    int32_t *feed, n_feed;   /* tokens that go next */
    struct lane_node *nodes; /* (explore_max) */
    int32_t n_nodes, n_fed;  /* nodes [n_fed, n_nodes) go next */
    int32_t greedy;          /* the node on the greedy path; -1: it has ended */
    int32_t greedy_value;
    double *p;     /* (LANE_VALUES) */
    int32_t pick0; /* its first pick in the pass being run */
    struct eng_answer answer;
};

struct lanes {
    const struct grammar *g;
    struct kv *kv;
    struct lane *all, *free;
    int32_t n, n_busy;
    int32_t explore_max;
    int32_t *spell_off, *spell; /* nodes of each value's text: (fields * LANE_VALUES + 1), nodes */
    int32_t *slot_block, *feed_block;
    struct lane_node *node_block;
    double *p_block;
};

/* Tokens that a lane of this grammar may hold while it explores. */
int32_t lane_explore_max(const struct grammar *g);

/* `n` lanes for tails of at most tail_max tokens. Borrows grammar and pool. Must-succeed. */
void lane_init(struct lanes *ls, const struct grammar *g, struct kv *kv, int32_t n,
               int32_t tail_max);
void lane_clear(struct lanes *ls);

/* A lane for one leaf, or NULL when all are busy. */
struct lane *lane_new(struct lanes *ls, struct eng_job *job, int32_t leaf);
void lane_free(struct lanes *ls, struct lane *l); /* gives its slots back */

/* Rows it puts into the next pass, at least one; and how many its first pass takes. */
int32_t lane_rows(const struct lane *l);
int32_t lane_first_rows(const struct lanes *ls, const struct eng_job *job, int32_t leaf);
void lane_put(struct lanes *ls, struct lane *l, struct batch *b);

/* The pass has run: results of the lane's picks, in the order of its rows. 1: its answer is whole. */
int lane_advance(struct lanes *ls, struct lane *l, const int32_t *best, const float *probs,
                 int ldp);

#endif
