/* ckpt.c - checkpoints: everything that the next step depends on, in one safetensors file.
 *
 * Tensors are "value.NAME", "m.NAME", "v.NAME" and, where one is kept, "average.NAME", all f32, in
 * the order of the blocks. Counters and digests are texts of __metadata__. There is no state of
 * random numbers: samples, dropout and order are functions of seed and step (train.h).
 *
 * A checkpoint is read in two steps: first everything in it is checked, and then it goes to the
 * device. So one that doesn't fit leaves the train as it was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/st_write.h"
#include "engine/train/carry.h"
#include "engine/train/losses/teach.h"
#include "engine/train/out.h"
#include "kernels/base/mem.h"
#include "kernels/base/version.h"

#define FORMAT "1"
enum {
    BLOCKS = 4, /* value, m, v, average */
    TEXT_MAX = 4000,
    CKPT_NAME = PARAM_NAME_MAX + 16
};
static const char *const block_words[BLOCKS] = {"value", "m", "v", "average"};

/* addr NULL: not kept. */
static struct kern_ptr block_at(const struct train *t, int i) {
    const struct params *p = &t->params;
    return i == 0 ? p->value : i == 1 ? p->m : i == 2 ? p->v : p->average;
}
static int n_blocks(const struct train *t) { return BLOCKS - !t->params.average.addr; }

/* What computes, without the number of threads, which changes no bits: "avx512". */
static void isa_of(const struct train *t, char *out, size_t size) {
    (void)snprintf(out, size, "%s", t->ops->describe(t->k));
    char *threads = strstr(out, " thread");
    while (threads && threads > out && *threads != ',')
        threads--;
    if (threads) *threads = '\0';
}

/* ---- saving ---- */

struct saving {
    struct train *t;
    struct st_tensor *tensors; /* (blocks, params) */
    char (*names)[CKPT_NAME];
};

static int ckpt_fill(void *ud, size_t i, uint64_t at, void *to, size_t n, struct err *e) {
    const struct saving *s = ud;
    size_t params = (size_t)s->t->params.n;
    return out_get(s->t, block_at(s->t, (int)(i / params)), &s->t->params.at[i % params],
                   at / sizeof(float), to, n / sizeof(float), e);
}

static int list_tensors(struct saving *s, struct err *e) {
    size_t params = (size_t)s->t->params.n, n = params * (size_t)n_blocks(s->t);
    s->tensors = mem_try((n + 1) * sizeof *s->tensors);
    s->names = mem_try((n + 1) * sizeof *s->names);
    if (!s->tensors || !s->names) return err_set(e, E_NOMEM, "no memory for %zu names", n);
    for (size_t i = 0; i < n; i++) {
        const struct param *p = &s->t->params.at[i % params];
        (void)snprintf(s->names[i], sizeof *s->names, "%s.%s", block_words[i / params], p->name);
        s->tensors[i] = out_tensor(s->names[i], p);
    }
    return 0;
}

static int check_text(const char *what, const char *text, struct err *e) {
    if (text && strlen(text) > TEXT_MAX)
        return err_set(e, E_INVALID, "%s of a checkpoint: more than %d bytes", what, TEXT_MAX);
    return 0;
}

/* The numbers as texts. */
struct counters {
    char steps[24], updates[24], skipped[24], seed[24], isa[256];
};

static struct counters count(const struct train *t) {
    struct counters c;
    (void)snprintf(c.steps, sizeof c.steps, "%" PRIu64, t->steps);
    (void)snprintf(c.updates, sizeof c.updates, "%" PRIu64, t->updates);
    (void)snprintf(c.skipped, sizeof c.skipped, "%d", t->skipped_in_row);
    (void)snprintf(c.seed, sizeof c.seed, "%" PRIu64, t->o.seed);
    isa_of(t, c.isa, sizeof c.isa);
    return c;
}

static int ckpt_save(struct train *t, const char *path, const struct train_meta *m, struct err *e) {
    struct saving s = {.t = t};
    struct counters c = count(t);
    int rc = check_text("recipe", m->recipe, e);
    if (!rc) rc = check_text("data", m->data, e);
    if (!rc) rc = check_text("cursor", m->cursor, e);
    if (!rc) rc = list_tensors(&s, e);
    const struct st_text texts[] = {
        {"lammd.checkpoint", FORMAT},
        {"step", c.steps},
        {"updates", c.updates},
        {"skipped_in_row", c.skipped},
        {"seed", c.seed},
        {"base", model_digest(t->m)},
        {"carried", carry_digest(t)},
        {"teacher", teach_digest(t)},
        {"recipe", m->recipe ? m->recipe : ""},
        {"data", m->data ? m->data : ""},
        {"cursor", m->cursor ? m->cursor : ""},
        {"backend", t->ops->name},
        {"isa", c.isa},
        {"program", LAMMD_VERSION},
    };
    struct st_new file = {.tensors = s.tensors,
                          .n = (size_t)t->params.n * (size_t)n_blocks(t),
                          .texts = texts,
                          .n_texts = ARRAY_LEN(texts),
                          .fill = ckpt_fill,
                          .ud = &s};
    if (!rc) rc = st_write(path, &file, e);
    mem_free(s.tensors);
    mem_free(s.names);
    return rc;
}

int train_save(struct train *t, const char *path, const struct train_meta *m, struct err *e) {
    static const struct train_meta nothing;
    if (t->tree.added) return err_set(e, E_INVALID, "%s: a checkpoint is made between steps", path);
    int rc = out_is_mine(t) ? ckpt_save(t, path, m ? m : &nothing, e) : 0;
    return out_agree(t, rc, path, e);
}

/* ---- loading ---- */

