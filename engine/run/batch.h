/* batch.h - one pass of the decoder as flat arrays.
 *
 * First sched chooses: chunks of stems, runs and lanes, in any order, as long as there are rows
 * left. Then batch_build lays them out: rows that see the same stem side by side, since they form
 * one group of the attention. What a row computes does not depend on where it stands.
 *
 *     batch_begin(b);
 *     batch_chunk(b, part, I);  batch_run(b, job, run);  batch_lane(b, lanes, lane);
 *     batch_build(b, lanes);    model_run(m, &b->pass, &e);
 *     batch_end(b);             // parts are as filled as they were planned
 *
 * Keys and values of all rows are stored before any row of the pass attends, so a lane may stand in
 * the same pass as its branch and as the last chunk of its stem.
 * Every array is made at start; nothing here allocates later.
 * Thread: step.
 */
#ifndef ENGINE_RUN_BATCH_H
#define ENGINE_RUN_BATCH_H

#include <stdint.h>

#include "engine/model/model.h"
#include "engine/run/grammar.h"
#include "engine/run/job.h"
#include "engine/run/lane.h"
#include "engine/run/stem.h"

struct batch_unit { /* a lane, or a run of a job's tree */
    struct lane *lane;
    struct eng_job *job;
    int32_t run;
    int32_t bucket;
};
struct batch_chunk {
    struct stem_part *part;
    int32_t from, rows, image_tokens;
};
struct batch_bucket { /* rows that see one stem */
    struct stem_part *stem;
    int32_t units, at;
};

struct batch {
    int32_t rows_max, tail_max, buckets_max;
    /* what was chosen */
    int32_t rows_left;
    struct batch_unit *units;
    int32_t n_units;
    struct batch_chunk *chunks;
    int32_t n_chunks;
    struct batch_bucket *buckets;
    int32_t n_buckets;
    int32_t *order; /* units, those of a bucket side by side */
    int wants_probs;
    /* the pass */
    struct model_pass pass;
    struct model_pick_group pick_group;
    int32_t *src, *pos, *slot, *tail_off, *tail;
    struct kern_attn_group *groups;
    struct kern_attn_span *spans;
    int32_t *pick_row, *pick_set;
    float *probs;
    int32_t *path; /* scratch of whoever writes rows: slots of one path */
};

/* Passes of at most rows_max rows, each with at most tail_max private keys, over at most stems_max
 * stems at once. Picks fall on `head` and the grammar's sets. Must-succeed. */
void batch_init(struct batch *b, int32_t rows_max, int32_t tail_max, int32_t stems_max,
                const struct grammar *g, const struct model_head *head);
void batch_clear(struct batch *b);
/* Most entries of a pass's list of spans. */
int32_t batch_spans_max(int32_t rows_max, int32_t stems_max);

/* ---- choosing; each must fit into rows_left ---- */
void batch_begin(struct batch *b);
void batch_chunk(struct batch *b, struct stem_part *part, int32_t image_tokens);
void batch_run(struct batch *b, struct eng_job *job, int32_t run);
void batch_lane(struct batch *b, struct lane *lane);

/* ---- laying out ---- */
void batch_build(struct batch *b, struct lanes *lanes);
void batch_end(struct batch *b);

/* ---- for those who write rows ---- */
void batch_row(struct batch *b, int32_t src, int32_t pos, int32_t slot);
void batch_keys(struct batch *b, const int32_t *slots, int32_t n); /* of the latest row */
void batch_pick(struct batch *b, int32_t set);                     /* at the latest row */

#endif
