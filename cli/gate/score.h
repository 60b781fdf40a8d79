/* score.h - how right is an answer? Pure functions over plain values; metric.h has those of boxes.
 */
#ifndef CLI_GATE_SCORE_H
#define CLI_GATE_SCORE_H

#include <stddef.h>

/* F1 of the words of an answer, the best over the right ones: 0 .. 1. Words are runs of letters and
 * digits (bytes above 127, too), compared in ASCII lower case, and counted as often as they stand
 * there. Of one right word and one said word it is 1 or 0, which is accuracy; of sentences it is a
 * share, where exact match would be 0 of nearly all. */
double score_words(const char *said, size_t len, const char *const *right, size_t n);

/* F1 of the boxes of two texts, as the model writes them: {<12><3><100><99>} in hundredths. A box
 * is found when it overlaps a right one by more than half (IoU, metric.h), each right one once.
 * With no box on either side: 1. */
double score_boxes(const char *said, size_t len, const char *right);

#endif
