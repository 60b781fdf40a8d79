/* estimate.h - one level out of a channel's distribution over 0..255, and how sure it is.
 *
 * p (256) sums to about 1. All sums run from 0 to 255 in double, so the same distribution always
 * gives the same bits. Thread: any.
 */
#ifndef ENGINE_ANSWER_ESTIMATE_H
#define ENGINE_ANSWER_ESTIMATE_H

enum { ESTIMATE_LEVELS = 256 };

/* The smallest level with at least half of the probability at or below it: least mean error. */
int estimate_median(const double *p);
/* The mean, halves rounded up. */
int estimate_mean(const double *p);
/* Entropy in bits, 0 .. 8. */
double estimate_entropy(const double *p);
/* The expected distance, in levels, of the true level from `level`. */
double estimate_mean_abs(const double *p, int level);

#endif
