/* curve.h - losses.csv as a picture: a line for each task over the steps, its judgements as
 * squares, on a logarithmic axis. Pure: a text goes in, pixels come out. Thread: any. */
#ifndef CLI_TRAIN_CURVE_H
#define CLI_TRAIN_CURVE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { CURVE_W = 960, CURVE_H = 540 };

/* Draws the table into rgb (CURVE_H, CURVE_W, 3), overwritten. E_NOT_FOUND: the table has no loss
 * above 0. E_FORMAT: a row isn't as journal.h writes it. */
int curve_draw(const char *csv, size_t len, uint8_t *rgb, struct err *e);

#endif
