/* game.c - `lammd eval game`: how often the model does what a recorded round did (data/rounds.h).
 *
 * The score is the share of steps with the very same action. Beside it stands that of the best
 * constant action. For CarRacing the mean absolute difference of each axis is told too, beside that
 * of the axis's median. Of a game of single actions the recall of each is told. Agreement is no
 * measure of skill: that takes the game itself (tools/games).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/eval/eval.h"
#include "cli/eval/metric.h"
#include "data/rounds.h"
#include "kernels/base/mem.h"

enum { SAME, AXES = ROUNDS_VALUES_MAX, SUMS = 1 + AXES };

static const enum eng_task tasks[] = {
    [ROUNDS_CAR_RACING] = ENG_DRIVE, [ROUNDS_SPACE_INVADERS] = ENG_SHOOT};
static const char *const axes[AXES] = {"steering", "gas", "brake"};

struct game {
    struct eval *eval;
    struct rounds rounds;
    struct eval_groups sums;
    double constant[SUMS]; /* the best constant's figures, summed up too */
    uint32_t done[UINT8_MAX + 1], same[UINT8_MAX + 1]; /* steps by action, where it is one number */
};

/* ---- the best constants ---- */

static int by_action(const void *a, const void *b) {
    return memcmp(((const struct rounds_step *)a)->action, ((const struct rounds_step *)b)->action,
                  AXES);
}

static void find_constants(struct game *g) {
    struct rounds_step *sorted = mem_must(g->rounds.n * sizeof(*sorted));
    int *values = mem_must(g->rounds.n * sizeof(*values));
    memcpy(sorted, g->rounds.at, g->rounds.n * sizeof(*sorted));
    qsort(sorted, g->rounds.n, sizeof(*sorted), by_action);
    for (uint32_t i = 0, first = 0; i < g->rounds.n; i++) {
        if (by_action(&sorted[i], &sorted[first])) first = i;
        if (i - first + 1 > g->constant[SAME]) g->constant[SAME] = i - first + 1;
    }
    for (int k = 0; k < g->rounds.rules->values; k++) {
        for (uint32_t i = 0; i < g->rounds.n; i++)
            values[i] = g->rounds.at[i].action[k];
        int middle = metric_median(values, g->rounds.n);
        for (uint32_t i = 0; i < g->rounds.n; i++)
            g->constant[1 + k] += abs(values[i] - middle);
    }
    mem_free(values);
    mem_free(sorted);
}

/* ---- asking ---- */

static int game_start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct game *g = ud;
    struct eng_picture *frames[ROUNDS_FRAMES_MAX] = {0};
    int w, h, rc = 0, n = 0;
    (void)phase;
    for (; rc == 0 && n < g->rounds.rules->frames; n += rc == 0) {
        struct eng_picture *picture;
        rc = eval_picture(g->eval, g->rounds.at[i].frames[n], &picture, &w, &h, e);
        if (rc == 0) frames[n] = eng_picture_get(picture);
    }
    const struct eng_ask ask = {.task = tasks[g->rounds.game],
                                .pictures = frames,
                                .n_pictures = (uint32_t)n,
                                .urgency = ENG_ACT};
    if (rc == 0) rc = eval_submit(g->eval, &ask, job, e);
    for (int k = 0; k < n; k++)
        eng_picture_put(frames[k]);
    return rc;
}

static int game_done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more,
                     struct err *e) {
    struct game *g = ud;
    const struct rounds_step *s = &g->rounds.at[i];
    uint32_t n = 0;
    const struct eng_answer *a = job ? eng_job_answers(job, &n) : NULL;
    double figures[SUMS] = {1};
    json_t *said = json_array();
    (void)phase, (void)more, (void)e;
    for (int k = 0; k < g->rounds.rules->values; k++) {
        int v = n ? a->value[k] : -1;
        if (v != s->action[k]) figures[SAME] = 0;
        figures[1 + k] =
            n ? abs(v - s->action[k]) : g->rounds.rules->most; /* no answer: as far as can be */
        json_array_append_new(said, json_integer(v));
    }
    if (g->rounds.rules->values == 1) {
        g->done[s->action[0]]++;
        g->same[s->action[0]] += figures[SAME] > 0;
    }
    eval_item(g->eval, i, json_pack("{s:o, s:i}", "action", said, "same", (int)figures[SAME]));
    eval_count(&g->sums, NULL, figures, SUMS);
    return 0;
}

static void game_say(void *ud, char *to, size_t cap) {
    const struct eval_group *g = &((struct game *)ud)->sums.all;
    snprintf(to, cap, "the same action %.2f %%", 100 * g->sum[SAME] / g->n);
}

/* ---- the figures ---- */

static void game_row(struct game *g, const char *name, const double *sums, const char *key) {
    json_t *figures = json_object();
    eval_set(figures, "same_action", 100 * sums[SAME] / g->rounds.n);
    if (eval_prints(g->eval)) printf("  %-22s %11.2f", name, 100 * sums[SAME] / g->rounds.n);
    for (int k = 0; g->rounds.rules->values > 1 && k < AXES; k++) {
        eval_set(figures, axes[k], sums[1 + k] / g->rounds.n);
        if (eval_prints(g->eval)) printf(" %9.2f", sums[1 + k] / g->rounds.n);
    }
    json_object_set_new(g->eval->report, key, figures);
    if (eval_prints(g->eval)) puts("");
}

/* Of each action: the share of its steps in which the model does it, too. */
static void report_recall(struct game *g) {
    json_t *o = json_object();
    for (int k = 0; k <= g->rounds.rules->most; k++) {
        if (!g->done[k]) continue;
        char name[8];
        snprintf(name, sizeof(name), "%d", k);
        json_object_set_new(
            o, name, json_pack("{s:i, s:i}", "steps", (int)g->done[k], "same", (int)g->same[k]));
        if (eval_prints(g->eval))
            printf("  recall of action %-5s %11.2f, %u steps\n", name,
                   100.0 * g->same[k] / g->done[k], g->done[k]);
    }
    json_object_set_new(g->eval->report, "recall", o);
}

static void game_report(struct game *g) {
    eval_head(g->eval, g->rounds.n, "steps");
    json_object_set_new(g->eval->report, "game", json_string(g->rounds.rules->name));
    if (eval_prints(g->eval)) {
        printf("  %-22s %11s", g->rounds.rules->name, "same action");
        for (int k = 0; g->rounds.rules->values > 1 && k < AXES; k++)
            printf(" %9s", axes[k]);
        puts(g->rounds.rules->values > 1 ? "   (mean difference, of 0..20)" : "");
    }
    game_row(g, "model", g->sums.all.sum, "agreement");
    game_row(g, "best constant", g->constant, "best_constant");
    if (g->rounds.rules->values == 1) report_recall(g);
}

int eval_game(struct eval *v, const char *path, struct err *e) {
    static const struct eval_flow flow = {game_start, game_done, game_say};
    struct game *g = mem_must(sizeof(*g));
    g->eval = v;
    int rc = rounds_open(path, v->cfg->limit, &g->rounds, e);
    if (rc == 0) find_constants(g);
    if (rc == 0) rc = eval_run(v, &flow, g, g->rounds.n, e);
    if (rc == 0) game_report(g);
    rounds_close(&g->rounds);
    mem_free(g);
    return rc;
}
