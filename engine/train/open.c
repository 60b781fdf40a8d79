/* open.c - options are checked, the model is opened to learn, everything is made.
 *
 * Order: config -> list of what learns -> bytes counted -> device -> blocks of masters, gradients
 * and moments -> the model, which tells each tensor as it is bound: its numbers become masters, and
 * its place is noted -> LoRAs -> tokens -> buffers of a sample. Nothing allocates on the device
 * later.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/adapter.h"
#include "engine/train/internal.h"
#include "engine/train/legal.h"
#include "engine/train/losses/dense.h"
#include "engine/train/losses/teach.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"
#include "kernels/base/rng.h"

const char *const train_text_words[] = {"frozen", "lora", "full", NULL};
const char *const train_lora_words[] = {"q", "k", "v", "o", "gate", "up", "down", NULL};

/* ---- options ---- */

static int open_option(int is_good, const char *name, const char *want, struct err *e) {
    return is_good ? 0 : err_set(e, E_INVALID, "%s: %s", name, want);
}

static int check_rates(const struct train_options *o, struct err *e) {
    const struct train_rate *r = &o->rate;
    int is_finite = isfinite(r->start) && isfinite(r->peak) && isfinite(r->end);
    int rc = open_option(is_finite && r->start >= 0 && r->peak >= 0 && r->end >= 0, "rate",
                         "start, peak and end are 0 or more", e);
    if (!rc) rc = open_option(r->steps >= 1, "rate.steps", "at least 1", e);
    if (!rc) rc = open_option(o->tower_rate > 0 && o->tower_rate < 1e6, "tower_rate", "above 0", e);
    if (!rc)
        rc = open_option(o->beta1 > 0 && o->beta1 < 1 && o->beta2 > 0 && o->beta2 < 1,
                         "beta1, beta2", "between 0 and 1", e);
    if (!rc) rc = open_option(o->eps > 0 && o->eps < 1, "eps", "between 0 and 1", e);
    if (!rc) rc = open_option(o->decay >= 0 && o->decay < 1e3, "decay", "0 or more", e);
    if (!rc) rc = open_option(o->clip >= 0, "clip", "0 (none) or more", e);
    return rc ? rc
              : open_option(o->average >= 0 && o->average < 1, "average", "0 or more, below 1", e);
}

static int check_lora(const struct train_lora *l, struct err *e) {
    int rc = open_option(l->r >= 1 && l->r <= TRAIN_LORA_RANK_MAX, "lora.r", "1 to 512", e);
    if (!rc) rc = open_option(l->alpha > 0 && isfinite(l->alpha), "lora.alpha", "above 0", e);
    if (!rc)
        rc =
            open_option(l->dropout >= 0 && l->dropout < 1, "lora.dropout", "0 or more, below 1", e);
    return rc ? rc
              : open_option(l->targets && l->targets < 1u << LORA_TARGETS, "lora.targets",
                            "some of q, k, v, o, gate, up, down", e);
}

static int check_losses(const struct train_options *o, const struct model_config *c,
                        struct err *e) {
    int rc = 0, heads = c->text.heads < 32 ? c->text.heads : 32;
    for (int i = 0; i < SAMPLE_TASKS && !rc; i++)
        rc = open_option(o->soft[i] >= 0 && isfinite(o->soft[i]), "soft", "0 (hard) or more", e);
    if (!rc) rc = open_option(o->box_l1 >= 0 && isfinite(o->box_l1), "box_l1", "0 or more", e);
    if (!rc)
        rc = open_option(o->box_giou >= 0 && isfinite(o->box_giou), "box_giou", "0 or more", e);
    if (!rc) rc = open_option(o->hold >= 0 && isfinite(o->hold), "hold", "0 or more", e);
    if (rc || !(o->hold > 0)) return rc;
    rc = open_option(o->hold_layer >= 0 && o->hold_layer < c->text.layers, "hold_layer",
                     "a layer of the decoder, from 0", e);
    return rc ? rc
              : open_option(o->hold_heads && !((uint64_t)o->hold_heads >> heads), "hold_heads",
                            "some of the layer's heads", e);
}

