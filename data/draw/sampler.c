/* sampler.c - which entry, which pictures, which lines: see data/sampler.h.
 *
 * The mix is laid out once, in a cycle of SLOTS items: each entry has its share of the slots,
 * spread as evenly as can be, and each slot knows how many of its entry came before it. So the
 * o-th sample of an entry is known without counting, and epoch o / n takes its n groups in an
 * order of its own.
 */
#include "data/sampler.h"

#include <math.h>
#include <string.h>

#include "data/draw/draw.h"
#include "kernels/base/mem.h"

enum { SLOTS = 4096 };

struct deck {
    uint32_t *groups; /* (n) of the source, those that have the task */
    uint32_t n, slots;
};
struct sampler {
    struct sampler_options o;
    struct sampler_entry mix[SAMPLER_MIX_MAX];
    struct deck decks[SAMPLER_MIX_MAX];
    uint8_t entry[SLOTS];
    uint16_t before[SLOTS]; /* so many slots of the same entry */
};

/* ---- the mix ---- */

static int group_fits(const struct source *s, uint32_t group, enum sample_task task) {
    const struct source_group *g = &s->groups[group];
    if (task == SAMPLE_PIXELS) return s->lines[s->order[g->first]].has_picture;
    for (uint32_t i = 0; i < g->n; i++)
        if (s->lines[s->order[g->first + i]].tasks >> task & 1) return 1;
    return 0;
}

static int make_deck(struct deck *d, const struct sampler_entry *m, int is_held, struct err *e) {
    const struct source *s = m->source;
    uint64_t last = 0;
    d->groups = mem_try((s->n_groups + 1) * sizeof(*d->groups));
    if (!d->groups) return err_set(e, E_NOMEM, "%s: no memory", s->path);
    int rc = m->held > 0 ? source_last_aside(s, (double)m->held, &last, e) : 0;
    if (rc) return rc;
    for (uint32_t g = 0; g < s->n_groups; g++) {
        int is_aside = m->held > 0 && s->groups[g].unit <= last;
        if (is_aside == is_held && group_fits(s, g, m->task)) d->groups[d->n++] = g;
    }
    if (d->n || is_held) return 0;
    return err_set(e, E_INVALID, "%s has no line for %s%s", s->path, sample_task_words[m->task],
                   m->held > 0 ? " that isn't set aside" : "");
}

/* Slots of each entry: its share, at least one; the largest rests get what is left. */
static void share_slots(struct sampler *s) {
    double sum = 0, rest[SAMPLER_MIX_MAX];
    uint32_t left = SLOTS, n = s->o.n_mix, some = 0;
    for (uint32_t i = 0; i < n; i++) {
        some += s->decks[i].n > 0;
        sum += s->decks[i].n ? s->mix[i].ratio : 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        rest[i] = -1;
        if (!s->decks[i].n) continue;
        double share = s->mix[i].ratio / sum * (SLOTS - some);
        s->decks[i].slots = 1 + (uint32_t)share;
        rest[i] = share - floor(share);
        left -= s->decks[i].slots;
    }
    for (; left; left--) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
            if (rest[i] > rest[best] || !s->decks[best].n) best = i;
        s->decks[best].slots++;
        rest[best] = -1;
    }
}

/* Each slot goes to the entry that is farthest behind its share. */
static void lay_slots(struct sampler *s) {
    int32_t behind[SAMPLER_MIX_MAX] = {0};
    uint16_t had[SAMPLER_MIX_MAX] = {0};
    share_slots(s);
    for (int k = 0; k < SLOTS; k++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < s->o.n_mix; i++) {
            behind[i] += (int32_t)s->decks[i].slots;
            if (behind[i] > behind[best]) best = i;
        }
        behind[best] -= SLOTS;
        s->entry[k] = (uint8_t)best;
        s->before[k] = had[best]++;
    }
}

/* ---- opening ---- */

static int share_is(float v) { return v >= 0 && v <= 1; }

