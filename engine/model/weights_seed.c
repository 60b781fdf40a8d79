/* weights_seed.c - weights made from a seed: the numbers of a tensor depend on the seed and its
 * name alone.
 *
 * A tensor has LEVELS different numbers, one for each eight bits of a random number: a table
 * look-up each. A large tensor is shared out among threads. So seven billion numbers take seconds.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "engine/model/model.h"
#include "engine/model/weights.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/str.h"

/* FNV-1a of the name, mixed with the seed. */
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

enum { LEVELS = 256, SLICE_LEAST = 1 << 20, SLICES_MAX = 16 };

/* Numbers from .. end-1 of a tensor, for one thread. `from` is a multiple of 8. */
struct slice {
    float *f32; /* or */
    uint16_t *bf16;
    uint64_t from, end, seed;
    const float *level;
    pthread_t thread;
    int has_thread;
};

static void fill_f32(const struct slice *s) {
    for (uint64_t i = s->from; i < s->end;) {
        uint64_t bits = rng_u64(s->seed, i / 8);
        for (uint64_t end = i + 8 < s->end ? i + 8 : s->end; i < end; bits >>= 8)
            s->f32[i++] = s->level[bits % LEVELS];
    }
}

static void fill_bf16(const struct slice *s) {
    uint16_t rounded[LEVELS], *to = s->bf16;
    for (int i = 0; i < LEVELS; i++)
        rounded[i] = half_to_bf16(s->level[i]);
    uint64_t i = s->from;
    for (; i + 8 <= s->end; i += 8) {
        uint64_t bits = rng_u64(s->seed, i / 8);
        for (int k = 0; k < 8; k++, bits >>= 8)
            to[i + (uint64_t)k] = rounded[bits % LEVELS];
    }
    for (uint64_t bits = rng_u64(s->seed, i / 8); i < s->end; bits >>= 8)
        to[i++] = rounded[bits % LEVELS];
}

static void *fill_main(void *ud) {
    struct slice *s = ud;
    s->f32 ? fill_f32(s) : fill_bf16(s);
    return NULL;
}

static void weights_seed_fill(const struct st_tensor *t, void *data, uint64_t seed) {
    struct spread s = spread_of(t);
    float level[LEVELS];
    for (int i = 0; i < LEVELS; i++)
        level[i] = s.mean + s.most * ((float)(2 * i + 1) / LEVELS - 1);
    int is_f32 = t->dtype == ST_F32;
    int cores = cgroup_processors();
    uint64_t n = t->elements / SLICE_LEAST,
             most = cores < SLICES_MAX ? (uint64_t)cores : SLICES_MAX;
    n = n < 1 ? 1 : n < most ? n : most;
    struct slice slices[SLICES_MAX];
    for (uint64_t i = 0; i < n; i++) {
        slices[i] = (struct slice){.f32 = is_f32 ? data : NULL,
                                   .bf16 = is_f32 ? NULL : data,
                                   .from = t->elements / n * i / 8 * 8,
                                   .end = t->elements / n * (i + 1) / 8 * 8,
                                   .seed = seed,
                                   .level = level};
        if (i + 1 == n) slices[i].end = t->elements;
        slices[i].has_thread =
            i > 0 && pthread_create(&slices[i].thread, NULL, fill_main, &slices[i]) == 0;
    }
    for (uint64_t i = 0; i < n; i++)
        if (slices[i].has_thread)
            (void)pthread_join(slices[i].thread, NULL);
        else
            (void)fill_main(&slices[i]);
}

/* ---- tensors ---- */

/* Room for the next tensor in place of the oldest: its memory, where that is enough. */
static void *make_room(struct weights_made *m, size_t bytes) {
    if (m->data && m->room >= bytes) return m->data;
    mem_free(m->data);
    m->room = bytes ? bytes : 1;
    m->data = mem_try(m->room);
    return m->data;
}

static int seed_find(struct weights *w, const char *name, const int64_t *want, int ndim,
                     const struct st_tensor **out) {
    struct weights_seed *s = (struct weights_seed *)w;
    struct weights_made *m = &s->made[s->next];
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
    if (w->only_shapes) {
        *out = &m->t;
        s->next = (s->next + 1) % WEIGHTS_HELD;
        return 0;
    }
    m->t.data = make_room(m, m->t.bytes);
    if (!m->data) return E_NOMEM;
    weights_seed_fill(&m->t, m->data, seed_of(s->seed, name));
    s->next = (s->next + 1) % WEIGHTS_HELD;
    *out = &m->t;
    return 0;
}

static const struct st_tensor *seed_each(const struct weights *w, size_t i) {
    (void)w;
    (void)i;
    return NULL;
}

void weights_of_seed(struct weights_seed *s, uint64_t seed, int64_t any) {
    *s = (struct weights_seed){
        .w = {.find = seed_find, .each = seed_each}, .seed = seed, .any = any};
}

void weights_seed_clear(struct weights_seed *s) {
    for (int i = 0; i < WEIGHTS_HELD; i++)
        mem_free(s->made[i].data);
}
