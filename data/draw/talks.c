/* talks.c - questions and answers of a sample, task by task: see draw.h. */
#include <string.h>

#include "data/draw/draw.h"
#include "data/draw/places.h"
#include "data/draw/texts.h"

static int talks_no_memory(struct err *e) {
    return err_set(e, E_NOMEM, "no memory for the texts of a sample");
}

static const char *talk_keep(struct draw *d, const struct buf *b) {
    return b->bad ? NULL : arena_strdup(d->mem, b->p ? (const char *)b->p : "", b->len);
}

/* For the words of a question; NULL: they are lammd's own. */
static struct dice *talk_dice(struct draw *d) {
    return d->is_plain || d->entry->has_one_form ? NULL : &d->dice;
}

/* ---- where the attention shall fall ---- */

/* For picture tokens; NULL: none is held. */
static uint8_t *hold_new(struct draw *d) {
    size_t n = (size_t)d->form->tokens_w * (size_t)d->form->tokens_h;
    return n ? arena_take(d->mem, n) : NULL;
}

/* Adds the picture tokens that the stretch x1..x2, y1..y2 (shares of the sides) touches, one at
 * least. */
static void hold_stretch(struct draw *d, uint8_t *hold, double x1, double y1, double x2,
                         double y2) {
    int w = d->form->tokens_w, h = d->form->tokens_h, left = (int)(x1 * w), top = (int)(y1 * h);
    left = left < w ? left : w - 1;
    top = top < h ? top : h - 1;
    for (int y = top; y < h && (y == top || y < y2 * h); y++)
        for (int x = left; x < w && (x == left || x < x2 * w); x++)
            hold[y * w + x] = 1;
}

static const uint8_t *talk_hold(struct draw *d, double x1, double y1, double x2, double y2) {
    uint8_t *hold = hold_new(d);
    if (hold) hold_stretch(d, hold, x1, y1, x2, y2);
    return hold;
}

static const uint8_t *hold_place(struct draw *d, int x, int y) {
    double g = d->form->grid;
    return talk_hold(d, (x + 0.5) / g, (y + 0.5) / g, 0, 0);
}

static const uint8_t *hold_box(struct draw *d, const struct texts_box *b) {
    return talk_hold(d, b->x1 / b->w, b->y1 / b->h, b->x2 / b->w, b->y2 / b->h);
}

/* Picture tokens that lie in the mask by more than half; where none does, those that it touches.
 * NULL: none is held. */
static const uint8_t *hold_mask(struct draw *d, const uint8_t *mask) {
    int w = d->form->tokens_w, h = d->form->tokens_h, grid = d->form->grid, most = 0;
    size_t n = (size_t)w * (size_t)h;
    int *in = n ? arena_take(d->mem, n * sizeof(*in)) : NULL;
    uint8_t *hold = hold_new(d);
    if (!in || !hold) return NULL;
    for (int y = 0; y < grid; y++)
        for (int x = 0; x < grid; x++)
            in[y * h / grid * w + x * w / grid] += mask[y * grid + x];
    for (size_t i = 0; i < n; i++)
        most = in[i] > most ? in[i] : most;
    int half = grid * grid / (2 * w * h), least = most > half ? half : 0;
    for (size_t i = 0; i < n; i++)
        hold[i] = in[i] > least;
    return hold;
}

/* ---- what is shown ---- */

/* The line's mask, if it was read. */
static const uint8_t *talk_mask_of(const struct draw *d, const struct line *l) {
    for (uint32_t i = 0; i < d->n_lines; i++)
        if (&d->lines[i].line == l) return d->lines[i].mask;
    return NULL;
}

static const uint8_t *hold_thing(struct draw *d, const struct line *l, const struct texts_box *b) {
    size_t all = (size_t)d->form->grid * (size_t)d->form->grid;
    const uint8_t *mask = talk_mask_of(d, l);
    return mask && memchr(mask, 1, all) ? hold_mask(d, mask) : hold_box(d, b);
}

/* A thing that the line names, by its mask or its box (talk_box); when there are enough, the rest
 * is left out. So is a thing whose mask is known to the line and wasn't read: its box says less. */
