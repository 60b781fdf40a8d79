/* mix.c - see mix.h.
 *
 * The ratio of a task is shared out among the data that have it, by their weights. So a task is
 * drawn as often as the recipe says, however many files it comes from.
 */
#include "cli/train/mix.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "engine/engine.h"
#include "engine/picture/resize.h"
#include "kernels/base/clock.h"
#include "kernels/base/hex.h"

enum { SAY_MS = 200 };

/* ---- reading ---- */

struct reading {
    const char *path;
    mix_stop_fn *stop;
    void *ud;
    uint64_t start_ns, said_ns;
    int is_open; /* does the cursor stand behind a line? */
};

static int on_progress(void *ud, uint64_t lines, uint64_t done, uint64_t all) {
    struct reading *r = ud;
    uint64_t now = clock_ns();
    if (r->said_ns == 0 || now - r->said_ns > SAY_MS * CLOCK_MS) {
        double s = (double)(now - r->start_ns) / 1e9;
        double part = all ? (double)done / (double)all : 0;
        r->said_ns = now;
        if (isatty(STDERR_FILENO)) {
            fprintf(stderr, "\r\033[Kreading %s: %.0f %%, %" PRIu64 " lines, %.0f s left", r->path,
                    100 * part, lines, part > 0 ? s / part - s : 0);
            r->is_open = 1;
        }
    }
    return r->stop(r->ud);
}

static void print_report(const struct source_report *r) {
    for (uint32_t i = 0; i < r->n_errors; i++) {
        const struct source_error *w = &r->errors[i];
        fprintf(stderr, "lammd: %s", w->file);
        if (w->line) fprintf(stderr, ":%" PRIu64, w->line);
        fprintf(stderr, ": %s%s%s\n", w->field, *w->field ? ": " : "", w->reason);
    }
    if (r->bad > r->n_errors)
        fprintf(stderr, "lammd: %s: %" PRIu64 " bad lines more\n", r->path, r->bad - r->n_errors);
}

static void print_data(const struct recipe_data *d, const struct source_report *r) {
    const char *before = "";
    fprintf(stderr, "%s: %" PRIu64 " pictures; ", d->name, r->pictures);
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        if (!r->tasks[t]) continue;
        fprintf(stderr, "%s%s %" PRIu64, before, sample_task_words[t], r->tasks[t]);
        before = ", ";
    }
    fputc('\n', stderr);
}

static int open_data(struct mix *m, int i, int is_silent, mix_stop_fn *stop, void *ud,
                     struct err *e) {
    const struct recipe_data *d = &m->recipe->data[i];
    struct reading reading = {.path = d->path, .stop = stop, .ud = ud, .start_ns = clock_ns()};
    const struct source_options o = {.pictures = d->pictures,
                                     .split = d->split,
                                     .is_stored = d->orient == RECIPE_STORED,
                                     .check = eng_check_learnt,
                                     .progress = is_silent ? NULL : on_progress,
                                     .ud = &reading};
    int rc = source_open(d->path, &o, &m->sources[i], e);
    if (reading.is_open) fputs("\r\033[K", stderr);
    if (rc) return err_in(e, "[data %s]", d->name), rc;
    const struct source_report *report = source_report(m->sources[i]);
    if (!is_silent) {
        print_report(report);
        print_data(d, report);
    }
    if (report->bad <= (uint64_t)d->bad_lines) return 0;
    return err_set(e, E_FORMAT,
                   "[data %s]: %" PRIu64 " bad lines: mend them, or leave them out with "
                   "bad_lines = %" PRIu64,
                   d->name, report->bad, report->bad);
}

static void mix_add_digest(const void *bytes, size_t n, struct buf *all) {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256(bytes, n, digest);
    hex_write(digest, sizeof(digest), hex);
    buf_printf(all, "%s\n", hex);
}

