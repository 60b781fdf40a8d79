/* band.h - one job whose questions several units answer.
 *
 * The places of a picture are cut into bands, and each band is a job of its own in one unit. What
 * the bands find becomes the answers of one more job, the whole, which no unit runs. The asker
 * sees nothing else. A place has the same answer in any band, since a lane's answer is the same in
 * any company; only the order in which places are found depends on the units.
 *
 *     bands_new(ask, grid, n, &whole, e);
 *     for each band: one = bands_ask(whole, i, ask); a unit makes it a job;
 *                     bands_add(whole, i, job)
 *     bands_open(whole);                            or eng_job_put(whole), if one was refused
 *
 * Threads. The submitting thread has the whole until bands_open. Then the step threads of the
 * units write it, one at a time, from the `wake` of their bands. When one band fails, the whole
 * has failed, and the others are cancelled.
 */
#ifndef ENGINE_RUN_BAND_H
#define ENGINE_RUN_BAND_H

#include "engine/run/job.h"

struct bands;

/* Cuts the ask's places between rows of the grid, into n bands of about as many places each, which
 * keep their order. *whole has one reference, the asker's. NULL, and 0, where that can't be done:
 * a place is outside the grid, or so few rows are asked that a band would be empty. E_NOMEM. */
int bands_new(const struct eng_ask *ask, int32_t grid, int n, struct eng_job **whole,
              struct err *e);
/* What to ask band i; the places are the whole's. */
struct eng_ask bands_ask(const struct eng_job *whole, int i, const struct eng_ask *ask);
/* The job that band i became. Its asker's reference is the whole's from now on. */
void bands_add(struct eng_job *whole, int i, struct eng_job *job);
/* All are there: from now on the asker is woken. */
void bands_open(struct eng_job *whole);

/* For job.c. Any thread. */
void bands_cancel(struct bands *s);
/* Puts the bands' jobs. After it nobody writes the whole any more. */
void bands_put(struct bands *s);
/* Adds up what the bands' own statistics have. */
void bands_stats(const struct bands *s, struct eng_job_stats *out);

#endif
