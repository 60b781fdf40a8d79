/* game.c - `lammd eval game`: how often the model does what a recording did.
 *
 * rollout.json, beside its frames (or in a folder with images/):
 *     {"game": "car_racing" | "space_invaders",
 *      "steps": [{"frames": ["000.png", "001.png"], "action": [10, 15, 10]}, ...]}
 * Frames are oldest first, 2 of CarRacing and 4 of Space Invaders; an action is [steering, gas, brake]
 * of 0..20 or one of 0..5. The share of steps with the very same action stands beside the best constant
 * action's; for CarRacing the mean absolute difference of each axis beside that of its median.
 * Agreement is no score: that needs the game (tools/games).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/eval/eval.h"
#include "cli/eval/metric.h"
#include "data/data.h"
#include "kernels/base/mem.h"

enum { SAME, AXES = 3, SUMS = 1 + AXES };

static const struct rules {
    const char *name;
    enum eng_task task;
    int frames, values, most;
} games[] = {{"car_racing", ENG_DRIVE, ENG_DRIVE_FRAMES, AXES, 20},
             {"space_invaders", ENG_SHOOT, ENG_SHOOT_FRAMES, 1, 5}};
static const char *const axes[AXES] = {"steering", "gas", "brake"};

struct step {
    const char *frames[ENG_SHOOT_FRAMES];
    uint8_t action[AXES];
};
struct game {
    struct eval *eval;
    const struct rules *rules;
    json_t *root;
    struct step *steps;
    uint32_t n;
    struct eval_groups sums;
    double constant[SUMS]; /* what the best constant gets: sums too */
};

/* ---- the recording ---- */

static int read_action(const struct rules *g, const json_t *v, const struct data_at *at,
                       struct step *to, struct err *e) {
    for (int k = 0; k < g->values; k++) {
        const json_t *x = g->values > 1 ? json_array_get(v, (size_t)k) : v;
        int good =
            json_is_integer(x) && json_integer_value(x) >= 0 && json_integer_value(x) <= g->most;
        if (g->values > 1 && json_array_size(v) != (size_t)g->values) good = 0;
        if (!good)
            return data_bad(at, e, "\"action\" must be %s of 0 .. %d",
                            g->values > 1 ? "three whole numbers" : "a whole number", g->most);
        to->action[k] = (uint8_t)json_integer_value(x);
    }
    return 0;
}

static int read_step(const struct rules *g, const json_t *o, const struct data_at *at,
                     struct step *to, struct err *e) {
    const json_t *list = json_object_get(o, "frames");
    if (json_array_size(list) != (size_t)g->frames)
        return data_bad(at, e, "\"frames\" must be %d names", g->frames);
    for (int k = 0; k < g->frames; k++) {
        json_t *holder = json_pack("{s:O}", "frames", json_array_get(list, (size_t)k));
        int rc = data_name(holder, "frames", at, &to->frames[k], e);
        json_decref(holder); /* the text stays in the list */
        if (rc) return rc;
    }
    return read_action(g, json_object_get(o, "action"), at, to, e);
}

static int open_rollout(struct game *g, const char *path, struct err *e) {
    char file[4096];
    struct stat s;
    int is_folder = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    int len = snprintf(file, sizeof(file), "%s%s", path, is_folder ? "/rollout.json" : "");
    if (len < 0 || (size_t)len >= sizeof(file))
        return err_set(e, E_INVALID, "the path is too long");
    const struct data_at at = {path, "rollout", 0};
    const char *name;
    const json_t *list;
    int rc = data_open(file, &g->root, e);
    if (rc == 0) rc = data_text(g->root, "game", 1, &at, &name, e);
    if (rc == 0) rc = data_array(g->root, "steps", path, &list, e);
    if (rc) return rc;
    for (size_t i = 0; i < ARRAY_LEN(games); i++)
        if (strcmp(name, games[i].name) == 0) g->rules = &games[i];
    if (!g->rules)
        return err_set(e, E_FORMAT, "%s: game \"%.40s\" is neither car_racing nor space_invaders",
                       path, name);
    size_t n = json_array_size(list);
    if (g->eval->cfg->limit && n > (size_t)g->eval->cfg->limit) n = (size_t)g->eval->cfg->limit;
    if (n == 0) return err_set(e, E_FORMAT, "%s: no step", path);
    g->steps = mem_must(n * sizeof(*g->steps));
    for (; rc == 0 && g->n < n; g->n++)
        rc = read_step(g->rules, json_array_get(list, g->n), &(struct data_at){path, "steps", g->n},
                       &g->steps[g->n], e);
    return rc;
}

/* ---- the best constants ---- */

static int by_action(const void *a, const void *b) {
    return memcmp(((const struct step *)a)->action, ((const struct step *)b)->action, AXES);
}