static int check_entry(const struct sampler_options *o, uint32_t i, struct err *e) {
    const struct sampler_entry *m = &o->mix[i];
    if (!m->source || (unsigned)m->task >= SAMPLE_TASKS)
        return err_set(e, E_INVALID, "entry %u of the mix has no source or no task", i + 1);
    const char *task = sample_task_words[m->task];
    if (!(m->ratio > 0) || !isfinite(m->ratio))
        return err_set(e, E_INVALID, "the ratio of %s must be above 0", task);
    if (m->talks < 1 || m->talks > SAMPLE_TALKS_MAX)
        return err_set(e, E_INVALID, "talks of %s must be 1 to %d", task, SAMPLE_TALKS_MAX);
    if (m->also > SAMPLE_ALSO_MAX)
        return err_set(e, E_INVALID, "also of %s must be 0 to %d", task, SAMPLE_ALSO_MAX);
    if (m->rehearse > SAMPLE_REHEARSE_MAX)
        return err_set(e, E_INVALID, "rehearse of %s must be 0 to %d", task, SAMPLE_REHEARSE_MAX);
    if (!share_is(m->crop) || !share_is(m->jitter) || !share_is(m->flip) || !share_is(m->held))
        return err_set(e, E_INVALID, "crop, jitter, flip and held of %s must be 0 to 1", task);
    if (!(m->weight >= 0) || !isfinite(m->weight))
        return err_set(e, E_INVALID, "the weight of %s must not be negative", task);
    const struct source_report *r = source_report(m->source);
    if (r->bad <= o->bad_max) return 0;
    if (!r->n_errors)
        return err_set(e, E_FORMAT, "%s: %llu lines are bad", r->path, (unsigned long long)r->bad);
    const struct source_error *f = &r->errors[0];
    return err_set(e, E_FORMAT, "%s: %llu of %llu lines are bad: line %llu: %s%s%s", f->file,
                   (unsigned long long)r->bad, (unsigned long long)(r->lines + r->bad),
                   (unsigned long long)f->line, f->field, *f->field ? ": " : "", f->reason);
}

static int check_options(const struct sampler_options *o, struct err *e) {
    if (o->n_mix < 1 || o->n_mix > SAMPLER_MIX_MAX)
        return err_set(e, E_INVALID, "a mix has 1 to %d entries", SAMPLER_MIX_MAX);
    if (!o->items) return err_set(e, E_INVALID, "a step has no sample");
    const struct sampler_form *f = &o->form;
    if (f->grid < 1 || f->grid > 1024 || f->image_size < 1 || f->image_size > 4096 || !f->resize ||
        f->tokens_w < 0 || f->tokens_h < 0 || f->tokens_w > 1024 || f->tokens_h > 1024)
        return err_set(e, E_INVALID, "the form of the model is not known");
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < o->n_mix; i++)
        rc = check_entry(o, i, e);
    return rc;
}

int sampler_open(const struct sampler_options *o, struct sampler **out, struct err *e) {
    *out = NULL;
    int any = 0, rc = check_options(o, e);
    if (rc) return rc;
    struct sampler *s = mem_must(sizeof(*s));
    s->o = *o;
    memcpy(s->mix, o->mix, o->n_mix * sizeof(*o->mix));
    s->o.mix = s->mix;
    for (uint32_t i = 0; rc == 0 && i < o->n_mix; i++)
        rc = make_deck(&s->decks[i], &s->mix[i], !!o->is_held, e);
    for (uint32_t i = 0; i < o->n_mix; i++)
        any |= s->decks[i].n > 0;
    if (rc == 0 && !any) rc = err_set(e, E_INVALID, "nothing is set aside");
    if (rc) {
        sampler_close(s);
        return rc;
    }
    lay_slots(s);
    *out = s;
    return 0;
}

void sampler_close(struct sampler *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->o.n_mix; i++)
        mem_free(s->decks[i].groups);
    mem_free(s);
}

/* ---- which ---- */

/* Which of its entry's samples is it? */
static uint64_t sampler_count(const struct sampler *s, uint64_t step, uint32_t item,
                              uint32_t *entry) {
    uint64_t at = s->o.is_step_pure ? step : step * s->o.items + item;
    *entry = s->entry[at % SLOTS];
    uint64_t n = at / SLOTS * s->decks[*entry].slots + s->before[at % SLOTS];
    return s->o.is_step_pure ? n * s->o.items + item : n;
}

/* For pixels any line will do. */
int draw_lines(struct draw *d, uint32_t group, uint64_t visit, uint64_t seed, uint32_t most,
               struct err *e) {
    const struct source *s = d->entry->source;
    const struct source_group *g = &s->groups[group];
    uint32_t *fit = mem_try((g->n + 1) * sizeof(*fit)), n = 0;
    if (!fit) return err_set(e, E_NOMEM, "no memory for a sample");
    for (uint32_t i = 0; i < g->n && (d->task != SAMPLE_PIXELS || n == 0); i++)
        if (d->task == SAMPLE_PIXELS || s->lines[s->order[g->first + i]].tasks >> d->task & 1)
            fit[n++] = s->order[g->first + i];
    if (d->task == SAMPLE_MASK && most > DRAW_SENTENCES_MAX) most = DRAW_SENTENCES_MAX;
    uint32_t take = n < most ? n : most;
    int rc = 0;
    d->lines = mem_try((take + 1) * sizeof(*d->lines));
    if (!d->lines) rc = err_set(e, E_NOMEM, "no memory for a sample");
    for (uint32_t k = 0; rc == 0 && k < take; k++) {
        uint32_t i = (uint32_t)((visit * take + k) % n);
        uint32_t line = fit[d->is_plain ? i : dice_order(seed + group, n, i)];
        d->lines[k].at = &s->lines[line];
        if (!*d->where) source_get_where(s, line, d->where, sizeof(d->where));
        d->n_lines++;
        rc = source_get_line(s, line, &d->lines[k].line, e);
    }
    mem_free(fit);
    return rc;
}

