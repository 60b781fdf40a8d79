/* also.c - what other tasks know of the picture of a sample: see draw.h.
 *
 * The sample's own task has decided how its picture is shown. Another task's line is asked where it
 * still holds for that: in a part of the picture a thing must lie whole, nothing is counted or
 * described, and what speaks of sides isn't asked of a mirrored one.
 */
#include "data/draw/draw.h"

static int also_is_part(const struct draw *d) { return d->looks.w < d->w || d->looks.h < d->h; }

static int also_shows(const struct draw *d, const double box[4]) {
    const struct looks *l = &d->looks;
    return box[0] >= l->x && box[1] >= l->y && box[2] <= l->x + l->w && box[3] <= l->y + l->h;
}

/* Does the line hold for what is shown? */
static int also_holds(const struct draw *d, const struct line *l) {
    if (d->task == SAMPLE_PIXELS) return 1;
    if (d->looks.is_flipped && (draw_has_sides(l) || !draw_is_placed(d->task))) return 0;
    if (!also_is_part(d)) return 1;
    int has_box = l->tasks & (1u << SAMPLE_REFER | 1u << SAMPLE_IDENTIFY);
    int is_one = d->task == SAMPLE_MASK || d->task == SAMPLE_REFER || d->task == SAMPLE_IDENTIFY;
    return is_one && has_box && also_shows(d, l->box);
}

/* Lines that don't hold go; of the others masks are read, where they are wanted. */
static int also_keep(struct draw *d, struct err *e) {
    uint32_t n = 0;
    int rc = 0;
    for (uint32_t i = 0; i < d->n_lines; i++) {
        struct draw_line *l = &d->lines[i];
        if (also_holds(d, &l->line))
            d->lines[n++] = *l;
        else
            line_clear(&l->line);
    }
    d->n_lines = n;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        if (draw_wants_mask(d, i)) rc = draw_mask(d, i, e);
    return rc;
}

int draw_also(struct draw *d, uint32_t group, uint64_t visit, uint64_t seed, struct err *e) {
    const struct sampler_entry *m = d->entry;
    int rc = 0;
    if (!m->also || d->is_plain || d->n_pictures != 1) return 0;
    for (int t = 0; rc == 0 && t < SAMPLE_TASKS; t++) {
        if (t == (int)m->task || !(m->tasks >> t & 1)) continue;
        draw_drop_lines(d);
        d->task = (enum sample_task)t;
        d->until = d->n_talks + m->also;
        rc = draw_lines(d, group, visit, seed, m->also, e);
        if (rc == 0) rc = also_keep(d, e);
        if (rc == 0 && d->n_lines) rc = draw_talks(d, e);
    }
    return rc;
}
