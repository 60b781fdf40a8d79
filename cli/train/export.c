/* export.c - what a stage hands to the next, and the result with its card and curve. See run.h. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/train/curve.h"
#include "cli/train/run.h"
#include "data/files.h"
#include "kernels/base/mem.h"

enum { CSV_MAX = 1 << 30 };

void run_stage_folder(const struct run *r, int stage, char to[FOLDER_PATH_MAX]) {
    char name[32];
    snprintf(name, sizeof(name), "stage-%d", stage + 1);
    folder_file(&r->folder, name, to);
}

static int export_is_full(const struct run *r, int stage) {
    return r->recipe.stages[stage].text == TRAIN_TEXT_FULL;
}

static int export_to(struct run *r, const char *folder, int is_model, const char *readme,
                     struct err *e) {
    const struct train_meta meta = {.recipe = r->recipe_digest, .data = r->mix.digest};
    int rc = train_use_average(r->train, 1, e);
    if (rc) return rc;
    rc = is_model ? train_export_model(r->train, folder, readme, e)
                  : train_export_adapter(r->train, folder, &meta, readme, e);
    if (rc) return rc;
    return train_use_average(r->train, 0, e);
}

int run_hand_on(struct run *r, struct err *e) {
    char folder[FOLDER_PATH_MAX];
    if (r->stage + 1 == r->recipe.n_stages) return 0;
    run_stage_folder(r, r->stage, folder);
    return export_to(r, folder, export_is_full(r, r->stage), NULL, e);
}

/* ---- the card ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void card_losses(const struct run *r, struct buf *to) {
    const struct state *s = &r->state;
    if (!losses_any(&s->before)) {
        buf_str(to, "\nNothing was kept apart to judge by.\n");
        return;
    }
    buf_str(to, "\nLoss of the part of the data that was kept apart, in nats a token:\n\n"
                "| task | before | after |\n|---|---|---|\n");
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if (s->before.weight[t] > 0)
            buf_printf(to, "| %s | %.4f | %.4f |\n", sample_task_words[t], losses_of(&s->before, t),
                       losses_of(&s->last, t));
    buf_printf(to, "| all | %.4f | %.4f |\n", losses_mean(&s->before), losses_mean(&s->last));
}

static void card_data(const struct run *r, struct buf *to) {
    buf_str(to, "\n| data | pictures | lines |\n|---|---|---|\n");
    for (int i = 0; i < r->recipe.n_data; i++) {
        const struct source_report *s = source_report(r->mix.sources[i]);
        buf_printf(to, "| %s | %" PRIu64 " | %" PRIu64 " |\n", r->recipe.data[i].name, s->pictures,
                   s->lines);
    }
}

static void card_gate(const struct run *r, struct buf *to) {
    if (!r->gate) return;
    buf_str(to,
            "\nAsked beside what it began with, about what was kept apart and about other things "
            "(docs/eval.md):\n\n");
    gate_table(r->gate, to);
    buf_printf(to, "\nDecision: %s. %s.\n", gate_decision_words[r->gate->decision], r->gate->why);
}

void run_write_card(const struct run *r, int is_model, struct buf *to) {
    const struct state *s = &r->state;
    const char *model = base_name(r->model);
    buf_printf(to, "# %s of %s\n\n", is_model ? "A model that was made" : "An adapter", model);
    buf_printf(to,
               "Trained by `lammd train %s`: %" PRIu64 " steps, %" PRIu64 " questions, %" PRIu64
               " tokens of answers.\n",
               base_name(r->recipe.file), s->done, s->talks, s->tokens);
    if (s->skipped)
        buf_printf(to, "%" PRIu64 " steps were skipped because their loss was not finite.\n",
                   s->skipped);
    if (s->left_out)
        buf_printf(to, "%" PRIu64 " samples were left out because they were too long.\n",
                   s->left_out);
    if (r->recipe.run.export_ == RECIPE_BEST && s->best_step)
        buf_printf(to, "These are the weights of step %" PRIu64 ", which was judged best.\n",
                   s->best_step);
    card_losses(r, to);
    card_gate(r, to);
    card_data(r, to);
    buf_printf(to, "\n| | |\n|---|---|\n| data | %s |\n| recipe | %s |\n| seed | %" PRId64 " |\n",
               r->mix.digest, r->recipe_digest, r->recipe.run.seed);
    buf_str(to, "\nThe recipe, with every key:\n\n```ini\n");
    recipe_write(&r->recipe, 1, to);
    buf_str(to, "```\n");
}

/* ---- the end ---- */