static int check_sizes(const struct train_options *o, int samples, struct err *e) {
    const struct train_comm *comm = o->comm;
    int ranks = comm ? comm->size : 1;
    int rc = open_option(o->recompute >= 0 && o->recompute <= 2, "recompute", "0, 1 or 2", e);
    if (!rc) rc = open_option(o->rows >= 1 && o->rows <= TRAIN_ROWS_MAX, "rows", "1 to 65536", e);
    if (!rc)
        rc = open_option(o->pictures >= 1 && o->pictures <= SAMPLE_PICTURES_MAX, "pictures",
                         "1 to 8", e);
    if (!rc)
        rc = open_option(ranks >= 1 && !(ranks & (ranks - 1)) &&
                             (!comm || (comm->rank >= 0 && comm->rank < ranks)),
                         "comm", "ranks are a power of two", e);
    if (!rc)
        rc = open_option(samples >= 1 && samples <= 1 << 14, "samples", "1 to 16384 for a step", e);
    return rc ? rc
              : open_option(samples % ranks == 0, "samples", "a multiple of the number of ranks",
                            e);
}

/* Options with defaults filled in. */
static int complete(const struct train_options *from, const struct model_config *c, int samples,
                    struct train_options *o, struct err *e) {
    *o = *from;
    if (!(o->tower_rate > 0 || o->tower_rate < 0)) o->tower_rate = 1;
    if (!(o->dense_rate > 0 || o->dense_rate < 0)) o->dense_rate = 1;
    if (!o->teach_top) o->teach_top = 32;
    if (o->has_taught && !o->teacher) o->teacher = o->model;
    if (o->beta1 == 0) o->beta1 = 0.9;
    if (o->beta2 == 0) o->beta2 = 0.999;
    if (o->eps == 0) o->eps = 1e-8;
    if (!o->rows) o->rows = 2048;
    if (!o->pictures) o->pictures = 4;
    int rc = open_option(o->text >= TRAIN_TEXT_FROZEN && o->text <= TRAIN_TEXT_FULL, "text",
                         "frozen, lora or full", e);
    if (!rc)
        rc = open_option(o->tower || o->connector || o->text != TRAIN_TEXT_FROZEN, "tower",
                         "nothing learns: neither tower, connector nor text", e);
    if (!rc) rc = check_rates(o, e);
    if (!rc && o->text == TRAIN_TEXT_LORA) rc = check_lora(&o->lora, e);
    if (!rc) rc = check_losses(o, c, e);
    if (!rc) rc = dense_check(o, c, e);
    if (!rc) rc = teach_check(o, e);
    return rc ? rc : check_sizes(o, samples, e);
}

/* All bytes, a teacher's too. */
static int count_all(const struct train_options *o, const struct model_config *c,
                     const struct params *p, int samples, const struct kern_ops *ops,
                     struct train_memory *out, struct err *e) {
    struct train_memory teacher = {0};
    int rc = plan_count(o, c, p, samples, ops, out, e);
    if (!rc && o->teacher) rc = open_guest_plan(o->teacher, o, ops, &teacher, e);
    if (rc) return rc;
    out->teacher = teacher.total - teacher.own; /* the device is there once */
    out->total += out->teacher;
    return 0;
}

static int share_of(const struct train_options *o, int samples) {
    return samples / (o->comm ? o->comm->size : 1);
}

int train_plan(const struct train_options *from, int samples, struct train_memory *out,
               struct err *e) {
    struct train_options o;
    struct model_config c;
    struct params p;
    struct kern_choice choice;
    int rc = open_option(from->model && from->device, "model, device", "are needed", e);
    if (!rc) rc = model_read_config(from->model, &c, e);
    if (!rc) rc = complete(from, &c, samples, &o, e);
    if (!rc) rc = kern_choose(o.device, o.plugin, &choice, e);
    if (!rc) rc = params_list(&p, &c, &o, e);
    if (rc) return rc;
    rc = count_all(&o, &c, &p, share_of(&o, samples), choice.ops, out, e);
    params_clear(&p);
    return rc;
}

