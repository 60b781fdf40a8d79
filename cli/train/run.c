/* run.c - stages in turn, from the newest checkpoint on. See run.h.
 *
 * 1. A stage ends with a checkpoint, so what it hands on can be written again after any end.
 * 2. What a stage hands on is written before the next one begins.
 *    It stays, since `from` lets any later stage begin with it.
 * 3. The steps of all stages are counted as one. The number in a checkpoint's name tells its stage.
 */
#include "cli/train/run.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "data/files.h"
#include "kernels/base/cgroup.h"

uint64_t run_first_step(const struct run *r, int stage) {
    uint64_t n = 0;
    for (int i = 0; i < stage; i++)
        n += (uint64_t)r->recipe.stages[i].steps;
    return n;
}

/* The stage that a checkpoint of that step belongs to: the one that ended with it, or was in it. */
static int stage_of(const struct run *r, uint64_t step) {
    int i = 0;
    while (i + 1 < r->recipe.n_stages && step > run_first_step(r, i + 1))
        i++;
    return i;
}

/* ---- a stage's trainer ---- */

const char *run_base(const struct run *r, int stage, char to[FOLDER_PATH_MAX]) {
    for (int i = r->recipe.stages[stage].parent; i >= 0; i = r->recipe.stages[i].parent) {
        if (r->recipe.stages[i].text != TRAIN_TEXT_FULL) continue;
        run_stage_folder(r, i, to);
        return to;
    }
    return r->model;
}

static int run_no_room(const struct train_options *o, int samples, struct err *e) {
    char advice[160];
    struct err text = *e;
    uint64_t have = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct cgroup group;
    cgroup_read(NULL, NULL, &group);
    if (group.memory_left < have) have = group.memory_left;
    plan_advice(o, samples, o->memory ? o->memory : have, advice, sizeof(advice));
    *e = (struct err){0};
    return err_set(e, text.code, "%s%s", text.text, advice);
}

int run_open_stage(struct run *r, int stage, struct err *e) {
    const struct recipe_stage *s = &r->recipe.stages[stage];
    char model[FOLDER_PATH_MAX], before[FOLDER_PATH_MAX];
    struct train_options o = recipe_train_options(&r->recipe, stage);
    o.model = run_base(r, stage, model);
    o.plugin = config_engine(r->cfg, o.model).plugin;
    o.comm = r->comm;
    train_close(r->train);
    r->train = NULL;
    r->stage = stage;
    int rc = train_open(&o, recipe_samples(s), &r->train, e);
    if (rc == E_NOMEM) (void)run_no_room(&o, recipe_samples(s), e);
    if (rc == 0 && s->parent >= 0 && r->recipe.stages[s->parent].text != TRAIN_TEXT_FULL) {
        run_stage_folder(r, s->parent, before);
        rc = train_import_adapter(r->train, before, e);
    }
    if (rc) return err_in(e, "[stage %s]", s->name), rc;
    return 0;
}

/* ---- going on ---- */

static int run_load(struct run *r, uint64_t step, struct err *e) {
    char path[FOLDER_PATH_MAX], cursor[STATE_TEXT_MAX];
    const struct train_meta meta = {.recipe = r->recipe_digest, .data = r->mix.digest};
    const char *note = NULL;
    folder_checkpoint(&r->folder, step, path);
    int rc = train_load(r->train, path, &meta, cursor, sizeof(cursor), &note, e);
    if (rc) return rc;
    rc = state_read(cursor, &r->state, e);
    if (rc == 0 && r->state.done != step)
        rc = err_set(e, E_FORMAT, "it is of step %" PRIu64 ", not of the step in its name",
                     r->state.done);
    if (rc) return err_in(e, "%s", path), rc;
    if (note) run_say(r, "%s", note);
    r->saved = step;
    return 0;
}

