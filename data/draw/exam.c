/* exam.c - see data/exam.h. */
#include "data/exam.h"

#include <string.h>

#include "data/draw/texts.h"
#include "data/source/internal.h"
#include "kernels/base/rng.h"

enum { EXAM_TEXT_MAX = 256 << 10 };

/* ---- which ---- */

static int has_task(const struct source_line *l, enum sample_task task) {
    return task == SAMPLE_PIXELS ? l->has_picture : l->tasks >> task & 1;
}

static struct exam_pick exam_pick_of(const struct source_line *l, uint32_t line, uint32_t part) {
    uint64_t of_line = rng_u64(l->unit, (uint64_t)l->number << 32 | part);
    return (struct exam_pick){of_line, l->unit, line, part};
}

/* Phrases of a detection line are asked one by one, unless a caption holds them. */
static int count_parts(const struct source *s, uint32_t line, enum sample_task task, uint32_t *n,
                       struct err *e) {
    struct line l = {0};
    *n = 1;
    if (task != SAMPLE_DETECTION) return 0;
    int rc = source_get_line(s, line, &l, e);
    if (rc == 0 && !l.caption) *n = l.n_phrases;
    line_clear(&l);
    return rc;
}

struct exam_found {
    struct exam_pick *at;
    uint32_t n, cap;
};

static int exam_add(struct exam_found *f, struct exam_pick p, struct err *e) {
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? 2 * f->cap : 64;
        struct exam_pick *at = mem_try_resize(f->at, f->cap * sizeof(*at), cap * sizeof(*at));
        if (!at) return err_set(e, E_NOMEM, "no memory for a list of questions");
        f->at = at;
        f->cap = cap;
    }
    f->at[f->n++] = p;
    return 0;
}

/* Of a group: its lines; for pixels one is enough. */
static int list_group(const struct source *s, const struct source_group *g, enum sample_task task,
                      struct exam_found *f, struct err *e) {
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < g->n; i++) {
        uint32_t line = s->order[g->first + i], parts;
        if (!has_task(&s->lines[line], task)) continue;
        rc = count_parts(s, line, task, &parts, e);
        for (uint32_t k = 0; rc == 0 && k < parts; k++)
            rc = exam_add(f, exam_pick_of(&s->lines[line], line, k), e);
        if (task == SAMPLE_PIXELS) break;
    }
    return rc;
}

int exam_list(const struct source *s, enum sample_task task, float held, struct exam_pick **out,
              uint32_t *n, struct err *e) {
    struct exam_found f = {0};
    uint64_t last = 0;
    must(held > 0 && held <= 1);
    int rc = source_last_aside(s, (double)held, &last, e);
    for (uint32_t g = 0; rc == 0 && g < s->n_groups; g++)
        if (s->groups[g].unit <= last) rc = list_group(s, &s->groups[g], task, &f, e);
    if (rc) {
        mem_free(f.at);
        return rc;
    }
    *out = f.at;
    *n = f.n;
    return 0;
}

/* ---- what ---- */

static int exam_no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for a question"); }

static const char *exam_keep(struct exam_item *x, const char *text) {
    return text ? arena_strdup(x->mem, text, strlen(text)) : NULL;
}

/* The right answers, copied; NULL in `texts` is no memory. */
static int exam_answers(struct exam_item *x, const char *const *texts, uint32_t n, struct err *e) {
    const char **to = arena_take(x->mem, (n + 1) * sizeof(*to));
    if (!to) return exam_no_memory(e);
    for (uint32_t i = 0; i < n; i++)
        if (!(to[i] = exam_keep(x, texts[i]))) return exam_no_memory(e);
    x->answers = to;
    x->n_answers = n;
    return 0;
}

/* <p>phrase</p> {box}<delim>{box} */
static void exam_phrase(const struct exam_item *x, const struct line_phrase *p, struct buf *to) {
    buf_printf(to, "<p>%s</p> ", p->text);
    for (uint32_t k = 0; k < p->n_boxes; k++) {
        const double *b = p->boxes[k];
        const struct texts_box box = {b[0], b[1], b[2], b[3], x->pictures[0].w, x->pictures[0].h};
        if (k) buf_str(to, "<delim>");
        texts_box(to, &box);
    }
}

