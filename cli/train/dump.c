/* dump.c - `lammd train --samples FILE`: what each step asks, for other trainers. See run.h.
 *
 * A line for each stage, then a line for each of its samples, in the order in which they would be
 * learnt:
 *
 *     {"stage": "learn", "steps": 20, "samples": 4, "options": {"rate": 1e-05, ...}}
 *     {"step": 0, "item": 0, "pictures": ["FILE.pictures/0-0-0.png"], "talks": [{"task": "refer",
 *      "weight": 1.0, "turns": [{"pictures": 1, "question": ..., "answer": ...}], "hold": [3, 4]}]}
 *
 * Pictures are PNG files as the vision tower sees them, after crops and jitter, squashed to its
 * square: not every version of Pillow resizes alike. Their paths are relative to FILE. `hold` has
 * the indices of the picture tokens that attention is held to. tools/oracle/train.py reads all
 * this.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/train/keys.h"
#include "cli/train/run.h"
#include "data/files.h"
#include "engine/picture/resize.h"
#include "kernels/base/mem.h"

struct dump {
    FILE *to;
    const char *path;
    char folder[4096];
    int image_tokens, side;
    uint8_t *square; /* (side, side, 3) */
    struct err *e;
};

static int write_json(struct dump *d, json_t *o) {
    int rc = 0;
    if (!o || json_dumpf(o, d->to, JSON_COMPACT | JSON_REAL_PRECISION(9)) ||
        fputc('\n', d->to) == EOF)
        rc = err_set(d->e, E_IO, "%s: %s", d->path, strerror(errno));
    json_decref(o);
    return rc;
}

/* ---- a stage ---- */

static json_t *value_of(const struct key *k, int task, const void *fields) {
    const char *at = (const char *)fields + k->at;
    struct buf text;
    json_t *out;
    if (k->kind == KEY_WHOLE) return json_integer(*(const int64_t *)(const void *)at);
    if (k->kind == KEY_REAL || k->kind == KEY_BY_TASK)
        return json_real(((const double *)(const void *)at)[task]);
    buf_init(&text, 1024);
    keys_write(k, task, fields, &text);
    out = json_string(text.p ? (const char *)text.p : "");
    buf_clear(&text);
    return out;
}

static json_t *dump_options_of(const struct recipe_stage *s) {
    size_t n;
    const struct key *all = keys_all(&n);
    json_t *o = json_object();
    for (size_t i = 0; i < n; i++) {
        int tasks = all[i].kind == KEY_BY_TASK ? SAMPLE_TASKS : 1;
        for (int t = 0; all[i].in == RECIPE_STAGE && t < tasks; t++) {
            char name[64];
            snprintf(name, sizeof(name), "%s%s", all[i].name,
                     tasks > 1 ? sample_task_words[t] : "");
            json_object_set_new(o, name, value_of(&all[i], t, s));
        }
    }
    return o;
}

static int dump_stage_head(struct dump *d, const struct run *r, int stage) {
    const struct recipe_stage *s = &r->recipe.stages[stage];
    json_t *o = json_object();
    json_object_set_new(o, "stage", json_string(s->name));
    json_object_set_new(o, "steps", json_integer(s->steps));
    json_object_set_new(o, "samples", json_integer(recipe_samples(s)));
    json_object_set_new(o, "seed", json_integer(r->recipe.run.seed));
    json_object_set_new(o, "options", dump_options_of(s));
    return write_json(d, o);
}

/* ---- a sample ---- */

static json_t *hold_of(const struct dump *d, const struct sample *s, const struct sample_talk *t) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < s->n_pictures * (uint32_t)d->image_tokens; i++)
        if (t->hold[i]) json_array_append_new(list, json_integer(i));
    return list;
}

static json_t *talk_of(const struct dump *d, const struct sample *s, const struct sample_talk *t) {
    json_t *o = json_object(), *turns = json_array();
    json_object_set_new(o, "task", json_string(sample_task_words[t->task]));
    json_object_set_new(o, "weight", json_real((double)t->weight));
    for (uint32_t i = 0; i < t->n_turns; i++) {
        json_t *turn = json_object();
        json_object_set_new(turn, "pictures", json_integer(t->turns[i].n_pictures));
        json_object_set_new(turn, "question", json_string(t->turns[i].question));
        json_object_set_new(turn, "answer", json_string(t->turns[i].answer));
        json_array_append_new(turns, turn);
    }
    json_object_set_new(o, "turns", turns);
    if (t->hold) json_object_set_new(o, "hold", hold_of(d, s, t));
    return o;
}

