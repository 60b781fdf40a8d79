/* open.c - opens a model from its folder and closes it.
 *
 * lm_head stays on the host, since heads are cut from it. All other weights live on the device
 * alone, and the file is closed when model_open returns.
 */
#include <stdio.h>
#include <string.h>

#include "engine/files/st_join.h"
#include "engine/files/sums.h"
#include "engine/model/digest.h"
#include "engine/model/internal.h"
#include "engine/model/room.h"
#include "engine/model/weights.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

static const struct model_how as_it_is;

/* What the weights have to be, where the folder says so. */
struct expected {
    struct sums sums;
    char sha256[65]; /* of st_open_model */
};
static const struct expected anything;

/* Room for every allocation to come. */
static int make_tables(struct model *m, struct err *e) {
    int vit = m->c.vision.layers, text = m->c.text.layers;
    /* Vectors of each layer; positions, the plan and the like. */
    int blocks = 17 + 9 * vit + 2 * text, mats = 4 + 4 * vit + 4 * text;
    int rc = memory_init(&m->memory, blocks, mats, e);
    if (rc) return rc;
    m->vit.blocks = mem_try((size_t)vit * sizeof *m->vit.blocks);
    m->llama.layers = mem_try((size_t)text * sizeof *m->llama.layers);
    return m->vit.blocks && m->llama.layers
               ? 0
               : err_set(e, E_NOMEM, "no memory for the tables of %d layers", vit + text);
}

/* A weight that is no number spoils every answer that it gets near. st: NULL: of no file. */
static int check_finite(const struct st *st, struct err *e) {
    for (size_t i = 0; st && i < st_count(st); i++)
        if (!st_is_finite(st_at(st, i)))
            return err_set(e, E_FORMAT, "tensor %s has a weight that is infinite or not a number",
                           st_show(st_at(st, i)->name).text);
    return 0;
}

/* The digest of the weights against what the folder says it is. */
static int open_check_digest(const struct model *m, const struct expected *want, struct err *e) {
    if (want->sha256[0] && strcmp(want->sha256, m->ids.all))
        return err_set(e, E_FORMAT,
                       "an original isn't what was imported: the SHA-256 is %.12s..., " ST_JOIN_FILE
                       " says %.12s...",
                       m->ids.all, want->sha256);
    return sums_check(&want->sums, "model.safetensors", m->ids.all, e);
}

/* Where weights come from. */
struct source {
    struct weights *w;
    struct digest_of named; /* what the model's digest is of; the weights are of its st, if any */
    const struct expected *want;
};

/* Other answers: another name. */
static int open_name(struct model *m, const struct model_how *how, struct err *e) {
    enum kern_keep tower = room_keep(m, ROOM_TOWER, KERN_F32);
    int rc = 0;
    if (how->keep > KERN_KEEP_F32) rc = digest_add(m->ids.all, kern_keep_name((int)how->keep), e);
    if (!rc && m->pool_dtype != m->ops->pool_dtype(m->k))
        rc = digest_add(m->ids.all,
                        m->pool_dtype == KERN_F32    ? "kv f32"
                        : m->pool_dtype == KERN_BF16 ? "kv bf16"
                                                     : "kv int8",
                        e);
    if (!rc && tower != KERN_KEEP_OWN)
        rc = digest_add(m->ids.vision, kern_keep_name((int)tower), e);
    return rc;
}

/* Weights to the device, and the model's names, while they are read. */
static int open_fill(struct model *m, const struct source *from, const struct model_how *how,
                     struct err *e) {
    struct digest d;
    digest_start(&d, &from->named, from->w);
    m->learn = how->learn;
    int rc = bind_weights(m, from->w, e);
    m->learn = NULL;
    if (!rc) rc = m->ops->sync(m->k, e);
    rc = digest_end(&d, rc, &m->ids, e);
    memcpy(m->ids.file, m->ids.all, sizeof m->ids.file);
    if (!rc) rc = open_check_digest(m, from->want, e);
    return rc ? rc : open_name(m, how, e);
}

