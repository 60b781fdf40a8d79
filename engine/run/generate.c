/* generate.c - choosing tokens, and the text they spell.
 *
 * The whole text is decoded from all its tokens each time, into a scratch that only the step thread
 * knows. What is new is copied behind what the asker may read already. A character whose bytes are
 * not all there yet (byte pieces) is held back until it is complete or the text ends.
 */
#include "engine/run/generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/rng.h"

/* A probability may underflow to zero. Its log is then that of the smallest one. */
static double log_of(float p) { return log(p > 1e-38f ? (double)p : 1e-38); }

double generate_score(const struct kinds *k, const int32_t *ids, int32_t n, struct rows_result r) {
    double sum = 0;
    for (int32_t i = 0; i <= n; i++)
        sum += log_of(r.probs[(size_t)i * (size_t)r.ldp + (size_t)(i < n ? ids[i] : k->eos)]);
    return sum;
}

/* ---- choosing ---- */

static int by_likelihood(const void *a, const void *b, void *probs) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const float *p = probs;
    if (p[x] != p[y]) return p[x] > p[y] ? -1 : 1;
    return (x > y) - (x < y);
}

static double weight(const float *probs, int32_t id, double most, double power) {
    return exp((log_of(probs[id]) - most) * power);
}

/* Temperature first, then top_p, as transformers has it (docs/model.md section 4.4). Weights are
 * summed likeliest first each time, so the sums can be compared. */
static int32_t sample(const struct job_text *t, const float *probs, int32_t n, int32_t *by_prob) {
    double top_p = t->how.top_p > 0 ? (double)t->how.top_p : 1.0,
           power = 1 / (double)t->how.temperature;
    for (int32_t i = 0; i < n; i++)
        by_prob[i] = i;
    qsort_r(by_prob, (size_t)n, sizeof by_prob[0], by_likelihood, (void *)(uintptr_t)probs);
    double most = log_of(probs[by_prob[0]]), all = 0, sum = 0;
    for (int32_t i = 0; i < n; i++)
        all += weight(probs, by_prob[i], most, power);
    int32_t few = 0;
    while (few < n && sum < top_p * all)
        sum += weight(probs, by_prob[few++], most, power);
    double at = (double)rng_uniform(t->how.seed, t->n) * sum;
    for (int32_t i = 0; i < few; i++) {
        at -= weight(probs, by_prob[i], most, power);
        if (at < 0) return by_prob[i];
    }
    return by_prob[0];
}

/* The ENG_TOP likeliest, by insertion. */
static void find_top(const float *probs, int32_t n, struct eng_token *t) {
    int have = 0;
    for (int i = 0; i < ENG_TOP; i++)
        t->top[i] = -1;
    for (int32_t v = 0; v < n; v++) {
        if (have == ENG_TOP && probs[v] <= probs[t->top[ENG_TOP - 1]]) continue;
        int i = have < ENG_TOP ? have++ : ENG_TOP - 1;
        for (; i > 0 && probs[v] > probs[t->top[i - 1]]; i--)
            t->top[i] = t->top[i - 1];
        t->top[i] = v;
    }
    for (int i = 0; i < have; i++)
        t->top_logprob[i] = (float)log_of(probs[t->top[i]]);
}

/* ---- the text ---- */

size_t generate_text_cap(const struct kinds *k, uint32_t max_tokens) {
    return (size_t)max_tokens * ((size_t)sptok_longest(k->tok) + 8) + 1;
}

/* How many of the last tokens are byte pieces that begin a character and don't end it. */
static uint32_t unfinished(const struct kinds *k, const struct job_text *t) {
    for (uint32_t back = 0; back < 3 && back < t->n; back++) {
        int byte = sptok_byte(k->tok, t->ids[t->n - 1 - back]);
        if (byte < 0x80) return 0; /* no byte piece, or a character of its own */
        if (byte < 0xc0) continue;
        uint32_t need = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
        return back < need ? back + 1 : 0;
    }
    return 0;
}

/* Decode into the scratch. Returns the bytes of complete characters, or of everything at the end. A
 * NUL becomes a blank: it is the one character that may not come back in JSON. */
static size_t generate_decode(const struct kinds *k, struct job_text *t, int is_end) {
    size_t len;
    uint32_t n = is_end ? t->n : t->n - unfinished(k, t);
    must(sptok_decode(k->tok, t->ids, n, t->scratch, t->cap, &len, NULL) == 0);
    must(len >= t->len);
    for (char *nul = t->scratch; (nul = memchr(nul, 0, len - (size_t)(nul - t->scratch))) != NULL;)
        *nul = ' ';
    return len;
}

int32_t generate_next(const struct kinds *k, struct eng_job *j, struct rows_result r,
                      int32_t *by_prob) {
    struct job_text *t = j->text;
    int32_t n = sptok_size(k->tok);
    struct eng_token token = {.id = t->how.temperature > 0 ? sample(t, r.probs, n, by_prob)
                                                           : *r.best};
    if (token.id == k->eos) {
        t->finish = ENG_STOPPED;
    } else {
        token.logprob = (float)log_of(r.probs[token.id]);
        find_top(r.probs, n, &token);
        t->ids[t->n++] = token.id;
        job_add_token(j, &token, generate_decode(k, t, 0));
        if (t->n == t->how.max_tokens) t->finish = ENG_CUT;
    }
    if (t->finish == ENG_GOES_ON) return token.id;
    job_end_text(j, generate_decode(k, t, 1));
    return -1;
}
