/* taps.c - what a model computes, tensor by tensor, for the suites in Python.
 *
 *     model_taps MODEL ADAPTER PICTURE OUT ID...
 *
 * Shows MODEL the PICTURE, (S, S, 3) u8, and runs the tokens in one pass, each seeing those before
 * it. An id of -1 stands for the picture's rows. A PICTURE that ends in `.rows` has these rows
 * themselves, (I, D) f32, and no tower runs. ADAPTER serves the pass from a berth. A `-` stands for
 * no adapter, and for no picture.
 *
 * OUT becomes a safetensors file of every tensor that the model's tap shows (model_set_tap), f32,
 * the logits of all tokens behind each of the rows among them. One line on standard error and
 * status 1 when something is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/files/st_write.h"
#include "engine/model/berth.h"
#include "engine/model/internal.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

enum { ROWS_MAX = 4096, SHOWN_MAX = 128, RANK = 64, THREADS = 2 };

struct taps {
    const struct kern_ops *ops;
    struct kern *k;
    struct model *m;
    struct model_head *head;
    int vocab, has_adapter;
    int32_t *all; /* (vocab) 0, 1, ... */
    int32_t src[ROWS_MAX];
    int rows;
    struct st_tensor shown[SHOWN_MAX]; /* name and data are owned */
    size_t n_shown;
};

/* ---- the model and what it is given ---- */

static int taps_open(struct taps *t, const char *dir, struct err *e) {
    int rc = kern_find("cpu", &t->ops, e);
    if (!rc) rc = t->ops->open(&(struct kern_config){.threads = THREADS}, &t->k, e);
    if (!rc) rc = model_open(dir, NULL, t->ops, t->k, &t->m, e);
    if (rc) return rc;
    t->vocab = model_config(t->m)->text.vocab_size;
    t->all = mem_must((size_t)t->vocab * sizeof *t->all);
    for (int i = 0; i < t->vocab; i++)
        t->all[i] = i;
    return 0;
}

/* The words of the command line as rows of a pass. */
static int taps_expand(struct taps *t, char **ids, int n, struct err *e) {
    int tokens = model_config(t->m)->n_image_tokens;
    for (int i = 0; i < n; i++) {
        int32_t id = (int32_t)strtol(ids[i], NULL, 10);
        int more = id < 0 ? tokens : 1;
        if (id >= t->vocab || more > ROWS_MAX - t->rows)
            return err_set(e, E_INVALID, "%s: no such token, or too many rows", ids[i]);
        for (int j = 0; j < more; j++)
            t->src[t->rows++] = id < 0 ? ~j : id;
    }
    return 0;
}

static int taps_plan(struct taps *t, struct err *e) {
    int rows = t->rows ? t->rows : 1;
    struct model_plan plan = {.rows_max = rows,
                              .picks_max = rows,
                              .kv_slots = rows,
                              .feats_max = 1,
                              .berths = t->has_adapter,
                              .berth_rank = RANK};
    int rc = model_head_new(t->m, t->all, t->vocab, &t->head, e);
    return rc ? rc : model_plan(t->m, &plan, e);
}

static int taps_load(struct taps *t, const char *folder, struct err *e) {
    const struct model_text *c = &model_config(t->m)->text;
    struct peft_sizes sizes = {c->layers, c->hidden_size, c->intermediate_size};
    struct adapter *files;
    struct cargo *cargo = NULL;
    int rc = adapter_open(folder, &sizes, model_file_digest(t->m), &files, e);
    if (rc) return rc;
    rc = cargo_new(model_config(t->m), files, 1, &cargo, e);
    adapter_close(files);
    if (!rc) model_berth_clear(t->m, 0);
    for (int i = 0; !rc && i < cargo_layers(cargo); i++)
        model_berth_fill(t->m, 0, cargo, i);
    if (!rc) rc = t->ops->sync(t->k, e);
    cargo_free(cargo);
    return rc;
}