static void find_constants(struct game *g) {
    struct step *sorted = mem_must(g->n * sizeof(*sorted));
    int *values = mem_must(g->n * sizeof(*values));
    memcpy(sorted, g->steps, g->n * sizeof(*sorted));
    qsort(sorted, g->n, sizeof(*sorted), by_action);
    for (uint32_t i = 0, first = 0; i < g->n; i++) {
        if (by_action(&sorted[i], &sorted[first])) first = i;
        if (i - first + 1 > g->constant[SAME]) g->constant[SAME] = i - first + 1;
    }
    for (int k = 0; k < g->rules->values; k++) {
        for (uint32_t i = 0; i < g->n; i++)
            values[i] = g->steps[i].action[k];
        int middle = metric_median(values, g->n);
        for (uint32_t i = 0; i < g->n; i++)
            g->constant[1 + k] += abs(values[i] - middle);
    }
    mem_free(values);
    mem_free(sorted);
}

/* ---- asking ---- */

static int start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct game *g = ud;
    struct eng_picture *frames[ENG_SHOOT_FRAMES] = {0};
    int w, h, rc = 0, n = 0;
    (void)phase;
    for (; rc == 0 && n < g->rules->frames; n += rc == 0) {
        struct eng_picture *picture;
        rc = eval_picture(g->eval, g->steps[i].frames[n], &picture, &w, &h, e);
        if (rc == 0) frames[n] = eng_picture_get(picture);
    }
    const struct eng_ask ask = {
        .task = g->rules->task, .pictures = frames, .n_pictures = (uint32_t)n, .urgency = ENG_ACT};
    if (rc == 0) rc = eval_submit(g->eval, &ask, job, e);
    for (int k = 0; k < n; k++)
        eng_picture_put(frames[k]);
    return rc;
}

static int done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more, struct err *e) {
    struct game *g = ud;
    const struct step *s = &g->steps[i];
    uint32_t n = 0;
    const struct eng_answer *a = job ? eng_job_answers(job, &n) : NULL;
    double figures[SUMS] = {1};
    json_t *said = json_array();
    (void)phase, (void)more, (void)e;
    for (int k = 0; k < g->rules->values; k++) {
        int v = n ? a->value[k] : -1;
        if (v != s->action[k]) figures[SAME] = 0;
        figures[1 + k] =
            n ? abs(v - s->action[k]) : g->rules->most; /* no answer: as far as can be */
        json_array_append_new(said, json_integer(v));
    }
    eval_item(g->eval, i, json_pack("{s:o}", "action", said));
    eval_count(&g->sums, NULL, figures, SUMS);
    return 0;
}

static void say(void *ud, char *to, size_t cap) {
    const struct eval_group *g = &((struct game *)ud)->sums.all;
    snprintf(to, cap, "the same action %.2f %%", 100 * g->sum[SAME] / g->n);
}

/* ---- the figures ---- */

static void row(struct game *g, const char *name, const double *sums, const char *key) {
    json_t *figures = json_object();
    eval_set(figures, "same_action", 100 * sums[SAME] / g->n);
    if (eval_prints(g->eval)) printf("  %-22s %11.2f", name, 100 * sums[SAME] / g->n);
    for (int k = 0; g->rules->values > 1 && k < AXES; k++) {
        eval_set(figures, axes[k], sums[1 + k] / g->n);
        if (eval_prints(g->eval)) printf(" %9.2f", sums[1 + k] / g->n);
    }
    json_object_set_new(g->eval->report, key, figures);
    if (eval_prints(g->eval)) puts("");
}

static void report(struct game *g) {
    eval_head(g->eval, g->n, "steps");
    json_object_set_new(g->eval->report, "game", json_string(g->rules->name));
    if (eval_prints(g->eval)) {
        printf("  %-22s %11s", g->rules->name, "same action");
        for (int k = 0; g->rules->values > 1 && k < AXES; k++)
            printf(" %9s", axes[k]);
        puts(g->rules->values > 1 ? "   (mean difference, of 0..20)" : "");
    }
    row(g, "model", g->sums.all.sum, "agreement");
    row(g, "best constant", g->constant, "best_constant");
}

int eval_game(struct eval *v, const char *path, struct err *e) {
    static const struct eval_flow flow = {start, done, say};
    struct game *g = mem_must(sizeof(*g));
    g->eval = v;
    int rc = open_rollout(g, path, e);
    if (rc == 0) find_constants(g);
    if (rc == 0) rc = eval_run(v, &flow, g, g->n, e);
    if (rc == 0) report(g);
    json_decref(g->root);
    mem_free(g->steps);
    mem_free(g);
    return rc;
}
