/* draw.h - one sample in the making: from a group of lines to pictures and talks.
 *
 *     sampler.c   decides which entry, which group, which lines
 *     pictures.c  decodes, shows and masks them
 *     sights.c    what another network saw in them
 *     talks.c     asks and answers, task by task
 *     also.c      asks what other tasks know of the same picture
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
    struct sample_talk *talks; /* as many as the entry may ask for */
    uint32_t n_talks;
    struct sample_thing things[SAMPLE_THINGS_MAX];
    uint32_t n_things;
    char where[600];

    /* only while it is made: */
    const struct sampler_entry *entry;
    const struct sampler_form *form;
    int is_plain;
    struct dice dice;
    enum sample_task task;           /* that is asked now */
    uint32_t until;                  /* it has enough when so many talks are there */
    int w, h;                        /* of the first picture before it was cut */
    uint8_t digest[FEATURES_DIGEST]; /* of its file, where features are wanted */
    struct draw_line *lines;         /* (n_lines) */
    uint32_t n_lines;
    struct looks looks;    /* of the pictures */
    const float *features; /* of sample.h */
    uint8_t *truth; /* (grid, grid, 3): what the picture is on the grid; NULL: no pixel is asked */
    struct buf question, answer;
};

/* Takes up to `most` lines of the group that have d->task, from where the last visit ended.
 * E_FORMAT, E_IO, E_NOMEM. */
int draw_lines(struct draw *d, uint32_t group, uint64_t visit, uint64_t seed, uint32_t most,
               struct err *e);
void draw_drop_lines(struct draw *d);
/* Finds the features of the first picture as it is shown, behind draw_pictures. E_NOMEM. */
int draw_sights(struct draw *d, struct err *e);
/* Does a text of the line speak of left or right? */
int draw_has_sides(const struct line *l);
/* Have its answers to do with where something is? */
int draw_is_placed(enum sample_task t);

/* Decodes the pictures of the first line (for pixels: one of them), shows them, and masks of
 * lines. E_IO, E_FORMAT, E_NOMEM. */
int draw_pictures(struct draw *d, struct err *e);
/* Is line i's mask wanted: is it asked about, or does it say where a thing is? Of a sample of
 * sentences the first few are: each costs a mask of the picture's size. */
int draw_wants_mask(const struct draw *d, uint32_t i);
/* The mask of line i, read and shown as the pictures are. E_IO, E_FORMAT, E_NOMEM. */
int draw_mask(struct draw *d, uint32_t i, struct err *e);
/* Asks d->task of the lines, until there are d->until talks; adds `things`. E_NOMEM. */
int draw_talks(struct draw *d, struct err *e);
/* Asks up to entry->also of each other task, of the same group. As draw_lines. */
int draw_also(struct draw *d, uint32_t group, uint64_t visit, uint64_t seed, struct err *e);
/* Adds entry->rehearse talks, where there is a picture. E_NOMEM. */
int draw_rehearsal(struct draw *d, struct err *e);
/* Adds a talk of one turn, of d->question and d->answer, which are then empty. `like` has its task,
 * hold and whether it is taught. E_NOMEM. */
int draw_add(struct draw *d, const struct sample_talk *like, struct err *e);
/* Asks for a pixel of d->truth, and answers. */
void draw_pixel(struct draw *d, uint32_t at);

#endif
