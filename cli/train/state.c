/* state.c - see state.h. The text is a word for its version, and numbers in a fixed order. */
#include "cli/train/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char version[] = "lammd-train-2";

double losses_of(const struct losses *l, int task) {
    return l->weight[task] > 0 ? l->sum[task] / l->weight[task] : 0;
}

double losses_weight(const struct losses *l) {
    double weight = 0;
    for (int t = 0; t < SAMPLE_TASKS; t++)
        weight += l->weight[t];
    return weight;
}

double losses_mean(const struct losses *l) {
    double sum = l->box + l->hold, weight = losses_weight(l);
    for (int t = 0; t < SAMPLE_TASKS; t++)
        sum += l->sum[t];
    return weight > 0 ? sum / weight : 0;
}

void losses_add(struct losses *to, const struct losses *l) {
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        to->sum[t] += l->sum[t];
        to->weight[t] += l->weight[t];
    }
    to->box += l->box;
    to->hold += l->hold;
    for (int i = 0; i < TRAIN_DENSE; i++)
        to->dense[i] += l->dense[i];
}

int losses_any(const struct losses *l) { return losses_weight(l) > 0; }

enum { WHOLES = 7, REALS = 6 + 2 * TRAIN_DENSE + 4 * SAMPLE_TASKS };

/* The fields in their order in the text. */
static void state_list(struct state *s, uint64_t *wholes[WHOLES], double *reals[REALS]) {
    uint64_t *const w[WHOLES] = {&s->done,     &s->talks,     &s->tokens,   &s->skipped,
                                 &s->left_out, &s->csv_bytes, &s->best_step};
    memcpy(wholes, w, sizeof(w));
    int n = 0;
    reals[n++] = &s->best;
    reals[n++] = &s->seconds;
    reals[n++] = &s->before.box;
    reals[n++] = &s->before.hold;
    reals[n++] = &s->last.box;
    reals[n++] = &s->last.hold;
    for (int i = 0; i < TRAIN_DENSE; i++) {
        reals[n++] = &s->before.dense[i];
        reals[n++] = &s->last.dense[i];
    }
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        reals[n++] = &s->before.sum[t];
        reals[n++] = &s->before.weight[t];
        reals[n++] = &s->last.sum[t];
        reals[n++] = &s->last.weight[t];
    }
}

void state_write(const struct state *s, char text[STATE_TEXT_MAX]) {
    struct state copy = *s;
    uint64_t *wholes[WHOLES];
    double *reals[REALS];
    state_list(&copy, wholes, reals);
    int n = snprintf(text, STATE_TEXT_MAX, "%s", version);
    for (int i = 0; i < WHOLES; i++)
        n += snprintf(text + n, (size_t)(STATE_TEXT_MAX - n), " %" PRIu64, *wholes[i]);
    for (int i = 0; i < REALS; i++)
        n += snprintf(text + n, (size_t)(STATE_TEXT_MAX - n), " %a", *reals[i]);
    must(n < STATE_TEXT_MAX);
}

static int state_bad(struct err *e) {
    return err_set(e, E_FORMAT, "its cursor is not one of this program");
}

int state_read(const char *text, struct state *out, struct err *e) {
    struct state s = {0};
    uint64_t *wholes[WHOLES];
    double *reals[REALS];
    state_list(&s, wholes, reals);
    size_t n = strlen(version);
    if (strncmp(text, version, n) != 0) return state_bad(e);
    const char *at = text + n;
    for (int i = 0; i < WHOLES + REALS; i++) {
        char *end;
        if (*at != ' ' || !strchr("-0123456789", at[1])) return state_bad(e);
        if (i < WHOLES)
            *wholes[i] = strtoull(at, &end, 10);
        else
            *reals[i - WHOLES] = strtod(at, &end);
        if (end == at || (i >= WHOLES && !isfinite(*reals[i - WHOLES]))) return state_bad(e);
        at = end;
    }
    if (*at) return state_bad(e);
    *out = s;
    return 0;
}
