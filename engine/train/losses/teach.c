/* teach.c - see teach.h. The teacher's logits come to the host, chunk by chunk, where the likeliest
 * tokens are picked; of two as likely the one with the lower number. Then both lists of targets, of
 * the right answers and of the teacher's, are one, by ascending token. */
#include "engine/train/losses/teach.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/train/internal.h"
#include "engine/train/legal.h"
#include "kernels/base/mem.h"
#include "kernels/base/num.h"

struct teach_part {
    int32_t token;
    float logit;
    double share;
};
struct teach {
    struct train *guest;
    float *logits;          /* (LOSS_CHUNK, V) */
    struct teach_part *top; /* (teach_top) */
};

/* ---- options ---- */

int teach_check(const struct train_options *o, struct err *e) {
    int any = o->has_taught;
    for (int i = 0; i < SAMPLE_TASKS; i++) {
        if (!(o->teach[i] >= 0 && o->teach[i] <= 1)) return err_set(e, E_INVALID, "teach: 0 to 1");
        any |= o->teach[i] > 0;
    }
    if (o->teach_top < 1 || o->teach_top > TRAIN_TEACH_TOP_MAX)
        return err_set(e, E_INVALID, "teach_top: 1 to %d", TRAIN_TEACH_TOP_MAX);
    if (any && !o->teacher)
        return err_set(e, E_INVALID, "teach is above 0, and no teacher is given: name its folder");
    if (!any && o->teacher)
        return err_set(e, E_INVALID, "teacher %s has nothing to teach: teach is 0 for every task",
                       o->teacher);
    return 0;
}

size_t teach_index_bytes(const struct train_options *o) {
    return o->teacher ? (size_t)o->teach_top * (sizeof(int32_t) + sizeof(float)) : 0;
}

/* ---- does it fit? ---- */

static int same_sizes(const struct model_config *a, const struct model_config *b, struct err *e) {
    const struct {
        const char *what;
        int here, there;
    } must_be[] = {
        {"tokens in its vocabulary", a->text.vocab_size, b->text.vocab_size},
        {"tokens of a picture", a->n_image_tokens, b->n_image_tokens},
        {"places of a side", a->pixel_grid, b->pixel_grid},
        {"as order of coordinates", (int)a->coord_order, (int)b->coord_order},
        {"spaces before [/INST]", a->inst_spaces, b->inst_spaces},
        {"tokens at the begin of a turn", a->bos_count, b->bos_count},
    };
    for (size_t i = 0; i < ARRAY_LEN(must_be); i++)
        if (must_be[i].here != must_be[i].there)
            return err_set(e, E_UNSUPPORTED,
                           "it has %d %s, the model that learns %d: a teacher takes its student's "
                           "prompts",
                           must_be[i].there, must_be[i].what, must_be[i].here);
    if (b->text.max_positions < a->text.max_positions)
        return err_set(e, E_UNSUPPORTED, "it has %d positions, the model that learns %d",
                       b->text.max_positions, a->text.max_positions);
    return 0;
}

static int same_tokens(const struct sptok *a, const struct sptok *b, struct err *e) {
    if (sptok_size(a) != sptok_size(b))
        return err_set(e, E_UNSUPPORTED,
                       "its tokenizer has %d tokens, that of the model that learns %d: a teacher "
                       "speaks its student's tokens",
                       sptok_size(b), sptok_size(a));
    for (int32_t i = 0; i < sptok_size(a); i++)
        if (strcmp(sptok_piece(a, i), sptok_piece(b, i)) != 0)
            return err_set(e, E_UNSUPPORTED,
                           "its token %d is \"%.24s\", that of the model that learns \"%.24s\": a "
                           "teacher speaks its student's tokens",
                           i, sptok_piece(b, i), sptok_piece(a, i));
    return 0;
}

static int teach_fits(const struct train *t, struct err *e) {
    struct model_config c;
    struct sptok *tok = NULL;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/tokenizer.model", t->o.teacher) >= (int)sizeof path)
        return err_set(e, E_INVALID, "the folder's name is too long");
    int rc = model_read_config(t->o.teacher, &c, e);
    if (!rc) rc = same_sizes(model_config(t->m), &c, e);
    if (!rc) rc = sptok_open(path, &tok, e);
    if (!rc) rc = same_tokens(t->tok, tok, e);
    sptok_close(tok);
    return rc;
}

/* ---- opening ---- */

int teach_open(struct train *t, struct err *e) {
    if (!t->o.teacher) return 0;
    int rc = teach_fits(t, e);
    if (rc) return err_in(e, "teacher %s", t->o.teacher), rc;
    struct teach *teach = t->teach = mem_try(sizeof *teach);
    if (!teach) return err_set(e, E_NOMEM, "no memory for a teacher");
    size_t vocab = (size_t)model_config(t->m)->text.vocab_size;
    teach->logits = mem_try(LOSS_CHUNK * vocab * sizeof *teach->logits);
    teach->top = mem_try((size_t)t->o.teach_top * sizeof *teach->top);
    if (!teach->logits || !teach->top) return err_set(e, E_NOMEM, "no memory for a teacher");
    rc = open_guest(t->o.teacher, t, &teach->guest, e);
    if (rc) return err_in(e, "teacher %s", t->o.teacher), rc;
    t->o.teacher = teach->guest->model;
    return 0;
}

