/* fake_engine.h - an engine whose clockwork the test turns by hand.
 *
 * It keeps engine.h's contract (answers before counts, one last wake, put before the end cancels)
 * and does nothing by itself: a test says when answers come, when a job fails, when the queue is
 * full. What the model would say is a fixed function of the truth, fake_rgb.
 */
#ifndef TESTS_UNIT_API_FAKE_ENGINE_H
#define TESTS_UNIT_API_FAKE_ENGINE_H

#include "engine/engine.h"

struct eng *fake_open(int grid);
void fake_close(struct eng *e); /* dies when an image or a job is left */

void fake_answer_at_once(struct eng *e, int is_on); /* every job is done when eng_submit returns */
void fake_refuse(struct eng *e, int code); /* what eng_submit says from now on; 0: nothing */
void fake_break(struct eng *e, int code);  /* what eng_health says from now on */
void fake_queue(struct eng *e, uint64_t tokens, uint64_t max);

/* About the job that was submitted last; submitting another one ends it. */
/* n more answers, then a wake; the last ends it, and so does a cancel. 1 when it has ended. */
int fake_answer(struct eng *e, uint32_t n);
void fake_fail(struct eng *e, int code);
const struct eng_ask *fake_asked(struct eng *e); /* its points are kept until the next submit */
int fake_is_cancelled(struct eng *e);

int fake_images(const struct eng *e); /* alive */
int fake_jobs(const struct eng *e);
void fake_rgb(const uint8_t truth[3], uint8_t rgb[3]);

#endif
