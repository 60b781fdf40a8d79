/* alone.c - see alone.h. */
#include "tests/unit/engine/alone.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/model.h"
#include "engine/picture/resize.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

enum { ROWS = 2048, TEXT = 64 };

struct alone *alone_open(const char *dir) {
    struct alone *a = mem_must(sizeof *a);
    struct err e = {0};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    CHECK_EQ(kern_find(eng_rig_backend(), &a->ops, &e), 0);
    CHECK_EQ(a->ops->open(&(struct kern_config){.threads = 2}, &a->k, &e), 0);
    CHECK_EQ(model_open(dir, NULL, a->ops, a->k, &a->m, &e), 0);
    CHECK_EQ(sptok_open(path, &a->tok, &e), 0);
    int vocab = model_config(a->m)->text.vocab_size;
    a->cols = mem_must((size_t)vocab * sizeof a->cols[0]);
    a->probs = mem_must((size_t)vocab * sizeof a->probs[0]);
    for (int i = 0; i < vocab; i++)
        a->cols[i] = i;
    a->col_off[1] = sptok_size(a->tok);
    CHECK_EQ(model_head_new(a->m, a->cols, vocab, &a->head, &e), 0);
    struct model_plan plan = {.rows_max = ROWS,
                              .picks_max = 1,
                              .kv_slots = ROWS,
                              .feats_max = ENG_PICTURES_MAX,
                              .cols_max = vocab};
    CHECK_EQ(model_plan(a->m, &plan, &e), 0);
    return a;
}

void alone_close(struct alone *a) {
    mem_free(a->cols);
    mem_free(a->probs);
    model_head_free(a->m, a->head);
    sptok_close(a->tok);
    model_close(a->m);
    a->ops->close(a->k);
    mem_free(a);
}

void alone_see(struct alone *a, const uint8_t *rgb, int w, int h, int feat) {
    int side = model_config(a->m)->vision.image_size;
    uint8_t *seen = mem_must((size_t)(side * side * 3));
    CHECK_EQ(resize_picture(rgb, w, h, seen, side, side, NULL), 0);
    model_encode(a->m, MODEL_BASE, seen, feat);
    mem_free(seen);
}

static void run(struct alone *a, const int32_t *src, int n) {
    static int32_t pos[ROWS], off[ROWS + 1];
    int32_t tail = 0, last = n - 1, set = 0;
    CHECK(a->n + n <= ROWS);
    for (int i = 0; i < n; i++)
        pos[i] = a->n + i;
    struct kern_attn_span span = {0, a->n};
    struct kern_attn_group group = {0, n, 0, a->n > 0, a->n};
    struct model_pick_group pick = {a->head, 0, 1, a->probs, a->col_off[1]};
    struct model_pass pass = {.rows = n,
                              .src = src,
                              .pos = pos,
                              .slot = pos,
                              .groups = &group,
                              .n_groups = 1,
                              .spans = &span,
                              .n_spans = a->n > 0,
                              .tail_off = off,
                              .tail = &tail,
                              .picks = 1,
                              .pick_row = &last,
                              .pick_groups = &pick,
                              .n_pick_groups = 1,
                              .pick_set = &set,
                              .col_off = a->col_off,
                              .cols = a->cols,
                              .n_sets = 1,
                              .best = &a->best};
    CHECK_EQ(model_run(a->m, &pass, NULL), 0);
    a->n += n;
}

void alone_begin(struct alone *a, const struct prompt *p) {
    static int32_t src[ROWS];
    int n = 0, feat = 0, tokens = model_config(a->m)->n_image_tokens;
    for (int i = 0; i < p->n; i++) {
        int is_picture = p->ids[i] == PROMPT_IMAGE;
        for (int j = 0; j < (is_picture ? tokens : 1); j++)
            src[n++] = is_picture ? ~(feat * tokens + j) : p->ids[i];
        feat += is_picture;
    }
    a->n = 0;
    run(a, src, n);
}

void alone_feed(struct alone *a, int32_t token) { run(a, &token, 1); }

int alone_generate(struct alone *a, const struct prompt *p, int max, int32_t *ids) {
    int n = 0;
    alone_begin(a, p);
    while (n < max && a->best != sptok_eos(a->tok)) {
        ids[n++] = a->best;
        if (n < max) alone_feed(a, a->best);
    }
    return n;
}

static size_t encode(const struct alone *a, const char *text, int32_t *ids) {
    size_t n;
    CHECK_EQ(sptok_encode(a->tok, text, strlen(text), SPTOK_PREFIX, ids, TEXT, &n, NULL), 0);
    return n;
}

double alone_score(struct alone *a, const struct prompt *p, const char *text) {
    int32_t ids[TEXT];
    size_t n = encode(a, text, ids);
    double sum = 0;
    alone_begin(a, p);
    for (size_t i = 0; i < n; i++) {
        sum += log((double)a->probs[ids[i]]);
        alone_feed(a, ids[i]);
    }
    return sum + log((double)a->probs[sptok_eos(a->tok)]);
}

/* Of the texts that still are possible after `depth` tokens, those whose next token is
 * likeliest. */
int alone_pick(struct alone *a, const struct prompt *p, const char *const *legal, int n) {
    int32_t(*ids)[TEXT] = mem_must((size_t)n * sizeof *ids);
    size_t *len = mem_must((size_t)n * sizeof *len);
    uint8_t *is_out = mem_must((size_t)n);
    for (int i = 0; i < n; i++)
        len[i] = encode(a, legal[i], ids[i]);
    int left = n, at = 0;
    alone_begin(a, p);
    for (size_t depth = 0; left > 1; depth++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (!is_out[i] && depth < len[i] &&
                (best < 0 || a->probs[ids[i][depth]] > a->probs[ids[best][depth]]))
                best = i;
        CHECK(best >= 0);
        left = 0;
        for (int i = 0; i < n; i++) {
            is_out[i] |= depth >= len[i] || ids[i][depth] != ids[best][depth];
            if (!is_out[i]) at = i;
            left += !is_out[i];
        }
        if (left > 1) alone_feed(a, ids[best][depth]);
    }
    mem_free(ids);
    mem_free(len);
    mem_free(is_out);
    return at;
}