static int dump_picture(struct dump *d, const struct sample_picture *p, uint64_t step,
                        uint32_t item, uint32_t i, json_t *names) {
    char path[4200], name[64];
    snprintf(name, sizeof(name), "%" PRIu64 "-%u-%u.png", step, item, i);
    snprintf(path, sizeof(path), "%s/%s", d->folder, name);
    int rc = resize_picture(p->rgb, p->w, p->h, d->square, d->side, d->side, d->e);
    if (rc == 0) rc = file_write_png(path, d->square, d->side, d->side, d->e);
    const char *slash = strrchr(d->folder, '/');
    snprintf(path, sizeof(path), "%s/%s", slash ? slash + 1 : d->folder, name);
    json_array_append_new(names, json_string(path));
    return rc;
}

static int dump_sample(struct dump *d, const struct sampler_draw *draw, uint64_t step,
                       uint32_t item) {
    const struct sample *s = &draw->sample;
    json_t *o = json_object(), *names = json_array(), *talks = json_array();
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < s->n_pictures; i++)
        rc = dump_picture(d, &s->pictures[i], step, item, i, names);
    for (uint32_t i = 0; i < s->n_talks; i++)
        if (!s->talks[i].is_taught) json_array_append_new(talks, talk_of(d, s, &s->talks[i]));
    json_object_set_new(o, "step", json_integer((json_int_t)step));
    json_object_set_new(o, "item", json_integer(item));
    json_object_set_new(o, "where", json_string(draw->where));
    json_object_set_new(o, "pictures", names);
    json_object_set_new(o, "talks", talks);
    if (rc == 0) return write_json(d, o);
    json_decref(o);
    return rc;
}

/* ---- all of it ---- */

static int dump_stage(struct dump *d, struct run *r, int stage, const struct train_form *form) {
    const struct recipe_stage *s = &r->recipe.stages[stage];
    uint64_t first = run_first_step(r, stage), end = first + (uint64_t)s->steps;
    struct sampler *sampler = NULL;
    int rc = mix_learner(&r->mix, stage, form, &sampler, d->e);
    if (rc == 0) rc = dump_stage_head(d, r, stage);
    for (uint64_t step = first; rc == 0 && step < end && !run_stopped(r); step++) {
        for (int i = 0; rc == 0 && i < recipe_samples(s); i++) {
            struct sampler_draw *draw = NULL;
            rc = sampler_draw(sampler, step, (uint32_t)i, &draw, d->e);
            if (rc == 0) rc = dump_sample(d, draw, step, (uint32_t)i);
            sampler_give_back(draw);
        }
    }
    sampler_close(sampler);
    return rc;
}

/* The form of the model's questions, from a trainer that is as small as can be. */
static int dump_form_of(const struct run *r, struct train_form *form, struct err *e) {
    struct train *t = NULL;
    struct train_options o = recipe_train_options(&r->recipe, 0);
    o.model = r->model;
    o.plugin = config_engine(r->cfg, r->model).plugin;
    o.tower = 0;
    o.connector = 1;
    o.text = TRAIN_TEXT_FROZEN;
    o.average = 0;
    o.teacher = NULL;
    o.has_taught = 0;
    memset(o.teach, 0, sizeof(o.teach));
    int rc = train_open(&o, 1, &t, e);
    if (rc == 0) *form = *train_form(t);
    train_close(t);
    return rc;
}

int dump_samples(struct run *r, const char *path, struct err *e) {
    struct dump d = {.path = path, .e = e};
    struct train_form form;
    int n = snprintf(d.folder, sizeof(d.folder), "%s.pictures", path);
    if (n < 0 || (size_t)n >= sizeof(d.folder))
        return err_set(e, E_INVALID, "the path of --samples is too long");
    int rc = dump_form_of(r, &form, e);
    if (rc) return rc;
    size_t side = (size_t)form.image_size;
    d.image_tokens = form.image_tokens;
    d.side = form.image_size;
    if (mkdir(d.folder, 0777) && errno != EEXIST)
        return err_set(e, E_IO, "%s: %s", d.folder, strerror(errno));
    d.to = fopen(path, "w");
    if (!d.to) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    d.square = mem_must(side * side * 3);
    for (int i = 0; rc == 0 && i < r->recipe.n_stages; i++)
        rc = dump_stage(&d, r, i, &form);
    if (fclose(d.to) && rc == 0) rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    mem_free(d.square);
    return rc;
}