int train_room(const struct train_options *o, uint64_t *bytes, struct err *e) {
    struct kern_choice choice;
    struct kern_stats s;
    struct kern *k;
    int rc = kern_choose(o->device, o->plugin, &choice, e);
    if (rc) return rc;
    const struct kern_config c = {.device = choice.device, .threads = 1, .isa = o->isa};
    rc = choice.ops->open(&c, &k, e);
    if (rc) return rc;
    choice.ops->stats(k, &s);
    choice.ops->close(k);
    *bytes = s.most_bytes;
    return 0;
}

/* ---- what the model tells ---- */

static void open_numbers(const struct model_bound *b, float *out) {
    if (b->dtype == KERN_F32)
        memcpy(out, b->data, b->n * sizeof *out);
    else if (b->dtype == KERN_BF16)
        half_read_bf16(b->data, out, b->n);
    else
        half_read_f16(b->data, out, b->n);
}

static void put_master(struct train *t, const struct param *p, const float *numbers) {
    t->ops->put(t->k, kern_at(t->params.value, p->at * sizeof *numbers), numbers,
                p->n * sizeof *numbers);
}

/* A tensor has its place: if it learns, that is noted, and its numbers are its master. */
static int bound(void *ud, const struct model_bound *b, struct err *e) {
    struct train *t = ud;
    struct param *p = (struct param *)(uintptr_t)params_find(&t->params, b->name);
    if (!p) return 0;
    must(p->n == b->n);
    float *numbers = mem_try(b->n * sizeof *numbers);
    if (!numbers) return err_set(e, E_NOMEM, "no memory for %zu floats", b->n);
    open_numbers(b, numbers);
    put_master(t, p, numbers);
    mem_free(numbers);
    if (b->mat) {
        p->mat = b->mat;
        p->row0 = b->row0;
    }
    if (b->vec.addr) p->vec = b->vec;
    return 0;
}

static int open_model(struct train *t, struct err *e) {
    struct model_learn learn = {.has_tower = t->o.tower,
                                .has_table = t->o.text == TRAIN_TEXT_FULL,
                                .bound = bound,
                                .ud = t};
    struct model_how how = {.is_seeded = t->o.is_seeded, .seed = t->o.seed, .learn = &learn};
    int rc = model_open(t->model, &how, t->ops, t->k, &t->m, e);
    for (int i = 0; i < t->params.n && !rc; i++)
        must(t->params.at[i].is_lora || t->params.at[i].is_dense || t->params.at[i].mat ||
             t->params.at[i].vec.addr);
    return rc;
}

/* ---- LoRAs ---- */

/* Its numbers depend on the seed and the name alone. A is uniform within 1/sqrt(in), as peft makes
 * it; B is 0, so that a new LoRA changes nothing. */
static void fill_lora(const struct train *t, const struct param *p, int is_b, float *out) {
    uint64_t seed = t->o.seed;
    for (const char *s = p->name; *s; s++)
        seed = rng_u64(seed, (uint8_t)*s);
    float most = 1.0f / sqrtf((float)p->shape[1]);
    for (size_t i = 0; i < p->n; i++)
        out[i] = is_b ? 0 : most * (2 * rng_uniform(seed, i) - 1);
}

