/* eval.c - `lammd eval MODE PATH`: which mode, and where its report goes. See eval.h. */
#include "cli/eval/eval.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cmd.h"
#include "data/files.h"

static const struct mode {
    const char *name, *path, *what;
    int (*run)(struct eval *v, const char *path, struct err *e);
} modes[] = {
    {"pvp", "FOLDER", "every pixel of a folder's pictures: RE", eval_pvp},
    {"rec", "FOLDER|FILE", "boxes of sentences (RefCOCO, or MiniGPT-v2's list): P@0.5", eval_rec},
    {"seg", "FOLDER|FILE", "masks of sentences (RefCOCO with COCO masks): cIoU", eval_seg},
    {"vqa", "FILE", "questions (GQA, VSR, VizWiz, HM, or with choices): accuracy", eval_vqa},
    {"game", "FOLDER|FILE", "recorded rounds (rollout.json): how often the actions agree",
     eval_game},
};

void cmd_eval_arguments(FILE *to) {
    fputs("Modes:\n", to);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        fprintf(to, "  %-5s %-12s %s\n", modes[i].name, modes[i].path, modes[i].what);
}

static int write_report(const struct eval *v, struct err *e) {
    if (!v->cfg->json) return 0;
    json_object_set(v->report, "items", v->items);
    char *text = json_dumps(v->report, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text) return err_set(e, E_NOMEM, "no memory for the report");
    int rc = file_write(v->cfg->json, text, strlen(text), e);
    if (rc == 0 && strcmp(v->cfg->json, "-") == 0) puts("");
    json_free_t give;
    json_get_alloc_funcs(NULL, &give);
    give(text);
    return rc;
}

static int eval_mode_run(struct eval *v, const struct mode *m, struct err *e) {
    const struct config *cfg = v->cfg;
    char path[4096];
    struct eng_options opt = config_engine(cfg, config_model(cfg, path));
    if (cfg->out && mkdir(cfg->out, 0777) && errno != EEXIST)
        return err_set(e, E_IO, "%s: %s", cfg->out, strerror(errno));
    int rc = eng_open(&opt, &v->eng, e);
    if (rc) return rc;
    v->grid = eng_info(v->eng)->grid;
    v->report = json_object();
    v->items = json_array();
    json_object_set_new(v->report, "eval", json_string(m->name));
    rc = eval_find_pictures(v, cfg->rest.at[1], e);
    if (rc == 0) rc = m->run(v, cfg->rest.at[1], e);
    if (rc == 0) rc = write_report(v, e);
    json_decref(v->items);
    json_decref(v->report);
    eval_clear_pictures(v);
    eng_close(v->eng);
    return rc;
}

int cmd_eval(const struct config *cfg) {
    const struct mode *m = NULL;
    for (size_t i = 0; cfg->rest.n == 2 && i < ARRAY_LEN(modes); i++)
        if (strcmp(cfg->rest.at[0], modes[i].name) == 0) m = &modes[i];
    if (!m) return cmd_misused(CMD_EVAL);
    struct err e = {0};
    struct eval v = {.cfg = cfg};
    return eval_mode_run(&v, m, &e) ? cmd_fail(&e) : 0;
}
