/* loop.c - the steps of a stage: learn, judge, save. See run.h.
 *
 * A judgement is always followed by a checkpoint, so that the best one is a file. What a checkpoint
 * has of losses.csv is synced first. Where several ranks are at work, they agree on ending by a sum
 * over all of them, after each step.
 */
#include <inttypes.h>
#include <string.h>

#include "cli/train/run.h"
#include "data/prefetch.h"
#include "kernels/base/clock.h"

enum { AHEAD = 8 };

struct loop {
    struct run *run;
    struct sampler *sampler;
    struct prefetch *ahead;
    int share; /* samples of a step that are this rank's */
    uint64_t first, end;
};

/* ---- one step ---- */

static int leave_out(struct run *r, const char *where, const struct err *why, struct err *e) {
    if (r->state.left_out++ == 0)
        run_say(r, "lammd: left out: %s: %s (events.jsonl has all)", where, why->text);
    if (r->rank) return 0;
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer((json_int_t)r->state.done + 1));
    json_object_set_new(o, "where", json_string(where));
    json_object_set_new(o, "text", json_string(why->text));
    return journal_event(&r->journal, "left_out", o, e);
}

/* The next sample of this rank: learnt, or left out because it is too long. */
static int loop_add_sample(struct loop *l, struct err *e) {
    struct run *r = l->run;
    const struct sampler_draw *d = NULL;
    struct train_loss loss;
    struct err why = {0};
    int rc = prefetch_next(l->ahead, &d, e);
    if (rc) return rc;
    rc = train_add(r->train, &d->sample, &loss, &why);
    if (rc == E_TOO_BIG) {
        rc = train_add(r->train, NULL, &loss, e);
        return rc ? rc : leave_out(r, d->where, &why, e);
    }
    if (rc == E_INVALID) return err_set(e, rc, "%s: %s", d->where, why.text);
    return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static struct losses losses_from(const struct train_loss *l) {
    struct losses out = {.box = l->box, .hold = l->hold};
    memcpy(out.dense, l->dense, sizeof(out.dense));
    memcpy(out.sum, l->sum, sizeof(out.sum));
    memcpy(out.weight, l->weight, sizeof(out.weight));
    return out;
}

/* Is it the end for one of the ranks? Then it is for all. */
static int agree_to_stop(struct run *r, struct err *e) {
    double stops = run_stopped(r);
    if (r->comm) {
        int rc = r->comm->sum_f64(r->comm->state, &stops, 1, e);
        if (rc) return rc;
    }
    r->is_stopped = stops > 0;
    return 0;
}

static int one_step(struct loop *l, struct err *e) {
    struct run *r = l->run;
    struct train_result result;
    uint64_t start = clock_ns();
    int rc = 0;
    for (int i = 0; rc == 0 && i < l->share; i++)
        rc = loop_add_sample(l, e);
    if (rc == 0) rc = train_step(r->train, &result, e);
    if (rc) return rc;
    double seconds = (double)(clock_ns() - start) / 1e9;
    struct losses losses = losses_from(&result.loss);
    r->state.done++;
    r->state.talks += result.loss.talks;
    r->state.tokens += result.loss.tokens;
    r->state.skipped += (uint64_t)(result.is_skipped != 0);
    r->state.seconds += seconds;
    const struct journal_row row = {.step = r->state.done,
                                    .stage = r->recipe.stages[r->stage].name,
                                    .losses = &losses,
                                    .rate = result.rate,
                                    .norm = result.norm,
                                    .seconds = seconds,
                                    .talks = result.loss.talks,
                                    .tokens = result.loss.tokens,
                                    .is_skipped = result.is_skipped};
    if (!r->rank) rc = journal_add(&r->journal, &row, e);
    say_step(&r->say, r->state.done, (uint64_t)recipe_steps(&r->recipe), &losses,
             result.loss.talks);
    return rc ? rc : agree_to_stop(r, e);
}

/* ---- judging and saving ---- */

static int judge_items(struct run *r, struct losses *out, struct err *e) {
    int64_t n = r->recipe.run.judge_samples;
    for (int64_t i = 0; i < n; i++) {
        struct sampler_draw *d = NULL;
        struct train_loss loss = {0};
        struct err why = {0};
        int rc = sampler_draw(r->judge, 0, (uint32_t)i, &d, e);
        if (rc) return rc;
        rc = train_judge(r->train, &d->sample, &loss, &why);
        if (rc == E_INVALID) (void)err_in(&why, "%s", d->where);
        sampler_give_back(d);
        if (rc == E_TOO_BIG) continue; /* what is too long to be learnt isn't judged */
        if (rc) return err_set(e, rc, "%s", why.text);
        const struct losses one = losses_from(&loss);
        losses_add(out, &one);
    }
    return 0;
}

int run_judge(struct run *r, struct losses *out, struct err *e) {
    *out = (struct losses){0};
    int rc = train_use_average(r->train, 1, e);
    if (rc == 0) rc = judge_items(r, out, e);
    if (rc == 0) rc = train_use_average(r->train, 0, e);
    return rc;
}

static int note_judgement(struct run *r, struct err *e) {
    struct state *s = &r->state;
    double loss = losses_mean(&s->last);
    if (losses_any(&s->last) && (!s->best_step || loss < s->best)) {
        s->best = loss;
        s->best_step = s->done;
    }
    char losses[160];
    say_losses(&s->last, losses, sizeof(losses));
    run_say(r, "step %" PRIu64 ": judged: loss %s%s", s->done, losses,
            s->best_step == s->done ? ", the best so far" : "");
    if (r->rank) return 0;
    const struct journal_row row = {.step = s->done,
                                    .stage = r->recipe.stages[r->stage].name,
                                    .is_judgement = 1,
                                    .losses = &s->last};
    return journal_add(&r->journal, &row, e);
}

int run_save(struct run *r, struct err *e) {
    char path[FOLDER_PATH_MAX], cursor[STATE_TEXT_MAX];
    int rc = r->rank ? 0 : journal_sync(&r->journal, e);
    if (rc) return rc;
    r->state.csv_bytes = r->rank ? 0 : r->journal.csv_bytes;
    state_write(&r->state, cursor);
    const struct train_meta meta = {
        .recipe = r->recipe_digest, .data = r->mix.digest, .cursor = cursor};
    folder_checkpoint(&r->folder, r->state.done, path);
    rc = train_save(r->train, path, &meta, e);
    if (rc) return rc;
    r->saved = r->state.done;
    if (r->rank) return 0;
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer((json_int_t)r->state.done));
    json_object_set_new(o, "file", json_string(strrchr(path, '/') + 1));
    rc = folder_prune(&r->folder, r->state.best_step, e);
    int said = journal_event(&r->journal, "checkpoint", o, e);
    return rc ? rc : said;
}