int mix_open(const struct recipe *r, int is_silent, mix_stop_fn *stop, void *ud, struct mix *m,
             struct err *e) {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    *m = (struct mix){.recipe = r};
    struct buf all;
    buf_init(&all, (RECIPE_DATA_MAX + 1) * 80);
    int rc = 0;
    for (int i = 0; rc == 0 && i < r->n_data; i++) {
        rc = open_data(m, i, is_silent, stop, ud, e);
        if (rc == 0) buf_printf(&all, "%s\n", source_report(m->sources[i])->digest);
    }
    if (rc == 0 && r->run.features) {
        rc = features_open(r->run.features, &m->features, e);
        if (rc == 0) mix_add_digest(m->features.bytes, m->features.n_bytes, &all);
    }
    if (rc == 0) {
        SHA256(all.p, all.len, digest);
        hex_write(digest, sizeof(digest), m->digest);
    }
    buf_clear(&all);
    if (rc) mix_close(m);
    return rc;
}

void mix_close(struct mix *m) {
    for (int i = 0; i < RECIPE_DATA_MAX; i++) {
        source_close(m->sources[i]);
        m->sources[i] = NULL;
    }
    features_close(&m->features);
}

/* ---- samplers ---- */

struct entries {
    struct sampler_entry at[SAMPLER_MIX_MAX];
    uint32_t n;
};

/* Has that data the task? What has pictures can be asked for pixels, when the recipe says so. */
static int mix_has_task(const struct mix *m, int i, int task, int is_said) {
    const struct recipe_data *d = &m->recipe->data[i];
    const struct source_report *r = source_report(m->sources[i]);
    int has = r->tasks[task] > 0 || (task == SAMPLE_PIXELS && is_said && r->pictures > 0);
    return has && (d->tasks >> task & 1) && d->weight > 0;
}

static int is_of(const struct recipe_data *d, int is_judge, double share) {
    return is_judge ? d->validation || share > 0 : !d->validation;
}

static int has_ratios(const struct recipe_stage *s) {
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if (s->ratio[t] >= 0) return 1;
    return 0;
}

/* The tasks of the stage that a picture of that data is asked beside each other. */
static unsigned also_tasks(const struct mix *m, const struct recipe_stage *s, int i) {
    unsigned tasks = 0;
    int is_given = has_ratios(s);
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if ((!is_given || s->ratio[t] > 0) && mix_has_task(m, i, t, is_given)) tasks |= 1u << t;
    return tasks;
}

/* The entries of one task, whose ratio is shared out. 0, or E_INVALID: no data has it. */
static int mix_add_task(const struct mix *m, const struct recipe_stage *s, int task, double ratio,
                        int is_judge, struct entries *to, struct err *e) {
    const struct recipe *r = m->recipe;
    int is_said = s->ratio[task] > 0;
    double weights = 0, share = r->run.validation;
    for (int i = 0; i < r->n_data; i++)
        if (mix_has_task(m, i, task, is_said) && is_of(&r->data[i], is_judge, share))
            weights += r->data[i].weight;
    if (weights <= 0 && is_said && !is_judge)
        return err_set(e, E_INVALID,
                       "%s: [stage %s]: ratio_%s is above 0, but no data has a line of that task",
                       r->file, s->name, sample_task_words[task]);
    for (int i = 0; i < r->n_data; i++) {
        const struct recipe_data *d = &r->data[i];
        if (!mix_has_task(m, i, task, is_said) || !is_of(d, is_judge, share)) continue;
        if (to->n == SAMPLER_MIX_MAX)
            return err_set(e, E_INVALID, "%s: more than %d pairs of data and task", r->file,
                           SAMPLER_MIX_MAX);
        to->at[to->n++] =
            (struct sampler_entry){.source = m->sources[i],
                                   .task = (enum sample_task)task,
                                   .ratio = ratio * d->weight / weights,
                                   .talks = (uint32_t)recipe_questions(s),
                                   .also = is_judge || !s->pack ? 0 : (uint32_t)s->also,
                                   .tasks = also_tasks(m, s, i),
                                   .rehearse = is_judge ? 0 : (uint32_t)s->rehearse,
                                   .weight = (float)d->stress,
                                   .crop = (float)d->crop,
                                   .jitter = (float)d->jitter,
                                   .flip = (float)d->flip,
                                   .has_one_form = (int)d->forms,
                                   .held = d->validation ? 1 : (float)share};
    }
    return 0;
}

