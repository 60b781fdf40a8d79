/* export.c - a whole model folder of a base model and what learnt.
 *
 * Each tensor of the base's file goes out under its name, in its type and in its order. Its numbers
 * are the master's if it learnt, what is carried from an earlier stage (carry.h), or the base's own
 * bytes. Where a LoRA stands beside it, scale B A is added, in f32. Whatever isn't the base's own
 * bytes is rounded to nearest even at last. Tensors that the base hasn't (ln_vision of a model that
 * began without) follow in f32.
 *
 * The base's file is read once more, from t->model. It has to be the one that was opened.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/files/merge.h"
#include "engine/files/newfolder.h"
#include "engine/files/st_join.h"
#include "engine/files/st_write.h"
#include "engine/files/sums.h"
#include "engine/train/carry.h"
#include "engine/train/out.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

/* Where a tensor's numbers come from. */
struct source {
    const struct param *p;          /* learnt, or */
    const struct st_tensor *stored; /* of the earlier stage or the base */
    int is_base;                    /* of the base: its bytes, unless there is */
    const struct param *a, *b;      /* a LoRA beside it */
};

struct merging {
    struct train *t;
    struct source *sources;    /* (n) */
    struct st_tensor *tensors; /* (n) */
    size_t n, most;
    size_t held;          /* the tensor whose LoRA is on the host */
    float *a, *b, *panel; /* (r, K) (N, r), and merge_add's own */
    float *room;          /* ST_FILL_MAX bytes' worth of numbers */
};

/* ---- numbers ---- */

static void drop_lora(struct merging *m) {
    mem_free(m->a);
    mem_free(m->b);
    mem_free(m->panel);
    m->a = m->b = m->panel = NULL;
}

static int hold_lora(struct merging *m, size_t i, struct err *e) {
    const struct param *a = m->sources[i].a, *b = m->sources[i].b;
    if (m->a && m->held == i) return 0;
    drop_lora(m);
    m->a = mem_try(a->n * sizeof *m->a);
    m->b = mem_try(b->n * sizeof *m->b);
    m->panel = mem_try((size_t)a->shape[0] * MERGE_COLUMNS * sizeof *m->panel);
    if (!m->a || !m->b || !m->panel) return err_set(e, E_NOMEM, "no memory to merge a LoRA");
    m->held = i;
    int rc = out_get(m->t, out_block(m->t), a, 0, m->a, a->n, e);
    return rc ? rc : out_get(m->t, out_block(m->t), b, 0, m->b, b->n, e);
}

/* Numbers at .. at+n-1 of the matrix, whose rows may begin and end anywhere. */
static int add_lora(struct merging *m, size_t i, size_t at, float *x, size_t n, struct err *e) {
    const struct source *s = &m->sources[i];
    int rc = hold_lora(m, i, e);
    if (rc) return rc;
    struct merge merge = {.a = m->a,
                          .b = m->b,
                          .r = (size_t)s->a->shape[0],
                          .width = (size_t)s->a->shape[1],
                          .scale = s->b->scale,
                          .panel = m->panel};
    merge_add(&merge, at, x, n);
    return 0;
}

static int export_fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    struct merging *m = ud;
    const struct source *s = &m->sources[i];
    if (s->is_base && !s->a) {
        memcpy(to, (const char *)s->stored->data + at, n);
        return 0;
    }
    size_t width = m->tensors[i].dtype == ST_F32 ? 4 : 2;
    size_t from = (size_t)at / width, count = n / width;
    int rc = 0;
    if (s->p)
        rc = out_get(m->t, out_block(m->t), s->p, from, m->room, count, e);
    else
        st_floats(s->stored, from, m->room, count);
    if (!rc && s->a) rc = add_lora(m, i, from, m->room, count, e);
    if (!rc) st_narrow(m->room, m->tensors[i].dtype, to, count);
    return rc;
}

/* ---- the list ---- */

/* The LoRA beside "model.layers.0.self_attn.q_proj.weight". */
static void find_lora(const struct train *t, const char *name, struct source *s) {
    static const char end[] = ".weight";
    char lora[PARAM_NAME_MAX];
    if (!has_suffix(name, end)) return;
    int n = (int)(strlen(name) - (sizeof end - 1));
    if (snprintf(lora, sizeof lora, "%.*s.lora_A.weight", n, name) >= (int)sizeof lora) return;
    s->a = params_find(&t->params, lora);
    (void)snprintf(lora, sizeof lora, "%.*s.lora_B.weight", n, name);
    s->b = params_find(&t->params, lora);
}

static int list_base(struct merging *m, const struct st_tensor *base, struct err *e) {
    struct source *s = &m->sources[m->n];
    struct st_tensor *to = &m->tensors[m->n++];
    *to = *base;
    s->p = params_find(&m->t->params, base->name);
    const struct st_tensor *carried = carry_find(m->t, base->name);
    s->stored = carried ? carried : base;
    s->is_base = !s->p && !carried;
    find_lora(m->t, base->name, s);
    /* Positions may have been resized to the model's own grid. */
    if (s->p && s->p->n != base->elements) *to = out_tensor(base->name, s->p);
    if (carried && carried->elements != base->elements)
        memcpy(to->shape, carried->shape, sizeof to->shape);
    to->dtype = base->dtype;
    if (base->dtype == ST_OTHER)
        return err_set(e, E_UNSUPPORTED, "tensor %s: %s can't be written", st_show(base->name).text,
                       base->dtype_name);
    if (s->a &&
        (base->ndim != 2 || base->shape[0] != s->b->shape[0] || base->shape[1] != s->a->shape[1]))
        return err_set(e, E_FORMAT, "tensor %s: not the model that was opened",
                       st_show(base->name).text);
    return 0;
}