/* The weights of the best judgement, where the recipe wants them. */
static int take_best(struct run *r, struct err *e) {
    char path[FOLDER_PATH_MAX], cursor[STATE_TEXT_MAX];
    struct state then, now = r->state;
    const struct train_meta meta = {.recipe = r->recipe_digest, .data = r->mix.digest};
    const char *note;
    if (r->recipe.run.export_ != RECIPE_BEST || !now.best_step || now.best_step == now.done)
        return 0;
    folder_checkpoint(&r->folder, now.best_step, path);
    int rc = train_load(r->train, path, &meta, cursor, sizeof(cursor), &note, e);
    if (rc == 0) rc = state_read(cursor, &then, e);
    if (rc) return rc;
    r->state.last = then.last;
    return 0;
}

static int export_curve(struct run *r, struct err *e) {
    char path[FOLDER_PATH_MAX];
    struct buf csv;
    struct err why = {0};
    buf_init(&csv, CSV_MAX);
    uint8_t *rgb = mem_must((size_t)CURVE_W * CURVE_H * 3);
    folder_file(&r->folder, "losses.csv", path);
    int rc = file_read(path, &csv, e);
    if (rc == 0 && curve_draw((const char *)csv.p, csv.len, rgb, &why) == 0) {
        folder_file(&r->folder, "losses.png", path);
        rc = file_write_png(path, rgb, CURVE_W, CURVE_H, e);
    }
    mem_free(rgb);
    buf_clear(&csv);
    return rc;
}

void run_result_folder(const struct run *r, int is_model, char to[FOLDER_PATH_MAX]) {
    folder_file(&r->folder, is_model ? "model" : "adapter", to);
}

int run_has_result(const struct run *r, int is_model) {
    if (export_is_full(r, r->stage)) return is_model;
    return r->recipe.run.result != (is_model ? RECIPE_ADAPTER : RECIPE_MODEL);
}

/* The result as an adapter or as a model, with its card. */
static int export_result(struct run *r, int is_model, struct err *e) {
    char folder[FOLDER_PATH_MAX];
    struct buf card;
    buf_init(&card, RUN_CARD_MAX);
    run_result_folder(r, is_model, folder);
    run_write_card(r, is_model, &card);
    int rc = card.bad ? err_set(e, card.bad, "no memory for the card")
                      : export_to(r, folder, is_model, (const char *)card.p, e);
    buf_clear(&card);
    if (rc || r->rank) return rc;
    json_t *o = json_object();
    json_object_set_new(o, "folder", json_string(base_name(folder)));
    rc = journal_event(&r->journal, "export", o, e);
    if (rc) return rc;
    run_say(r, "%s is ready: its card is %s/README.md", folder, folder);
    if (is_model) run_say(r, "Serve it: lammd serve --model %s", folder);
    return 0;
}

/* What came of it, in a line: nobody should have to look for it. */
static void say_result(struct run *r) {
    const struct state *s = &r->state;
    char before[160], after[160];
    if (!losses_any(&s->before)) return;
    say_losses(&s->before, before, sizeof(before));
    say_losses(&s->last, after, sizeof(after));
    run_say(r, "Of what was kept apart: loss %s before, %s after", before, after);
}

int run_export(struct run *r, struct err *e) {
    int rc = take_best(r, e);
    if (rc == 0) say_result(r);
    for (int is_model = 0; rc == 0 && is_model < 2; is_model++)
        if (run_has_result(r, is_model)) rc = export_result(r, is_model, e);
    return rc || r->rank ? rc : export_curve(r, e);
}
