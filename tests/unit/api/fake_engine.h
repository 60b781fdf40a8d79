/* fake_engine.h - an engine whose clockwork the test turns by hand.
 *
 * It keeps engine.h's contract (answers before counts, one last wake, put before the end cancels)
 * and does nothing by itself: a test says when answers come, when a job fails, when the queue is
 * full. What the model would say of a pixel is a fixed function of the truth, fake_rgb; whether a
 * place belongs to a mask, fake_chance; numbers and texts are what the test says.
 */
#ifndef TESTS_UNIT_API_FAKE_ENGINE_H
#define TESTS_UNIT_API_FAKE_ENGINE_H

#include <stdatomic.h>

#include "engine/engine.h"

struct eng *fake_open(int grid);
void fake_close(struct eng *e); /* dies when an image or a job is left */

void fake_answer_at_once(struct eng *e, int is_on); /* every job is done when eng_submit returns */
void fake_refuse(struct eng *e, int code); /* what eng_submit says from now on; 0: nothing */
void fake_break(struct eng *e, int code);  /* what eng_health says from now on */
void fake_queue(struct eng *e, uint64_t tokens, uint64_t max);
void fake_pace(struct eng *e, double rows_a_second); /* what eng_pace says; 0: not known */

/* eng_submit says E_BUSY while so many jobs are alive; 0: never. */
void fake_full_at(struct eng *e, int jobs);
/* What the next jobs will answer: a box, an action; a text. */
void fake_values(struct eng *e, int a, int b, int c, int d);
void fake_say(struct eng *e, const char *text);

/* About the job that was submitted last. */
/* n more answers or tokens, then a wake; the last ends it, and so does a cancel. 1 when it has
 * ended. */
int fake_answer(struct eng *e, uint32_t n);
void fake_fail(struct eng *e, int code);
const struct eng_ask *fake_asked(struct eng *e); /* its points are kept until the next submit */
int fake_is_cancelled(struct eng *e);
/* About all jobs. */
void fake_answer_some(struct eng *e, uint32_t n); /* n answers of the oldest that isn't over */
void fake_answer_all(struct eng *e); /* one thread may, while others submit and cancel */
int fake_live(const struct eng *e);  /* that are neither over nor cancelled */

/* Adapters: fake_adapters.c. A folder with a file adapter_config.json is one, and that file's bytes
 * are its content; where they begin with "foreign", it fits another base. A job that is asked with
 * one says "by DIGEST". */
void fake_slots(struct eng *e, int n);           /* 0 at first */
void fake_load_slowly(struct eng *e, int is_on); /* not before fake_loaded */
void fake_loaded(struct eng *e, int code);       /* the last one is loaded; or failed so */
int fake_adapters_alive(struct eng *e);          /* that hold a slot */
struct fake_adapters {
    int slots, is_slow;
    struct eng_adapter *last;
    atomic_int alive;
};
struct fake_adapters *fake_adapters(struct eng *e); /* for fake_adapters.c, as is fake_set_slots */
void fake_set_slots(struct eng *e, int n);

int fake_pictures(const struct eng *e); /* alive */
int fake_jobs(const struct eng *e);
float fake_chance(int x, int y); /* 0 .. 1 */
void fake_rgb(const uint8_t truth[3], uint8_t rgb[3]);

#endif
