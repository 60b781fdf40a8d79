/* gated.c - the result compared with what it began with: see run.h and cli/gate/gate.h.
 *
 * It happens behind the export, so that what is asked is what will be served: the folder of the
 * adapter. A run that was ended in the middle of it exports and asks once more. The figures are the
 * same then: they depend on weights and data alone.
 */
#include <string.h>

#include "cli/train/run.h"
#include "engine/files/newfile.h"
#include "kernels/base/mem.h"

static int on_question(void *ud) { return run_stopped(ud); }

static void gated_data(const struct run *r, struct gate_options *o) {
    for (int i = 0; i < r->recipe.n_data; i++) {
        struct gate_data d = {.source = r->mix.sources[i]};
        d.tasks = mix_held(&r->mix, i, &d.held);
        if (d.tasks) o->data[o->n_data++] = d;
    }
}

/* The device and its share of the machine, as the recipe has them. */
static struct config gated_config(const struct run *r) {
    struct config cfg = *r->cfg;
    cfg.device = r->recipe.run.device;
    cfg.isa = r->recipe.run.isa;
    cfg.threads = r->recipe.run.threads;
    cfg.memory_mib = r->recipe.run.memory_mib;
    return cfg;
}

static int gated_ask(struct run *r, struct gate_report *out, struct err *e) {
    char base[FOLDER_PATH_MAX], result[FOLDER_PATH_MAX];
    struct config cfg = gated_config(r);
    int is_model = !run_has_result(r, 0);
    run_result_folder(r, is_model, result);
    struct gate_options o = {.cfg = &cfg,
                             .base = run_base(r, r->recipe.n_stages - 1, base),
                             .adapter = is_model ? NULL : result,
                             .against = is_model ? result : NULL,
                             .stop = on_question,
                             .ud = r};
    if (is_model) o.base = r->model;
    gated_data(r, &o);
    return gate_run(&o, out, e);
}

/* Into OUT, and into each folder of the result with a new card. */
static int gated_write(struct run *r, struct err *e) {
    char folder[FOLDER_PATH_MAX], path[FOLDER_PATH_MAX + 16];
    int rc = 0;
    for (int is_model = 0; rc == 0 && is_model < 2; is_model++) {
        struct buf card;
        if (!run_has_result(r, is_model)) continue;
        run_result_folder(r, is_model, folder);
        snprintf(path, sizeof(path), "%s/gate.json", folder);
        rc = gate_write(r->gate, path, e);
        buf_init(&card, RUN_CARD_MAX);
        run_write_card(r, is_model, &card);
        snprintf(path, sizeof(path), "%s/README.md", folder);
        if (rc == 0)
            rc = card.bad ? err_set(e, card.bad, "no memory for the card")
                          : newfile_write(path, card.p, card.len, e);
        buf_clear(&card);
    }
    folder_file(&r->folder, "gate.json", folder);
    return rc ? rc : gate_write(r->gate, folder, e);
}

int run_gate(struct run *r, struct err *e) {
    struct gate_report *report = mem_must(sizeof(*report));
    train_close(r->train); /* its memory is for the two models */
    r->train = NULL;
    run_say(r, "asking the result and what it began with");
    int rc = gated_ask(r, report, e);
    r->gate = report;
    if (rc == 0) rc = gated_write(r, e);
    if (rc == 0) {
        const char *decision = gate_decision_words[report->decision];
        run_say(r, "gate: %s: %s", decision, report->why);
        rc = journal_event(&r->journal, "gate",
                           json_pack("{s:s, s:s}", "decision", decision, "why", report->why), e);
    }
    r->gate = NULL;
    mem_free(report);
    return rc;
}