/* What grounding and detection want to hear. */
static int exam_phrases(struct exam_item *x, const struct line *l, uint32_t part, struct err *e) {
    struct buf b;
    size_t at = 0;
    int is_all = x->task == SAMPLE_GROUNDING || l->caption;
    buf_init(&b, EXAM_TEXT_MAX);
    for (uint32_t i = is_all ? 0 : part; i < (is_all ? l->n_phrases : part + 1); i++) {
        const struct line_phrase *p = &l->phrases[i];
        if (x->task == SAMPLE_GROUNDING) buf_add(&b, l->caption + at, p->at - at);
        exam_phrase(x, p, &b);
        at = p->at + strlen(p->text);
    }
    if (x->task == SAMPLE_GROUNDING) buf_str(&b, l->caption + at);
    if (x->task == SAMPLE_DETECTION)
        x->text = exam_keep(x, l->caption ? l->caption : l->phrases[part].text);
    const char *answer = b.p ? (const char *)b.p : "";
    int rc = b.bad ? exam_no_memory(e) : exam_answers(x, &answer, 1, e);
    buf_clear(&b);
    return rc;
}

static int exam_turns(struct exam_item *x, const struct line *l, struct err *e) {
    struct sample_turn *to = arena_take(x->mem, l->n_turns * sizeof(*to));
    if (!to) return exam_no_memory(e);
    for (uint32_t i = 0; i < l->n_turns; i++) {
        const struct sample_turn *t = &l->turns[i];
        to[i] =
            (struct sample_turn){t->n_pictures, exam_keep(x, t->question), exam_keep(x, t->answer)};
        if (!to[i].question || !to[i].answer) return exam_no_memory(e);
    }
    x->turns = to;
    x->n_turns = l->n_turns;
    return exam_answers(x, &to[l->n_turns - 1].answer, 1, e);
}

static int exam_take(struct exam_item *x, const struct line *l, uint32_t part, struct err *e) {
    switch (x->task) {
    case SAMPLE_IDENTIFY:
        memcpy(x->box, l->box, sizeof(x->box));
        return exam_answers(x, &l->sentence, 1, e);
    case SAMPLE_CAPTION: return exam_answers(x, &l->caption, 1, e);
    case SAMPLE_GROUNDING:
    case SAMPLE_DETECTION: return exam_phrases(x, l, part, e);
    case SAMPLE_CHAT: return exam_turns(x, l, e);
    case SAMPLE_VQA:
        x->text = exam_keep(x, l->question);
        return x->text ? exam_answers(x, l->answers, l->n_answers, e) : exam_no_memory(e);
    case SAMPLE_MASK:
    case SAMPLE_REFER:
        x->text = exam_keep(x, l->sentence);
        memcpy(x->box, l->box, sizeof(x->box));
        return x->text ? 0 : exam_no_memory(e);
    case SAMPLE_DRIVE:
    case SAMPLE_SHOOT: memcpy(x->action, l->action, sizeof(l->action)); return 0;
    case SAMPLE_PIXELS:
    case SAMPLE_TASKS: break;
    }
    return 0;
}

static int exam_pictures(const struct source *s, const struct source_line *at, const struct line *l,
                         struct exam_item *x, struct err *e) {
    uint32_t n = x->task == SAMPLE_PIXELS ? 1 : l->n_pictures;
    for (uint32_t k = 0; k < n; k++) {
        int rc = source_get_picture(s, at, l, k, &x->pictures[k], NULL, e);
        if (rc) return rc;
        x->n_pictures++;
    }
    if (x->task != SAMPLE_MASK) return 0;
    return source_get_mask(s, at, l, x->pictures[0].w, x->pictures[0].h, &x->mask, e);
}

int exam_read(const struct source *s, enum sample_task task, const struct exam_pick *p,
              struct exam_item *out, struct err *e) {
    struct line l = {0};
    struct err why = {0};
    char where[600];
    const struct source_line *at = &s->lines[p->line];
    *out = (struct exam_item){.task = task, .mem = arena_new(EXAM_ARENA_MAX)};
    if (!out->mem) return exam_no_memory(e);
    int rc = source_get_line(s, p->line, &l, e);
    if (rc == 0) {
        rc = exam_pictures(s, at, &l, out, &why);
        if (rc == 0) rc = exam_take(out, &l, p->part, &why);
        source_get_where(s, p->line, where, sizeof(where));
        if (rc) err_set(e, rc, "%.200s: %s", where, why.text);
    }
    line_clear(&l);
    return rc;
}

void exam_clear(struct exam_item *x) {
    for (uint32_t k = 0; k < SAMPLE_PICTURES_MAX; k++)
        mem_free(x->pictures[k].rgb);
    mem_free(x->mask);
    arena_free(x->mem);
    *x = (struct exam_item){0};
}
