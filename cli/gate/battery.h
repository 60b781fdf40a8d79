/* battery.h - the gate's own questions about other things than what was trained: 64 scenes and 32
 * pictures drawn by code (scene.h) from BATTERY_SEED, so nothing but that number is kept.
 * Everything asked of a scene is true by construction. Immutable once opened: any thread may read.
 *
 *     pixels  each of the 32 pictures
 *     mask    of a scene: "the red ring"
 *     refer   two of a scene: "the ring", and "the red thing" where only one is red
 *     vqa     three of a scene: what colour, how many, is there
 */
#ifndef CLI_GATE_BATTERY_H
#define CLI_GATE_BATTERY_H

#include "data/exam.h"

enum { BATTERY_SEED = 18, BATTERY_SCENES = 64, BATTERY_PICTURES = 32 };

struct battery;
struct battery *battery_open(void);    /* must-succeed */
void battery_close(struct battery *b); /* NULL is legal */

/* Its questions of that task; 0: the battery has none. */
uint32_t battery_count(enum sample_task task);
/* Question i of it. *cluster: the same for those about one picture. E_NOMEM; exam_clear after
 * failure, too. */
int battery_read(const struct battery *b, enum sample_task task, uint32_t i, uint64_t *cluster,
                 struct exam_item *out, struct err *e);
/* What one would answer without looking, knowing all the right answers: the mean of the boxes in
 * pixels, or the commonest word of questions like this one. NULL: there is no such word. */
const double *battery_guess_box(const struct battery *b);
const char *battery_guess_word(const struct battery *b, uint32_t i);

#endif