static int add_tasks(const struct mix *m, const struct recipe_stage *s, int is_judge,
                     struct entries *to, struct err *e) {
    int rc = 0, is_given = has_ratios(s);
    to->n = 0;
    for (int t = 0; rc == 0 && t < SAMPLE_TASKS; t++) {
        double ratio = is_given ? s->ratio[t] : 1;
        if (ratio > 0) rc = mix_add_task(m, s, t, is_judge ? 1 : ratio, is_judge, to, e);
    }
    return rc;
}

/* Does it ask of things? */
static int has_dense(const struct recipe_stage *s) {
    return s->dense[TRAIN_DENSE_INSIDE] > 0 || s->dense[TRAIN_DENSE_BOX] > 0;
}

static int open_sampler(const struct mix *m, const struct entries *entries,
                        const struct recipe_stage *s, const struct train_form *f, int is_judge,
                        struct sampler **out, struct err *e) {
    int has_features = m->features.bytes && s->dense[TRAIN_DENSE_FEATURE] > 0;
    const struct sampler_options o = {.mix = entries->at,
                                      .n_mix = entries->n,
                                      .seed = (uint64_t)m->recipe->run.seed,
                                      .items = is_judge ? (uint32_t)m->recipe->run.judge_samples
                                                        : (uint32_t)recipe_samples(s),
                                      .is_step_pure = !is_judge && s->mix,
                                      .is_plain = is_judge,
                                      .is_held = is_judge,
                                      .bad_max = UINT64_MAX, /* counted by mix_open */
                                      .form = {.grid = f->grid,
                                               .is_yx = f->is_yx,
                                               .image_size = f->image_size,
                                               .tokens_w = f->tokens_side_w,
                                               .tokens_h = f->tokens_side_h,
                                               .has_things = has_dense(s),
                                               .features = has_features ? &m->features : NULL,
                                               .is_thing_held = (int)s->hold_mask,
                                               .resize = resize_picture}};
    return sampler_open(&o, out, e);
}

int mix_learner(const struct mix *m, int stage, const struct train_form *form, struct sampler **out,
                struct err *e) {
    const struct recipe_stage *s = &m->recipe->stages[stage];
    struct entries entries;
    int rc = add_tasks(m, s, 0, &entries, e);
    if (rc == 0 && !entries.n)
        rc = err_set(e, E_INVALID, "%s: [stage %s]: the data have no line of any task",
                     m->recipe->file, s->name);
    return rc ? rc : open_sampler(m, &entries, s, form, 0, out, e);
}

int mix_judge(const struct mix *m, const struct train_form *form, struct sampler **out,
              struct err *e) {
    const struct recipe_stage *s = &m->recipe->stages[m->recipe->n_stages - 1];
    struct entries entries;
    *out = NULL;
    int rc = add_tasks(m, s, 1, &entries, e);
    if (rc || !entries.n) return rc;
    /* Too few pictures for a part of their own: then nothing is judged. */
    struct err why = {0};
    rc = open_sampler(m, &entries, s, form, 1, out, &why);
    return rc == E_INVALID || rc == 0 ? 0 : err_set(e, rc, "%s", why.text);
}

unsigned mix_held(const struct mix *m, int i, float *held) {
    const struct recipe_stage *s = &m->recipe->stages[m->recipe->n_stages - 1];
    const struct recipe_data *d = &m->recipe->data[i];
    unsigned tasks = 0;
    double share = m->recipe->run.validation;
    int is_given = has_ratios(s);
    *held = d->validation ? 1 : (float)share;
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if ((!is_given || s->ratio[t] > 0) && is_of(d, 1, share) &&
            mix_has_task(m, i, t, s->ratio[t] > 0))
            tasks |= 1u << t;
    return tasks;
}
