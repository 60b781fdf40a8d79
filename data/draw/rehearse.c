/* rehearse.c - what a model can do already, asked so that it isn't forgotten: see draw.h.
 *
 * Who learns a few hundred lines forgets what they don't show. What the model answered before is
 * known without anybody's labels: the model itself tells it, as the teacher of what it becomes. Of
 * a pixel the picture tells it. So questions of other things are asked behind the same picture,
 * which is computed anyway. Their words are everyday ones, and their answers are drawn: they only
 * say at which tokens the teacher is asked (sample.h: is_taught).
 */
#include <stdio.h>

#include "data/draw/draw.h"
#include "data/draw/texts.h"
#include "kernels/base/err.h"

enum { COUNT_MOST = 5, SIDE = 100 };

static const char *const things[] = {"dog",  "cat",    "car",  "ball",  "cup",    "chair", "tree",
                                     "bird", "shirt",  "shoe", "hat",   "bag",    "box",   "apple",
                                     "fish", "bottle", "boat", "clock", "flower", "house", "thing"};
static const char *const colours[] = {"red",    "orange", "yellow", "green", "blue",
                                      "purple", "white",  "black",  "brown", "grey"};
static const char *const places[] = {"on the left", "on the right", "in the middle", "at the top",
                                     "at the bottom"};
static const char *const yes_no[] = {"yes", "no"};

#define ONE_OF(d, list) (list)[dice_below(&(d)->dice, ARRAY_LEN(list))]

static void rehearse_pixel(struct draw *d) {
    uint32_t grid = (uint32_t)d->form->grid;
    draw_pixel(d, dice_below(&d->dice, grid * grid));
}

static void rehearse_vqa(struct draw *d) {
    char text[96];
    const char *thing = ONE_OF(d, things);
    switch (dice_below(&d->dice, 4)) {
    case 0:
        snprintf(text, sizeof(text), "what colour is the %s?", thing);
        buf_str(&d->answer, ONE_OF(d, colours));
        break;
    case 1:
        snprintf(text, sizeof(text), "is there a %s?", thing);
        buf_str(&d->answer, ONE_OF(d, yes_no));
        break;
    case 2:
        snprintf(text, sizeof(text), "how many things are there?");
        buf_printf(&d->answer, "%u", dice_below(&d->dice, COUNT_MOST));
        break;
    default:
        snprintf(text, sizeof(text), "what is %s?", ONE_OF(d, places));
        buf_str(&d->answer, thing);
    }
    texts_vqa(&d->question, text, NULL);
}

/* "the red cup" */
static void rehearse_name(struct draw *d, char *to, size_t size) {
    const char *colour = ONE_OF(d, colours);
    snprintf(to, size, "the %s %s", colour, ONE_OF(d, things));
}

static void rehearse_refer(struct draw *d) {
    char name[64];
    struct texts_box box = {.w = SIDE, .h = SIDE};
    rehearse_name(d, name, sizeof(name));
    box.x1 = dice_between(&d->dice, 0, 0.7 * SIDE);
    box.y1 = dice_between(&d->dice, 0, 0.7 * SIDE);
    box.x2 = dice_between(&d->dice, box.x1 + 0.1 * SIDE, SIDE);
    box.y2 = dice_between(&d->dice, box.y1 + 0.1 * SIDE, SIDE);
    texts_refer(&d->question, name, NULL);
    texts_box(&d->answer, &box);
}

static void rehearse_mask(struct draw *d) {
    char name[64];
    uint32_t grid = (uint32_t)d->form->grid;
    int x = (int)dice_below(&d->dice, grid), y = (int)dice_below(&d->dice, grid);
    rehearse_name(d, name, sizeof(name));
    texts_mask(&d->question, name, x, y, d->form->is_yx);
    buf_printf(&d->answer, "%u", dice_below(&d->dice, 2));
}

int draw_rehearsal(struct draw *d, struct err *e) {
    static void (*const asks[])(struct draw *) = {[SAMPLE_PIXELS] = rehearse_pixel,
                                                  [SAMPLE_MASK] = rehearse_mask,
                                                  [SAMPLE_REFER] = rehearse_refer,
                                                  [SAMPLE_VQA] = rehearse_vqa};
    static const enum sample_task tasks[] = {SAMPLE_VQA, SAMPLE_MASK, SAMPLE_REFER, SAMPLE_PIXELS};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && d->n_pictures && i < d->entry->rehearse; i++) {
        uint32_t n = d->truth ? ARRAY_LEN(tasks) : ARRAY_LEN(tasks) - 1;
        enum sample_task task = tasks[dice_below(&d->dice, n)];
        asks[task](d);
        rc =
            draw_add(d, &(struct sample_talk){.task = task, .is_taught = task != SAMPLE_PIXELS}, e);
    }
    return rc;
}