static const char *text_of(const struct st *st, const char *key) {
    const char *text = st_text(st, key);
    return text ? text : "";
}

/* That the checkpoint says `want` at `key`; `what` it is of, for people. NULL: not asked. */
static int check_same(const struct st *st, const char *key, const char *want, const char *what,
                      struct err *e) {
    const char *has = text_of(st, key);
    if (!want || !strcmp(has, want)) return 0;
    return err_set(e, E_FORMAT, "a checkpoint of another %s (%.12s, not %.12s)", what, has, want);
}

static int read_count(const struct st *st, const char *key, uint64_t most, uint64_t *out,
                      struct err *e) {
    const char *text = text_of(st, key);
    errno = 0;
    *out =
        strspn(text, "0123456789") == strlen(text) && *text ? strtoull(text, NULL, 10) : UINT64_MAX;
    if (errno || *out > most) return err_set(e, E_FORMAT, "%s: no number of a checkpoint", key);
    return 0;
}

/* Each parameter has its tensors, in its shape, and there are no others. */
static int check_tensors(const struct train *t, const struct st *st, struct err *e) {
    char name[CKPT_NAME];
    for (int i = 0; i < t->params.n * n_blocks(t); i++) {
        const struct param *p = &t->params.at[i % t->params.n];
        (void)snprintf(name, sizeof name, "%s.%s", block_words[i / t->params.n], p->name);
        const struct st_tensor *has = st_find(st, name);
        if (!has)
            return err_set(e, E_FORMAT, "tensor %s: missing; other weights learnt there", name);
        if (has->dtype != ST_F32 || !out_fits(has, p))
            return err_set(e, E_FORMAT, "tensor %s: another shape than here", name);
    }
    if (st_count(st) != (size_t)t->params.n * (size_t)n_blocks(t))
        return err_set(e, E_FORMAT, "%zu tensors more than learn here",
                       st_count(st) - (size_t)t->params.n * (size_t)n_blocks(t));
    return 0;
}

static int check_all(const struct train *t, const struct st *st, const struct train_meta *m,
                     struct err *e) {
    char seed[24];
    const char *format = st_text(st, "lammd.checkpoint");
    if (!format) return err_set(e, E_FORMAT, "not a checkpoint of lammd");
    if (strcmp(format, FORMAT))
        return err_set(e, E_UNSUPPORTED, "a checkpoint in format %.12s: of another lammd", format);
    (void)snprintf(seed, sizeof seed, "%" PRIu64, t->o.seed);
    int rc = check_same(st, "base", model_digest(t->m), "model", e);
    if (!rc) rc = check_same(st, "carried", carry_digest(t), "stage before", e);
    if (!rc) rc = check_same(st, "teacher", teach_digest(t), "teacher", e);
    if (!rc) rc = check_same(st, "recipe", m->recipe, "recipe", e);
    if (!rc) rc = check_same(st, "data", m->data, "data", e);
    if (!rc) rc = check_same(st, "seed", m->recipe ? seed : NULL, "seed", e);
    return rc ? rc : check_tensors(t, st, e);
}

static int put_all(struct train *t, const struct st *st, struct err *e) {
    char name[CKPT_NAME];
    int rc = 0;
    for (int i = 0; i < t->params.n * n_blocks(t) && !rc; i++) {
        const struct param *p = &t->params.at[i % t->params.n];
        struct kern_ptr block = block_at(t, i / t->params.n);
        (void)snprintf(name, sizeof name, "%s.%s", block_words[i / t->params.n], p->name);
        rc = out_put_tensor(t, &block, 1, p, st_find(st, name), e);
    }
    return rc;
}

static const char *note_of(const struct train *t, const struct st *st) {
    char isa[256];
    isa_of(t, isa, sizeof isa);
    if (strcmp(text_of(st, "program"), LAMMD_VERSION))
        return "the checkpoint is of another version of lammd: the next steps may have other bits";
    if (strcmp(text_of(st, "backend"), t->ops->name) || strcmp(text_of(st, "isa"), isa))
        return "the checkpoint is of another device: the next steps may have other bits";
    return NULL;
}

static int ckpt_load(struct train *t, const struct st *st, const struct train_meta *m, char *cursor,
                     size_t size, const char **note, struct err *e) {
    uint64_t steps, updates, skipped;
    int rc = check_all(t, st, m, e);
    if (!rc) rc = read_count(st, "step", INT64_MAX, &steps, e);
    if (!rc) rc = read_count(st, "updates", INT64_MAX, &updates, e);
    if (!rc) rc = read_count(st, "skipped_in_row", 1000, &skipped, e);
    const char *text = text_of(st, "cursor");
    if (!rc && cursor && strlen(text) >= size)
        rc = err_set(e, E_TOO_BIG, "its cursor takes more than %zu bytes", size);
    if (!rc) rc = put_all(t, st, e);
    if (rc) return rc;
    t->steps = steps;
    t->updates = updates;
    t->skipped_in_row = (int)skipped;
    if (cursor) memcpy(cursor, text, strlen(text) + 1);
    if (note) *note = note_of(t, st);
    params_settle(t);
    return t->ops->sync(t->k, e);
}

int train_load(struct train *t, const char *path, const struct train_meta *m, char *cursor,
               size_t size, const char **note, struct err *e) {
    static const struct train_meta nothing;
    struct st *st;
    if (t->tree.added) return err_set(e, E_INVALID, "%s: a step has begun", path);
    int rc = st_open(path, &st, e);
    if (rc) return rc;
    rc = ckpt_load(t, st, m ? m : &nothing, cursor, size, note, e);
    st_close(st);
    if (rc) err_in(e, "%s", path);
    return rc;
}