static int make_lora_mat(struct train *t, int index, int is_b, struct kern_mat **out,
                         struct err *e) {
    struct param *p = &t->params.at[index];
    float *numbers = mem_try(p->n * sizeof *numbers);
    if (!numbers) return err_set(e, E_NOMEM, "no memory for a LoRA");
    fill_lora(t, p, is_b, numbers);
    put_master(t, p, numbers);
    struct kern_mat_part part = {numbers, (int)p->shape[0], KERN_F32};
    struct kern_mat_src src = {.parts = &part, .n_parts = 1, .k = (int)p->shape[1], .with_back = 1};
    int rc = t->ops->mat_new(t->k, &src, out, e);
    p->mat = *out;
    mem_free(numbers);
    return rc;
}

static int make_loras(struct train *t, struct err *e) {
    int layers = model_config(t->m)->text.layers, rc = 0;
    if (t->o.text != TRAIN_TEXT_LORA) return 0;
    t->lora = mem_try((size_t)(layers * LORA_TARGETS) * sizeof *t->lora);
    if (!t->lora) return err_set(e, E_NOMEM, "no memory for LoRAs");
    for (int i = 0; i < layers * LORA_TARGETS && !rc; i++) {
        const struct params_layer *p = &t->params.map.layers[i / LORA_TARGETS];
        int a = p->lora_a[i % LORA_TARGETS], b = p->lora_b[i % LORA_TARGETS];
        if (a < 0) continue;
        rc = make_lora_mat(t, a, 0, &t->lora[i].a, e);
        if (!rc) rc = make_lora_mat(t, b, 1, &t->lora[i].b, e);
    }
    return rc;
}

/* ---- tokens ---- */

static int open_tokens(struct train *t, struct err *e) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/tokenizer.model", t->model) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the model folder's name is too long");
    int rc = sptok_open(path, &t->tok, e);
    if (rc) return err_in(e, "%s", path), rc;
    rc = numbers_find(&t->numbers, t->tok, model_config(t->m)->text.vocab_size, e);
    if (!rc && (t->o.box_l1 > 0 || t->o.box_giou > 0) && t->numbers.box < 0)
        return err_set(e, E_UNSUPPORTED,
                       "box_l1, box_giou: the model's tokenizer has no token for "
                       "each number up to 100");
    return rc;
}

/* ---- memory ---- */

static int block(struct train *t, struct kern_ptr *out, struct err *e) {
    return t->ops->alloc(t->k, t->params.floats * sizeof(float), out, e);
}

static int make_blocks(struct train *t, int samples, struct err *e) {
    struct params *p = &t->params;
    int rc = block(t, &p->value, e);
    if (!rc) rc = block(t, &p->m, e);
    if (!rc) rc = block(t, &p->v, e);
    if (!rc && t->o.average > 0) rc = block(t, &p->average, e);
    for (int n = params_levels(params_lanes(&t->o, samples)); p->levels < n && !rc;
         p->levels += !rc)
        rc = block(t, &p->grad[p->levels], e);
    return rc;
}

static int open_room(struct train *t, int samples, struct err *e) {
    const struct model_config *c = model_config(t->m);
    struct buffers *b = &t->b;
    size_t side = (size_t)c->vision.image_size;
    int has_ranks = t->o.comm && t->o.comm->size > 1;
    struct kept_types kept = kept_types(&t->o, t->ops);
    size_t bytes = buffers_lay(&t->o, c, kept, (struct kern_ptr){0}, b);
    int rc = t->ops->alloc(t->k, bytes, &t->room, e);
    if (rc) return rc;
    b->tower = mem_try((size_t)c->vision.layers * sizeof *b->tower);
    b->text = mem_try((size_t)c->text.layers * sizeof *b->text);
    t->staging = mem_try(b->index_bytes);
    t->square = mem_try(side * side * 3);
    t->host = has_ranks ? mem_try(TRAIN_PIECE * sizeof *t->host) : NULL;
    t->tree.samples = samples;
    t->tree.lanes = params_lanes(&t->o, samples);
    t->tree.losses = mem_try((size_t)samples * sizeof *t->tree.losses);
    if (!b->tower || !b->text || !t->staging || !t->square || !t->tree.losses ||
        (has_ranks && !t->host))
        return err_set(e, E_NOMEM, "no memory for the buffers of a sample");
    (void)buffers_lay(&t->o, c, kept, t->room, b);
    return 0;
}

