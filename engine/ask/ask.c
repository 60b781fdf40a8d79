/* ask.c - checks, prompts and forms of all tasks.
 *
 * Pixels have one form, made at start (pixels.h). A mask has prompts like them with a sentence in
 * front, tokenized anew for each sentence. Everything else is one prompt: all but its last token is the
 * stem, so that the long part is filled in chunks and kept in the cache; the last token is the tail.
 * Choices are one prompt too; each is a tail of its own, behind the prompt's last token.
 *
 * A mask's stem is what its prompts begin with at every place of the first column, whichever places
 * are asked: so a place alone sees the same keys as one among thousands.
 */
#include "engine/ask/ask.h"

#include <math.h>
#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/run/lane.h"
#include "engine/run/speak.h"

/* What a task takes and gives. pictures -1: as many as the ask has. */
struct task {
    enum form_kind kind;
    int pictures, may_choose;
};
static const struct task tasks[ENG_TASKS] = {
    [ENG_PIXELS] = {FORM_COLOUR, 1, 0},
    [ENG_SEGMENT] = {FORM_BIT, 1, 0},
    [ENG_REFER] = {FORM_BOX, 1, 0},
    [ENG_DRIVE] = {FORM_DRIVE, ENG_DRIVE_FRAMES, 0},
    [ENG_SHOOT] = {FORM_SHOOT, ENG_SHOOT_FRAMES, 0},
    [ENG_IDENTIFY] = {FORM_TEXT, 1, 0},
    [ENG_CAPTION] = {FORM_TEXT, 1, 0},
    [ENG_GROUNDING] = {FORM_TEXT, 1, 0},
    [ENG_DETECTION] = {FORM_TEXT, 1, 0},
    [ENG_VQA] = {FORM_TEXT, 1, 1},
    [ENG_CHAT] = {FORM_TEXT, -1, 1},
};
enum { TOKENS_DEFAULT = 64, TEMPERATURE_MAX = 10 };

/* ---- checks ---- */

static int check_speech(struct eng_speech *s, struct err *e) {
    if (s->max_tokens == 0) s->max_tokens = TOKENS_DEFAULT;
    if (s->max_tokens > ENG_TOKENS_MAX)
        return err_set(e, E_INVALID, "max_tokens %u, at most %d", s->max_tokens, ENG_TOKENS_MAX);
    if (!(s->temperature >= 0 && s->temperature <= TEMPERATURE_MAX))
        return err_set(e, E_INVALID, "temperature must be 0 .. %d", TEMPERATURE_MAX);
    if (!(s->top_p >= 0 && s->top_p <= 1)) return err_set(e, E_INVALID, "top_p must be 0 .. 1");
    return 0;
}

static int check_ask(const struct eng_ask *a, struct err *e) {
    if ((unsigned)a->task >= ENG_TASKS) return err_set(e, E_INVALID, "no such task");
    const struct task *t = &tasks[a->task];
    if (t->pictures >= 0 && a->n_pictures != (uint32_t)t->pictures)
        return err_set(e, E_INVALID, "%u pictures, the task takes %d", a->n_pictures, t->pictures);
    if (a->n_pictures > ENG_PICTURES_MAX)
        return err_set(e, E_TOO_BIG, "%u pictures, at most %d", a->n_pictures, ENG_PICTURES_MAX);
    if (a->n_choices > 0 && !t->may_choose)
        return err_set(e, E_INVALID, "this task has no choices");
    if (a->n_choices > ENG_CHOICES_MAX)
        return err_set(e, E_TOO_BIG, "%u choices, at most %d", a->n_choices, ENG_CHOICES_MAX);
    return 0;
}

/* Does the whole prompt with its answer fit the model? */
static int check_length(const struct asker *a, const struct job_form *f, int32_t tail,
                        struct err *e) {
    const struct stem_key key = {
        .ids = f->stem_ids, .n_ids = f->n_stem_ids, .image_tokens = f->image_tokens};
    int most = a->config->text.max_positions;
    if (f->stem_tokens + tail + f->answer_max > most)
        return err_set(e, E_TOO_BIG,
                       "the prompt takes %d tokens and its answer up to %d, the "
                       "model has %d positions",
                       f->stem_tokens + tail, f->answer_max, most);
    if (!stem_is_legal(&key))
        return err_set(e, E_TOO_BIG, "a text of over %d tokens between pictures", STEM_IDS_MAX);
    return tail <= a->tail_max ? 0
                               : err_set(e, E_TOO_BIG, "an answer of over %d tokens", a->tail_max);
}

/* ---- one prompt ---- */

static int32_t *keep(struct arena *mem, const int32_t *ids, int32_t n) {
    int32_t *to = arena_take(mem, (size_t)n * sizeof to[0]);
    if (to) memcpy(to, ids, (size_t)n * sizeof ids[0]);
    return to;
}

