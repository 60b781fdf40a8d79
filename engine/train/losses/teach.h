/* teach.h - a teacher: another model's answers as what is learnt, beside the right ones.
 *
 * At each row that predicts a token of an answer, the teacher gives a distribution over the
 * vocabulary, of which the `teach_top` likeliest tokens count, their shares made to sum to 1. What
 * is learnt there is
 *
 *     (1 - teach) right answer + teach * teacher's answer
 *
 * with `teach` of the talk's task: at 1 the teacher stands in place of the right answer (Hinton et
 * al. 2015, arXiv 1503.02531, at temperature 1). An older edition of a model keeps so what a newer
 * one would forget, and its answers are less noisy than the truth.
 *
 * The teacher is a whole model folder, on the same device. It sees the same rows in the same
 * packing, there only, so it has to speak the same tokens and to take the same prompts; its sizes
 * may be others. It isn't asked where answers are judged. Room-private. Thread: the trainer's.
 */
#ifndef ENGINE_TRAIN_LOSSES_TEACH_H
#define ENGINE_TRAIN_LOSSES_TEACH_H

#include "engine/train/mix.h"
#include "engine/train/train.h"

/* E_INVALID: shares out of range, a teacher without any, or shares without a teacher. */
int teach_check(const struct train_options *o, struct err *e);
/* Bytes of lists that a row may take more. */
size_t teach_index_bytes(const struct train_options *o);

/* Without a teacher these do nothing. E_NOT_FOUND, E_FORMAT: its folder; E_UNSUPPORTED: other
 * tokens or prompts than the model's; E_NOMEM. */
int teach_open(struct train *t, struct err *e);
void teach_close(struct train *t); /* before the device */
/* Names the teacher; "" without. */
const char *teach_digest(const struct train *t);
/* Asks the teacher about a sample whose lists are on the device, and puts its answers among the
 * mix's targets, there too. Memory is the arena's. E_NOMEM, E_DEVICE. */
int teach_answer(struct train *t, struct mix *x, struct arena *mem, const struct sample *s,
                 struct err *e);

#endif
