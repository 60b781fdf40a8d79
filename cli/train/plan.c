/* plan.c - `lammd train --plan`: what each stage takes, counted before anything is opened but a
 * card, which is asked what it has free. See run.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/train/run.h"
#include "engine/train/comm.h"
#include "kernels/base/num.h"

static void plan_row(FILE *to, const char *what, uint64_t bytes) {
    fprintf(to, "  %-28s %12.1f MiB\n", what, in_mib(bytes));
}

/* Cards are sold by the GB. */
static void print_total(FILE *to, const char *what, uint64_t bytes) {
    fprintf(to, "  %-28s %12.1f MiB %9.2f GB\n", what, in_mib(bytes), (double)bytes / 1e9);
}

/* Ranks share out the samples, and with fewer of them one needs fewer sums of gradients. */
static void print_ranks(const struct train_options *options, int samples, uint64_t alone,
                        FILE *to) {
    for (int size = 2; size <= 4; size *= 2) {
        const struct train_comm comm = {.size = size};
        struct train_options o = *options;
        struct train_memory m;
        char what[40];
        o.comm = &comm;
        if (train_plan(&o, samples, &m, NULL) || m.total == alone) continue;
        snprintf(what, sizeof(what), "together, one of %d ranks", size);
        print_total(to, what, m.total);
    }
}

static void print_memory(const struct train_options *o, int samples, const struct train_memory *m,
                         FILE *to) {
    char own[40];
    snprintf(own, sizeof(own), "%s's own", m->backend);
    plan_row(to, "weights", m->weights);
    plan_row(to, "what learns, in f32", m->masters);
    plan_row(to, "gradients", m->gradients);
    plan_row(to, "moments and average", m->optimiser);
    plan_row(to, "activations of a sample", m->activations);
    if (m->teacher) plan_row(to, "the teacher", m->teacher);
    plan_row(to, own, m->own);
    print_total(to, "together", m->total);
    print_ranks(o, samples, m->total, to);
    plan_row(to, "a checkpoint", m->masters + m->optimiser);
}

static void print_stage(const struct recipe_stage *s, const struct train_options *o,
                        const struct train_memory *m, FILE *to) {
    int samples = recipe_samples(s), questions = recipe_questions(s);
    fprintf(to,
            "stage %s: %" PRId64 " steps of %d samples with %d questions: %" PRId64 " questions\n",
            s->name, s->steps, samples, questions, s->steps * samples * questions);
    fprintf(to, "  %-28s %12.2f M of %.2f M\n", "weights that learn", (double)m->learning / 1e6,
            (double)m->parameters / 1e6);
    print_memory(o, samples, m, to);
}

/* ---- what would fit ---- */

/* Changes to a stage, from the mildest on. */
static const char *change(struct train_options *o, int i) {
    switch (i) {
    case 0: o->recompute = o->recompute > 1 ? o->recompute : 1; return "recompute = 1";
    case 1: o->recompute = 2; return "recompute = 2";
    case 2: o->rows = (o->rows ? o->rows : 2048) / 4; return "recompute = 2 and a quarter of rows";
    case 3: o->average = 0; return "the same, and average = 0";
    case 4: o->tower = 0; return "the same, and tower = no";
    case 5:
        if (o->text == TRAIN_TEXT_FULL) {
            o->text = TRAIN_TEXT_LORA;
            o->lora =
                (struct train_lora){.r = 8, .alpha = 16, .targets = TRAIN_LORA_Q | TRAIN_LORA_V};
        }
        return "the same, and text = lora, lora_r = 8";
    default: return NULL;
    }
}

void plan_advice(const struct train_options *options, int samples, uint64_t most, char *to,
                 size_t cap) {
    struct train_options o = *options;
    const char *text;
    *to = '\0';
    for (int i = 0; most && (text = change(&o, i)); i++) {
        struct train_memory m;
        if (train_plan(&o, samples, &m, NULL) || m.total > most) continue;
        snprintf(to, cap, "; it would fit with %s (%.0f MiB)", text, in_mib(m.total));
        return;
    }
}

/* What there is: what may be taken, and of a card no more than is free. 0: nobody knows. */
static uint64_t plan_most(const struct train_options *o, const struct train_memory *m,
                          uint64_t *free_bytes) {
    if (!*free_bytes && strcmp(m->backend, "cuda") == 0) (void)train_room(o, free_bytes, NULL);
    uint64_t most = *free_bytes ? *free_bytes + m->own : 0; /* which the look at it had taken */
    return o->memory && (!most || o->memory < most) ? o->memory : most;
}

static void print_backend(const struct train_options *o, const struct train_memory *m,
                          uint64_t free_bytes, FILE *to) {
    fprintf(to, "counted as backend %s keeps it%s%s; ", m->backend, o->isa ? ", by " : "",
            o->isa ? o->isa : "");
    if (free_bytes)
        fprintf(to, "%.0f MiB of the card are free\n", in_mib(free_bytes + m->own));
    else
        fputs("no device was opened\n", to);
}

int plan_print(const struct run *r, FILE *to, struct err *e) {
    uint64_t free_bytes = 0;
    for (int i = 0; i < r->recipe.n_stages; i++) {
        const struct recipe_stage *s = &r->recipe.stages[i];
        struct train_options o = recipe_train_options(&r->recipe, i);
        struct train_memory m;
        o.model = r->model;
        o.plugin = config_engine(r->cfg, o.model).plugin;
        int samples = recipe_samples(s);
        int rc = train_plan(&o, samples, &m, e);
        if (rc) return err_in(e, "[stage %s]", s->name), rc;
        uint64_t most = plan_most(&o, &m, &free_bytes);
        if (i == 0) print_backend(&o, &m, free_bytes, to);
        print_stage(s, &o, &m, to);
        if (!most || m.total <= most) continue;
        char advice[160];
        plan_advice(&o, samples, most, advice, sizeof(advice));
        return err_set(e, E_NOMEM, "[stage %s] takes %.0f MiB, and there are %.0f%s", s->name,
                       in_mib(m.total), in_mib(most), advice);
    }
    return 0;
}