void draw_drop_lines(struct draw *d) {
    for (uint32_t i = 0; i < d->n_lines; i++)
        line_clear(&d->lines[i].line);
    mem_free(d->lines);
    d->lines = NULL;
    d->n_lines = 0;
}

/* ---- a draw ---- */

static struct draw *draw_new(const struct sampler *s, uint32_t entry, struct dice dice) {
    struct draw *d = mem_try(sizeof(*d));
    if (!d) return NULL;
    const struct sampler_entry *m = &s->mix[entry];
    uint32_t room = m->talks + m->also * SAMPLE_TASKS + m->rehearse;
    *d = (struct draw){.entry = &s->mix[entry],
                       .form = &s->o.form,
                       .is_plain = s->o.is_plain,
                       .dice = dice,
                       .task = s->mix[entry].task,
                       .until = s->mix[entry].talks,
                       .out = {.entry = entry}};
    buf_init(&d->question, DRAW_TEXT_MAX);
    buf_init(&d->answer, DRAW_TEXT_MAX);
    d->mem = arena_new(DRAW_ARENA_MAX);
    if (d->mem) d->talks = arena_take(d->mem, room * sizeof(*d->talks));
    return d;
}

/* What was only needed while it was made. */
static void draw_finish(struct draw *d) {
    draw_drop_lines(d);
    buf_clear(&d->question);
    buf_clear(&d->answer);
    d->out.sample = (struct sample){.pictures = d->shown,
                                    .n_pictures = d->n_pictures,
                                    .talks = d->talks,
                                    .n_talks = d->n_talks,
                                    .things = d->things,
                                    .n_things = d->n_things,
                                    .features = d->features};
    d->out.where = d->where;
}

int sampler_draw(const struct sampler *s, uint64_t step, uint32_t item, struct sampler_draw **out,
                 struct err *e) {
    uint32_t entry;
    *out = NULL;
    must(item < s->o.items);
    uint64_t count = sampler_count(s, step, item, &entry);
    const struct deck *deck = &s->decks[entry];
    uint64_t epoch = count / deck->n, seed = dice_of(s->o.seed, entry, UINT64_MAX).seed;
    uint32_t at = (uint32_t)(count % deck->n);
    if (!s->o.is_plain) at = dice_order(seed + epoch * 16, deck->n, at);
    struct draw *d = draw_new(s, entry, dice_of(s->o.seed, step, item));
    if (!d || !d->talks) {
        sampler_give_back(d ? &d->out : NULL);
        return err_set(e, E_NOMEM, "no memory for a sample");
    }
    struct err why = {0};
    int rc = draw_lines(d, deck->groups[at], epoch, seed, d->entry->talks, &why);
    if (rc == 0) rc = draw_pictures(d, &why);
    if (rc == 0) rc = draw_sights(d, &why);
    if (rc == 0) rc = draw_talks(d, &why);
    if (rc == 0) rc = draw_also(d, deck->groups[at], epoch, seed, &why);
    if (rc == 0) rc = draw_rehearsal(d, &why);
    if (rc) err_set(e, rc, "%s: %s", d->where, why.text);
    draw_finish(d);
    if (rc)
        sampler_give_back(&d->out);
    else
        *out = &d->out;
    return rc;
}

void sampler_give_back(struct sampler_draw *out) {
    struct draw *d = (struct draw *)out;
    if (!d) return;
    draw_finish(d);
    for (uint32_t k = 0; k < SAMPLE_PICTURES_MAX; k++)
        mem_free(d->pictures[k].rgb);
    arena_free(d->mem);
    mem_free(d);
}

uint64_t sampler_epoch_steps(const struct sampler *s, uint32_t entry) {
    must(entry < s->o.n_mix);
    const struct deck *d = &s->decks[entry];
    if (!d->n) return 0;
    double share = (double)d->slots / SLOTS * s->o.items;
    return (uint64_t)ceil(d->n / share - 1e-9);
}