void teach_close(struct train *t) {
    if (!t->teach) return;
    train_close(t->teach->guest);
    mem_free(t->teach->logits);
    mem_free(t->teach->top);
    mem_free(t->teach);
    t->teach = NULL;
}

const char *teach_digest(const struct train *t) {
    return t->teach ? model_digest(t->teach->guest->m) : "";
}

/* ---- its answer at a row ---- */

/* The likeliest tokens, the first one first. Returns how many. */
static int teach_find_top(const float *logits, int vocab, int most, struct teach_part *top) {
    int n = 0;
    for (int32_t token = 0; token < vocab; token++) {
        float logit = logits[token];
        if (n == most && !(logit > top[n - 1].logit)) continue;
        if (isinf(logit) && logit < 0) continue; /* illegal */
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && logit > top[at - 1].logit; at--)
            top[at] = top[at - 1];
        top[at] = (struct teach_part){.token = token, .logit = logit};
    }
    return n;
}

static int teach_by_token(const void *a, const void *b) {
    const struct teach_part *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

/* Their shares, which sum to 1, by ascending token. */
static int answer_at(struct teach *teach, const float *logits, int vocab, int most) {
    struct teach_part *top = teach->top;
    int n = teach_find_top(logits, vocab, most, top);
    double sum = 0, best = (double)top[0].logit;
    for (int i = 0; i < n; i++) {
        top[i].share = exp((double)top[i].logit - best);
        sum += top[i].share;
    }
    for (int i = 0; i < n; i++)
        top[i].share /= sum;
    qsort(top, (size_t)n, sizeof *top, teach_by_token);
    return n;
}

/* ---- among the targets ---- */

struct targets {
    int32_t *off, *target;
    float *share;
};

/* The targets of a pick: its own, and n of the teacher's that weigh `by` together. */
static void merge(struct targets *to, const struct mix *x, int pick, const struct teach_part *top,
                  int n, double by) {
    int32_t at = to->off[pick], own = x->target_off[pick], end = x->target_off[pick + 1];
    for (int k = 0; own < end || k < n; at++) {
        int is_own = own < end && (k == n || x->target[own] <= top[k].token);
        int is_top = k < n && (own == end || top[k].token <= x->target[own]);
        double share = is_own ? (double)x->share[own] : 0;
        to->target[at] = is_own ? x->target[own] : top[k].token;
        if (is_top) share += by * top[k].share;
        to->share[at] = (float)share;
        own += is_own;
        k += is_top;
    }
    to->off[pick + 1] = at;
}

static int answer_chunk(struct train *t, struct mix *x, struct targets *to, int at, int rows,
                        struct err *e) {
    struct teach *teach = t->teach;
    struct train *guest = teach->guest;
    int vocab = model_config(t->m)->text.vocab_size;
    loss_logits(guest, at, rows);
    legal_issue(t, x, at, rows, guest->b.logits);
    int rc = t->ops->get(t->k, teach->logits, guest->b.logits,
                         (size_t)rows * (size_t)vocab * sizeof *teach->logits, e);
    for (int i = 0; i < rows && !rc; i++) {
        double by = x->teach[at + i] / x->pick_sum[at + i];
        int n = 0;
        if (by > 0)
            n = answer_at(teach, teach->logits + (size_t)i * (size_t)vocab, vocab,
                          at_most(t->o.teach_top, vocab));
        merge(to, x, at + i, teach->top, n, by);
    }
    return rc;
}

int teach_answer(struct train *t, struct mix *x, struct arena *mem, const struct sample *s,
                 struct err *e) {
    int any = 0;
    for (int i = 0; x->teach && i < x->picks; i++)
        any |= x->teach[i] > 0;
    if (!any) return 0;
    struct train *guest = t->teach->guest;
    size_t most = (size_t)x->target_off[x->picks] + (size_t)x->picks * (size_t)t->o.teach_top;
    struct targets to = {.off = arena_take(mem, ((size_t)x->picks + 1) * sizeof *to.off),
                         .target = arena_take(mem, most * sizeof *to.target),
                         .share = arena_take(mem, most * sizeof *to.share)};
    if (!to.off || !to.target || !to.share) return err_set(e, E_NOMEM, "no memory for a sample");
    int rc = step_pictures(guest, s, x->pictures, e);
    if (rc) return rc;
    if (x->pictures) tower_forward(guest, x->pictures);
    decoder_forward(guest, x);
    loss_norm(guest, x);
    for (int at = 0; at < x->picks && !rc; at += LOSS_CHUNK)
        rc = answer_chunk(t, x, &to, at, at_most(x->picks - at, LOSS_CHUNK), e);
    if (rc) return rc;
    x->target_off = to.off;
    x->target = to.target;
    x->share = to.share;
    return mix_put(x, t, e);
}
