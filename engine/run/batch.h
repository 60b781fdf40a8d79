/* batch.h - one pass of the decoder as flat arrays.
 *
 * First sched chooses: chunks of stems, runs and lanes, in any order, as long as there are rows
 * left. Then batch_build lays them out: rows that see the same stem side by side, since they form
 * one group of the attention. What a row computes does not depend on where it stands.
 *
 *     batch_begin(b);
 *     batch_chunk(b, part);  batch_run(b, job, run);  batch_lane(b, lanes, lane);
 *     batch_build(b, lanes);    model_run(m, &b->pass, &e);
 *     batch_end(b);             // parts are as filled as they were planned
 *
 * Picks of numbers and picks of text fall on two heads, so they are kept apart while rows are written
 * and joined at the end: a lane's first pick counts from the first one of its kind.
 * Keys and values of all rows are stored before any row of the pass attends, so a lane may stand in
 * the same pass as its branch and as the last chunk of its stem.
 * Every array is made at start; nothing here allocates later.
 * Thread: step.
 */
#ifndef ENGINE_RUN_BATCH_H
#define ENGINE_RUN_BATCH_H

#include <stdint.h>

#include "engine/answer/kinds.h"
#include "engine/model/model.h"
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
    int32_t from, rows;
};
struct batch_bucket { /* rows that see one stem */
    struct stem_part *stem;
    int32_t units, at;
};

/* The picks of one head. */
struct batch_picks {
    int32_t *row, *set;
    int32_t n, max;
    float *probs; /* (max, ldp) */
    int ldp, is_wanted;
    const struct model_head *head;
};

enum {
    BATCH_TEXT_PICKS = 128,              /* of a pass: each has the whole vocabulary */
    BATCH_TEXT_KEYS = ENG_TOKENS_MAX + 2 /* private ones of a lane that speaks */
};

struct batch {
    int32_t rows_max, tails_max, buckets_max;
    int32_t rows_most; /* of the next pass, up to rows_max, which it is at first */
    /* what was chosen */
    int32_t rows_left, text_left; /* rows and picks of text that may still be chosen */
    struct batch_unit *units;
    int32_t n_units;
    struct batch_chunk *chunks;
    int32_t n_chunks;
    struct batch_bucket *buckets;
    int32_t n_buckets;
    int32_t *order; /* units, those of a bucket side by side */
    /* the pass */
    struct model_pass pass;
    const struct forms *forms;
    struct batch_picks numbers, text;
    struct model_pick_group pick_groups[2];
    int32_t *src, *pos, *slot, *tail_off, *tail;
    struct kern_attn_group *groups;
    struct kern_attn_span *spans;
    int32_t *pick_row, *pick_set;
    int32_t *path; /* scratch of whoever writes rows: slots of one path */
};

/* Entries of a pass's private keys, numbers' rows having at most tail_max each. */
int32_t batch_tails_max(int32_t rows_max, int32_t tail_max);
/* Passes of at most rows_max rows, each with at most tail_max private keys (or
 * BATCH_TEXT_KEYS in a text), over at most stems_max
 * stems at once. Picks fall on the heads of numbers and of text. Must-succeed. */
void batch_init(struct batch *b, int32_t rows_max, int32_t tail_max, int32_t stems_max,
                const struct forms *f, const struct model_head *numbers,
                const struct model_head *text);
void batch_clear(struct batch *b);
/* Most entries of a pass's list of spans. */
int32_t batch_spans_max(int32_t rows_max, int32_t stems_max);

/* ---- choosing; each must fit into rows_left ---- */
void batch_begin(struct batch *b);
void batch_chunk(struct batch *b, struct stem_part *part);
void batch_run(struct batch *b, struct eng_job *job, int32_t run);
void batch_lane(struct batch *b, struct lane *lane);

/* ---- laying out ---- */
void batch_build(struct batch *b, struct lanes *lanes);
void batch_end(struct batch *b);

/* ---- for those who write rows ---- */
void batch_row(struct batch *b, int32_t src, int32_t pos, int32_t slot);
void batch_keys(struct batch *b, const int32_t *slots, int32_t n); /* of the latest row */
/* At the latest row; from a set of numbers, or the whole vocabulary. Which pick of its kind it is. */
int32_t batch_pick(struct batch *b, int32_t set);
int32_t batch_pick_text(struct batch *b);

/* Results of a lane's picks, from its first one on. */
struct batch_result {
    const int32_t *best;
    const float *probs; /* (.., ldp); NULL: nobody asked */
    int ldp;
};
struct batch_result batch_result(const struct batch *b, int is_text, int32_t pick0);

#endif
