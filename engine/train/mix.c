/* mix.c - a sample becomes a pass: talks are read, sorted, put into the trie, and laid out. */
#include "engine/train/mix.h"

#include <stdlib.h>
#include <string.h>

#include "engine/train/internal.h"

static int mix_no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for a sample"); }

/* ---- talks ---- */

/* The token behind which the talk ends predicts nothing, so it is no row. */
static int32_t rows_of(const struct talk *t) { return t->n - 1; }

static int by_tokens(const void *a, const void *b, void *talks) {
    int32_t i = *(const int32_t *)a, k = *(const int32_t *)b;
    const struct talk *x = (const struct talk *)talks + i, *y = (const struct talk *)talks + k;
    for (int32_t at = 0; at < x->n && at < y->n; at++)
        if (x->ids[at] != y->ids[at]) return x->ids[at] < y->ids[at] ? -1 : 1;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (i > k) - (i < k);
}

/* Rows that two talks share when they are neighbours in the order. */
static int32_t shared(const struct talk *a, const struct talk *b) {
    int32_t n = rows_of(a) < rows_of(b) ? rows_of(a) : rows_of(b), i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

static int read_talks(struct talk *talks, int32_t *order, struct mix *x, struct arena *mem,
                      const struct train *t, const struct sample *s, struct err *e) {
    int rc = 0;
    for (uint32_t i = 0; i < s->n_talks && !rc; i++) {
        rc = talk_read(&talks[i], mem, t, s, i, e);
        if (rc) return rc;
        order[i] = (int32_t)i;
        x->rows_plain += (uint64_t)rows_of(&talks[i]);
        for (int32_t k = 0; k < talks[i].n_answers; k++)
            x->tokens += (uint64_t)talks[i].answers[k].n;
        if (talks[i].pictures > x->pictures) x->pictures = talks[i].pictures;
    }
    x->talks = s->n_talks;
    if (x->pictures > t->o.pictures)
        return err_set(e, E_TOO_BIG, "the sample has %d pictures, at most %d (pictures)",
                       x->pictures, t->o.pictures);
    qsort_r(order, s->n_talks, sizeof *order, by_tokens, talks);
    return 0;
}

/* ---- sources ---- */

struct mix_source {
    int32_t key, row;
};

static int by_key(const void *a, const void *b) {
    const struct mix_source *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Where rows come from, the other way round: of tokens when the table learns, of pictures when
 * connector or tower do. */
static int put_sources(struct mix *x, struct arena *mem, const struct train *t, struct err *e) {
    size_t n = 0, rows = (size_t)x->rows;
    int has_tokens = t->o.text == TRAIN_TEXT_FULL, has_feats = t->o.tower || t->o.connector;
    struct mix_source *list = arena_take(mem, rows * sizeof *list);
    x->source_key = arena_take(mem, rows * sizeof(int32_t));
    x->source_off = arena_take(mem, (rows + 1) * sizeof(int32_t));
    x->source_from = arena_take(mem, rows * sizeof(int32_t));
    if (!list || !x->source_key || !x->source_off || !x->source_from) return mix_no_memory(e);
    for (int32_t i = 0; i < x->rows; i++)
        if (x->src[i] >= 0 ? has_tokens : has_feats) list[n++] = (struct mix_source){x->src[i], i};
    qsort(list, n, sizeof *list, by_key);
    for (size_t i = 0; i < n; i++) {
        if (!i || list[i].key != list[i - 1].key) {
            x->source_key[x->n_sources] = list[i].key;
            x->source_off[x->n_sources++] = (int32_t)i;
        }
        x->source_from[i] = list[i].row;
    }
    x->source_off[x->n_sources] = (int32_t)n;
    return 0;
}

/* ---- all of it ---- */

static int grow(struct trie *trie, struct aims *aims, struct mix *x, struct arena *mem,
                const struct train *t, const struct sample *s, const struct talk *talks,
                const int32_t *order, struct err *e) {
    int32_t longest = model_config(t->m)->text.max_positions;
    int rc = trie_init(trie, mem, t->o.rows, longest, e);
    if (!rc) rc = aim_init(aims, mem, talks, s->n_talks, e);
    for (uint32_t i = 0; i < s->n_talks && !rc; i++) {
        const struct talk *talk = &talks[order[i]];
        int32_t same = i ? shared(&talks[order[i - 1]], talk) : 0;
        rc = trie_add(trie, talk->ids, rows_of(talk), same, e);
        if (!rc) rc = aim_add(aims, mem, t, trie, s, talk, (uint32_t)order[i], e);
    }
    if (!rc) rc = trie_lay(trie, x, mem, e);
    if (!rc) rc = aim_lay(aims, x, mem, t, trie, s, e);
    return rc;
}

static int check_sample(const struct sample *s, struct err *e) {
    if (!s->talks || s->n_talks < 1 || s->n_talks > SAMPLE_TALKS_MAX)
        return err_set(e, E_INVALID, "a sample has %u talks, 1 to %d are legal", s->n_talks,
                       SAMPLE_TALKS_MAX);
    if (s->n_pictures > SAMPLE_PICTURES_MAX)
        return err_set(e, E_TOO_BIG, "a sample has %u pictures, at most %d", s->n_pictures,
                       SAMPLE_PICTURES_MAX);
    for (uint32_t i = 0; i < s->n_pictures; i++)
        if (!s->pictures[i].rgb || s->pictures[i].w < 1 || s->pictures[i].h < 1)
            return err_set(e, E_INVALID, "picture %u of the sample is empty", i);
    return 0;
}

int mix_build(struct mix *x, struct arena *mem, struct train *t, const struct sample *s,
              struct err *e) {
    struct trie trie;
    struct aims aims;
    *x = (struct mix){0};
    int rc = check_sample(s, e);
    if (rc) return rc;
    struct talk *talks = arena_take(mem, s->n_talks * sizeof *talks);
    int32_t *order = arena_take(mem, s->n_talks * sizeof *order);
    if (!talks || !order) return mix_no_memory(e);
    rc = read_talks(talks, order, x, mem, t, s, e);
    if (!rc) rc = grow(&trie, &aims, x, mem, t, s, talks, order, e);
    if (!rc) rc = put_sources(x, mem, t, e);
    return rc;
}

/* ---- to the device ---- */

struct packer {
    char *to;
    size_t at, most;
    struct kern_ptr base;
};

/* n items behind what is packed so far, aligned to 64 bytes. */
static struct kern_ptr mix_pack(struct packer *p, const void *from, size_t n, size_t item) {
    struct kern_ptr at = kern_at(p->base, p->at);
    size_t bytes = n * item;
    if (p->at > p->most || bytes + 63 > p->most - p->at) {
        p->at = SIZE_MAX;
        return at;
    }
    if (bytes) memcpy(p->to + p->at, from, bytes);
    p->at += (bytes + 63) & ~(size_t)63;
    return at;
}

static struct kern_ptr pack_ints(struct packer *p, const int32_t *from, int n) {
    return mix_pack(p, from, (size_t)n, sizeof *from);
}

int mix_put(struct mix *x, struct train *t, struct err *e) {
    struct packer p = {.to = t->staging, .most = t->b.index_bytes, .base = t->b.index};
    struct mix_lists *at = &x->at;
    size_t f32 = sizeof(float);
    at->src = pack_ints(&p, x->src, x->rows);
    at->pos = pack_ints(&p, x->pos, x->rows);
    at->slot = pack_ints(&p, x->slot, x->rows);
    at->groups = mix_pack(&p, x->groups, (size_t)x->n_groups, sizeof *x->groups);
    at->spans = mix_pack(&p, x->spans, (size_t)x->n_spans, sizeof *x->spans);
    at->tail_off = pack_ints(&p, x->tail_off, x->rows + 1);
    at->tail = pack_ints(&p, x->tail, x->tail_off[x->rows]);
    at->user_slot = pack_ints(&p, x->user_slot, x->n_users);
    at->user_off = pack_ints(&p, x->user_off, x->n_users + 1);
    at->user = pack_ints(&p, x->user, x->tail_off[x->rows]);
    at->pick_row = pack_ints(&p, x->pick_row, x->picks);
    at->target_off = pack_ints(&p, x->target_off, x->picks + 1);
    at->target = pack_ints(&p, x->target, x->target_off[x->picks]);
    at->share = mix_pack(&p, x->share, (size_t)x->target_off[x->picks], f32);
    at->weight = mix_pack(&p, x->weight, (size_t)x->picks, f32);
    at->legal = pack_ints(&p, x->legal, x->picks);
    at->source_key = pack_ints(&p, x->source_key, x->n_sources);
    at->source_off = pack_ints(&p, x->source_off, x->n_sources + 1);
    at->source_from = pack_ints(&p, x->source_from, x->source_off[x->n_sources]);
    at->box_pick = pack_ints(&p, x->box_pick, 4 * x->boxes);
    at->box_target = mix_pack(&p, x->box_target, 4 * (size_t)x->boxes, f32);
    at->box_weight = mix_pack(&p, x->box_weight, (size_t)x->boxes, f32);
    if (x->boxes) {
        const struct train_family *f = t->numbers.families;
        at->box_cols = pack_ints(&p, f[t->numbers.box].token, TRAIN_BOX_MOST + 1);
        at->box_cols_end = pack_ints(&p, f[t->numbers.box_end].token, TRAIN_BOX_MOST + 1);
    }
    at->holds = mix_pack(&p, x->holds, (size_t)x->n_holds, sizeof *x->holds);
    at->hold_slots = pack_ints(&p, x->hold_slots, x->n_hold_slots);
    if (p.at == SIZE_MAX)
        return err_set(e, E_TOO_BIG, "the sample's lists take over %zu bytes: give it fewer talks",
                       p.most);
    t->ops->put(t->k, t->b.index, p.to, p.at);
    return 0;
}
