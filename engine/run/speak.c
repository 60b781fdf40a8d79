/* speak.c - drawing tokens, and telling their text.
 *
 * The text is decoded anew from all tokens each time, into a scratch that only the step thread knows;
 * what is new of it is copied behind what was told. A character whose bytes are still to come
 * (byte pieces) is held back until it is whole, or the text ends.
 */
#include "engine/run/speak.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/rng.h"

/* A probability may underflow to zero; its log is told as that of the smallest one. */
static double log_of(float p) { return log(p > 1e-38f ? (double)p : 1e-38); }

double speak_score(const struct forms *f, const int32_t *ids, int32_t n, struct batch_result r) {
    double sum = 0;
    for (int32_t i = 0; i <= n; i++)
        sum += log_of(r.probs[(size_t)i * (size_t)r.ldp + (size_t)(i < n ? ids[i] : f->eos)]);
    return sum;
}

/* ---- choosing ---- */

static int by_likelihood(const void *a, const void *b, void *probs) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const float *p = probs;
    if (p[x] != p[y]) return p[x] > p[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* The tokens that may be drawn: by_prob[0 .. return), likeliest first. */
static int32_t nucleus(const float *probs, int32_t n, double top_p, int32_t *by_prob) {
    for (int32_t i = 0; i < n; i++)
        by_prob[i] = i;
    qsort_r(by_prob, (size_t)n, sizeof by_prob[0], by_likelihood, (void *)(uintptr_t)probs);
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += (double)probs[by_prob[i]];
        if (sum >= top_p) return i + 1;
    }
    return n;
}

static int32_t draw(const struct speech *s, const float *probs, int32_t n, int32_t *by_prob) {
    double top_p = s->how.top_p > 0 ? (double)s->how.top_p : 1.0,
           power = 1 / (double)s->how.temperature;
    int32_t few = nucleus(probs, n, top_p, by_prob);
    double most = log_of(probs[by_prob[0]]), sum = 0;
    for (int32_t i = 0; i < few; i++)
        sum += exp((log_of(probs[by_prob[i]]) - most) * power);
    double at = (double)rng_uniform(s->how.seed, s->n) * sum;
    for (int32_t i = 0; i < few; i++) {
        at -= exp((log_of(probs[by_prob[i]]) - most) * power);
        if (at < 0) return by_prob[i];
    }
    return by_prob[0];
}

/* The ENG_TOP likeliest, by insertion. */
static void tell_top(const float *probs, int32_t n, struct eng_token *t) {
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

/* ---- telling ---- */

size_t speak_text_cap(const struct forms *f, uint32_t max_tokens) {
    return (size_t)max_tokens * ((size_t)sptok_longest(f->tok) + 8) + 1;
}

/* The last ones of n byte pieces that begin a character and do not end it. */
static uint32_t unfinished(const struct forms *f, const struct speech *s) {
    for (uint32_t back = 0; back < 3 && back < s->n; back++) {
        int byte = sptok_byte(f->tok, s->ids[s->n - 1 - back]);
        if (byte < 0x80) return 0; /* no byte piece, or a character of its own */
        if (byte < 0xc0) continue;
        uint32_t need = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
        return back < need ? back + 1 : 0;
    }
    return 0;
}

/* Bytes of the text that can be told. */
static size_t decode(const struct forms *f, struct speech *s, int is_end) {
    size_t len;
    uint32_t n = is_end ? s->n : s->n - unfinished(f, s);
    must(sptok_decode(f->tok, s->ids, n, s->scratch, s->text_cap, &len, NULL) == 0);
    must(len >= s->text_len);
    return len;
}

static void tell(const struct forms *f, struct eng_job *j, const struct eng_token *t) {
    struct speech *s = j->speech;
    s->ids[s->n++] = t->id;
    job_speak(j, t, decode(f, s, 0));
}

int32_t speak_next(const struct forms *f, struct eng_job *j, struct batch_result r,
                   int32_t *by_prob) {
    struct speech *s = j->speech;
    int32_t n = sptok_size(f->tok);
    struct eng_token t = {.id = s->how.temperature > 0 ? draw(s, r.probs, n, by_prob) : *r.best};
    if (t.id == f->eos) {
        s->finish = ENG_STOPPED;
    } else {
        t.logprob = (float)log_of(r.probs[t.id]);
        tell_top(r.probs, n, &t);
        tell(f, j, &t);
        if (s->n == s->how.max_tokens) s->finish = ENG_CUT;
    }
    if (s->finish == ENG_GOES_ON) return t.id;
    job_speak_end(j, decode(f, s, 1));
    return -1;
}
