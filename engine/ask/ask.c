/* ask.c - checks, prompts and kinds of answers of all tasks.
 *
 * All jobs about pixels share their questions, made at start (pixels.h). A mask has prompts like
 * them, with a sentence in front, tokenized for each job. Everything else is one prompt. All but
 * its last token is the stem, so that most of it is filled in chunks and kept in the cache. The
 * last token is the tail. Choices have one prompt, too; each choice is a tail of its own, behind
 * the prompt's last token.
 *
 * The stem of a mask is what its prompts have in common at all places whose second number is 0,
 * whichever are asked. So a place alone attends to the same keys as one among thousands.
 */
#include "engine/ask/ask.h"

#include <math.h>
#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/run/generate.h"
#include "engine/run/lane.h"

/* What a task takes, beside a kind of answer. pictures -1: any number. */
struct task {
    int pictures, may_choose;
};
static const struct task tasks[ENG_TASKS] = {
    [ENG_PIXELS] = {1, 0},
    [ENG_SEGMENT] = {1, 0},
    [ENG_REFER] = {1, 0},
    [ENG_DRIVE] = {ENG_DRIVE_FRAMES, 0},
    [ENG_SHOOT] = {ENG_SHOOT_FRAMES, 0},
    [ENG_IDENTIFY] = {1, 0},
    [ENG_CAPTION] = {1, 0},
    [ENG_GROUNDING] = {1, 0},
    [ENG_DETECTION] = {1, 0},
    [ENG_VQA] = {1, 1},
    [ENG_CHAT] = {-1, 1},
};
enum { TOKENS_DEFAULT = 64, TEMPERATURE_MAX = 10 };

/* ---- checks ---- */

static int check_generate(struct eng_generate *g, struct err *e) {
    if (g->max_tokens == 0) g->max_tokens = TOKENS_DEFAULT;
    if (g->max_tokens > ENG_TOKENS_MAX)
        return err_set(e, E_INVALID, "max_tokens %u, at most %d", g->max_tokens, ENG_TOKENS_MAX);
    if (!(g->temperature >= 0 && g->temperature <= TEMPERATURE_MAX))
        return err_set(e, E_INVALID, "temperature must be 0 .. %d", TEMPERATURE_MAX);
    if (!(g->top_p >= 0 && g->top_p <= 1)) return err_set(e, E_INVALID, "top_p must be 0 .. 1");
    return 0;
}

