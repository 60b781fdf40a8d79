/* open.c - opening and closing a unit: device, model, tokenizer, prompts, memory. */
#include <stdio.h>
#include <string.h>

#include "engine/files/sums.h"
#include "engine/unit/unit.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

/* What a device has to say that is no error goes to the log as it is. */
static void log_note(void *ud, const char *text) {
    (void)ud;
    log_event(LOG_LEVEL_WARN, "device_note", "%s", text);
}

static int open_device(struct unit *u, const struct eng_options *o, const struct kern_ops *ops,
                       struct err *err) {
    struct kern_config kc = {.device = o->device_index,
                             .threads = o->threads,
                             .isa = o->isa,
                             .memory_max = o->memory,
                             .note = log_note,
                             .inner = ops,
                             .profile = o->profile};
    u->queue_ns = o->queue_ns;
    u->ops = o->profile ? &kern_profile : ops;
    int rc = kern_check(ops, err);
    return rc ? rc : u->ops->open(&kc, &u->kern, err);
}

/* The tokenizer of another model would spell prompts that this one was never trained on. */
static int check_tokenizer(const struct sptok *t, const struct model_text *c, int padding_max,
                           struct err *e) {
    int n = sptok_size(t), spare = c->vocab_size - n;
    if (spare < 0 || spare > padding_max)
        return err_set(e, E_FORMAT,
                       "tokenizer.model has %d pieces, the model %d: is it another model's?", n,
                       c->vocab_size);
    if (sptok_bos(t) != c->bos_id || sptok_eos(t) != c->eos_id)
        return err_set(e, E_FORMAT,
                       "tokenizer.model begins with id %d and ends with %d, config.json says %d "
                       "and %d: is it another model's?",
                       (int)sptok_bos(t), (int)sptok_eos(t), c->bos_id, c->eos_id);
    return 0;
}

static int open_tokenizer(struct unit *u, const struct eng_options *o, struct err *err) {
    const char *dir = o->model;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    if (n < 0 || (size_t)n >= sizeof path) return err_set(err, E_INVALID, "path too long");
    struct sums sums = {0};
    int rc = o->is_seeded ? 0 : sums_read(dir, &sums, err);
    u->info.is_summed = sums.is_there;
    if (!rc) rc = sums_check_file(&sums, dir, "tokenizer.model", err);
    if (!rc) rc = sptok_open(path, &u->tok, err);
    if (rc) return rc;
    const struct model_text *c = &u->config.text;
    rc = check_tokenizer(u->tok, c, o->is_seeded ? c->vocab_size : MODEL_PADDING_MAX, err);
    if (rc) return rc;
    rc = kinds_new(u->tok, c->vocab_size, &u->kinds, err);
    if (rc) return err_in(err, "tokenizer.model"), rc;
    for (int k = 0; k < KIND_NUMBERS; k++)
        if (!lane_can_walk(u->kinds->g[k]))
            return err_set(err, E_UNSUPPORTED, "a number takes %d tokens, at most %d are supported",
                           u->kinds->g[k]->depth_max, LANE_DEPTH_MAX);
    kinds_calibrate(u->kinds, KIND_COLOUR, u->config.colour_error_scale);
    return 0;
}

static int find_kv(const char *name, int *bits, struct err *err) {
    static const struct {
        const char *name;
        int bits;
    } forms[] = {{"auto", 0}, {"f32", 32}, {"bf16", 16}, {"int8", 8}};
    *bits = 0;
    for (size_t i = 0; name && i < ARRAY_LEN(forms); i++)
        if (!strcmp(name, forms[i].name)) {
            *bits = forms[i].bits;
            return 0;
        }
    return name ? err_set(err, E_INVALID, "KV cache as \"%.32s\": no such form", name) : 0;
}

static int open_model(struct unit *u, const struct eng_options *o, struct err *err) {
    struct model_how how = {.is_seeded = o->is_seeded, .seed = o->seed};
    int rc = kern_keep_find(o->weights_as, &how.keep, err);
    if (!rc) rc = find_kv(o->kv_as, &how.kv_bits, err);
    if (!rc) rc = unit_beside(u, o, &how.beside, err);
    if (!rc) rc = model_open(o->model, &how, u->ops, u->kern, &u->model, err);
    if (!rc && model_is_as_stored(u->model))
        log_event(LOG_LEVEL_INFO, "weights_as_stored",
                  "f32 finds no room: matrices stay in the 16 bits that they are stored in, and "
                  "nothing is lost by it");
    return rc;
}

/* Heads are cut when the model is there. */
static int open_heads(struct unit *u, struct err *err) {
    const struct kinds *k = u->kinds;
    int rc = model_head_new(u->model, k->head_ids, k->n_head, &u->numbers, err);
    if (rc) return rc;
    return model_head_new(u->model, k->text_ids, u->config.text.vocab_size, &u->text, err);
}

/* The prompts of pixels, and how long tails and answers may be. */
static int open_prompts(struct unit *u, struct err *err) {
    const struct model_config *c = &u->config;
    struct sizes *z = &u->size;
    int32_t mask;
    int rc = pixels_new(c, u->tok, u->kinds->g[KIND_COLOUR], &u->pixels, err);
    if (!rc) rc = ask_mask_tail(c, u->tok, &mask, err);
    if (rc) return rc;
    z->tail_max = at_least(at_least(u->pixels->text_max, mask), LANE_CHOICE_MAX + 1);
    for (int k = 0; k < KIND_NUMBERS; k++)
        z->answer_max = at_least(z->answer_max, u->kinds->g[k]->feed_max);
    u->asker = (struct asker){.config = c,
                              .tok = u->tok,
                              .kinds = u->kinds,
                              .pixels = u->pixels,
                              .tail_max = z->tail_max};
    return 0;
}

