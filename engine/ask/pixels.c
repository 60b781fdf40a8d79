/* pixels.c - grid * grid prompts, cut into a common stem and a text each.
 *
 * Invariants
 *   1. The stem holds the picture and at least one token behind it. Every text has at least one
 *      token.
 *   2. texts[order[i]] ascends strictly: no two places have the same prompt.
 *   3. Stem, text and answer together fit the positions of the model.
 * Memory: lives as long as the engine. Its sizes follow from the model's config, which bounds them.
 */
#include "engine/ask/pixels.h"

#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/run/lane.h"
#include "kernels/base/mem.h"

/* Whole prompts, one behind the other. PROMPT_MAX ids for each would be too much at large grids. */
struct pack {
    int32_t *ids;
    size_t *off; /* (places + 1) */
    size_t n, cap;
};

static void add_prompt(struct pack *k, int32_t place, const struct prompt *p) {
    if (k->n + (size_t)p->n > k->cap) {
        size_t cap = 2 * (k->n + (size_t)p->n);
        int32_t *ids = mem_must(cap * sizeof ids[0]);
        if (k->n > 0) memcpy(ids, k->ids, k->n * sizeof ids[0]);
        mem_free(k->ids);
        k->ids = ids;
        k->cap = cap;
    }
    memcpy(k->ids + k->n, p->ids, (size_t)p->n * sizeof p->ids[0]);
    k->n += (size_t)p->n;
    k->off[place + 1] = k->n;
}

static int tokenize_all(const struct model_config *c, const struct sptok *t, struct pack *k,
                        struct err *e) {
    struct prompt *p = mem_must(sizeof *p);
    int rc = 0, grid = c->pixel_grid;
    for (int i = 0; i < grid * grid && !rc; i++) {
        rc = prompt_pixel(c, t, i % grid, i / grid, p, e);
        if (!rc) add_prompt(k, i, p);
    }
    mem_free(p);
    return rc;
}

/* Tokens that all prompts begin with; each keeps at least one for itself. */
static int32_t common_ids(const struct pack *k, int32_t places) {
    size_t n = k->off[1] - 1;
    for (int32_t i = 0; i < places; i++) {
        const int32_t *ids = k->ids + k->off[i];
        size_t len = k->off[i + 1] - k->off[i], same = 0;
        while (same < n && same + 1 < len && ids[same] == k->ids[same])
            same++;
        n = same;
    }
    return (int32_t)n;
}

static int pixels_cut(struct pixels *p, const struct pack *k, int32_t places, struct err *e) {
    int32_t n = common_ids(k, places), at = 0;
    while (at < n && k->ids[at] != PROMPT_IMAGE)
        at++;
    if (at >= n - 1 || n > STEM_IDS_MAX)
        return err_set(e, E_UNSUPPORTED, "pixel prompts share no picture and text behind it");
    p->questions.n_stem_ids = n;
    p->stem_ids = mem_must((size_t)n * sizeof p->stem_ids[0]);
    memcpy(p->stem_ids, k->ids, (size_t)n * sizeof p->stem_ids[0]);
    p->ids = mem_must(k->n * sizeof p->ids[0]);
    memcpy(p->ids, k->ids, k->n * sizeof p->ids[0]);
    p->texts = mem_must((size_t)places * sizeof p->texts[0]);
    p->order = mem_must((size_t)places * sizeof p->order[0]);
    for (int32_t i = 0; i < places; i++) {
        int32_t len = (int32_t)(k->off[i + 1] - k->off[i]) - n;
        p->texts[i] = (struct tree_text){p->ids + k->off[i] + n, len};
        p->order[i] = i;
        if (len > p->text_max) p->text_max = len;
    }
    tree_sort(p->texts, p->order, places);
    for (int32_t i = 0; i + 1 < places; i++)
        if (tree_compare(&p->texts[p->order[i]], &p->texts[p->order[i + 1]]) >= 0)
            return err_set(e, E_UNSUPPORTED, "two pixels have the same prompt");
    return 0;
}

/* Sizes of the tree of all places. */
static int pixels_measure(struct pixels *p, int32_t places, struct err *e) {
    struct arena *mem = arena_new((size_t)1 << 30);
    struct tree t;
    int rc = mem ? tree_build(&t, mem, p->texts, places, p->order, 0) : E_NOMEM;
    if (!rc) {
        p->branch_tokens = t.branch_tokens;
        p->tail_max = t.tail_max;
        p->tree_tokens =
            (uint64_t)(p->questions.stem_tokens + t.branch_tokens) + (uint64_t)t.tail_tokens;
    }
    arena_free(mem);
    return rc ? err_set(e, rc, "no memory for the prompt tree") : 0;
}

int pixels_new(const struct model_config *c, const struct sptok *t, const struct grammar *g,
               struct pixels **out, struct err *e) {
    int32_t places = c->pixel_grid * c->pixel_grid;
    struct pixels *p = mem_must(sizeof *p);
    struct pack pack = {.off = mem_must(((size_t)places + 1) * sizeof pack.off[0])};
    *out = NULL;
    int rc = tokenize_all(c, t, &pack, e);
    if (!rc) rc = pixels_cut(p, &pack, places, e);
    mem_free(pack.ids);
    mem_free(pack.off);
    if (!rc) {
        struct questions *q = &p->questions;
        q->kind = KIND_COLOUR;
        q->grid = c->pixel_grid;
        q->n_texts = q->n_order = places;
        q->texts = p->texts;
        q->order = p->order;
        q->stem_ids = p->stem_ids;
        q->image_tokens = c->n_image_tokens;
        q->picture_rows = c->n_picture_rows;
        q->stem_tokens = q->n_stem_ids - 1 + q->image_tokens;
        q->answer_max = g->feed_max;
        q->explore_max = lane_explore_max(g);
        q->fields = g->n_fields;
        int32_t most = q->stem_tokens + p->text_max + q->answer_max;
        if (most > c->text.max_positions)
            rc = err_set(e, E_UNSUPPORTED, "a question takes %d positions, the model has %d", most,
                         c->text.max_positions);
    }
    if (!rc) rc = pixels_measure(p, places, e);
    if (rc)
        pixels_free(p);
    else
        *out = p;
    return rc;
}

void pixels_free(struct pixels *p) {
    if (!p) return;
    mem_free(p->ids);
    mem_free(p->stem_ids);
    mem_free(p->order);
    mem_free(p->texts);
    mem_free(p);
}
