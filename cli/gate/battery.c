/* battery.c - see battery.h. */
#include "cli/gate/battery.h"

#include <stdio.h>
#include <string.h>

#include "cli/gate/scene.h"
#include "kernels/base/rng.h"

enum { REFERS = 2, COLOUR = 0, COUNT, EXISTS, QUESTIONS };
enum { TEXT_MAX = 80, KEPT_MAX = 1 << 20 };

struct battery {
    struct scene scenes[BATTERY_SCENES];
    double box[4];
    char word[QUESTIONS][TEXT_MAX];
};

static uint64_t scene_seed(uint32_t i) { return rng_u64(BATTERY_SEED, i); }
static uint64_t picture_seed(uint32_t i) { return rng_u64(BATTERY_SEED + 1, i); }
/* The n-th number of a scene that its questions take: 0 .. below - 1. */
static int battery_chosen(uint32_t scene, uint64_t n, int below) {
    return (int)(rng_u64(scene_seed(scene) + 1, n) % (uint64_t)below);
}

/* ---- sentences and questions ---- */

static int same_colour(const struct scene *s, int colour) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->things[i].colour == colour;
    return n;
}

static int same_shape(const struct scene *s, int shape) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->things[i].shape == shape;
    return n;
}

/* Sentence k of a scene -> the thing that it means. */
static const struct scene_thing *say_thing(const struct scene *s, uint32_t scene, uint32_t k,
                                           char text[TEXT_MAX]) {
    const struct scene_thing *t = &s->things[battery_chosen(scene, k, s->n)];
    const char *colour = scene_colours[t->colour], *shape = scene_shapes[t->shape];
    if (k == 0)
        snprintf(text, TEXT_MAX, "the %s", shape);
    else if (k == 1 && same_colour(s, t->colour) == 1)
        snprintf(text, TEXT_MAX, "the %s thing", colour);
    else
        snprintf(text, TEXT_MAX, "the %s %s", colour, shape);
    return t;
}

static const char *article(const char *word) { return strchr("aeiou", *word) ? "an" : "a"; }

/* Things that are there, and things that are not, as often: even scenes ask for one that is. */
static void ask_exists(const struct scene *s, uint32_t scene, char text[TEXT_MAX],
                       char answer[TEXT_MAX]) {
    int shape = battery_chosen(scene, 20, SCENE_SHAPES), is_there = scene % 2 == 0;
    for (int i = 0; i < SCENE_SHAPES && (same_shape(s, shape) > 0) != is_there; i++)
        shape = (shape + 1) % SCENE_SHAPES;
    snprintf(text, TEXT_MAX, "is there %s %s?", article(scene_shapes[shape]), scene_shapes[shape]);
    snprintf(answer, TEXT_MAX, "%s", is_there ? "yes" : "no");
}

static void ask_question(const struct scene *s, uint32_t scene, int kind, char text[TEXT_MAX],
                         char answer[TEXT_MAX]) {
    const struct scene_thing *t = &s->things[battery_chosen(scene, 21, s->n)];
    if (kind == EXISTS) {
        ask_exists(s, scene, text, answer);
    } else if (kind == COUNT) {
        snprintf(text, TEXT_MAX, "how many things are there?");
        snprintf(answer, TEXT_MAX, "%d", s->n);
    } else {
        snprintf(text, TEXT_MAX, "what colour is the %s?", scene_shapes[t->shape]);
        snprintf(answer, TEXT_MAX, "%s", scene_colours[t->colour]);
    }
}

/* ---- answers without looking ---- */

static void guess_box(struct battery *b) {
    char text[TEXT_MAX];
    for (uint32_t i = 0; i < BATTERY_SCENES * REFERS; i++) {
        const struct scene_thing *t =
            say_thing(&b->scenes[i / REFERS], i / REFERS, i % REFERS, text);
        for (int k = 0; k < 4; k++)
            b->box[k] += (double)t->box[k] / (BATTERY_SCENES * REFERS);
    }
}