static int take_stem(const struct asker *a, struct job_form *f, struct arena *mem,
                     const int32_t *ids, int32_t n) {
    f->image_tokens = a->config->n_image_tokens;
    f->stem_ids = keep(mem, ids, n);
    f->n_stem_ids = n;
    f->stem_tokens = 0;
    for (int32_t i = 0; i < n; i++)
        f->stem_tokens += ids[i] == PROMPT_IMAGE ? f->image_tokens : 1;
    return f->stem_ids ? 0 : E_NOMEM;
}

/* Each choice behind `last`, the prompt's last token. */
static int take_choices(const struct asker *a, const struct eng_ask *ask, int32_t last,
                        struct arena *mem, struct tree_text *texts, struct err *e) {
    for (uint32_t i = 0; i < ask->n_choices; i++) {
        int32_t ids[LANE_CHOICE_MAX];
        size_t n;
        if (!ask->choices[i]) return err_set(e, E_INVALID, "a choice is missing");
        int rc = prompt_check(ask->choices[i], "a choice", e);
        if (rc) return rc;
        rc = sptok_encode(a->tok, ask->choices[i], strlen(ask->choices[i]), SPTOK_PREFIX, ids + 1,
                          LANE_CHOICE_MAX - 1, &n, NULL);
        if (rc == E_TOO_BIG)
            return err_set(e, rc, "a choice has over %d tokens", LANE_CHOICE_MAX - 1);
        ids[0] = last;
        texts[i] = (struct tree_text){keep(mem, ids, (int32_t)n + 1), (int32_t)n + 1};
        if (rc || !texts[i].ids) return err_set(e, E_NOMEM, "no memory for a job");
    }
    return 0;
}

static int check_different(const struct tree_text *texts, const int32_t *order, int32_t n,
                           struct err *e) {
    for (int32_t i = 0; i + 1 < n; i++)
        if (tree_compare(&texts[order[i]], &texts[order[i + 1]]) == 0)
            return err_set(e, E_INVALID, "choices %d and %d are the same", order[i] + 1,
                           order[i + 1] + 1);
    return 0;
}

static int take_tails(const struct asker *a, const struct eng_ask *ask, struct job_form *f,
                      struct arena *mem, int32_t last, struct err *e) {
    f->places = f->n_order = ask->n_choices > 0 ? (int32_t)ask->n_choices : 1;
    f->is_flat = 1;
    struct tree_text *texts = arena_take(mem, (size_t)f->places * sizeof texts[0]);
    int32_t *order = arena_take(mem, (size_t)f->places * sizeof order[0]);
    if (!texts || !order) return err_set(e, E_NOMEM, "no memory for a job");
    f->texts = texts;
    f->order = order;
    if (f->kind == FORM_CHOICE) {
        int rc = take_choices(a, ask, last, mem, texts, e);
        if (rc) return rc;
        for (int32_t i = 0; i < f->places; i++)
            order[i] = i;
        tree_sort(texts, order, f->places);
        return check_different(texts, order, f->places, e);
    }
    texts[0] = (struct tree_text){keep(mem, &last, 1), 1};
    return texts[0].ids ? 0 : err_set(e, E_NOMEM, "no memory for a job");
}

static int32_t longest(const struct job_form *f) {
    int32_t most = 0;
    for (int32_t i = 0; i < f->n_order; i++)
        if (f->texts[f->order[i]].n > most) most = f->texts[f->order[i]].n;
    return most;
}

static void answer_in(struct job_form *f, const struct asker *a, const struct eng_speech *speech) {
    if (f->kind < FORM_NUMBERS) {
        const struct grammar *g = a->forms->g[f->kind];
        f->answer_max = g->feed_max;
        f->explore_max = lane_explore_max(g);
        f->fields = g->n_fields;
    } else if (f->kind == FORM_TEXT) {
        f->answer_max = (int32_t)speech->max_tokens;
    }
}

/* A job that is one prompt. */
static int one_prompt(const struct asker *a, const struct eng_ask *ask, const struct prompt *p,
                      struct job_form *f, struct arena *mem, struct err *e) {
    f->kind = ask->n_choices > 0 ? FORM_CHOICE : tasks[ask->task].kind;
    int rc = take_stem(a, f, mem, p->ids, p->n - 1);
    if (rc) return err_set(e, rc, "no memory for a job");
    rc = take_tails(a, ask, f, mem, p->ids[p->n - 1], e);
    if (rc) return rc;
    answer_in(f, a, &ask->speech);
    return check_length(a, f, longest(f), e);
}

/* ---- masks ---- */

/* Tokens that the prompts of a sentence have in common, wherever they ask. */
static int mask_stem(const struct model_config *c, const struct sptok *t, const char *sentence,
                     struct prompt *first, struct prompt *p, int32_t *n, struct err *e) {
    int rc = prompt_mask(c, t, sentence, 0, 0, first, e);
    *n = first->n - 1;
    int is_yx = c->coord_order == MODEL_COORD_YX;
    for (int i = 1; i < c->pixel_grid && !rc; i++) {
        rc = prompt_mask(c, t, sentence, is_yx ? 0 : i, is_yx ? i : 0, p, e);
        int32_t same = 0;
        while (!rc && same < *n && same + 1 < p->n && p->ids[same] == first->ids[same])
            same++;
        *n = same;
    }
    return rc;
}