static void list_new(struct merging *m, const struct st *base) {
    const struct params *p = &m->t->params;
    for (int i = 0; i < p->n; i++)
        if (!p->at[i].is_lora && !p->at[i].is_dense && !st_find(base, p->at[i].name)) {
            m->sources[m->n] = (struct source){.p = &p->at[i]};
            m->tensors[m->n++] = out_tensor(p->at[i].name, &p->at[i]);
        }
    const struct st_tensor *carried;
    for (size_t i = 0; (carried = carry_at(m->t, i)) != NULL; i++)
        if (!st_find(base, carried->name)) {
            m->sources[m->n] = (struct source){.stored = carried};
            m->tensors[m->n] = *carried;
            m->tensors[m->n++].dtype = ST_F32;
        }
}

static int list_all(struct merging *m, const struct st *base, struct err *e) {
    size_t most = st_count(base) + (size_t)m->t->params.n;
    while (carry_at(m->t, most - st_count(base) - (size_t)m->t->params.n))
        most++;
    m->sources = mem_try((most + 1) * sizeof *m->sources);
    m->tensors = mem_try((most + 1) * sizeof *m->tensors);
    m->room = mem_try(ST_FILL_MAX / 2 * sizeof *m->room);
    if (!m->sources || !m->tensors || !m->room)
        return err_set(e, E_NOMEM, "no memory for %zu tensors", most);
    int rc = 0;
    for (size_t i = 0; i < st_count(base) && !rc; i++)
        rc = list_base(m, st_at(base, i), e);
    if (!rc) list_new(m, base);
    return rc;
}

/* ---- the folder ---- */

struct path {
    char text[4096];
};
static int path_of(const struct train *t, const char *name, struct path *out, struct err *e) {
    int n = snprintf(out->text, sizeof out->text, "%s/%s", t->model, name);
    return n < (int)sizeof out->text ? 0 : err_set(e, E_INVALID, "the model folder's name is long");
}

static int export_weights(struct train *t, const char *path, struct err *e) {
    struct merging m = {.t = t};
    char sha256[65];
    struct st *base;
    int rc = st_open_model(t->model, &base, sha256, e);
    if (rc) return rc;
    static const struct st_text format = {"format", "pt"};
    rc = list_all(&m, base, e);
    struct st_new file = {m.tensors, m.n, &format, 1, export_fill, &m};
    if (!rc) rc = st_write(path, &file, e);
    drop_lora(&m);
    mem_free(m.sources);
    mem_free(m.tensors);
    mem_free(m.room);
    st_close(base);
    return rc;
}

static int export_copy(struct train *t, struct newfolder *f, const char *name, struct err *e) {
    struct path from;
    int rc = path_of(t, name, &from, e);
    return rc ? rc : newfile_copy(newfolder_file(f, name), from.text, e);
}

/* Nobody's base model is replaced by what it became. */
static int check_not_base(const struct train *t, const char *folder, struct err *e) {
    struct stat a, b;
    if (stat(folder, &a) || stat(t->model, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino)
        return 0;
    return err_set(e, E_INVALID, "%s: is the base model's folder: choose another one", folder);
}

/* What the model's files are, for whoever loads them. */
static int export_sums(struct newfolder *f, struct err *e) {
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.model"};
    struct sums s = {0};
    char text[SUMS_TEXT];
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && !rc; i++)
        rc = sums_add(&s, newfolder_file(f, names[i]), names[i], e);
    size_t len = sums_write(&s, text);
    return rc ? rc : newfile_write(newfolder_file(f, SUMS_FILE), text, len, e);
}

static int export_all(struct train *t, struct newfolder *f, const char *readme, struct err *e) {
    int rc = export_copy(t, f, "config.json", e);
    if (!rc) rc = export_copy(t, f, "tokenizer.model", e);
    if (!rc) rc = export_weights(t, newfolder_file(f, "model.safetensors"), e);
    if (!rc) rc = export_sums(f, e);
    if (!rc && readme)
        rc = newfile_write(newfolder_file(f, "README.md"), readme, strlen(readme), e);
    return rc;
}

int train_export_model(struct train *t, const char *folder, const char *readme, struct err *e) {
    static const char *const names[] = {"config.json", "tokenizer.model", "model.safetensors",
                                        SUMS_FILE,     "README.md",       "gate.json",
                                        NULL};
    struct newfolder f;
    int rc = 0;
    if (out_is_mine(t)) {
        f.is_begun = 0;
        rc = check_not_base(t, folder, e);
        if (!rc) rc = newfolder_begin(&f, folder, names, e);
        if (!rc) rc = export_all(t, &f, readme, e);
        rc = newfolder_end(&f, rc, e);
    }
    return out_agree(t, rc, folder, e);
}
