/* pictures.c - what is shown in a sample: see draw.h.
 *
 * First everything that must stay in sight is found, in pixels of the picture; then the picture is
 * cut, mirrored and lit, and the masks with it; at last it is shrunk if it is far larger than the
 * model's own square, so that samples in waiting stay small.
 */
#include <string.h>

#include "data/draw/draw.h"
#include "media/coco.h"

enum { LARGE = 2 /* times image_size is kept of the shorter side */ };

/* ---- what must be seen ---- */

static void keep_box(double keep[4], const double box[4], int *any) {
    for (int i = 0; i < 4; i++) {
        int is_farther = i < 2 ? box[i] < keep[i] : box[i] > keep[i];
        if (!*any || is_farther) keep[i] = box[i];
    }
    *any = 1;
}

static void keep_mask(double keep[4], const uint8_t *bits, int w, int h, int *any) {
    int x1 = w, x2 = -1, y1 = h, y2 = -1;
    for (int y = 0; y < h; y++) {
        const uint8_t *row = bits + (size_t)y * (size_t)w, *first = memchr(row, 1, (size_t)w);
        if (!first) continue;
        const uint8_t *last = memrchr(row, 1, (size_t)w);
        if (y1 == h) y1 = y;
        y2 = y;
        if (first - row < x1) x1 = (int)(first - row);
        if (last - row > x2) x2 = (int)(last - row);
    }
    if (x2 < 0) return;
    keep_box(keep, (const double[4]){x1, y1, x2 + 1, y2 + 1}, any);
}

static int is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static int has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; at && (at = strcasestr(at, word)); at += n)
        if ((at == text || !is_letter(at[-1])) && !is_letter(at[n])) return 1;
    return 0;
}

int draw_has_sides(const struct line *l) {
    const char *const texts[] = {l->sentence, l->caption, l->question};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (has_word(texts[i], "left") || has_word(texts[i], "right")) return 1;
    for (uint32_t i = 0; i < l->n_phrases; i++)
        if (has_word(l->phrases[i].text, "left") || has_word(l->phrases[i].text, "right")) return 1;
    return 0;
}

int draw_is_placed(enum sample_task t) {
    return t == SAMPLE_MASK || t == SAMPLE_REFER || t == SAMPLE_IDENTIFY || t == SAMPLE_GROUNDING ||
           t == SAMPLE_DETECTION;
}

/* How the pictures may be changed: by what is asked of them. */
static struct looks_wants draw_wants(const struct draw *d) {
    const struct sampler_entry *m = d->entry;
    int is_pixels = m->task == SAMPLE_PIXELS, is_cut = is_pixels || draw_is_placed(m->task);
    struct looks_wants w = {.crop = is_cut ? m->crop : 0,
                            .flip = is_cut ? m->flip : 0,
                            .jitter = m->jitter,
                            .may_turn_hue = is_pixels};
    if (m->task == SAMPLE_DRIVE || m->task == SAMPLE_SHOOT) w.jitter = 0;
    for (uint32_t i = 0; !is_pixels && i < d->n_lines; i++)
        if (draw_has_sides(&d->lines[i].line)) w.flip = 0;
    return d->is_plain ? (struct looks_wants){0} : w;
}

/* ---- decoding ---- */

static int decode_all(struct draw *d, struct err *e) {
    const struct draw_line *first = &d->lines[0];
    const struct source *s = d->entry->source;
    uint32_t n = first->line.n_pictures, from = 0;
    if (d->task == SAMPLE_PIXELS) {
        from = d->is_plain ? 0 : dice_below(&d->dice, n);
        n = 1;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint8_t *digest = k == 0 && d->form->features ? d->digest : NULL;
        int rc =
            source_get_picture(s, first->at, &first->line, from + k, &d->pictures[k], digest, e);
        if (rc) return rc;
        d->n_pictures++;
    }
    return 0;
}

int draw_wants_mask(const struct draw *d, uint32_t i) {
    enum sample_task task = d->task;
    if (task == SAMPLE_MASK) return 1;
    return d->form->has_things && (task == SAMPLE_REFER || task == SAMPLE_IDENTIFY) &&
           i < DRAW_SENTENCES_MAX && d->lines[i].line.tasks >> SAMPLE_MASK & 1;
}

/* The masks of lines in full size: full[i] (h, w), for the caller to free. */
static int read_masks(struct draw *d, uint8_t **full, double keep[4], int *any, struct err *e) {
    const struct picture *p = &d->pictures[0];
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < d->n_lines; i++) {
        const struct draw_line *l = &d->lines[i];
        if (!draw_wants_mask(d, i)) continue;
        rc = source_get_mask(d->entry->source, l->at, &l->line, p->w, p->h, &full[i], e);
        if (rc == 0 && d->task == SAMPLE_MASK) keep_mask(keep, full[i], p->w, p->h, any);
    }
    return rc;
}