int ask_mask_tail(const struct model_config *c, const struct sptok *t, int32_t *tail_max,
                  struct err *e) {
    struct prompt *p = mem_must(2 * sizeof *p);
    int32_t n;
    int rc = mask_stem(c, t, "a", &p[0], &p[1], &n, e);
    *tail_max = 0;
    for (int i = 0; i < c->pixel_grid && !rc; i++) {
        rc = prompt_mask(c, t, "a", i, i, &p[1], e);
        if (!rc && p[1].n - n > *tail_max) *tail_max = p[1].n - n;
    }
    mem_free(p);
    return rc;
}

/* The prompts of the places that are asked, cut behind the first n tokens. */
static int mask_texts(const struct asker *a, const struct eng_ask *ask, const struct prompt *first,
                      int32_t n, struct prompt *p, struct arena *mem, struct tree_text *texts,
                      struct err *e) {
    for (uint32_t i = 0; i < ask->n_points; i++) {
        int x = ask->points[i].x, y = ask->points[i].y;
        if (x >= a->config->pixel_grid || y >= a->config->pixel_grid) continue; /* job_new tells */
        struct tree_text *text = &texts[y * a->config->pixel_grid + x];
        if (text->n > 0) continue;
        int rc = prompt_mask(a->config, a->tok, ask->text, x, y, p, e);
        if (rc) return rc;
        if (p->n <= n || memcmp(p->ids, first->ids, (size_t)n * sizeof p->ids[0]) != 0)
            return err_set(e, E_UNSUPPORTED, "the tokenizer joins the sentence with its place");
        *text = (struct tree_text){keep(mem, p->ids + n, p->n - n), p->n - n};
        if (!text->ids) return err_set(e, E_NOMEM, "no memory for a job");
    }
    return 0;
}

static int mask_form(const struct asker *a, const struct eng_ask *ask, struct prompt *p,
                     struct job_form *f, struct arena *mem, struct err *e) {
    int32_t n, grid = a->config->pixel_grid;
    int rc = mask_stem(a->config, a->tok, ask->text, &p[0], &p[1], &n, e);
    if (rc) return rc;
    f->kind = FORM_BIT;
    f->grid = grid;
    f->places = grid * grid;
    struct tree_text *texts = arena_take(mem, (size_t)f->places * sizeof texts[0]);
    int32_t *order = arena_take(mem, (size_t)f->places * sizeof order[0]);
    if (!texts || !order || take_stem(a, f, mem, p[0].ids, n))
        return err_set(e, E_NOMEM, "no memory for a job");
    rc = mask_texts(a, ask, &p[0], n, &p[1], mem, texts, e);
    if (rc) return rc;
    for (int32_t i = 0; i < f->places; i++)
        if (texts[i].n > 0) order[f->n_order++] = i;
    f->texts = texts;
    f->order = order;
    tree_sort(texts, order, f->n_order);
    answer_in(f, a, NULL);
    return check_length(a, f, longest(f), e);
}

/* ---- the door ---- */

static int make_form(const struct asker *a, const struct eng_ask *ask, struct job_form *f,
                     struct arena *mem, struct err *e) {
    struct prompt *p = mem_try(2 * sizeof *p);
    int rc = p ? 0 : err_set(e, E_NOMEM, "no memory for a prompt");
    if (!rc && ask->task == ENG_SEGMENT) {
        rc = prompt_check(ask->text ? ask->text : "", "the sentence", e);
        if (!rc) rc = mask_form(a, ask, p, f, mem, e);
    } else if (!rc) {
        rc = prompt_ask(a->config, a->tok, ask, p, e);
        if (!rc) rc = one_prompt(a, ask, p, f, mem, e);
    }
    mem_free(p);
    return rc;
}

int ask_job(const struct asker *a, const struct eng_ask *asked, struct eng_job **out,
            struct err *e) {
    struct eng_ask ask = *asked;
    *out = NULL;
    int rc = check_ask(&ask, e);
    if (!rc) rc = check_speech(&ask.speech, e);
    if (rc) return rc;
    struct arena *mem = job_arena();
    if (ask.task == ENG_PIXELS) return job_new(&ask, &a->pixels->form, 0, mem, out, e);
    if (ask.task == ENG_SEGMENT) ask.distribution = 1; /* one pick gives it */
    struct job_form *f = mem ? arena_take(mem, sizeof *f) : NULL;
    rc = f ? make_form(a, &ask, f, mem, e) : err_set(e, E_NOMEM, "no memory for a job");
    if (rc) {
        arena_free(mem);
        return rc;
    }
    size_t cap = f->kind == FORM_TEXT ? speak_text_cap(a->forms, ask.speech.max_tokens) : 0;
    return job_new(&ask, f, cap, mem, out, e);
}
