/* draw.h - one sample in the making: from a group of lines to pictures and talks.
 *
 *     sampler.c   decides which entry, which group, which lines
 *     pictures.c  decodes, shows and masks them
 *     talks.c     asks and answers, task by task
 *     rehearse.c  asks what the model can do already
 *
 * Thread: any, a draw each.
 */
#ifndef DATA_DRAW_DRAW_H
#define DATA_DRAW_DRAW_H

#include "data/draw/dice.h"
#include "data/draw/looks.h"
#include "data/sampler.h"
#include "data/source/internal.h"

enum {
    DRAW_SENTENCES_MAX = 4,     /* of a sample of masks: each costs a mask of the picture's size */
    DRAW_ARENA_MAX = 128 << 20, /* bytes of texts */
    DRAW_TEXT_MAX = 256 << 10   /* of one */
};

struct draw_line {
    const struct source_line *at;
    struct line line;
    uint8_t *mask; /* (grid, grid) as it is shown; NULL: the line has none, or it isn't wanted */
};

struct draw {
    struct sampler_draw out; /* first, so that what is given back is the draw */
    struct arena *mem;       /* of everything that `out` points to, but pixels */
    struct sample_picture shown[SAMPLE_PICTURES_MAX];
    struct picture pictures[SAMPLE_PICTURES_MAX];
    uint32_t n_pictures;
    struct sample_talk *talks; /* (entry->talks + entry->rehearse) */
    uint32_t n_talks;
    struct sample_thing things[SAMPLE_THINGS_MAX];
    uint32_t n_things;
    char where[600];

    /* only while it is made: */
    const struct sampler_entry *entry;
    const struct sampler_form *form;
    int is_plain;
    struct dice dice;
    struct draw_line *lines; /* (n_lines) */
    uint32_t n_lines;
    struct looks looks; /* of the pictures */
    uint8_t *truth; /* (grid, grid, 3): what the picture is on the grid; NULL: no pixel is asked */
    struct buf question, answer;
};

/* Decodes the pictures of the first line (for pixels: one of them), shows them, and masks of
 * lines. E_IO, E_FORMAT, E_NOMEM. */
int draw_pictures(struct draw *d, struct err *e);
/* Fills `talks` and `things`. E_NOMEM. */
int draw_talks(struct draw *d, struct err *e);
/* Adds entry->rehearse talks, where there is a picture. E_NOMEM. */
int draw_rehearsal(struct draw *d, struct err *e);
/* Adds a talk of one turn, of d->question and d->answer, which are then empty. `like` has its task,
 * hold and whether it is taught. E_NOMEM. */
int draw_add(struct draw *d, const struct sample_talk *like, struct err *e);
/* Asks for a pixel of d->truth, and answers. */
void draw_pixel(struct draw *d, uint32_t at);

#endif
