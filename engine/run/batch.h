/* batch.h - one pass of the decoder: what takes part in it, and in which order.
 *
 * First sched chooses chunks of stems, branches and lanes, in any order, as long as there are rows
 * left. Then batch_build lays them out: rows that attend to the same stem stand side by side, since
 * they are one group of the attention. And so do those that run with one adapter, which are a
 * section. What a row computes does not depend on where it stands.
 *
 *     batch_begin(b);
 *     batch_chunk(b, job, part);  batch_branch(b, job, branch);  batch_lane(b, lane);
 *     batch_build(b, lanes);    model_run(m, &b->rows.pass, &e);
 *     batch_end(b);             // each part is filled as far as was planned
 *
 * Keys and values of all rows are stored before any row of the pass attends. So a lane may stand in
 * the same pass as its branch and as the last chunk of its stem.
 * Every array is made at start. Nothing allocates later.
 * Thread: step.
 */
#ifndef ENGINE_RUN_BATCH_H
#define ENGINE_RUN_BATCH_H

#include <stdint.h>

#include "engine/run/job.h"
#include "engine/run/lane.h"
#include "engine/run/rows.h"
#include "engine/run/stem.h"

struct batch_item { /* a lane, or a branch of a job's tree */
    struct lane *lane;
    struct eng_job *job;
    int32_t branch;
    int32_t bucket;
};
struct batch_chunk {
    struct stem_part *part;
    int32_t from, rows;
    int berth;
};
struct batch_bucket { /* items whose rows attend to one stem, and so run with one adapter */
    struct stem_part *stem;
    int32_t items, at;
    int berth;
};

struct batch {
    int32_t rows_most;            /* of the next pass, at most rows.max, which it is at first */
    int32_t rows_left, text_left; /* rows and picks of text that may still be chosen */
    struct batch_item *items;
    int32_t n_items;
    struct batch_chunk *chunks;
    int32_t n_chunks;
    struct batch_bucket *buckets;
    int32_t n_buckets, buckets_max;
    int32_t *order;  /* items, those of a bucket side by side */
    unsigned berths; /* of adapters that take part, a bit each */
    struct rows rows;
};

/* Arguments as of rows_init. Must-succeed. */
void batch_init(struct batch *b, int32_t rows_max, int32_t keys_max, int32_t stems_max,
                const struct kinds *kinds, const struct model_head *numbers,
                const struct model_head *text);
void batch_clear(struct batch *b);

/* ---- choosing; each must fit into rows_left ---- */
void batch_begin(struct batch *b);
/* For a job whose stem the part is of. */
void batch_chunk(struct batch *b, const struct eng_job *job, struct stem_part *part);
void batch_branch(struct batch *b, struct eng_job *job, int32_t branch);
void batch_lane(struct batch *b, struct lane *lane);
static inline int32_t batch_rows(const struct batch *b) { return b->rows_most - b->rows_left; }

/* ---- laying out ---- */
void batch_build(struct batch *b, struct lanes *lanes);
/* The pass has run. */
void batch_end(struct batch *b);

#endif