static int talk_thing(struct draw *d, const struct line *l, const char *text,
                      const struct texts_box *b, struct err *e) {
    const uint8_t *mask = talk_mask_of(d, l);
    if (!d->form->has_things || d->n_things == SAMPLE_THINGS_MAX || !*text) return 0;
    if (!mask && l->tasks >> SAMPLE_MASK & 1) return 0;
    struct sample_thing *thing = &d->things[d->n_things];
    *thing = (struct sample_thing){.text = arena_strdup(d->mem, text, strlen(text)), .mask = mask};
    if (!thing->text) return talks_no_memory(e);
    if (b) {
        thing->box[0] = (float)(b->x1 / b->w);
        thing->box[1] = (float)(b->y1 / b->h);
        thing->box[2] = (float)(b->x2 / b->w);
        thing->box[3] = (float)(b->y2 / b->h);
    }
    d->n_things++;
    return 0;
}

/* ---- adding one ---- */

int draw_add(struct draw *d, const struct sample_talk *like, struct err *e) {
    struct sample_turn *turn = arena_take(d->mem, sizeof(*turn));
    const char *question = talk_keep(d, &d->question), *answer = talk_keep(d, &d->answer);
    d->question.len = d->answer.len = 0;
    if (!turn || !question || !answer) return talks_no_memory(e);
    *turn = (struct sample_turn){d->n_pictures, question, answer};
    struct sample_talk *talk = &d->talks[d->n_talks++];
    *talk = *like;
    talk->turns = turn;
    talk->n_turns = 1;
    talk->weight = d->entry->weight > 0 ? d->entry->weight : 1;
    return 0;
}

static int talk_add(struct draw *d, const uint8_t *hold, struct err *e) {
    return draw_add(d, &(struct sample_talk){.task = d->task, .hold = hold}, e);
}

static int is_full(const struct draw *d) { return d->n_talks == d->until; }

static void talk_text(struct draw *d, struct buf *to, const char *text) {
    if (d->is_plain)
        buf_str(to, text);
    else
        texts_clean(to, text);
}

static struct texts_box talk_box(const struct draw *d, const double box[4]) {
    double b[4];
    looks_box(&d->looks, box, b);
    return (struct texts_box){b[0], b[1], b[2], b[3], d->looks.w, d->looks.h};
}

/* A text as a question's part; freed with the buffer that the caller clears. */
static const char *talk_cleaned(struct draw *d, struct buf *b, const char *text) {
    buf_init(b, DRAW_TEXT_MAX);
    talk_text(d, b, text);
    return b->p ? (const char *)b->p : "";
}

/* ---- pixels and masks ---- */

void draw_pixel(struct draw *d, uint32_t at) {
    uint32_t grid = (uint32_t)d->form->grid;
    const uint8_t *rgb = d->truth + 3 * (size_t)at;
    texts_pixel(&d->question, (int)(at % grid), (int)(at / grid), d->form->is_yx);
    buf_printf(&d->answer, "[%d,%d,%d]", rgb[0], rgb[1], rgb[2]);
}

static int talk_pixels(struct draw *d, struct err *e) {
    uint32_t grid = (uint32_t)d->form->grid, all = grid * grid;
    uint64_t seed = ((uint64_t)dice_below(&d->dice, UINT32_MAX) << 32) | d->dice.n;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < all && !is_full(d); i++) {
        uint32_t at = dice_order(seed, all, i);
        int x = (int)(at % grid), y = (int)(at / grid);
        draw_pixel(d, at);
        rc = talk_add(d, hold_place(d, x, y), e);
    }
    return rc;
}

/* What of the other sentences' things lies outside of sentence i's; NULL: nothing. */
static uint8_t *talk_others(struct draw *d, uint32_t i) {
    size_t all = (size_t)d->form->grid * (size_t)d->form->grid;
    uint8_t *others = d->n_lines > 1 ? arena_take(d->mem, all) : NULL;
    for (uint32_t k = 0; others && k < d->n_lines; k++)
        for (size_t p = 0; k != i && p < all; p++)
            others[p] |= d->lines[k].mask[p];
    return others;
}