/* How the device makes products, where it has a choice. */
static void log_products(const struct unit *u, int device) {
    char text[1400]; /* more than a line of the log has */
    for (int i = 0; u->ops->products(u->kern, i, text, sizeof text) > 0; i++)
        log_event(LOG_LEVEL_INFO, "products", "device=%d %s", device, text);
}

static void open_describe(struct unit *u, const struct eng_options *o) {
    const char *dir = o->model;
    struct eng_info *i = &u->info;
    const struct model_config *c = &u->config;
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && dir[from - 1] != '/')
        from--;
    (void)snprintf(i->name, sizeof i->name, "%.*s", (int)(end - from), dir + from);
    (void)snprintf(i->digest, sizeof i->digest, "%s", model_digest(u->model));
    int is_own = !o->weights_as || !strcmp(o->weights_as, "auto");
    int is_own_kv = !o->kv_as || !strcmp(o->kv_as, "auto");
    int is_bf16 = u->size.berths && u->size.berth_keep == KERN_KEEP_BF16;
    const char *weights = !is_own ? o->weights_as : model_is_as_stored(u->model) ? "stored" : NULL;
    (void)snprintf(i->backend, sizeof i->backend, "%s: %s%s%.32s%s%.32s%s", u->ops->name,
                   u->ops->describe(u->kern), weights ? ", weights as " : "",
                   weights ? weights : "", is_own_kv ? "" : ", KV cache as ",
                   is_own_kv ? "" : o->kv_as, is_bf16 ? ", adapters as bf16" : "");
    size_t n = strlen(i->backend);
    if (u->stats.bits && n < sizeof i->backend)
        (void)snprintf(i->backend + n, sizeof i->backend - n, ", products %016llx",
                       (unsigned long long)u->stats.bits);
    log_products(u, o->device_index);
    i->parameters = model_parameters(u->model);
    i->grid = c->pixel_grid;
    i->image_size = c->vision.image_size;
    i->image_tokens = c->n_image_tokens;
    i->positions = c->text.max_positions;
    i->adapters = u->size.berths;
    i->adapter_rank = u->size.berth_rank;
    i->adapter_overlays = u->size.berth_overlays;
    u->picture_sizes = (struct picture_sizes){i->image_size, i->grid};
}

/* What the step thread will own. Its sizes are fixed here for good. */
static int open_step(struct unit *u, const struct eng_options *o, struct err *err) {
    int rc = unit_choose_sizes(u, o, err);
    if (rc) return rc;
    const struct sizes *z = &u->size;
    const struct kinds *k = u->kinds;
    u->asker.slots_max = z->single_slots;
    struct model_plan plan = unit_plan(u);
    rc = model_plan(u->model, &plan, err);
    if (rc) return rc;
    kv_init(&u->kv, z->range_slots, z->single_slots, stem_parts_max(SCHED_RUNNING, z->cached));
    stem_init(&u->stems, &u->kv, SCHED_RUNNING, z->cached);
    feats_init(&u->feats, plan.feats_max);
    stem_filled_by(&u->stems, model_digest(u->model));
    feats_made_by(&u->feats, model_vision_digest(u->model));
    lane_init(&u->lanes, k, &u->kv, z->lanes, z->tail_max);
    batch_init(&u->batch, z->rows, unit_keys(u), SCHED_RUNNING, k, u->numbers, u->text);
    sched_init(&u->sched, &u->kv, &u->stems, &u->lanes, u->ops->tile_rows(u->kern));
    u->stats.kv_slots = (uint32_t)plan.kv_slots;
    atomic_store(&u->rows_most, z->rows);
    u->shown_ns = clock_ns();
    u->queue = queue_new(ENG_QUEUE_JOBS + ENG_ADAPTERS_MAX);
    unit_publish(u);
    return 0;
}

static void free_all(struct unit *u) {
    queue_free(u->queue);
    batch_clear(&u->batch);
    lane_clear(&u->lanes);
    feats_clear(&u->feats);
    stem_clear(&u->stems);
    kv_clear(&u->kv);
    pixels_free(u->pixels);
    if (u->model) model_head_free(u->model, u->numbers);
    if (u->model) model_head_free(u->model, u->text);
    kinds_free(u->kinds);
    sptok_close(u->tok);
    model_close(u->model);
    if (u->ops && u->kern) u->ops->close(u->kern);
    mem_free(u);
}

int unit_open(const struct eng_options *opt, const struct kern_ops *ops, struct unit **out,
              struct err *err) {
    *out = NULL;
    if (!opt->model) return err_set(err, E_INVALID, "no model folder");
    struct unit *u = mem_must(sizeof *u);
    int rc = open_device(u, opt, ops, err);
    if (!rc) rc = model_read_config(opt->model, &u->config, err);
    if (!rc) rc = open_tokenizer(u, opt, err);
    if (!rc) rc = open_prompts(u, err);
    if (!rc) rc = open_model(u, opt, err);
    if (!rc) rc = open_heads(u, err);
    if (!rc) rc = open_step(u, opt, err);
    if (!rc) open_describe(u, opt);
    if (!rc && pthread_create(&u->thread, NULL, unit_step_main, u) != 0)
        rc = err_set(err, E_IO, "no thread for the device");
    if (rc) {
        free_all(u);
        return rc;
    }
    *out = u;
    return 0;
}

void unit_close(struct unit *u) {
    if (!u) return;
    queue_close(u->queue);
    (void)pthread_join(u->thread, NULL);
    free_all(u);
}
