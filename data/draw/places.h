/* places.h - which places of a mask are asked (docs/model.md section 6.2).
 *
 * 40 of 100 lie in the object. Of the others every tenth may lie anywhere outside, half of them
 * in other things that were spoken of, if there are any, and the rest in a ring around the
 * object; where the ring is empty, anywhere outside. If there is no object, or nothing else, any
 * place is as good. Places that were asked before are avoided. Thread: any.
 */
#ifndef DATA_DRAW_PLACES_H
#define DATA_DRAW_PLACES_H

#include <stdint.h>

#include "data/draw/dice.h"

struct places;
/* object, others: (grid, grid) of zeros and ones; others NULL: there are none. Copied. NULL: no
 * memory. */
struct places *places_new(const uint8_t *object, const uint8_t *others, int grid);
void places_free(struct places *p);                     /* NULL is legal */
uint32_t places_draw(struct places *p, struct dice *d); /* y * grid + x */

#endif
