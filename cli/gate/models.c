/* models.c - see models.h.
 *
 * For now an adapter is merged into a copy of its base, in a folder that is deleted at the end, and
 * that copy is asked in an engine of its own.
 */
#include "cli/gate/models.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/annot.h"
#include "engine/train/train.h"

/* ---- an adapter becomes a model ---- */

/* Rank and scale of its LoRA; it may have none. */
static int read_lora(const char *adapter, struct train_lora *out, struct err *e) {
    char path[4200];
    json_t *root = NULL;
    *out = (struct train_lora){.r = 1, .alpha = 1, .targets = 127};
    snprintf(path, sizeof(path), "%.4000s/adapter_config.json", adapter);
    if (access(path, R_OK)) return 0;
    int rc = annot_open(path, &root, e);
    if (rc) return rc;
    out->r = (int)json_integer_value(json_object_get(root, "r"));
    out->alpha = (float)json_number_value(json_object_get(root, "lora_alpha"));
    static const char *const names[] = {"q_proj", "k_proj",  "v_proj",   "o_proj",
                                        "gate_proj", "up_proj", "down_proj"};
    out->targets = 0;
    for (unsigned i = 0; i < 7; i++) {
        size_t k;
        json_t *word;
        json_array_foreach(json_object_get(root, "target_modules"), k, word)
            if (strcmp(json_string_value(word), names[i]) == 0) out->targets |= 1u << i;
    }
    out->is_rslora = json_is_true(json_object_get(root, "use_rslora"));
    json_decref(root);
    return 0;
}

static int merge(const struct config *cfg, const char *base, const char *adapter, const char *to,
                 struct err *e) {
    struct train *t = NULL;
    struct train_options o = {.model = base,
                              .device = "cpu",
                              .isa = cfg->isa,
                              .threads = (int)cfg->threads,
                              .tower = 1,
                              .connector = 1,
                              .text = TRAIN_TEXT_LORA,
                              .rate = {.peak = 1e-5, .steps = 1}};
    int rc = read_lora(adapter, &o.lora, e);
    if (rc == 0) rc = train_open(&o, 1, &t, e);
    if (rc == 0) rc = train_import_adapter(t, adapter, e);
    if (rc == 0) rc = train_export_model(t, to, NULL, e);
    train_close(t);
    return rc;
}

static void remove_folder(const char *path) {
    DIR *d = opendir(path);
    char file[4400];
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        snprintf(file, sizeof(file), "%.4000s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.') (void)unlink(file);
    }
    if (d) closedir(d);
    (void)rmdir(path);
}

/* ---- opening ---- */

static int open_two(struct models *m, const char *base, const char *against, struct err *e) {
    const char *const folders[2] = {base, against};
    int rc = 0;
    for (int k = 0; rc == 0 && k < 2; k++)
        rc = eval_open(&m->eval[k], folders[k], e);
    if (rc) return rc;
    const struct eng_info *a = eng_info(m->eval[0].eng), *b = eng_info(m->eval[1].eng);
    if (a->grid == b->grid) return 0;
    return err_set(e, E_INVALID, "%s has %d places a side and %s has %d: they can't be compared",
                   base, a->grid, against, b->grid);
}

static int open_adapter(struct models *m, const char *base, const char *adapter, struct err *e) {
    char to[64] = "/tmp/lammd-gate-XXXXXX";
    if (!mkdtemp(to)) return err_set(e, E_IO, "%s: %s", to, strerror(errno));
    int rc = merge(m->eval[0].cfg, base, adapter, to, e);
    if (rc == 0) rc = open_two(m, base, to, e);
    remove_folder(to);
    return rc;
}

int models_open(const struct config *cfg, const char *base, const char *adapter,
                const char *against, struct models *out, struct err *e) {
    *out = (struct models){.eval = {{.cfg = cfg}, {.cfg = cfg}}};
    int rc = adapter ? open_adapter(out, base, adapter, e) : open_two(out, base, against, e);
    if (rc) models_close(out);
    return rc;
}

void models_close(struct models *m) {
    if (m->adapter) eng_adapter_put(m->adapter);
    if (m->eval[1].eng != m->eval[0].eng) eng_close(m->eval[1].eng);
    eng_close(m->eval[0].eng);
    m->adapter = NULL;
    m->eval[0].eng = m->eval[1].eng = NULL;
}