/* full (h, w) of the first picture -> line i's mask on the grid, as it is shown. */
static int shrink_mask(struct draw *d, uint32_t i, const uint8_t *full, struct err *e) {
    const struct looks *l = &d->looks;
    int grid = d->form->grid;
    uint8_t *cut = mem_try((size_t)l->w * (size_t)l->h);
    d->lines[i].mask = arena_take(d->mem, (size_t)grid * (size_t)grid);
    int rc = cut && d->lines[i].mask ? 0 : err_set(e, E_NOMEM, "no memory for a mask");
    if (rc == 0) {
        looks_mask(l, full, d->w, cut);
        coco_resize(cut, l->w, l->h, d->lines[i].mask, grid, grid);
    }
    mem_free(cut);
    return rc;
}

int draw_mask(struct draw *d, uint32_t i, struct err *e) {
    const struct draw_line *l = &d->lines[i];
    uint8_t *full = NULL;
    int rc = source_get_mask(d->entry->source, l->at, &l->line, d->w, d->h, &full, e);
    if (rc == 0) rc = shrink_mask(d, i, full, e);
    mem_free(full);
    return rc;
}

static int pictures_show(struct draw *d, uint8_t **full, struct err *e) {
    double keep[4];
    int any = 0, rc = 0;
    const struct picture *p = &d->pictures[0];
    d->w = p->w;
    d->h = p->h;
    rc = read_masks(d, full, keep, &any, e);
    for (uint32_t i = 0; i < d->n_lines && draw_is_placed(d->task); i++) {
        const struct line *l = &d->lines[i].line;
        if (l->tasks & (1u << SAMPLE_REFER | 1u << SAMPLE_IDENTIFY)) keep_box(keep, l->box, &any);
        for (uint32_t k = 0; k < l->n_phrases; k++)
            for (uint32_t b = 0; b < l->phrases[k].n_boxes; b++)
                keep_box(keep, l->phrases[k].boxes[b], &any);
    }
    struct looks_wants wants = draw_wants(d);
    d->looks = looks_draw(&wants, d->w, d->h, any ? keep : NULL, &d->dice);
    for (uint32_t i = 0; rc == 0 && i < d->n_lines; i++)
        if (draw_wants_mask(d, i)) rc = shrink_mask(d, i, full[i], e);
    for (uint32_t k = 0; rc == 0 && k < d->n_pictures; k++) {
        struct looks l = d->looks; /* the part is of the first; of more than one all is shown */
        if (d->n_pictures > 1) l.w = d->pictures[k].w;
        if (d->n_pictures > 1) l.h = d->pictures[k].h;
        rc = looks_picture(&l, &d->pictures[k], e);
    }
    return rc;
}

/* ---- sizes ---- */

static int draw_truth(struct draw *d, struct err *e) {
    const struct picture *p = &d->pictures[0];
    int grid = d->form->grid;
    d->truth = arena_take(d->mem, 3 * (size_t)grid * (size_t)grid);
    if (!d->truth) return err_set(e, E_NOMEM, "no memory for the truth");
    return d->form->resize(p->rgb, p->w, p->h, d->truth, grid, grid, e);
}

static int draw_shrink(const struct sampler_form *f, struct picture *p, struct err *e) {
    int least = p->w < p->h ? p->w : p->h, want = LARGE * f->image_size;
    if (least <= want) return 0;
    int w = (int)((int64_t)p->w * want / least), h = (int)((int64_t)p->h * want / least);
    uint8_t *rgb = mem_try((size_t)w * (size_t)h * 3);
    if (!rgb) return err_set(e, E_NOMEM, "no memory for a picture");
    int rc = f->resize(p->rgb, p->w, p->h, rgb, w, h, e);
    if (rc) {
        mem_free(rgb);
        return rc;
    }
    mem_free(p->rgb);
    *p = (struct picture){rgb, w, h};
    return 0;
}

/* Of several pictures no pixels are asked. */
static int wants_truth(const struct draw *d) {
    const struct sampler_entry *m = d->entry;
    int also = m->also && m->tasks >> SAMPLE_PIXELS & 1;
    return d->task == SAMPLE_PIXELS || ((also || m->rehearse) && d->n_pictures == 1);
}

int draw_pictures(struct draw *d, struct err *e) {
    uint8_t *full[DRAW_SENTENCES_MAX] = {NULL};
    int rc = decode_all(d, e);
    if (rc == 0 && d->n_pictures) rc = pictures_show(d, full, e);
    for (size_t i = 0; i < ARRAY_LEN(full); i++)
        mem_free(full[i]);
    if (rc == 0 && wants_truth(d)) rc = draw_truth(d, e);
    for (uint32_t k = 0; rc == 0 && k < d->n_pictures; k++) {
        rc = draw_shrink(d->form, &d->pictures[k], e);
        d->shown[k] =
            (struct sample_picture){d->pictures[k].rgb, d->pictures[k].w, d->pictures[k].h};
    }
    return rc;
}
