/* generate.h - text: the next token of one that is being generated, the likelihood of one that is
 * given.
 *
 * Greedy takes the likeliest token, the lowest id on a tie. With a temperature T the token is
 * sampled from p^(1/T), scaled to a sum of one, among the likeliest tokens that together have top_p
 * of that. The n-th random number of a seed is a pure function (base/rng.h), so a text depends on
 * its seed and prompt alone. Thread: step.
 */
#ifndef ENGINE_RUN_GENERATE_H
#define ENGINE_RUN_GENERATE_H

#include <stdint.h>

#include "engine/run/job.h"
#include "engine/run/rows.h"

/* One more token of the job's text, from its latest pick. Returns the token to feed, or -1 when the
 * text has ended: by the model, or because it has max_tokens. by_prob: scratch (vocabulary). */
int32_t generate_next(const struct kinds *k, struct eng_job *j, struct rows_result r,
                      int32_t *by_prob);

/* Natural log of the likelihood of ids[0 .. n) with the end of text behind them. Pick i of the
 * result is the row in front of ids[i], pick n the row in front of the end. */
double generate_score(const struct kinds *k, const int32_t *ids, int32_t n, struct rows_result r);

/* Bytes that a text of max_tokens tokens may take. */
size_t generate_text_cap(const struct kinds *k, uint32_t max_tokens);

#endif
