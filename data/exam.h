/* exam.h - what the lines of a source ask, one question at a time and whole: to be asked of a model
 * as users ask it, and judged by its answers.
 *
 *     rc = exam_list(s, SAMPLE_REFER, 0.1, &picks, &n, e);    // a tenth is set aside: those lines
 *     rc = exam_read(s, SAMPLE_REFER, &picks[i], &item, e);
 *     ... item.pictures, item.text, item.box ...
 *     exam_clear(&item);  mem_free(picks);
 *
 * What is set aside is what a sampler of that share never draws (sampler.h: held). A sampler asks
 * for single places and in training's words; here a mask comes with all of its places, and texts as
 * they stand in the line. Thread: any.
 */
#ifndef DATA_EXAM_H
#define DATA_EXAM_H

#include "data/source.h"
#include "kernels/base/mem.h"
#include "media/picture.h"

enum { EXAM_ARENA_MAX = 64 << 20, EXAM_ANSWERS_MAX = 64 };

struct exam_pick {
    uint64_t order; /* as good as random, of what the line is and where: the lowest n are any n */
    uint64_t unit;  /* the same for questions that are no separate evidence: those about one
                       picture, and some steps of a game in a row */
    uint32_t line;
    uint32_t part; /* of a detection line without a caption: which phrase */
};
/* The questions of that task which are set aside when a share of `held` is (0 < held <= 1; 1: all).
 * *out is given, mem_free; *n may be 0. E_NOMEM. */
int exam_list(const struct source *s, enum sample_task task, float held, struct exam_pick **out,
              uint32_t *n, struct err *e);

struct exam_item {
    enum sample_task task;
    struct picture pictures[SAMPLE_PICTURES_MAX]; /* as they are shown */
    uint32_t n_pictures;
    const char *text;           /* sentence, phrase, question; NULL: the task takes none */
    const char *const *answers; /* (n_answers) of tasks that answer in text: any is right. Phrases
                                   and boxes stand in them as the model writes them */
    uint32_t n_answers;
    double box[4];                   /* of refer and identify: x1, y1, x2, y2 in pixels */
    uint8_t *mask;                   /* of mask: (h, w) of picture 0, 0 or 1 */
    const struct sample_turn *turns; /* of chat; the last answer is answers[0], too */
    uint32_t n_turns;
    uint8_t action[4]; /* of games */
    struct arena *mem; /* of texts and turns */
};
/* E_IO, E_FORMAT (it was changed since it was checked), E_NOMEM; exam_clear after failure, too. */
int exam_read(const struct source *s, enum sample_task task, const struct exam_pick *p,
              struct exam_item *out, struct err *e);
void exam_clear(struct exam_item *x); /* all zero is legal */

#endif