static void guess_word(struct battery *b, int kind) {
    char text[TEXT_MAX], all[BATTERY_SCENES][TEXT_MAX];
    int most = 0;
    for (uint32_t i = 0; i < BATTERY_SCENES; i++)
        ask_question(&b->scenes[i], i, kind, text, all[i]);
    for (uint32_t i = 0; i < BATTERY_SCENES; i++) {
        int n = 0;
        for (uint32_t k = 0; k < BATTERY_SCENES; k++)
            n += strcmp(all[i], all[k]) == 0;
        if (n > most) memcpy(b->word[kind], all[i], TEXT_MAX);
        if (n > most) most = n;
    }
}

struct battery *battery_open(void) {
    struct battery *b = mem_must(sizeof(*b));
    for (uint32_t i = 0; i < BATTERY_SCENES; i++)
        scene_draw(scene_seed(i), &b->scenes[i]);
    guess_box(b);
    for (int kind = 0; kind < QUESTIONS; kind++)
        guess_word(b, kind);
    return b;
}

void battery_close(struct battery *b) { mem_free(b); }
const double *battery_guess_box(const struct battery *b) { return b->box; }
const char *battery_guess_word(const struct battery *b, uint32_t i) {
    return b->word[i % QUESTIONS];
}

/* ---- questions as items ---- */

uint32_t battery_count(enum sample_task task) {
    switch (task) {
    case SAMPLE_PIXELS: return BATTERY_PICTURES;
    case SAMPLE_MASK: return BATTERY_SCENES;
    case SAMPLE_REFER: return BATTERY_SCENES * REFERS;
    case SAMPLE_VQA: return BATTERY_SCENES * QUESTIONS;
    default: return 0;
    }
}

static int battery_texts(struct exam_item *x, const char *text, const char *answer) {
    x->text = arena_strdup(x->mem, text, strlen(text));
    if (!x->text || !answer) return !x->text;
    const char **to = arena_take(x->mem, sizeof(*to));
    if (!to || !(to[0] = arena_strdup(x->mem, answer, strlen(answer)))) return 1;
    x->answers = to;
    x->n_answers = 1;
    return 0;
}

static int read_scene(const struct battery *b, uint32_t i, uint32_t k, struct exam_item *x) {
    const struct scene *s = &b->scenes[i];
    char text[TEXT_MAX], answer[TEXT_MAX];
    memcpy(x->pictures[0].rgb, s->rgb, sizeof(s->rgb));
    if (x->task == SAMPLE_VQA) {
        ask_question(s, i, (int)k, text, answer);
        return battery_texts(x, text, answer);
    }
    const struct scene_thing *t = say_thing(s, i, x->task == SAMPLE_MASK ? REFERS : k, text);
    for (int c = 0; c < 4; c++)
        x->box[c] = t->box[c];
    if (x->task == SAMPLE_MASK && !(x->mask = mem_try(sizeof(s->ids)))) return 1;
    for (size_t p = 0; x->mask && p < sizeof(s->ids); p++)
        x->mask[p] = s->ids[p] == t - s->things + 1;
    return battery_texts(x, text, NULL);
}

int battery_read(const struct battery *b, enum sample_task task, uint32_t i, uint64_t *cluster,
                 struct exam_item *out, struct err *e) {
    uint32_t of_scene = battery_count(task) / BATTERY_SCENES;
    *out = (struct exam_item){.task = task, .mem = arena_new(KEPT_MAX), .n_pictures = 1};
    out->pictures[0] =
        (struct picture){mem_try((size_t)3 * SCENE_SIDE * SCENE_SIDE), SCENE_SIDE, SCENE_SIDE};
    must(i < battery_count(task));
    int bad = !out->mem || !out->pictures[0].rgb;
    *cluster = task == SAMPLE_PIXELS ? BATTERY_SCENES + i : i / of_scene;
    if (!bad && task == SAMPLE_PIXELS) scene_picture(picture_seed(i), out->pictures[0].rgb);
    if (!bad && task != SAMPLE_PIXELS) bad = read_scene(b, i / of_scene, i % of_scene, out);
    return bad ? err_set(e, E_NOMEM, "no memory for a question of the battery") : 0;
}