/* Is there room for what was counted? */
static int open_check_room(const struct train *t, const struct train_memory *n, struct err *e) {
    struct kern_stats s;
    t->ops->stats(t->k, &s);
    uint64_t have = s.most_bytes, need = n->total - n->own; /* which is there already */
    if (t->o.memory && (!have || t->o.memory < have)) have = t->o.memory;
    if (!have || need <= have) return 0;
    return err_set(e, E_NOMEM,
                   "training takes %.0f MiB (weights %.0f, what learns %.0f, a sample %.0f, a "
                   "teacher %.0f), there "
                   "are %.0f: try recompute 2, fewer rows, pictures or samples, or a LoRA",
                   in_mib(need), in_mib(n->weights),
                   in_mib(n->masters + n->gradients + n->optimiser), in_mib(n->activations),
                   in_mib(n->teacher), in_mib(have));
}

/* ---- opening ---- */

static void form_of(struct train *t, const struct model_config *c) {
    int side = c->vision.image_size / c->vision.patch_size;
    t->form = (struct train_form){.grid = c->pixel_grid,
                                  .is_yx = c->coord_order == MODEL_COORD_YX,
                                  .image_size = c->vision.image_size,
                                  .image_tokens = c->n_image_tokens,
                                  .tokens_side_w = side / c->concat,
                                  .tokens_side_h = side,
                                  .positions = c->text.max_positions,
                                  .tower = {1 + c->n_patches, c->vision.hidden_size,
                                            c->vision.intermediate_size, c->vision.heads},
                                  .text = {c->text.hidden_size, c->text.intermediate_size,
                                           c->text.heads, c->text.vocab_size}};
}

static int open_device(struct train *t, struct err *e) {
    struct kern_choice choice;
    int rc = kern_choose(t->device, t->o.plugin, &choice, e);
    if (rc) return rc;
    t->ops = choice.ops;
    t->back = choice.ops->train;
    if (!t->back) return err_set(e, E_UNSUPPORTED, "backend %s can't train", choice.ops->name);
    return t->ops->open(&(struct kern_config){.device = choice.device,
                                              .threads = t->o.threads,
                                              .isa = t->o.isa,
                                              .memory_max = t->o.memory},
                        &t->k, e);
}

/* On failure the caller closes what is there. */
static int open_all(struct train *t, const struct train_options *o, int samples, struct err *e) {
    struct model_config c;
    struct train_memory n;
    int rc = model_read_config(t->model, &c, e);
    if (!rc) rc = complete(o, &c, samples, &t->o, e);
    if (rc) return rc;
    t->o.model = t->model;
    t->o.device = t->device;
    samples = share_of(o, samples);
    form_of(t, &c);
    rc = params_list(&t->params, &c, &t->o, e);
    if (!rc) rc = open_device(t, e);
    if (!rc) rc = count_all(&t->o, &c, &t->params, samples, t->ops, &n, e);
    if (!rc) rc = open_check_room(t, &n, e);
    if (!rc) rc = make_blocks(t, samples, e);
    if (!rc) rc = open_model(t, e);
    if (!rc) rc = make_loras(t, e);
    if (!rc) rc = open_tokens(t, e);
    if (!rc) rc = open_room(t, samples, e);
    if (!rc) rc = legal_open(t, e);
    if (!rc) rc = dense_open(t, e);
    if (!rc) rc = teach_open(t, e);
    if (rc) return rc;
    if (t->params.average.addr)
        t->ops->copy(t->k, t->params.average, t->params.value, t->params.floats * sizeof(float));
    return t->ops->sync(t->k, e);
}