static int talk_masks(struct draw *d, struct err *e) {
    struct places *places[DRAW_SENTENCES_MAX] = {NULL};
    const uint8_t *holds[DRAW_SENTENCES_MAX];
    int is_thing = d->form->is_thing_held;
    int grid = d->form->grid, rc = 0;
    for (uint32_t i = 0; rc == 0 && i < d->n_lines; i++) {
        places[i] = places_new(d->lines[i].mask, talk_others(d, i), grid);
        holds[i] = is_thing ? hold_mask(d, d->lines[i].mask) : NULL;
        rc = places[i] ? talk_thing(d, &d->lines[i].line, d->lines[i].line.sentence, NULL, e)
                       : talks_no_memory(e);
    }
    for (uint32_t k = 0; rc == 0 && !is_full(d); k++) {
        uint32_t i = k % d->n_lines, at = places_draw(places[i], &d->dice);
        int x = (int)at % grid, y = (int)at / grid;
        texts_mask(&d->question, d->lines[i].line.sentence, x, y, d->form->is_yx);
        buf_char(&d->answer, d->lines[i].mask[at] ? '1' : '0');
        rc = talk_add(d, is_thing ? holds[i] : hold_place(d, x, y), e);
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        places_free(places[i]);
    return rc;
}

/* ---- boxes ---- */

static int talk_refer(struct draw *d, const struct line *l, struct err *e) {
    struct buf b;
    struct texts_box box = talk_box(d, l->box);
    const char *name = talk_cleaned(d, &b, l->sentence);
    texts_refer(&d->question, name, talk_dice(d));
    int rc = talk_thing(d, l, name, &box, e);
    buf_clear(&b);
    if (rc) return rc;
    texts_box(&d->answer, &box);
    return talk_add(d, hold_thing(d, l, &box), e);
}

static int talk_identify(struct draw *d, const struct line *l, struct err *e) {
    struct texts_box box = talk_box(d, l->box);
    texts_identify(&d->question, &box, talk_dice(d));
    talk_text(d, &d->answer, l->sentence);
    int rc = talk_thing(d, l, d->answer.p ? (const char *)d->answer.p : "", &box, e);
    if (rc) return rc;
    return talk_add(d, hold_box(d, &box), e);
}

/* <p>phrase</p> {box}<delim>{box} */
static void answer_phrase(struct draw *d, const struct line_phrase *p) {
    buf_printf(&d->answer, "<p>%s</p> ", p->text);
    for (uint32_t k = 0; k < p->n_boxes; k++) {
        struct texts_box box = talk_box(d, p->boxes[k]);
        if (k) buf_str(&d->answer, "<delim>");
        texts_box(&d->answer, &box);
    }
}

static int talk_phrases(struct draw *d, const struct line *l, struct err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < l->n_phrases; i++)
        for (uint32_t k = 0; rc == 0 && k < l->phrases[i].n_boxes; k++) {
            struct texts_box box = talk_box(d, l->phrases[i].boxes[k]);
            rc = talk_thing(d, l, l->phrases[i].text, &box, e);
        }
    return rc;
}

static int talk_grounding(struct draw *d, const struct line *l, struct err *e) {
    size_t at = 0;
    int rc = talk_phrases(d, l, e);
    if (rc) return rc;
    texts_grounding(&d->question, talk_dice(d));
    for (uint32_t i = 0; i < l->n_phrases; i++) {
        const struct line_phrase *p = &l->phrases[i];
        buf_add(&d->answer, l->caption + at, p->at - at);
        answer_phrase(d, p);
        at = p->at + strlen(p->text);
    }
    buf_str(&d->answer, l->caption + at);
    return talk_add(d, NULL, e);
}

