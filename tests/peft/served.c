/* served.c - what a model says with an adapter in a berth beside it, for run.py.
 *
 *     peft_served MODEL ADAPTER OUT ID...
 *
 * OUT gets the probabilities of all tokens behind each of the ids, (ids, vocabulary) f32, from one
 * pass. One line on standard error and status 1 when the adapter is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/model/berth.h"
#include "kernels/base/mem.h"

enum { ROWS = 64 };

struct served {
    const struct kern_ops *ops;
    struct kern *k;
    struct model *m;
    struct model_head *head;
    int vocab;
    int32_t *all; /* (vocab) 0, 1, ... */
};

static int served_open(struct served *s, const char *dir, struct err *e) {
    int rc = kern_find("cpu", &s->ops, e);
    if (!rc) rc = s->ops->open(&(struct kern_config){.threads = 1}, &s->k, e);
    if (!rc) rc = model_open(dir, NULL, s->ops, s->k, &s->m, e);
    if (rc) return rc;
    s->vocab = model_config(s->m)->text.vocab_size;
    s->all = mem_must((size_t)s->vocab * sizeof *s->all);
    for (int i = 0; i < s->vocab; i++)
        s->all[i] = i;
    rc = model_head_new(s->m, s->all, s->vocab, &s->head, e);
    struct model_plan plan = {.rows_max = ROWS,
                              .picks_max = ROWS,
                              .kv_slots = ROWS,
                              .feats_max = 1,
                              .berths = 1,
                              .berth_rank = 64};
    return rc ? rc : model_plan(s->m, &plan, e);
}

static int served_load(struct served *s, const char *folder, struct err *e) {
    const struct model_text *t = &model_config(s->m)->text;
    struct peft_sizes sizes = {t->layers, t->hidden_size, t->intermediate_size};
    struct adapter *files;
    struct cargo *cargo = NULL;
    int rc = adapter_open(folder, &sizes, model_file_digest(s->m), &files, e);
    if (rc) return rc;
    rc = cargo_new(model_config(s->m), files, 1, &cargo, e);
    adapter_close(files);
    if (!rc) model_berth_clear(s->m, 0);
    for (int i = 0; !rc && i < cargo_layers(cargo); i++)
        model_berth_fill(s->m, 0, cargo, i);
    if (!rc) rc = s->ops->sync(s->k, e);
    cargo_free(cargo);
    return rc;
}

static int served_say(struct served *s, const int32_t *ids, int n, float *probs, struct err *e) {
    static int32_t at[ROWS], off[ROWS + 1], set[ROWS], best[ROWS];
    for (int i = 0; i < n; i++)
        at[i] = i;
    struct kern_attn_group group = {.rows = n};
    struct model_section section = {0, n, 0};
    struct model_pick_group picks = {s->head, 0, n, probs, s->vocab};
    int32_t col_off[2] = {0, s->vocab}, none = 0;
    struct kern_attn_span no_span = {0};
    struct model_pass pass = {.rows = n,
                              .src = ids,
                              .pos = at,
                              .slot = at,
                              .groups = &group,
                              .n_groups = 1,
                              .spans = &no_span,
                              .tail_off = off,
                              .tail = &none,
                              .sections = &section,
                              .n_sections = 1,
                              .picks = n,
                              .pick_row = at,
                              .pick_groups = &picks,
                              .n_pick_groups = 1,
                              .pick_set = set,
                              .col_off = col_off,
                              .cols = s->all,
                              .n_sets = 1,
                              .best = best};
    return model_run(s->m, &pass, e);
}

static int write_floats(const char *path, const float *x, size_t n, struct err *e) {
    FILE *f = fopen(path, "wb");
    int is_whole = f && fwrite(x, sizeof *x, n, f) == n;
    is_whole = f && fclose(f) == 0 && is_whole;
    return is_whole ? 0 : err_set(e, E_IO, "%s: can't be written", path);
}

int main(int argc, char **argv) {
    int32_t ids[ROWS];
    int n = argc - 4;
    if (n < 1 || n > ROWS) return 2;
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)strtol(argv[4 + i], NULL, 10);
    struct served s = {0};
    struct err e = {0};
    float *probs = NULL;
    int rc = served_open(&s, argv[1], &e);
    if (!rc) rc = served_load(&s, argv[2], &e);
    if (!rc) {
        probs = mem_must((size_t)n * (size_t)s.vocab * sizeof *probs);
        rc = served_say(&s, ids, n, probs, &e);
    }
    if (!rc) rc = write_floats(argv[3], probs, (size_t)n * (size_t)s.vocab, &e);
    if (rc) fprintf(stderr, "%s\n", e.text);
    mem_free(probs);
    mem_free(s.all);
    if (s.m) model_head_free(s.m, s.head);
    model_close(s.m);
    if (s.k) s.ops->close(s.k);
    return rc != 0;
}
