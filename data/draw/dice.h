/* dice.h - numbers that are drawn one after the other, all of them a function of what the dice were
 * made of; and orders of n things without a list. Thread: their owner's. */
#ifndef DATA_DRAW_DICE_H
#define DATA_DRAW_DICE_H

#include <stdint.h>

struct dice {
    uint64_t seed, n; /* n: how often they fell */
};

struct dice dice_of(uint64_t seed, uint64_t step, uint64_t item);
uint32_t dice_below(struct dice *d, uint32_t n);             /* 0 .. n-1, n > 0 */
double dice_between(struct dice *d, double from, double to); /* from <= x < to */

/* Where thing i of n lies in the order that `seed` names: a bijection of 0 .. n-1, n > 0. */
uint32_t dice_order(uint64_t seed, uint32_t n, uint32_t i);

#endif