/* What is due behind the step that has just ended. */
static int after_step(struct loop *l, struct err *e) {
    struct run *r = l->run;
    const struct recipe_run *how = &r->recipe.run;
    uint64_t done = r->state.done;
    int is_end = done == l->end, is_last = r->stage + 1 == r->recipe.n_stages;
    int is_judge = r->judge && ((is_end && is_last) ||
                                (how->judge_every && done % (uint64_t)how->judge_every == 0));
    int rc = 0;
    if (is_judge) {
        rc = run_judge(r, &r->state.last, e);
        if (rc == 0) rc = note_judgement(r, e);
    }
    int is_save =
        is_judge || is_end || r->is_stopped || done % (uint64_t)how->checkpoint_every == 0;
    return rc == 0 && is_save ? run_save(r, e) : rc;
}

/* ---- the stage ---- */

static int loop_begin(struct loop *l, struct err *e) {
    struct run *r = l->run;
    const struct recipe_stage *s = &r->recipe.stages[r->stage];
    int samples = recipe_samples(s);
    if (samples % r->size)
        return err_set(e, E_INVALID,
                       "%s: [stage %s]: %d samples of a step can't be shared by %d ranks",
                       r->recipe.file, s->name, samples, r->size);
    l->share = samples / r->size;
    int rc = mix_learner(&r->mix, r->stage, train_form(r->train), &l->sampler, e);
    const struct prefetch_range range = {
        .step = r->state.done, .item = (uint32_t)(r->rank * l->share), .n = (uint32_t)l->share};
    if (rc == 0) rc = prefetch_open(l->sampler, &range, AHEAD, &l->ahead, e);
    return rc;
}

int run_stage(struct run *r, struct err *e) {
    struct loop l = {
        .run = r, .first = run_first_step(r, r->stage), .end = run_first_step(r, r->stage + 1)};
    if (r->state.done >= l.end) return 0;
    int rc = loop_begin(&l, e);
    if (r->recipe.n_stages > 1)
        run_say(r, "stage %s: steps %" PRIu64 " to %" PRIu64, r->recipe.stages[r->stage].name,
                l.first + 1, l.end);
    while (rc == 0 && r->state.done < l.end && !r->is_stopped) {
        rc = one_step(&l, e);
        if (rc == 0) rc = after_step(&l, e);
    }
    say_end(&r->say, r->state.done, (uint64_t)recipe_steps(&r->recipe));
    prefetch_close(l.ahead);
    sampler_close(l.sampler);
    return rc;
}
