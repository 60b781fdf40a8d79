/* kept.c - what is kept for the way back, in fewer bits than the walk has; see walk.h. */
#include "engine/train/internal.h"

void kept_put(struct train *t, int rows, int width, struct kern_ptr x, int ldx,
              struct kern_ptr kept) {
    if (!kept.addr) return;
    t->back->convert(t->k, &(struct kern_convert){.rows = rows,
                                                  .width = width,
                                                  .x = x,
                                                  .ldx = ldx,
                                                  .y = kept,
                                                  .ldy = width,
                                                  .y_dtype = KERN_BF16});
}

void kept_get(struct train *t, int rows, int width, struct kern_ptr kept, struct kern_ptr y,
              int ldy) {
    if (!kept.addr) return;
    t->back->convert(t->k, &(struct kern_convert){.rows = rows,
                                                  .width = width,
                                                  .x = kept,
                                                  .ldx = width,
                                                  .x_dtype = KERN_BF16,
                                                  .y = y,
                                                  .ldy = ldy});
}

int kept_recompute(const struct train_options *o, enum kern_dtype kept) {
    return kept != KERN_F32 && o->recompute == 0 ? 1 : o->recompute;
}
