/* sampler.h - (seed, step, item) -> a sample to learn from.
 *
 *     struct sampler_entry mix[] = {
 *         {.source = photos, .task = SAMPLE_PIXELS, .ratio = 70, .talks = 256, .crop = 0.35f},
 *         {.source = pairs, .task = SAMPLE_REFER, .ratio = 30, .talks = 16}};
 *     struct sampler_options o = {.mix = mix, .n_mix = 2, .seed = 1, .items = 4, .form = ...};
 *     rc = sampler_open(&o, &sp, e);
 *     rc = sampler_draw(sp, step, item, &d, e);   // d->sample; in the order that you like
 *     sampler_give_back(d);
 *
 * Sampling has no state: what is drawn is a function of options, sources, seed, step and item. A
 * run that goes on from step 1,000 draws what it would have drawn, whatever the rank.
 *
 * Each entry of the mix gets its share of the items, spread evenly. An entry's pictures come in a
 * new order each epoch, and none comes twice before all came once.
 *
 * One picture, many talks: the lines of a source that show the same pictures are drawn together, up
 * to `talks` of them. For pixels a talk is a place of the picture, for masks a place of one of at
 * most 4 sentences (docs/model.md section 6.2). If there are fewer, the sample has fewer.
 *
 * What is asked stays inside of a crop, and places, boxes and masks move with it.
 *
 * A picture costs far more than a question: with `also` a sample of one task is asked other things,
 * too, which other lines know of its picture. Of a part of a picture that is what still holds
 * there: pixels, and boxes and masks that lie in it.
 *
 * Thread: any; a sampler may be drawn from by many at once.
 */
#ifndef DATA_SAMPLER_H
#define DATA_SAMPLER_H

#include "data/features.h"
#include "data/source.h"

struct sampler_entry {
    const struct source *source; /* borrowed until sampler_close */
    enum sample_task task;       /* SAMPLE_PIXELS takes the pictures of any line */
    double ratio;                /* above 0; its share is ratio / sum of ratios */
    uint32_t talks;              /* of a sample, at most: 1 .. SAMPLE_TALKS_MAX */
    uint32_t rehearse;           /* talks more, of what no line asks (draw/rehearse.c) */
    float weight;                /* of its answer tokens; 0: 1 */

    /* All of these are 0 .. 1, and 0 changes nothing. Pictures of games are never changed. */
    float crop;   /* the least share of its area that is shown; 1: all. Only of pixels, and of tasks
                     with boxes or masks */
    float jitter; /* how far brightness, contrast and saturation go; for pixels the hue, too */
    float flip;   /* how often left and right change places; not where a text speaks of them. Of the
                     same tasks as crop */
    float held;   /* the share of the source that is set aside for judging. Which pictures these are
                     depends on the source and the share alone. Steps of games are set aside in
                     stretches, since neighbours are nearly alike */

    int has_one_form; /* is it asked in lammd's own words alone, not in any of MiniGPT-v2's? */

    uint32_t also;  /* talks more of each of `tasks`, of its picture: 0 .. SAMPLE_ALSO_MAX */
    unsigned tasks; /* that `also` is about, a bit each; `task` itself is passed over */
};

/* How the model wants to be asked: train.h's struct train_form has it all. */
struct sampler_form {
    int grid;               /* places of a side */
    int is_yx;              /* are places [row, column]? */
    int image_size;         /* pictures far larger than it are shrunk before they are given */
    int tokens_w, tokens_h; /* picture tokens; 0: no talk gets a `hold` */
    int has_things;         /* do samples tell the things that they show? */
    const struct features *features; /* of pictures, or NULL; borrowed until sampler_close */
    int is_thing_held; /* of a mask the thing that is meant is held, not the place asked for */
    /* What makes the picture of grid x grid that pixels are asked of: engine/picture/resize.h's
     * resize_picture, so that it is the truth that eval has. */
    int (*resize)(const uint8_t *rgb, int w, int h, uint8_t *out, int ow, int oh, struct err *e);
};

struct sampler_options {
    const struct sampler_entry *mix; /* copied */
    uint32_t n_mix;                  /* 1 .. SAMPLER_MIX_MAX */
    uint64_t seed;
    uint32_t items;   /* samples of a step, of all ranks */
    int is_step_pure; /* one entry a step, as MiniGPT-v2 draws; 0: one an item */
    int is_plain;     /* for validation: asked as lammd itself asks, nothing is cropped, mirrored,
                         lit or cleaned; pictures come in their own order */
    int is_held;      /* draws from what is set aside; 0: from the rest. Entries of which nothing is
                         set aside are then passed over */
    uint64_t bad_max; /* bad lines that a source may have */
    struct sampler_form form;
};
enum { SAMPLER_MIX_MAX = 64 };

struct sampler;
/* E_INVALID: an option, an entry whose source has no line of its task. E_FORMAT: a source has more
 * than bad_max bad lines; the text tells the first. */
int sampler_open(const struct sampler_options *o, struct sampler **out, struct err *e);
void sampler_close(struct sampler *s); /* NULL is legal */

struct sampler_draw {
    struct sample sample;
    uint32_t entry;    /* of the mix */
    const char *where; /* "pairs/train.jsonl: line 12": of the first line, for messages */
};
/* item: 0 .. items - 1. Gives *out: sampler_give_back, before sampler_close. E_FORMAT, E_IO: what
 * the index promised isn't there any more, or a picture can't be decoded; the text names the
 * file. E_NOMEM. */
int sampler_draw(const struct sampler *s, uint64_t step, uint32_t item, struct sampler_draw **out,
                 struct err *e);
void sampler_give_back(struct sampler_draw *d); /* NULL is legal */

/* Steps after which every picture of that entry was shown once. */
uint64_t sampler_epoch_steps(const struct sampler *s, uint32_t entry);

#endif
