/* source.c - see source.h. A tensor's numbers hang on the seed and its name alone (FNV-1a). */
#include "engine/model/source.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/model.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/str.h"

static uint64_t seed_of(uint64_t seed, const char *name) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
    return rng_u64(h, seed);
}

struct spread {
    float mean, most; /* uniform in mean +- most */
};

static struct spread spread_of(const struct st_tensor *t) {
    const float to_most = sqrtf(3.0f); /* from a deviation to the ends */
    int is_norm = strstr(t->name, "norm") || strstr(t->name, "ln_");
    if (t->ndim == 1)
        return (struct spread){is_norm && has_suffix(t->name, ".weight"), 0.1f * to_most};
    if (t->dtype == ST_F32 || has_suffix(t->name, "embed_tokens.weight"))
        return (struct spread){0, to_most};
    float inputs = (float)t->elements / (float)(t->shape[0] > 0 ? t->shape[0] : 1);
    return (struct spread){0, to_most / sqrtf(inputs)};
}

/* ---- filling ---- */

/* One of LEVELS numbers for each eight bits of a draw: a table, and the draws of a large tensor shared out
 * among threads, so that 7 billion take seconds. */
enum { LEVELS = 256, PART_LEAST = 1 << 20, PARTS_MAX = 16 };

/* Numbers from .. end-1 of a tensor; `from` is a multiple of 8. */
struct part {
    float *f32; /* or */
    uint16_t *bf16;
    uint64_t from, end, seed;
    const float *level;
    pthread_t thread;
    int has_thread;
};

static void fill_f32(const struct part *p) {
    for (uint64_t i = p->from; i < p->end;) {
        uint64_t bits = rng_u64(p->seed, i / 8);
        for (uint64_t end = i + 8 < p->end ? i + 8 : p->end; i < end; bits >>= 8)
            p->f32[i++] = p->level[bits % LEVELS];
    }
}

static void fill_bf16(const struct part *p) {
    uint16_t rounded[LEVELS], *to = p->bf16;
    for (int i = 0; i < LEVELS; i++)
        rounded[i] = half_to_bf16(p->level[i]);
    uint64_t i = p->from;
    for (; i + 8 <= p->end; i += 8) {
        uint64_t bits = rng_u64(p->seed, i / 8);
        for (int k = 0; k < 8; k++, bits >>= 8)
            to[i + (uint64_t)k] = rounded[bits % LEVELS];
    }
    for (uint64_t bits = rng_u64(p->seed, i / 8); i < p->end; bits >>= 8)
        to[i++] = rounded[bits % LEVELS];
}

static void *fill_main(void *ud) {
    struct part *p = ud;
    p->f32 ? fill_f32(p) : fill_bf16(p);
    return NULL;
}

static void fill(const struct st_tensor *t, void *data, uint64_t seed) {
    struct spread s = spread_of(t);
    float level[LEVELS];
    for (int i = 0; i < LEVELS; i++)
        level[i] = s.mean + s.most * ((float)(2 * i + 1) / LEVELS - 1);
    int is_f32 = t->dtype == ST_F32;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t n = t->elements / PART_LEAST, most = cores < PARTS_MAX ? (uint64_t)cores : PARTS_MAX;
    n = n < 1 || cores < 1 ? 1 : n < most ? n : most;
    struct part parts[PARTS_MAX];
    for (uint64_t i = 0; i < n; i++) {
        parts[i] = (struct part){.f32 = is_f32 ? data : NULL,
                                 .bf16 = is_f32 ? NULL : data,
                                 .from = t->elements / n * i / 8 * 8,
                                 .end = t->elements / n * (i + 1) / 8 * 8,
                                 .seed = seed,
                                 .level = level};
        if (i + 1 == n) parts[i].end = t->elements;
        parts[i].has_thread =
            i > 0 && pthread_create(&parts[i].thread, NULL, fill_main, &parts[i]) == 0;
    }
    for (uint64_t i = 0; i < n; i++)
        if (parts[i].has_thread)
            (void)pthread_join(parts[i].thread, NULL);
        else
            (void)fill_main(&parts[i]);
}

/* ---- tensors ---- */

/* Room for the next tensor in place of the oldest: its memory, where that is enough. */
static void *make_room(struct source_made *m, size_t bytes) {
    if (m->data && m->room >= bytes) return m->data;
    mem_free(m->data);
    m->room = bytes ? bytes : 1;
    m->data = mem_try(m->room);
    return m->data;
}

static const struct st_tensor *make(struct source *s, const char *name, const int64_t *want,
                                    int ndim) {
    struct source_made *m = &s->made[s->next];
    m->t = (struct st_tensor){.name = m->name, .ndim = ndim, .elements = 1};
    (void)snprintf(m->name, sizeof m->name, "%s", name);
    for (int i = 0; i < ndim; i++) {
        m->t.shape[i] = want[i] < 0 ? s->any : want[i];
        m->t.elements *= (uint64_t)m->t.shape[i];
    }
    int is_wide = ndim == 1 || has_suffix(name, "cls_token") || has_suffix(name, "pos_embed");
    m->t.dtype = is_wide ? ST_F32 : ST_BF16;
    m->t.dtype_name = is_wide ? "F32" : "BF16";
    m->t.bytes = (size_t)m->t.elements * (is_wide ? 4 : 2);
    m->t.data = make_room(m, m->t.bytes);
    if (!m->data) return NULL;
    fill(&m->t, m->data, seed_of(s->seed, name));
    s->next = (s->next + 1) % SOURCE_HELD;
    return &m->t;
}

const struct st_tensor *source_find(struct source *s, const char *name, const int64_t *want,
                                    int ndim) {
    return s->st ? st_find(s->st, name) : make(s, name, want, ndim);
}

int source_has(const struct source *s, const char *name) {
    return !s->st || st_find(s->st, name) != NULL;
}

static int is_decoder_matrix(const struct st_tensor *t) {
    static const char layers[] = "model.layers.";
    return t->ndim == 2 && strncmp(t->name, layers, sizeof layers - 1) == 0;
}

uint64_t source_bytes(const struct source *s, const struct model_config *c, int as_fp8) {
    const struct model_vision *v = &c->vision;
    const struct model_text *t = &c->text;
    if (s->st) {
        uint64_t sum = 0;
        for (size_t i = 0; i < st_count(s->st); i++) {
            const struct st_tensor *one = st_at(s->st, i);
            sum += as_fp8 && is_decoder_matrix(one) ? one->elements : one->bytes;
        }
        return sum;
    }
    uint64_t e = (uint64_t)v->hidden_size, d = (uint64_t)t->hidden_size;
    uint64_t block = 4 * e * e + 2 * e * (uint64_t)v->intermediate_size;
    uint64_t layer = 4 * d * d + 3 * d * (uint64_t)t->intermediate_size;
    return (as_fp8 ? 1 : 2) * (uint64_t)t->layers * layer +
           2 * ((uint64_t)v->layers * block + (uint64_t)c->concat * e * d +
                (uint64_t)t->vocab_size * d);
}

void source_clear(struct source *s) {
    for (int i = 0; i < SOURCE_HELD; i++)
        mem_free(s->made[i].data);
}