/* The model sees a picture; or what it would have made of one is put in its place. */
static int taps_see(struct taps *t, const char *path, struct err *e) {
    const struct model_config *c = model_config(t->m);
    int is_rows = has_suffix(path, ".rows");
    size_t side = (size_t)c->vision.image_size;
    size_t rows = sizeof(float) * (size_t)c->n_image_tokens * (size_t)c->text.hidden_size;
    size_t n = is_rows ? rows : 3 * side * side;
    uint8_t *bytes = mem_must(n);
    FILE *f = fopen(path, "rb");
    int rc = f && fread(bytes, 1, n, f) == n && fgetc(f) == EOF
                 ? 0
                 : err_set(e, E_INVALID, "%s: not a file of %zu bytes", path, n);
    if (f) fclose(f);
    if (!rc && is_rows) t->ops->put(t->k, t->m->feats, bytes, n);
    if (!rc && !is_rows) model_encode(t->m, MODEL_BASE, bytes, 0);
    if (!rc) rc = t->ops->sync(t->k, e);
    mem_free(bytes);
    return rc;
}

static int taps_run(struct taps *t, struct err *e) {
    size_t n = (size_t)t->rows;
    int32_t *at = mem_must(n * sizeof *at), *zeros = mem_must((n + 1) * sizeof *zeros);
    int32_t *best = mem_must(n * sizeof *best), col_off[2] = {0, t->vocab};
    for (int i = 0; i < t->rows; i++)
        at[i] = i;
    memset(zeros, 0, (n + 1) * sizeof *zeros);
    struct kern_attn_group group = {.rows = t->rows};
    struct model_section section = {0, t->rows, 0};
    struct model_pick_group picks = {.head = t->head, .picks = t->rows, .ldp = t->vocab};
    struct kern_attn_span no_span = {0};
    struct model_pass pass = {.rows = t->rows,
                              .src = t->src,
                              .pos = at,
                              .slot = at,
                              .groups = &group,
                              .n_groups = 1,
                              .spans = &no_span,
                              .tail_off = zeros,
                              .tail = zeros,
                              .sections = &section,
                              .n_sections = t->has_adapter,
                              .picks = t->rows,
                              .pick_row = at,
                              .pick_groups = &picks,
                              .n_pick_groups = 1,
                              .pick_set = zeros,
                              .col_off = col_off,
                              .cols = t->all,
                              .n_sets = 1,
                              .best = best};
    int rc = model_run(t->m, &pass, e);
    mem_free(best);
    mem_free(zeros);
    mem_free(at);
    return rc;
}

/* ---- what comes out ---- */

/* A model_tap_fn; ud is the taps. */
static void taps_keep(void *ud, const char *name, const float *data, int rows, int cols) {
    struct taps *t = ud;
    must(t->n_shown < SHOWN_MAX);
    uint64_t n = (uint64_t)rows * (uint64_t)cols;
    float *copy = mem_must(n * sizeof *copy);
    memcpy(copy, data, n * sizeof *copy);
    t->shown[t->n_shown++] = (struct st_tensor){.name = mem_strdup(name),
                                                .dtype_name = "F32",
                                                .dtype = ST_F32,
                                                .ndim = 2,
                                                .shape = {rows, cols},
                                                .data = copy,
                                                .bytes = n * sizeof *copy,
                                                .elements = n};
}

static int taps_all(struct taps *t, char **words, int n, struct err *e) {
    t->has_adapter = strcmp(words[1], "-") != 0;
    int rc = taps_open(t, words[0], e);
    if (!rc) rc = taps_expand(t, words + 4, n - 4, e);
    if (!rc) rc = taps_plan(t, e);
    if (!rc && t->has_adapter) rc = taps_load(t, words[1], e);
    if (!rc) model_set_tap(t->m, taps_keep, t);
    if (!rc && strcmp(words[2], "-")) rc = taps_see(t, words[2], e);
    if (!rc && t->rows) rc = taps_run(t, e);
    return rc ? rc : st_write(words[3], &(struct st_new){.tensors = t->shown, .n = t->n_shown}, e);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    struct taps *t = mem_must(sizeof *t);
    struct err e = {0};
    *t = (struct taps){0};
    int rc = taps_all(t, argv + 1, argc - 1, &e);
    if (rc) fprintf(stderr, "%s\n", e.text);
    for (size_t i = 0; i < t->n_shown; i++) {
        mem_free((void *)(uintptr_t)t->shown[i].name);
        mem_free((void *)(uintptr_t)t->shown[i].data);
    }
    if (t->head) model_head_free(t->m, t->head);
    model_close(t->m);
    if (t->k) t->ops->close(t->k);
    mem_free(t->all);
    mem_free(t);
    return rc != 0;
}
