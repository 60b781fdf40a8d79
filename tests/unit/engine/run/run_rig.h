/* run_rig.h - the run room without a network: a fake model whose answers depend on every key.
 *
 * A slot of the fake pool holds the token and the position of the row that was stored there. A
 * row's context is the list of its keys, folded into one number; a pick turns context and token
 * into a logit. So a row that sees a wrong slot, a stale one, or the right ones in another order
 * gets other answers. rig_run checks besides that row after row position p sees exactly the
 * positions 0 .. p. rig_answer works out the same answer from the prompt alone.
 */
#ifndef TESTS_UNIT_ENGINE_RUN_RUN_RIG_H
#define TESTS_UNIT_ENGINE_RUN_RUN_RIG_H

#include "engine/run/batch.h"
#include "engine/run/feats.h"
#include "engine/run/sched.h"

enum rig_grammar {
    RIG_DIGITS, /* 0..255 digit by digit, as LLaMA-2 spells */
    RIG_WHOLE,  /* one token a value */
    RIG_PAIRS,  /* sixteen times sixteen, ids not in the order of values, a forced one between */
    RIG_DEEP    /* eight bits, all values about as likely: more open nodes than a lane may hold */
};
enum { RIG_GRID = 16, RIG_IMAGE_TOKENS = 70 };

struct rig_sizes {
    int32_t range_slots, single_slots, lanes, rows, cached;
};

struct rig {
    enum rig_grammar kind;
    struct grammar g;
    struct kinds kinds; /* g is its only kind of numbers, under each of their names */
    struct questions questions;
    struct tree_text *texts;
    int32_t *order, *text_ids;
    struct kv kv;
    struct stems stems;
    struct lanes lanes;
    struct batch batch;
    struct sched sched;
    struct {
        int32_t token, pos;
    } * slots;
    struct feats entries;
    int32_t feats[4]; /* which picture each entry holds */
    uint64_t passes, rows, seen;
    int32_t most_rows;
};

void rig_open(struct rig *r, enum rig_grammar kind, const struct rig_sizes *z);
void rig_close(struct rig *r);

/* A picture whose only content is its number. */
struct eng_picture *rig_picture(int number);
/* Every place of the grid, in a stirred order. */
void rig_all_points(struct eng_point *points);
struct eng_job *rig_job(struct rig *r, const struct eng_ask *ask);
struct eng_job *rig_submit(struct rig *r, const struct eng_ask *ask); /* and sched_add */

/* One turn of the step thread at this time; 0 when there was nothing to run. */
int rig_turn(struct rig *r, uint64_t now_ns);
void rig_finish(struct rig *r); /* until nothing runs and nothing waits */

/* The answer to a question as its prompt alone gives it; returns the rows behind its prompt. */
int rig_answer(const struct rig *r, int picture, int x, int y, enum eng_estimate estimate,
               int distribution, struct eng_answer *out);
/* Are the job's answers whole, and all what they should be? */
void rig_check_job(const struct rig *r, const struct eng_job *j, int picture,
                   const struct eng_ask *ask);
void rig_check_empty(struct rig *r); /* nothing is held but what the cache may hold */

#endif