/* From the newest checkpoint that is whole. Those behind it that can't be read are told. */
static int load_newest(struct run *r, const uint64_t *steps, int n, struct err *e) {
    struct err first = {0};
    for (int i = 0; i < n; i++) {
        struct err why = {0};
        if (steps[i] > run_first_step(r, r->recipe.n_stages)) {
            err_set(&first, E_FORMAT, "%s: step %" PRIu64 " is behind the recipe's last one",
                    r->folder.path, steps[i]);
            continue;
        }
        int stage = stage_of(r, steps[i]);
        if (!r->train || r->stage != stage) {
            int rc = run_open_stage(r, stage, e);
            if (rc) return rc;
        }
        if (run_load(r, steps[i], &why) == 0) return 0;
        run_say(r, "lammd: %s", why.text);
        if (!first.code) first = why;
    }
    return err_set(e, first.code, "%s", first.text);
}

/* The checkpoints that rank 0 sees. */
static int find_steps(struct run *r, uint64_t steps[FOLDER_STEPS_MAX], int *n, struct err *e) {
    const struct train_comm *c = r->comm;
    int rc = r->rank ? 0 : folder_steps(&r->folder, steps, n, e);
    if (rc || !c) return rc;
    rc = c->broadcast(c->state, n, sizeof(*n), e);
    return rc ? rc : c->broadcast(c->state, steps, FOLDER_STEPS_MAX * sizeof(*steps), e);
}

/* Are there steps behind the checkpoint? No: it begins at step 0. */
static int run_go_on(struct run *r, struct err *e) {
    uint64_t steps[FOLDER_STEPS_MAX] = {0};
    int n = 0;
    r->saved = UINT64_MAX;
    int rc = find_steps(r, steps, &n, e);
    if (rc || !n) return rc;
    rc = load_newest(r, steps, n, e);
    if (rc)
        return err_in(e, "%s has a run that this one can't go on with; give another --out",
                      r->folder.path);
    run_say(r, "going on from step %" PRIu64 " of %" PRId64, r->state.done,
            recipe_steps(&r->recipe));
    return 0;
}

/* ---- the start ---- */

