/* speak.h - text: the next token of one that is being spoken, the likelihood of one that is given.
 *
 * Greedy takes the likeliest token, the lowest id on a tie. With a temperature T the token is drawn from
 * p^(1/T), scaled, after leaving out all but the likeliest tokens that together have top_p. The n-th
 * draw of a seed is a pure function (base/rng.h), so a text depends on its seed and prompt alone.
 * Thread: step.
 */
#ifndef ENGINE_RUN_SPEAK_H
#define ENGINE_RUN_SPEAK_H

#include <stdint.h>

#include "engine/run/batch.h"

/* One more token of the job's text from its latest pick. The token to feed, or -1 when the text has
 * ended: the model ended it, or it is as long as was asked. by_prob: scratch (vocabulary). */
int32_t speak_next(const struct forms *f, struct eng_job *j, struct batch_result r,
                   int32_t *by_prob);

/* Natural log of the likelihood of ids[0 .. n) and the end of text behind them; the result's picks are
 * the n + 1 rows that say them. */
double speak_score(const struct forms *f, const int32_t *ids, int32_t n, struct batch_result r);

/* Bytes that the last token may add to a text at most, times tokens: what a job's text may take. */
size_t speak_text_cap(const struct forms *f, uint32_t max_tokens);

#endif
