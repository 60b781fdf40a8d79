/* plan.c - `lammd train --plan`: what each stage takes, counted before anything is opened but a
 * card, which is asked what it has free. See run.h.
 *
 * For people it ends at the first stage that doesn't fit. With --json all stages are there:
 *
 *     {"status": "fits" | "too_big", "text": why it doesn't fit, or "", "backend": "cpu",
 *      "stages": [{"name", "steps", "samples", "questions", "parameters", "learning",
 *                  "memory": {"weights", ..., "together", "checkpoint"},
 *                  "available": what there is, or null,
 *                  "of_ranks": [{"ranks": 2, "together"}, ...]}, ...]}
 *
 * Memory is in bytes. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/train/run.h"
#include "engine/train/comm.h"
#include "kernels/base/num.h"

/* A stage, counted. */
struct plan_stage {
    const struct recipe_stage *s;
    struct train_options o;
    struct train_memory m;
    int samples;
    uint64_t most; /* what there is; 0: nobody knows */
};

/* ---- for people ---- */

static void plan_row(FILE *to, const char *what, uint64_t bytes) {
    fprintf(to, "  %-28s %12.1f MiB\n", what, in_mib(bytes));
}

/* Cards are sold by the GB. */
static void print_total(FILE *to, const char *what, uint64_t bytes) {
    fprintf(to, "  %-28s %12.1f MiB %9.2f GB\n", what, in_mib(bytes), (double)bytes / 1e9);
}

/* What one of so many ranks takes; 0: as much as one alone. They share out the samples, and with
 * fewer of them one needs fewer sums of gradients. */
static uint64_t of_ranks(const struct plan_stage *p, int size) {
    const struct train_comm comm = {.size = size};
    struct train_options o = p->o;
    struct train_memory m;
    o.comm = &comm;
    return train_plan(&o, p->samples, &m, NULL) || m.total == p->m.total ? 0 : m.total;
}

static void print_ranks(const struct plan_stage *p, FILE *to) {
    for (int size = 2; size <= 4; size *= 2) {
        char what[40];
        uint64_t total = of_ranks(p, size);
        snprintf(what, sizeof(what), "together, one of %d ranks", size);
        if (total) print_total(to, what, total);
    }
}

static void print_memory(const struct plan_stage *p, FILE *to) {
    const struct train_memory *m = &p->m;
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
    print_ranks(p, to);
    plan_row(to, "a checkpoint", m->masters + m->optimiser);
}

static void print_stage(const struct plan_stage *p, FILE *to) {
    int samples = p->samples, questions = recipe_questions(p->s);
    fprintf(to,
            "stage %s: %" PRId64 " steps of %d samples with %d questions: %" PRId64 " questions\n",
            p->s->name, p->s->steps, samples, questions, p->s->steps * samples * questions);
    fprintf(to, "  %-28s %12.2f M of %.2f M\n", "weights that learn", (double)p->m.learning / 1e6,
            (double)p->m.parameters / 1e6);
    print_memory(p, to);
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

/* ---- for programs ---- */

static json_t *bytes_json(uint64_t n) { return json_integer((json_int_t)n); }

static json_t *memory_json(const struct train_memory *m) {
    const struct {
        const char *name;
        uint64_t bytes;
    } all[] = {{"weights", m->weights},
               {"masters", m->masters},
               {"gradients", m->gradients},
               {"optimiser", m->optimiser},
               {"activations", m->activations},
               {"teacher", m->teacher},
               {"own", m->own},
               {"together", m->total},
               {"checkpoint", m->masters + m->optimiser}};
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        json_object_set_new(o, all[i].name, bytes_json(all[i].bytes));
    return o;
}

static json_t *ranks_json(const struct plan_stage *p) {
    json_t *all = json_array();
    for (int size = 2; size <= 4; size *= 2) {
        uint64_t total = of_ranks(p, size);
        if (!total) continue;
        json_array_append_new(
            all, json_pack("{s:i, s:o}", "ranks", size, "together", bytes_json(total)));
    }
    return all;
}

static json_t *stage_json(const struct plan_stage *p) {
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(p->s->name));
    json_object_set_new(o, "steps", json_integer(p->s->steps));
    json_object_set_new(o, "samples", json_integer(p->samples));
    json_object_set_new(o, "questions", json_integer(recipe_questions(p->s)));
    json_object_set_new(o, "parameters", bytes_json(p->m.parameters));
    json_object_set_new(o, "learning", bytes_json(p->m.learning));
    json_object_set_new(o, "memory", memory_json(&p->m));
    json_object_set_new(o, "available", p->most ? bytes_json(p->most) : json_null());
    json_object_set_new(o, "of_ranks", ranks_json(p));
    return o;
}

/* ---- all stages ---- */

static int plan_count(const struct run *r, int i, uint64_t *free_bytes, struct plan_stage *p,
                      struct err *e) {
    *p = (struct plan_stage){.s = &r->recipe.stages[i], .o = recipe_train_options(&r->recipe, i)};
    p->o.model = r->model;
    p->o.plugin = config_engine(r->cfg, p->o.model).plugin;
    p->samples = recipe_samples(p->s);
    int rc = train_plan(&p->o, p->samples, &p->m, e);
    if (rc) return err_in(e, "[stage %s]", p->s->name), rc;
    p->most = plan_most(&p->o, &p->m, free_bytes);
    return 0;
}

static int plan_fits(const struct plan_stage *p, struct err *e) {
    char advice[160];
    if (!p->most || p->m.total <= p->most) return 0;
    plan_advice(&p->o, p->samples, p->most, advice, sizeof(advice));
    return err_set(e, E_NOMEM, "[stage %s] takes %.0f MiB, and there are %.0f%s", p->s->name,
                   in_mib(p->m.total), in_mib(p->most), advice);
}

static int plan_text(const struct run *r, FILE *to, struct err *e) {
    uint64_t free_bytes = 0;
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->recipe.n_stages; i++) {
        struct plan_stage p;
        rc = plan_count(r, i, &free_bytes, &p, e);
        if (rc) return rc;
        if (i == 0) print_backend(&p.o, &p.m, free_bytes, to);
        print_stage(&p, to);
        rc = plan_fits(&p, e);
    }
    return rc;
}

static int plan_json(const struct run *r, FILE *to, struct err *e) {
    uint64_t free_bytes = 0;
    struct err big = {0};
    char backend[16] = "";
    json_t *stages = json_array();
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->recipe.n_stages; i++) {
        struct plan_stage p;
        rc = plan_count(r, i, &free_bytes, &p, e);
        if (rc) break;
        json_array_append_new(stages, stage_json(&p));
        snprintf(backend, sizeof(backend), "%s", p.m.backend);
        (void)plan_fits(&p, &big); /* the first one tells */
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:o}", "status", big.code ? "too_big" : "fits", "text",
                          big.text, "backend", backend, "stages", stages);
    if (rc == 0) {
        json_dumpf(o, to, JSON_COMPACT);
        fputc('\n', to);
        if (big.code) rc = err_set(e, big.code, "%s", big.text);
    }
    json_decref(o);
    return rc;
}

int plan_print(const struct run *r, FILE *to, struct err *e) {
    return r->cfg->is_json ? plan_json(r, to, e) : plan_text(r, to, e);
}
