/* lane.h - one question being answered.
 *
 * A number:
 *   FEED: the lane's tail, or what was chosen since, goes through the model. The last row is a
 *   pick.
 *     -> the answer's tokens are walked along the grammar. Forced tokens go along in the next FEED.
 *   EXPLORE, only where a distribution is wanted and a number takes several tokens: the likely
 *   children of
 *     the last picks go through the model as private branches, level by level. Then the number is
 *     chosen: the slots on its path are kept, the others are given back. -> FEED
 *   The lane is done as soon as the last number is settled.
 * A text: FEED, one token is generated, FEED it, until the text ends (generate.h). A choice: its
 * tail is the choice itself, and every row from the prompt's last one on is a pick. One FEED, and
 * it is done.
 *
 * A level explores each child whose probability is at least 1/512 of its number, and the greedy one
 * always. So every estimate has the same distribution to work with. At most explore_max tokens are
 * held. Where a tokenizer could need more than LANE_EXPLORE_MAX, the most likely ones are kept.
 * What was left out counts as impossible, and the rest is scaled to one.
 *
 * A lane takes its slots one by one from what its job was promised for it (job.lane_slots).
 * Thread: step.
 */
#ifndef ENGINE_RUN_LANE_H
#define ENGINE_RUN_LANE_H

#include <stdint.h>

#include "engine/answer/kinds.h"
#include "engine/run/job.h"
#include "engine/run/kv.h"
#include "engine/run/rows.h"

enum {
    LANE_EXPLORE_MAX = 64,
    LANE_DEPTH_MAX = 16,
    LANE_FIELDS = ENG_VALUES,
    LANE_VALUES = 256,
    LANE_CHOICE_MAX = 64 /* tokens of a choice */
};
#define LANE_BOUND (1.0 / 512) /* a child less likely than this is not explored */

struct lane_node { /* one token held while a number is explored */
    int32_t node;  /* of the grammar */
    int32_t up;    /* the lane_node before it; -1: it follows the path */
    int32_t depth; /* tokens between the path and it */
    int32_t token, slot;
    double p; /* probability that the number begins so */
};

/* A kind of numbers, as lanes walk it. */
struct lane_kind {
    const struct grammar *g;
    int32_t set0; /* of the pass's sets: where g's begin */
    int32_t explore_max;
    double error_scale;         /* of what its answers state: kinds_calibrate */
    int32_t *spell_off, *spell; /* edges of each value's text: (fields * LANE_VALUES), edges */
};

struct lane {
    struct eng_job *job;
    const struct lane_kind *kind; /* NULL: text or a choice */
    struct lane *prev, *next;     /* of the job's lanes, or the free list */
    int32_t leaf;
    int32_t rows;            /* that it took so far */
    int32_t field, node;     /* of the grammar: where the next pick falls */
    int32_t depth;           /* tokens of the field in front of `node` */
    int32_t *path, n_path;   /* slots of the tokens fed for good: tail, then answer */
    int32_t *feed, n_feed;   /* tokens that go next */
    struct lane_node *nodes; /* (explore_max) */
    int32_t n_nodes, n_fed;  /* nodes [n_fed, n_nodes) go next */
    int32_t greedy;          /* the node on the greedy path; -1: the path has ended */
    int32_t greedy_value;
    int is_broken;                /* a probability was no number */
    double *p;                    /* (LANE_VALUES) */
    int32_t pick0;                /* its first pick in the pass, see rows_pick */
    int32_t *own_path, *own_feed; /* its own arrays; a job that generates text lends longer ones */
    struct eng_answer answer;
};

struct lanes {
    const struct kinds *kinds;
    struct lane_kind of[KIND_NUMBERS];
    struct kv *kv;
    struct lane *all, *free;
    int32_t n, n_busy;
    int32_t tail_max, explore_max;
    int32_t *slot_block, *feed_block;
    struct lane_node *node_block;
    double *p_block;
    int32_t *by_prob; /* (vocabulary) scratch of generate.c */
};

/* Tokens that a lane of this grammar may hold while it explores. */
int32_t lane_explore_max(const struct grammar *g);
/* Can lanes walk it? Not when its numbers take too many tokens. */
int lane_can_walk(const struct grammar *g);

/* `n` lanes for tails of at most tail_max tokens (LANE_CHOICE_MAX + 1 at least). Borrows kinds and
 * pool. Must-succeed. */
void lane_init(struct lanes *ls, const struct kinds *kinds, struct kv *kv, int32_t n,
               int32_t tail_max);
void lane_clear(struct lanes *ls);

/* A lane for one leaf, or NULL when all are busy. */
struct lane *lane_new(struct lanes *ls, struct eng_job *job, int32_t leaf);
void lane_free(struct lanes *ls, struct lane *l); /* gives its slots back */

/* Rows of its next pass, at least one; and of the first pass of a lane for that leaf. */
int32_t lane_rows(const struct lane *l);
int32_t lane_first_rows(const struct lanes *ls, const struct eng_job *job, int32_t leaf);
/* How many of them are picks of text. */
int32_t lane_text_picks(const struct lane *l);
int32_t lane_first_text_picks(const struct eng_job *job, int32_t leaf);
/* Write the rows. */
void lane_put(struct lanes *ls, struct lane *l, struct rows *r);

/* The pass has run: go on with what was picked. 1: the answer is complete. -1: the model's numbers
 * are no numbers (a weight is too large for them), and the lane is good for nothing. */
int lane_advance(struct lanes *ls, struct lane *l, const struct rows *rows);

#endif