static uint64_t checkpoint_bytes(const struct run *r) {
    uint64_t most = 0;
    for (int i = 0; i < r->recipe.n_stages; i++) {
        struct train_memory m;
        struct train_options o = recipe_train_options(&r->recipe, i);
        o.model = r->model;
        if (train_plan(&o, recipe_samples(&r->recipe.stages[i]), &m, NULL)) continue;
        uint64_t bytes = m.masters + m.optimiser;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static int note_start(struct run *r, struct err *e) {
    int is_new = r->saved == UINT64_MAX;
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer((json_int_t)r->state.done));
    json_object_set_new(o, "steps", json_integer(recipe_steps(&r->recipe)));
    json_object_set_new(o, "recipe", json_string(r->recipe_digest));
    json_object_set_new(o, "data", json_string(r->mix.digest));
    json_object_set_new(o, "seed", json_integer(r->recipe.run.seed));
    return journal_event(&r->journal, is_new ? "start" : "resume", o, e);
}

/* Rank 0's files. */
static int open_journal(struct run *r, struct err *e) {
    char path[FOLDER_PATH_MAX];
    struct buf text;
    buf_init(&text, 4 << 20);
    if (r->rank) return 0;
    folder_file(&r->folder, "recipe.ini", path);
    buf_str(&text, "# What ran here: lammd train wrote it, with every key.\n");
    recipe_write(&r->recipe, 0, &text);
    int rc = file_write(path, text.p, text.len, e);
    buf_clear(&text);
    if (rc == 0) rc = folder_check_space(&r->folder, checkpoint_bytes(r), e);
    if (rc == 0) rc = journal_open(&r->folder, r->state.csv_bytes, &r->journal, e);
    return rc ? rc : note_start(r, e);
}

static int add_judgement(struct run *r, const struct losses *l, struct err *e) {
    const struct journal_row row = {.step = r->state.done,
                                    .stage = r->recipe.stages[r->stage].name,
                                    .is_judgement = 1,
                                    .losses = l};
    return r->rank ? 0 : journal_add(&r->journal, &row, e);
}

static int judge_before(struct run *r, struct err *e) {
    if (!r->judge || r->state.done) return 0;
    int rc = run_judge(r, &r->state.before, e);
    if (rc) return rc;
    char losses[160];
    r->state.last = r->state.before;
    say_losses(&r->state.before, losses, sizeof(losses));
    run_say(r, "before: loss %s", losses);
    return add_judgement(r, &r->state.before, e);
}

/* ---- all of it ---- */

/* From the stage at hand, which is open. */
static int stages(struct run *r, struct err *e) {
    for (;;) {
        int rc = run_stage(r, e);
        if (rc || r->is_stopped) return rc;
        rc = run_hand_on(r, e);
        if (rc || r->stage + 1 == r->recipe.n_stages) return rc;
        r->state.best_step = 0; /* losses of another stage can't be compared */
        rc = run_open_stage(r, r->stage + 1, e);
        if (rc) return rc;
    }
}

static int note_end(struct run *r, int rc, const struct err *why, struct err *e) {
    if (r->rank || r->journal.events < 0) return 0;
    json_t *o = json_object();
    json_object_set_new(o, "step", json_integer((json_int_t)r->state.done));
    if (rc) {
        json_object_set_new(o, "error", json_string(err_word(rc)));
        json_object_set_new(o, "text", json_string(why->text));
    }
    return journal_event(&r->journal, rc ? "failed" : r->is_stopped ? "stop" : "end", o, e);
}

void run_note_failure(struct run *r, int rc, const struct err *why) {
    struct err none = {0};
    if (r->rank || r->cfg->samples) return;
    int is_stop = rc == E_CANCELLED && r->is_stopped;
    if (r->journal.events < 0 && journal_open_events(&r->folder, &r->journal, &none)) return;
    (void)note_end(r, is_stop ? 0 : rc, why, NULL);
    journal_close(&r->journal);
}

int run_note_phase(struct run *r, const char *phase, struct err *e) {
    if (r->rank) return 0;
    return journal_event(&r->journal, "phase", json_pack("{s:s}", "phase", phase), e);
}

/* --export: what was learnt so far is the result, whichever stage it stands in. */
static int run_look(struct run *r, struct err *e) {
    int rc = run_go_on(r, e);
    if (rc == 0 && !r->train)
        rc = err_set(e, E_NOT_FOUND, "%s has no checkpoint to export: train first", r->folder.path);
    if (rc == 0) rc = open_journal(r, e);
    if (rc == 0) rc = run_note_phase(r, "export", e);
    return rc ? rc : run_export(r, e);
}

static int run_begin(struct run *r, struct err *e) {
    int rc = run_go_on(r, e);
    if (rc == 0 && !r->train) rc = run_open_stage(r, 0, e);
    if (rc == 0) rc = mix_judge(&r->mix, train_form(r->train), &r->judge, e);
    if (rc == 0) rc = open_journal(r, e);
    if (rc == 0) rc = run_note_phase(r, "train", e);
    if (rc == 0) rc = judge_before(r, e);
    return rc;
}

/* What comes behind the last step. A signal in the middle of the gate is an end like another one.
 * */
static int run_end(struct run *r, struct err *e) {
    int rc = run_note_phase(r, "export", e);
    if (rc == 0) rc = run_export(r, e);
    if (rc || !r->recipe.run.gate || r->rank) return rc;
    rc = run_note_phase(r, "evaluate", e);
    if (rc == 0) rc = run_gate(r, e);
    if (rc != E_CANCELLED || !r->is_stopped) return rc;
    *e = (struct err){0};
    return 0;
}

static int run_through(struct run *r, struct err *e) {
    int rc = run_begin(r, e);
    if (rc == 0) rc = stages(r, e);
    return rc || r->is_stopped ? rc : run_end(r, e);
}

int run_all(struct run *r, struct err *e) {
    say_begin(&r->say, r->rank != 0);
    int rc = r->cfg->is_export ? run_look(r, e) : run_through(r, e);
    int said = 0;
    if (rc)
        run_note_failure(r, rc, e);
    else
        said = note_end(r, rc, e, e);
    if (rc == 0) rc = said;
    if (rc == 0 && r->is_stopped)
        run_say(r,
                "stopped at step %" PRIu64 " of %" PRId64 "; the same command goes on from there",
                r->state.done, recipe_steps(&r->recipe));
    sampler_close(r->judge);
    r->judge = NULL;
    train_close(r->train);
    r->train = NULL;
    if (!r->rank) journal_close(&r->journal);
    return rc;
}
