/* open.c - opening an engine and closing it: device, model, tokenizer, prompts, memory. Sizes are
 * chosen in size.c, once. */
#include <stdio.h>
#include <string.h>

#include "engine/eng.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

static int32_t at_least(int32_t a, int32_t b) { return a > b ? a : b; }

static int open_device(struct eng *e, const struct eng_options *o, const struct kern_ops *ops,
                       struct err *err) {
    struct kern_config kc = {.device = o->device,
                             .threads = o->threads,
                             .isa = o->isa,
                             .memory_max = o->memory_max,
                             .inner = ops,
                             .profile = o->profile};
    e->ops = o->profile ? &kern_profile : ops;
    int rc = kern_check(ops, err);
    return rc ? rc : e->ops->open(&kc, &e->kern, err);
}

static int open_model(struct eng *e, const struct eng_options *o, struct err *err) {
    if (o->is_seeded)
        return model_open_seeded(o->model_dir, o->seed, e->ops, e->kern, &e->model, err);
    return model_open(o->model_dir, e->ops, e->kern, &e->model, err);
}

/* Another model's tokenizer would spell prompts that this one never read. Vocabularies are padded at
 * times, so a few rows more than pieces are taken for that; of noise any number. */
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

static int open_tokenizer(struct eng *e, const struct eng_options *o, struct err *err) {
    enum { PADDING_MAX = 255 };
    const char *dir = o->model_dir;
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    if (n < 0 || (size_t)n >= sizeof path) return err_set(err, E_INVALID, "path too long");
    int rc = sptok_open(path, &e->tok, err);
    if (rc) return rc;
    const struct model_text *c = &model_config(e->model)->text;
    rc = check_tokenizer(e->tok, c, o->is_seeded ? c->vocab_size : PADDING_MAX, err);
    if (rc) return rc;
    rc = forms_new(e->tok, c->vocab_size, &e->forms, err);
    if (rc) return err_in(err, "tokenizer.model");
    for (int k = 0; k < FORM_NUMBERS; k++)
        if (!lane_can_walk(e->forms->g[k]))
            return err_set(err, E_UNSUPPORTED, "a number takes %d tokens, at most %d are supported",
                           e->forms->g[k]->depth_max, LANE_DEPTH_MAX);
    rc = model_head_new(e->model, e->forms->head_ids, e->forms->n_head, &e->numbers, err);
    return rc ? rc : model_head_new(e->model, e->forms->text_ids, c->vocab_size, &e->text, err);
}

/* What is asked, and how long its parts may be. */
static int open_prompts(struct eng *e, struct err *err) {
    const struct model_config *c = model_config(e->model);
    struct sizes *z = &e->size;
    int32_t mask;
    int rc = pixels_new(c, e->tok, e->forms->g[FORM_COLOUR], &e->pixels, err);
    if (!rc) rc = ask_mask_tail(c, e->tok, &mask, err);
    if (rc) return rc;
    z->tail_max = at_least(at_least(e->pixels->text_max, mask), LANE_CHOICE_MAX + 1);
    for (int k = 0; k < FORM_NUMBERS; k++)
        z->answer_max = at_least(z->answer_max, e->forms->g[k]->feed_max);
    e->asker = (struct asker){c, e->tok, e->forms, e->pixels, z->tail_max};
    return 0;
}

static void describe(struct eng *e, const char *dir) {
    struct eng_info *i = &e->info;
    const struct model_config *c = model_config(e->model);
    size_t end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && dir[from - 1] != '/')
        from--;
    (void)snprintf(i->name, sizeof i->name, "%.*s", (int)(end - from), dir + from);
    (void)snprintf(i->digest, sizeof i->digest, "%s", model_digest(e->model));
    (void)snprintf(i->backend, sizeof i->backend, "%s: %s", e->ops->name,
                   e->ops->describe(e->kern));
    i->parameters = model_parameters(e->model);
    i->grid = c->pixel_grid;
    i->image_size = c->vision.image_size;
    i->tokens_per_number = e->forms->g[FORM_COLOUR]->depth_max - 1; /* without comma or bracket */
    i->image_tokens = c->n_image_tokens;
    i->positions = c->text.max_positions;
    i->vocabulary = sptok_size(e->tok);
    e->picture_form = (struct picture_form){i->image_size, i->grid, i->digest};
}

/* Everything that the step thread will own; sizes are fixed here for good. */
static int open_run(struct eng *e, const struct eng_options *o, struct err *err) {
    int rc = eng_choose_sizes(e, o, err);
    if (rc) return rc;
    const struct sizes *z = &e->size;
    const struct forms *f = e->forms;
    struct model_plan plan = eng_plan(e);
    rc = model_plan(e->model, &plan, err);
    if (rc) return rc;
    kv_init(&e->kv, z->runs, z->singles, stem_parts_max(SCHED_RUNNING, z->cached));
    stem_init(&e->stems, &e->kv, SCHED_RUNNING, z->cached);
    feats_init(&e->feats, plan.feats_max);
    lane_init(&e->lanes, f, &e->kv, z->lanes, z->tail_max);
    batch_init(&e->batch, z->rows, eng_keys(e), SCHED_RUNNING, f, e->numbers, e->text);
    sched_init(&e->sched, &e->kv, &e->stems, &e->lanes);
    e->stats.kv_slots = (uint32_t)plan.kv_slots;
    e->shown_ns = clock_ns();
    e->queue = queue_new(ENG_QUEUE_JOBS);
    eng_publish(e);
    return 0;
}

static void free_all(struct eng *e) {
    queue_free(e->queue);
    batch_clear(&e->batch);
    lane_clear(&e->lanes);
    feats_clear(&e->feats);
    stem_clear(&e->stems);
    kv_clear(&e->kv);
    pixels_free(e->pixels);
    if (e->model) model_head_free(e->model, e->numbers);
    if (e->model) model_head_free(e->model, e->text);
    forms_free(e->forms);
    sptok_close(e->tok);
    model_close(e->model);
    if (e->ops && e->kern) e->ops->close(e->kern);
    mem_free(e);
}

int eng_open_on(const struct eng_options *opt, const struct kern_ops *ops, struct eng **out,
                struct err *err) {
    *out = NULL;
    if (!opt->model_dir) return err_set(err, E_INVALID, "no model folder");
    struct eng *e = mem_must(sizeof *e);
    int rc = open_device(e, opt, ops, err);
    if (!rc) rc = open_model(e, opt, err);
    if (!rc) rc = open_tokenizer(e, opt, err);
    if (!rc) rc = open_prompts(e, err);
    if (!rc) rc = open_run(e, opt, err);
    if (!rc) describe(e, opt->model_dir);
    if (!rc && pthread_create(&e->thread, NULL, eng_step_main, e) != 0)
        rc = err_set(err, E_IO, "no thread for the engine");
    if (rc) {
        free_all(e);
        return rc;
    }
    *out = e;
    return 0;
}

int eng_open(const struct eng_options *opt, struct eng **out, struct err *err) {
    struct kern_choice c;
    *out = NULL;
    int rc = kern_choose(opt->backend ? opt->backend : "auto", opt->plugin, &c, err);
    if (rc) return rc;
    struct eng_options on = *opt;
    on.device = c.device;
    rc = eng_open_on(&on, c.ops, out, err);
    if (!rc) (void)snprintf((*out)->info.note, sizeof(*out)->info.note, "%s", c.note);
    return rc;
}

void eng_close(struct eng *e) {
    if (!e) return;
    queue_close(e->queue);
    (void)pthread_join(e->thread, NULL);
    free_all(e);
}
