/* eval.c - `lammd eval MODE PATH`: which mode, and where its report goes. See eval.h. */
#include "cli/eval/eval.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/battery/battery.h"
#include "cli/cmd.h"
#include "cli/gate/command.h"
#include "data/files.h"

static const struct mode {
    const char *name, *path, *what;
    int (*run)(struct eval *v, const char *path, struct err *e);
} modes[] = {
    {"pvp", "FOLDER", "every pixel of a folder's pictures: RE", eval_pvp},
    {"rec", "FOLDER|FILE", "boxes of sentences (RefCOCO, or MiniGPT-v2's list): P@0.5", eval_rec},
    {"seg", "FOLDER|FILE", "masks of sentences (RefCOCO with COCO masks): cIoU", eval_seg},
    {"vqa", "FILE", "questions (GQA, VSR, VizWiz, HM, with choices, names): accuracy", eval_vqa},
    {"game", "FOLDER|FILE", "recorded rounds (rollout.json): how often the actions agree",
     eval_game},
};

void cmd_eval_arguments(FILE *to) {
    fputs("Modes:\n", to);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        fprintf(to, "  %-8s %-12s %s\n", modes[i].name, modes[i].path, modes[i].what);
    fprintf(to, "  %-8s %-12s %s\n", "ablation", "[RUN]",
            "what recipes/ablation.ini made: the paper's tables 2, 4, 7, 8 in small");
    fprintf(to, "  %-8s %-12s %s\n", "battery", "FOLDER",
            "many exams at once, in a table that is kept: --table, --label");
    fprintf(to, "  %-8s %-12s %s\n", "gate", "",
            "is what was trained better or worse than its base? See --adapter, --data");
}

int eval_write(const struct config *cfg, const json_t *report, struct err *e) {
    if (!cfg->json) return 0;
    char *text = json_dumps(report, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text) return err_set(e, E_NOMEM, "no memory for the report");
    int rc = file_write(cfg->json, text, strlen(text), e);
    if (rc == 0 && strcmp(cfg->json, "-") == 0) puts("");
    json_free_t give;
    json_get_alloc_funcs(NULL, &give);
    give(text);
    return rc;
}

/* ---- a model and its modes ---- */

int eval_open(struct eval *v, const char *model, struct err *e) {
    struct eng_options opt = config_engine(v->cfg, model);
    int rc = eng_open(&opt, &v->eng, e);
    if (rc == 0) v->grid = eng_info(v->eng)->grid;
    return rc;
}

static void clear_report(struct eval *v) {
    json_decref(v->items);
    json_decref(v->report);
    eval_clear_pictures(v);
}

void eval_close(struct eval *v) {
    clear_report(v);
    eng_close(v->eng);
}

static const struct mode *mode_of(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (strcmp(name, modes[i].name) == 0) return &modes[i];
    return NULL;
}

int eval_mode(struct eval *v, const char *name, const char *path, struct err *e) {
    const struct mode *m = mode_of(name);
    if (!m) return err_set(e, E_INVALID, "there is no mode \"%s\" of lammd eval", name);
    clear_report(v);
    v->refused = 0;
    v->ns = 0;
    v->report = json_object();
    v->items = json_array();
    json_object_set_new(v->report, "eval", json_string(m->name));
    int rc = eval_find_pictures(v, path, e);
    return rc ? rc : m->run(v, path, e);
}

/* ---- the command ---- */

static int make_output(const struct config *cfg, struct err *e) {
    if (!cfg->out || !mkdir(cfg->out, 0777) || errno == EEXIST) return 0;
    return err_set(e, E_IO, "%s: %s", cfg->out, strerror(errno));
}

static int eval_one(const struct config *cfg, struct err *e) {
    char model[4096];
    struct eval v = {.cfg = cfg};
    int rc = make_output(cfg, e);
    if (rc) return rc;
    rc = eval_open(&v, config_model(cfg, model), e);
    if (rc) return rc;
    rc = eval_mode(&v, cfg->rest.at[0], cfg->rest.at[1], e);
    if (rc == 0) {
        json_object_set(v.report, "items", v.items);
        rc = eval_write(cfg, v.report, e);
    }
    eval_close(&v);
    return rc;
}

int cmd_eval(const struct config *cfg) {
    struct err e = {0};
    int n = cfg->rest.n;
    if (n && n <= 2 && strcmp(cfg->rest.at[0], "ablation") == 0)
        return eval_ablation(cfg, n == 2 ? cfg->rest.at[1] : NULL, &e) ? cmd_fail(&e) : 0;
    if (n == 2 && strcmp(cfg->rest.at[0], "battery") == 0)
        return battery_command(cfg, cfg->rest.at[1], &e) ? cmd_fail(&e) : 0;
    if (n == 1 && strcmp(cfg->rest.at[0], "gate") == 0)
        return make_output(cfg, &e) || gate_command(cfg, &e) ? cmd_fail(&e) : 0;
    if (n != 2 || !mode_of(cfg->rest.at[0])) return cmd_misused(CMD_EVAL);
    return eval_one(cfg, &e) ? cmd_fail(&e) : 0;
}