int train_open(const struct train_options *o, int samples, struct train **out, struct err *e) {
    *out = NULL;
    int rc = open_option(o->model && o->device, "model, device", "are needed", e);
    if (rc) return rc;
    struct train *t = mem_try(sizeof *t);
    if (!t) return err_set(e, E_NOMEM, "no memory to train");
    t->model = mem_strdup(o->model);
    t->device = mem_strdup(o->device);
    rc = open_all(t, o, samples, e);
    if (rc) {
        train_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

/* ---- guests ---- */

/* It has no way back, so layers need keep nothing. */
static struct train_options guest_options(const struct train_options *host) {
    return (struct train_options){
        .isa = host->isa, .rows = host->rows, .pictures = host->pictures, .recompute = 2};
}

int open_guest_plan(const char *model, const struct train_options *host, const struct kern_ops *ops,
                    struct train_memory *out, struct err *e) {
    struct train_options o = guest_options(host);
    o.model = model;
    const struct params none = {0};
    struct model_config c;
    int rc = model_read_config(model, &c, e);
    if (!rc) rc = plan_count(&o, &c, &none, 1, ops, out, e);
    return rc ? (err_in(e, "teacher %s", model), rc) : 0;
}

/* On failure the caller closes what is there. */
static int open_guest_all(struct train *t, struct err *e) {
    const struct model_learn learn = {0};
    const struct model_how how = {.learn = &learn};
    struct model_config c;
    int rc = model_read_config(t->model, &c, e);
    if (rc) return rc;
    form_of(t, &c);
    rc = model_open(t->model, &how, t->ops, t->k, &t->m, e);
    if (!rc) rc = open_tokens(t, e);
    return rc ? rc : open_room(t, 1, e);
}

int open_guest(const char *model, const struct train *host, struct train **out, struct err *e) {
    struct train *t = mem_try(sizeof *t);
    *out = NULL;
    if (!t) return err_set(e, E_NOMEM, "no memory for a teacher");
    *t = (struct train){.ops = host->ops, .back = host->back, .k = host->k, .is_guest = 1};
    t->o = guest_options(&host->o);
    t->model = mem_strdup(model);
    t->o.model = t->model;
    int rc = open_guest_all(t, e);
    if (rc)
        train_close(t);
    else
        *out = t;
    return rc;
}

static void close_device(struct train *t) {
    int layers = t->m ? model_config(t->m)->text.layers : 0;
    for (int i = 0; i < layers * LORA_TARGETS && t->lora; i++) {
        t->ops->mat_free(t->k, t->lora[i].a);
        t->ops->mat_free(t->k, t->lora[i].b);
    }
    struct kern_ptr blocks[5 + PARAM_LEVELS_MAX] = {t->params.value, t->params.m, t->params.v,
                                                    t->params.average, t->room};
    memcpy(blocks + 5, t->params.grad, sizeof t->params.grad);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        if (blocks[i].addr) t->ops->free(t->k, blocks[i]);
    model_close(t->m);
    if (!t->is_guest) t->ops->close(t->k);
}

void train_close(struct train *t) {
    if (!t) return;
    teach_close(t);
    legal_close(t);
    if (t->k) dense_close(t);
    if (t->k) close_device(t);
    sptok_close(t->tok);
    adapter_close(t->carried);
    params_clear(&t->params);
    numbers_clear(&t->numbers);
    void *all[] = {t->model,   t->device, t->lora,   t->b.tower,    t->b.text,
                   t->staging, t->host,   t->square, t->tree.losses};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        mem_free(all[i]);
    mem_free(t);
}

const struct train_form *train_form(const struct train *t) { return &t->form; }

void train_show(struct train *t, const char *name, struct kern_ptr p, int rows, int cols, int ld) {
    if (!t->tap || rows < 1) return;
    size_t n = (size_t)rows * (size_t)cols;
    must(ld == cols);
    float *host = mem_must(n * sizeof *host);
    must(!t->ops->get(t->k, host, p, n * sizeof *host, NULL));
    t->tap(t->tap_ud, name, host, rows, cols);
    mem_free(host);
}
