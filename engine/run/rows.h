/* rows.h - the rows of one pass and the picks among them, as the flat arrays that the model takes.
 *
 * batch.c lays out a pass group by group. Whoever has rows in it (stems, branches, lanes) writes
 * them here one after the other: a row, its private keys, a pick if logits are wanted there.
 *
 *     rows_begin(r);
 *     rows_open_section(r, berth);
 *     rows_open_group(r, own_slot);  rows_span(r, slot, len) ...
 *     rows_add(r, token, pos, slot);  rows_keys(r, slots, n);  pick = rows_pick(r, set);
 *     rows_close_group(r);
 *     rows_close_section(r);
 *     rows_end(r);                 model_run(m, &r->pass, &e);
 *     rows_result(r, 0, pick);
 *
 * Picks of numbers and picks of text fall on two heads. They are kept apart while rows are written
 * and joined at the end. So a pick is known by its index among the picks of its own head. Every
 * array is made at start. Nothing allocates later. Thread: step.
 */
#ifndef ENGINE_RUN_ROWS_H
#define ENGINE_RUN_ROWS_H

#include <stdint.h>

#include "engine/answer/kinds.h"
#include "engine/engine.h"
#include "engine/model/model.h"

enum {
    ROWS_TEXT_PICKS = 128,              /* of a pass: each has logits of the whole vocabulary */
    ROWS_TEXT_KEYS = ENG_TOKENS_MAX + 2 /* private ones of a lane that generates text */
};

/* The picks of one head. */
struct rows_picks {
    int32_t *row, *set;
    int32_t n, max;
    float *probs; /* (max, ldp) */
    int ldp;
    int has_probs; /* this pass wants the probabilities, too */
    const struct model_head *head;
};

struct rows {
    int32_t max, keys_max; /* rows of a pass; private keys of all its rows together */
    struct model_pass pass;
    const struct kinds *kinds;
    struct rows_picks numbers, text;
    struct model_pick_group pick_groups[2];
    int32_t *src, *pos, *slot, *tail_off, *tail;
    struct kern_attn_group *groups;
    struct kern_attn_span *spans;
    struct model_section sections[MODEL_BERTHS_MAX];
    int32_t *pick_row, *pick_set;
    int32_t *path; /* scratch of whoever writes rows: the slots of one path */
};

/* Sizes of a pass's arrays (struct model_plan), of rows with at most keys_max private keys each and
 * at most stems_max stems at once: entries of `spans`, entries of `tail`. A text may have
 * ROWS_TEXT_KEYS. */
int32_t rows_spans_max(int32_t rows_max, int32_t stems_max);
int32_t rows_tails_max(int32_t rows_max, int32_t keys_max);

/* Passes of those sizes. Picks fall on the heads of numbers and of text. Borrows kinds and heads.
 * Must-succeed. */
void rows_init(struct rows *r, int32_t rows_max, int32_t keys_max, int32_t stems_max,
               const struct kinds *kinds, const struct model_head *numbers,
               const struct model_head *text);
void rows_clear(struct rows *r);

/* An empty pass. */
void rows_begin(struct rows *r);
/* Rows from here to rows_close_section run with a berth; of MODEL_BASE there is nothing to note. */
void rows_open_section(struct rows *r, int berth);
void rows_close_section(struct rows *r);
/* Rows from here to rows_close_group attend to the same spans. own_slot: see struct
 * kern_attn_group. */
void rows_open_group(struct rows *r, int32_t own_slot);
void rows_span(struct rows *r, int32_t slot, int32_t len);
void rows_close_group(struct rows *r);
/* One more row. src: a token, or a picture's row as in struct model_pass. */
void rows_add(struct rows *r, int32_t src, int32_t pos, int32_t slot);
/* More private keys of the latest row. */
void rows_keys(struct rows *r, const int32_t *slots, int32_t n);
/* A pick at the latest row, from a set of numbers or from the whole vocabulary. Its index among the
 * picks of its head. */
int32_t rows_pick(struct rows *r, int32_t set);
int32_t rows_pick_text(struct rows *r);
/* The pass is complete. */
void rows_end(struct rows *r);

/* What was picked, from one pick on. */
struct rows_result {
    const int32_t *best; /* index in the pick's set */
    const float *probs;  /* (.., ldp); NULL: not wanted */
    int ldp;
};
struct rows_result rows_result(const struct rows *r, int is_text, int32_t pick);

#endif