static int load(const struct model_config *c, const struct source *from,
                const struct model_how *how, const struct kern_ops *ops, struct kern *k,
                struct model **out, struct err *e) {
    uint64_t need = 0;
    *out = NULL;
    if (how->keep != KERN_KEEP_OWN && how->learn)
        return err_set(e, E_INVALID, "weights as %s can't learn", kern_keep_name((int)how->keep));
    enum kern_dtype pool = how->kv_bits == 32   ? KERN_F32
                           : how->kv_bits == 16 ? KERN_BF16
                           : how->kv_bits == 8  ? KERN_INT8
                                                : ops->pool_dtype(k);
    if (!ops->takes_pool(k, pool))
        return err_set(e, E_UNSUPPORTED, "%s keeps no KV cache in %d bits", ops->name,
                       how->kv_bits);
    struct model *m = mem_try(sizeof *m);
    if (!m) return err_set(e, E_NOMEM, "no memory for a model");
    m->c = *c;
    m->ops = ops;
    m->k = k;
    m->pool_dtype = pool;
    m->keep = how->keep;
    m->learn = how->learn;
    int rc = make_tables(m, e);
    if (!rc) rc = room_check(m, from->w, &how->beside, &need, e);
    if (!rc) rc = check_finite(from->named.st, e);
    if (!rc) {
        rc = open_fill(m, from, how, e);
        if (rc == E_NOMEM) (void)err_in(e, "%.1f MiB of weights or more", in_mib(need));
    }
    if (rc) {
        model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

static int load_file(const struct model_config *c, const struct st *st, const struct model_how *how,
                     const struct expected *want, const struct kern_ops *ops, struct kern *k,
                     struct model **out, struct err *e) {
    struct weights_file file;
    struct source from = {.w = &file.w, .named = {.st = st}, .want = want};
    weights_of_file(&file, st);
    return load(c, &from, how, ops, k, out, e);
}

int model_open_tensors(const struct model_config *c, const struct st *st,
                       const struct kern_ops *ops, struct kern *k, struct model **out,
                       struct err *e) {
    return load_file(c, st, &as_it_is, &anything, ops, k, out, e);
}

static int open_seeded(const struct model_config *c, const struct model_how *how,
                       const struct kern_ops *ops, struct kern *k, struct model **out,
                       struct err *e) {
    struct {
        struct model_config c;
        uint64_t seed;
    } named = {.c = *c, .seed = how->seed};
    struct weights_seed weights;
    weights_of_seed(&weights, how->seed, 1 + c->n_patches);
    struct source from = {
        .w = &weights.w, .named = {.bytes = &named, .len = sizeof named}, .want = &anything};
    int rc = load(c, &from, how, ops, k, out, e);
    weights_seed_clear(&weights);
    return rc;
}

int model_open(const char *dir, const struct model_how *how, const struct kern_ops *ops,
               struct kern *k, struct model **out, struct err *e) {
    *out = NULL;
    if (!how) how = &as_it_is;
    struct model_config c;
    struct expected want = {0};
    int rc = how->is_seeded ? 0 : sums_read(dir, &want.sums, e);
    if (!rc) rc = sums_check_file(&want.sums, dir, "config.json", e);
    if (!rc) rc = model_read_config(dir, &c, e);
    if (rc) return rc;
    if (how->is_seeded) return open_seeded(&c, how, ops, k, out, e);
    struct st *st;
    rc = st_open_model(dir, &st, want.sha256, e);
    if (rc) return rc;
    if (want.sha256[0]) rc = sums_check_file(&want.sums, dir, ST_JOIN_FILE, e);
    if (!rc) rc = load_file(&c, st, how, &want, ops, k, out, e);
    st_close(st);
    if (rc) err_in(e, "%s/%s", dir, want.sha256[0] ? ST_JOIN_FILE : "model.safetensors");
    return rc;
}

void model_close(struct model *m) {
    if (!m) return;
    berth_free_all(m);
    if (m->logits.addr) m->ops->free(m->k, m->logits);
    if (m->probs.addr) m->ops->free(m->k, m->probs);
    memory_clear(m);
    mem_free(m->staging);
    mem_free(m->llama.head);
    mem_free(m->llama.layers);
    mem_free(m->vit.blocks);
    mem_free(m);
}

const struct model_config *model_config(const struct model *m) { return &m->c; }
const char *model_digest(const struct model *m) { return m->ids.all; }
const char *model_file_digest(const struct model *m) { return m->ids.file; }
const char *model_vision_digest(const struct model *m) { return m->ids.vision; }
const struct vit *model_vit(const struct model *m) { return &m->vit; }
const struct llama *model_llama(const struct model *m) { return &m->llama; }
uint64_t model_parameters(const struct model *m) { return m->parameters; }
enum kern_dtype model_pool_dtype(const struct model *m) { return m->pool_dtype; }
int model_is_as_stored(const struct model *m) { return m->is_as_stored; }
uint64_t model_beats(const struct model *m) { return atomic_load(&m->beats); }