static int ask_check_ask(const struct eng_ask *a, struct err *e) {
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

static struct stem_key ask_key_of(const struct questions *q) {
    return (struct stem_key){
        .ids = q->stem_ids, .n_ids = q->n_stem_ids, .image_tokens = q->image_tokens};
}

/* Does the whole prompt with its answer fit into the positions of the model? */
static int check_length(const struct asker *a, const struct questions *q, int32_t tail,
                        struct err *e) {
    const struct stem_key key = ask_key_of(q);
    int most = a->config->text.max_positions;
    if (q->stem_tokens + tail + q->answer_max > most)
        return err_set(e, E_TOO_BIG,
                       "the prompt takes %d tokens and its answer up to %d, the "
                       "model has %d positions",
                       q->stem_tokens + tail, q->answer_max, most);
    if (!stem_is_legal(&key))
        return err_set(e, E_TOO_BIG, "a text of over %d tokens between pictures", STEM_IDS_MAX);
    return tail <= a->tail_max ? 0
                               : err_set(e, E_TOO_BIG, "an answer of over %d tokens", a->tail_max);
}

/* ---- one prompt ---- */

static int32_t *ask_keep(struct arena *mem, const int32_t *ids, int32_t n) {
    int32_t *to = arena_take(mem, (size_t)n * sizeof to[0]);
    if (to) memcpy(to, ids, (size_t)n * sizeof ids[0]);
    return to;
}

static int take_stem(const struct asker *a, struct questions *q, struct arena *mem,
                     const int32_t *ids, int32_t n) {
    q->image_tokens = a->config->n_image_tokens;
    q->picture_rows = a->config->n_picture_rows;
    q->stem_ids = ask_keep(mem, ids, n);
    q->n_stem_ids = n;
    if (!q->stem_ids) return E_NOMEM;
    struct stem_key key = ask_key_of(q);
    q->stem_tokens = stem_len(&key);
    return 0;
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
        texts[i] = (struct tree_text){ask_keep(mem, ids, (int32_t)n + 1), (int32_t)n + 1};
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

static int take_tails(const struct asker *a, const struct eng_ask *ask, struct questions *q,
                      struct arena *mem, int32_t last, struct err *e) {
    q->n_texts = q->n_order = ask->n_choices > 0 ? (int32_t)ask->n_choices : 1;
    q->is_flat = 1;
    struct tree_text *texts = arena_take(mem, (size_t)q->n_texts * sizeof texts[0]);
    int32_t *order = arena_take(mem, (size_t)q->n_texts * sizeof order[0]);
    if (!texts || !order) return err_set(e, E_NOMEM, "no memory for a job");
    q->texts = texts;
    q->order = order;
    if (q->kind == KIND_CHOICE) {
        int rc = take_choices(a, ask, last, mem, texts, e);
        if (rc) return rc;
        for (int32_t i = 0; i < q->n_texts; i++)
            order[i] = i;
        tree_sort(texts, order, q->n_texts);
        return check_different(texts, order, q->n_texts, e);
    }
    texts[0] = (struct tree_text){ask_keep(mem, &last, 1), 1};
    return texts[0].ids ? 0 : err_set(e, E_NOMEM, "no memory for a job");
}

static int32_t longest(const struct questions *q) {
    int32_t most = 0;
    for (int32_t i = 0; i < q->n_order; i++)
        if (q->texts[q->order[i]].n > most) most = q->texts[q->order[i]].n;
    return most;
}

/* Most tokens of a text: what was asked for, or what positions and slots are left for it. */
static int32_t text_max(const struct asker *a, const struct questions *q,
                        const struct eng_generate *how) {
    int32_t most = (int32_t)how->max_tokens, tail = longest(q);
    int32_t left = a->config->text.max_positions - q->stem_tokens - tail;
    if (a->slots_max && a->slots_max - tail < left) left = a->slots_max - tail;
    return !how->may_be_shorter || left >= most ? most : left < 1 ? 1 : left;
}

static void set_answer(struct questions *q, const struct asker *a, const struct eng_generate *how) {
    if (q->kind < KIND_NUMBERS) {
        const struct grammar *g = a->kinds->g[q->kind];
        q->answer_max = g->feed_max;
        q->explore_max = lane_explore_max(g);
        q->fields = g->n_fields;
    } else if (q->kind == KIND_TEXT) {
        q->answer_max = text_max(a, q, how);
    }
}

/* A job that is one prompt. */
static int one_prompt(const struct asker *a, const struct eng_ask *ask, const struct prompt *p,
                      struct questions *q, struct arena *mem, struct err *e) {
    q->kind = ask->n_choices > 0 ? KIND_CHOICE : kind_of_task[ask->task];
    int rc = take_stem(a, q, mem, p->ids, p->n - 1);
    if (rc) return err_set(e, rc, "no memory for a job");
    rc = take_tails(a, ask, q, mem, p->ids[p->n - 1], e);
    if (rc) return rc;
    set_answer(q, a, &ask->generate);
    return check_length(a, q, longest(q), e);
}

/* ---- masks ---- */

/* *n: tokens that the prompts of a sentence have in common at all places. *first: the prompt of (0,
 * 0). */
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

/* The prompts of the places that are asked, without their first n tokens. */
static int mask_texts(const struct asker *a, const struct eng_ask *ask, const struct prompt *first,
                      int32_t n, struct prompt *p, struct arena *mem, struct tree_text *texts,
                      struct err *e) {
    for (uint32_t i = 0; i < ask->n_points; i++) {
        int x = ask->points[i].x, y = ask->points[i].y;
        if (x >= a->config->pixel_grid || y >= a->config->pixel_grid)
            continue; /* job_new refuses it */
        struct tree_text *text = &texts[y * a->config->pixel_grid + x];
        if (text->n > 0) continue;
        int rc = prompt_mask(a->config, a->tok, ask->text, x, y, p, e);
        if (rc) return rc;
        if (p->n <= n || memcmp(p->ids, first->ids, (size_t)n * sizeof p->ids[0]) != 0)
            return err_set(e, E_UNSUPPORTED, "the tokenizer joins the sentence with its place");
        *text = (struct tree_text){ask_keep(mem, p->ids + n, p->n - n), p->n - n};
        if (!text->ids) return err_set(e, E_NOMEM, "no memory for a job");
    }
    return 0;
}

static int mask_questions(const struct asker *a, const struct eng_ask *ask, struct prompt *p,
                          struct questions *q, struct arena *mem, struct err *e) {
    int32_t n, grid = a->config->pixel_grid;
    int rc = mask_stem(a->config, a->tok, ask->text, &p[0], &p[1], &n, e);
    if (rc) return rc;
    q->kind = KIND_BIT;
    q->grid = grid;
    q->n_texts = grid * grid;
    struct tree_text *texts = arena_take(mem, (size_t)q->n_texts * sizeof texts[0]);
    int32_t *order = arena_take(mem, (size_t)q->n_texts * sizeof order[0]);
    if (!texts || !order || take_stem(a, q, mem, p[0].ids, n))
        return err_set(e, E_NOMEM, "no memory for a job");
    rc = mask_texts(a, ask, &p[0], n, &p[1], mem, texts, e);
    if (rc) return rc;
    for (int32_t i = 0; i < q->n_texts; i++)
        if (texts[i].n > 0) order[q->n_order++] = i;
    q->texts = texts;
    q->order = order;
    tree_sort(texts, order, q->n_order);
    set_answer(q, a, NULL);
    return check_length(a, q, longest(q), e);
}

/* ---- the door ---- */

static int make_questions(const struct asker *a, const struct eng_ask *ask, struct questions *q,
                          struct arena *mem, struct err *e) {
    struct prompt *p = mem_try(2 * sizeof *p);
    int rc = p ? 0 : err_set(e, E_NOMEM, "no memory for a prompt");
    if (!rc && ask->task == ENG_SEGMENT) {
        rc = prompt_check(ask->text ? ask->text : "", "the sentence", e);
        if (!rc) rc = mask_questions(a, ask, p, q, mem, e);
    } else if (!rc) {
        rc = prompt_ask(a->config, a->tok, ask, p, e);
        if (!rc) rc = one_prompt(a, ask, p, q, mem, e);
    }
    mem_free(p);
    return rc;
}

int ask_job(const struct asker *a, const struct eng_ask *asked, struct eng_job **out,
            struct err *e) {
    struct eng_ask ask = *asked;
    *out = NULL;
    int rc = ask_check_ask(&ask, e);
    if (!rc) rc = check_generate(&ask.generate, e);
    if (rc) return rc;
    struct arena *mem = job_arena();
    if (ask.task == ENG_PIXELS) return job_new(&ask, &a->pixels->questions, 0, mem, out, e);
    if (ask.task == ENG_SEGMENT) ask.distribution = 1; /* which costs nothing: it is one pick */
    struct questions *q = mem ? arena_take(mem, sizeof *q) : NULL;
    rc = q ? make_questions(a, &ask, q, mem, e) : err_set(e, E_NOMEM, "no memory for a job");
    if (rc) {
        arena_free(mem);
        return rc;
    }
    if (q->kind == KIND_TEXT) ask.generate.max_tokens = (uint32_t)q->answer_max;
    size_t cap = q->kind == KIND_TEXT ? generate_text_cap(a->kinds, ask.generate.max_tokens) : 0;
    return job_new(&ask, q, cap, mem, out, e);
}