/* With a caption all of its phrases are wanted at once, else each is asked for alone. */
static int talk_detection(struct draw *d, const struct line *l, struct err *e) {
    int rc = talk_phrases(d, l, e);
    if (l->caption) texts_detection(&d->question, l->caption);
    uint32_t first = d->is_plain ? 0 : dice_below(&d->dice, l->n_phrases);
    for (uint32_t i = 0; rc == 0 && i < l->n_phrases && !is_full(d); i++) {
        const struct line_phrase *p = &l->phrases[l->caption ? i : (first + i) % l->n_phrases];
        if (l->caption && i) buf_char(&d->answer, ' ');
        answer_phrase(d, p);
        if (l->caption) continue;
        texts_detection(&d->question, p->text);
        rc = talk_add(d, NULL, e);
    }
    return rc || !l->caption ? rc : talk_add(d, NULL, e);
}

/* ---- texts ---- */

static int talk_caption(struct draw *d, const struct line *l, struct err *e) {
    texts_caption(&d->question, talk_dice(d));
    talk_text(d, &d->answer, l->caption);
    return talk_add(d, NULL, e);
}

static const uint8_t *hold_about(struct draw *d, const struct line *l) {
    uint8_t *hold = l->about ? hold_new(d) : NULL;
    for (uint32_t i = 0; hold && i < l->n_about; i++) {
        struct texts_box b = talk_box(d, l->about[i]);
        hold_stretch(d, hold, b.x1 / b.w, b.y1 / b.h, b.x2 / b.w, b.y2 / b.h);
    }
    return hold;
}

static int talk_vqa(struct draw *d, const struct line *l, struct err *e) {
    struct buf b;
    uint32_t i = d->is_plain ? 0 : dice_below(&d->dice, l->n_answers);
    texts_vqa(&d->question, talk_cleaned(d, &b, l->question), talk_dice(d));
    buf_clear(&b);
    buf_str(&d->answer, l->answers[i]);
    return talk_add(d, hold_about(d, l), e);
}

static int talk_chat(struct draw *d, const struct line *l, struct err *e) {
    struct sample_turn *turns = arena_take(d->mem, l->n_turns * sizeof(*turns));
    for (uint32_t i = 0; turns && i < l->n_turns; i++) {
        const struct sample_turn *t = &l->turns[i];
        turns[i].n_pictures = t->n_pictures;
        turns[i].question = arena_strdup(d->mem, t->question, strlen(t->question));
        turns[i].answer = arena_strdup(d->mem, t->answer, strlen(t->answer));
        if (!turns[i].question || !turns[i].answer) turns = NULL;
    }
    if (!turns) return talks_no_memory(e);
    float weight = d->entry->weight > 0 ? d->entry->weight : 1;
    d->talks[d->n_talks++] = (struct sample_talk){
        .turns = turns, .n_turns = l->n_turns, .task = d->task, .weight = weight};
    return 0;
}

static int talk_act(struct draw *d, const struct line *l, struct err *e) {
    if (d->task == SAMPLE_DRIVE) {
        buf_str(&d->question, sample_drive_text);
        buf_printf(&d->answer, "[%d,%d,%d]", l->action[0], l->action[1], l->action[2]);
    } else {
        buf_str(&d->question, sample_shoot_text);
        buf_printf(&d->answer, "%d", l->action[0]);
    }
    return talk_add(d, NULL, e);
}

typedef int talk_fn(struct draw *d, const struct line *l, struct err *e);
static talk_fn *const talks[SAMPLE_TASKS] = {[SAMPLE_REFER] = talk_refer,
                                             [SAMPLE_IDENTIFY] = talk_identify,
                                             [SAMPLE_CAPTION] = talk_caption,
                                             [SAMPLE_GROUNDING] = talk_grounding,
                                             [SAMPLE_DETECTION] = talk_detection,
                                             [SAMPLE_VQA] = talk_vqa,
                                             [SAMPLE_CHAT] = talk_chat,
                                             [SAMPLE_DRIVE] = talk_act,
                                             [SAMPLE_SHOOT] = talk_act};

int draw_talks(struct draw *d, struct err *e) {
    if (d->task == SAMPLE_PIXELS) return talk_pixels(d, e);
    if (d->task == SAMPLE_MASK) return talk_masks(d, e);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < d->n_lines && !is_full(d); i++)
        rc = talks[d->task](d, &d->lines[i].line, e);
    return rc;
}
