/* open.c - opening an engine and closing it: device, model, tokenizer, prompts, sizes, memory.
 *
 * Everything is sized here, once. Sizes that nobody chose follow from the model: what a lane holds,
 * what a stem takes, what fits into KV_BYTES.
 */
#include <stdio.h>
#include <string.h>

#include "engine/eng.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

enum {
    ROWS = 512, /* rows of a pass: as fast as more, and the first answers come sooner */
    ROWS_MAX = 65536,
    CACHED_IMAGES = 32,
    KV_TOKENS_MAX = 1 << 26,
    QUEUE_PICTURES = 16, /* whole pictures of questions that may wait */
    FEATS = 16,          /* pictures whose features are kept */
    SPARE_STEMS = 4      /* beside the cached ones */
};
static const uint64_t KV_BYTES = (uint64_t)1 << 30; /* of a pool whose size nobody chose */

static int32_t at_least(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t at_most(int32_t a, int32_t b) { return a < b ? a : b; }

/* Slots of the pool when nobody chose: lanes and branches for `lanes` questions, stems of the cached
 * pictures and some more, within KV_BYTES. */
static void default_slots(struct eng *e, const struct model_config *c) {
    struct sizes *z = &e->size;
    const struct pixels *p = e->pixels;
    int64_t most = (int64_t)(KV_BYTES / model_slot_bytes(c)), stem = p->form.stem_tokens;
    int64_t lane = p->tail_max + p->form.answer_max;
    int64_t branches = 4 * p->run_tokens + p->text_max + p->form.explore_max + 4 * ENG_TOKENS_MAX;
    int64_t runs = (z->cached + SPARE_STEMS) * stem + 2 * c->text.max_positions;
    int64_t singles = z->lanes * lane + branches;
    if (runs > most / 2) runs = most / 2 > 2 * stem ? most / 2 : 2 * stem;
    if (singles > most - runs) singles = most - runs;
    if (singles < lane + branches) singles = lane + branches;
    z->runs = (int32_t)runs;
    z->singles = (int32_t)singles;
}

static int choose_sizes(struct eng *e, const struct eng_options *o, struct err *err) {
    struct sizes *z = &e->size;
    const struct pixels *p = e->pixels;
    const struct job_form *f = &p->form;
    int32_t rows_least = at_least(STEM_CHUNK, z->tail_max + z->answer_max);
    rows_least = at_least(rows_least, f->explore_max);
    z->rows = at_most(o->rows_max > 0 ? o->rows_max : at_least(ROWS, o->width), ROWS_MAX);
    z->rows = at_least(z->rows, rows_least);
    z->lanes = at_most(o->width > 0 ? o->width : z->rows, z->rows);
    z->cached = o->cached_images < 0 ? 0 : o->cached_images > 0 ? o->cached_images : CACHED_IMAGES;
    z->cached = at_most(z->cached, 4096);
    if (o->kv_tokens <= 0) {
        default_slots(e, model_config(e->model));
    } else {
        int32_t all = at_most(o->kv_tokens, KV_TOKENS_MAX);
        int32_t least = f->stem_tokens + p->text_max + f->answer_max;
        if (all < least)
            return err_set(err, E_INVALID, "kv_tokens %d: one question needs %d", all, least);
        z->runs = at_most((z->cached + SPARE_STEMS) * f->stem_tokens, all / 2);
        z->runs = at_least(z->runs, f->stem_tokens);
        z->singles = all - z->runs;
    }
    z->lanes = at_most(z->lanes, z->singles);
    uint64_t answers = (uint64_t)(f->grid * f->grid) * (uint64_t)f->answer_max;
    e->queue_tokens_max =
        o->queue_tokens ? o->queue_tokens : QUEUE_PICTURES * (p->tree_tokens + answers);
    return 0;
}

static int open_device(struct eng *e, const struct eng_options *o, const struct kern_ops *ops,
                       struct err *err) {
    struct kern_config kc = {.threads = o->threads, .isa = o->isa};
    e->ops = ops;
    int rc = kern_check(ops, err);
    return rc ? rc : ops->open(&kc, &e->kern, err);
}

/* Another model's tokenizer would spell prompts that this one never read. Vocabularies are padded at
 * times, so a few rows more than pieces are taken for that. */
static int check_tokenizer(const struct sptok *t, const struct model_text *c, struct err *e) {
    enum { PADDING_MAX = 255 };
    int n = sptok_size(t), spare = c->vocab_size - n;
    if (spare < 0 || spare > PADDING_MAX)
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

static int open_tokenizer(struct eng *e, const char *dir, struct err *err) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    if (n < 0 || (size_t)n >= sizeof path) return err_set(err, E_INVALID, "path too long");
    int rc = sptok_open(path, &e->tok, err);
    if (rc) return rc;
    rc = check_tokenizer(e->tok, &model_config(e->model)->text, err);
    if (rc) return rc;
    const struct model_text *c = &model_config(e->model)->text;
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
    int rc = choose_sizes(e, o, err);
    if (rc) return rc;
    const struct sizes *z = &e->size;
    const struct forms *f = e->forms;
    int32_t keys = z->tail_max + z->answer_max + e->pixels->form.explore_max;
    struct model_plan plan = {.rows_max = z->rows,
                              .picks_max = z->rows,
                              .kv_slots = z->runs + z->singles,
                              .feats_max = FEATS,
                              .spans_max = batch_spans_max(z->rows, SCHED_RUNNING),
                              .tails_max = batch_tails_max(z->rows, keys),
                              .sets_max = f->text_set + 1,
                              .cols_max = f->col_off[f->text_set + 1]};
    rc = model_plan(e->model, &plan, err);
    if (rc) return rc;
    kv_init(&e->kv, z->runs, z->singles, stem_parts_max(SCHED_RUNNING, z->cached));
    stem_init(&e->stems, &e->kv, SCHED_RUNNING, z->cached);
    feats_init(&e->feats, FEATS);
    lane_init(&e->lanes, f, &e->kv, z->lanes, z->tail_max);
    batch_init(&e->batch, z->rows, keys, SCHED_RUNNING, f, e->numbers, e->text);
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
    if (!rc) rc = model_open(opt->model_dir, ops, e->kern, &e->model, err);
    if (!rc) rc = open_tokenizer(e, opt->model_dir, err);
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
    const struct kern_ops *ops;
    *out = NULL;
    int rc = kern_find(opt->backend ? opt->backend : "auto", &ops, err);
    return rc ? rc : eng_open_on(opt, ops, out, err);
}

void eng_close(struct eng *e) {
    if (!e) return;
    queue_close(e->queue);
    (void)pthread_join(e->thread, NULL);
    free_all(e);
}
