/* attend.c - the backward pass of attention on AMX tiles, for training on a CPU that has them.
 *
 * PyTorch's own backward pass of attention doesn't use them and takes most of a training step. This one works on
 * the transposed scores S' (keys, queries) of one head, in strips of 32 keys:
 *
 *     P' = exp(scale K Q' - lse)      dP' = V dO'      dS' = scale P' (dP' - delta), delta = sum over d of dO O
 *     dV = P' dO                      dK = dS' Q       dQ' += K' dS'
 *
 * so that what belongs to a query (lse, delta) lies along a vector, and a tile of bf16 results is the left
 * factor of the next product as it stands. Head size 32: one tile row. Sums are f32, factors bf16, as forward.
 * Nothing is owned; one call, its threads, and it is over. Built and bound by attend.py. */
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { D = 32, STRIP = 32, TILE = 16 * 16 };
typedef uint16_t bf16;

struct job {
    int heads, heads_of_mask, tq, tk; /* heads: pictures times heads; so many of them share a mask */
    float scale;
    const bf16 *q, *k, *v, *out, *dout; /* (heads, t, D) */
    const float *lse;                   /* (heads, tq) */
    const uint8_t *mask;                /* (heads / heads_of_mask, tk, tq): 1 may be seen; NULL: all */
    bf16 *dq, *dk, *dv;
    int next; /* the head that is taken next */
    int failed;
};

/* Room for one head, queries padded to whole blocks of 32. */
struct room {
    int nq;
    bf16 *q_t, *do_t; /* (D/2, nq) pairs: right factor, depth d */
    bf16 *q_v, *do_v; /* (nq/2, D) pairs: right factor, depth query */
    bf16 *p, *ds;     /* (32 keys, nq): left factors */
    bf16 *ds_v;       /* (16, nq) pairs of keys: right factor, depth key */
    float *dq;        /* (D, nq) */
    float *lse, *delta;
};

static float wide(bf16 x) {
    uint32_t u = (uint32_t)x << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static bf16 narrow(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return (bf16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static void configure(void) {
    struct { uint8_t palette, start, pad[14]; uint16_t bytes[16]; uint8_t rows[16]; } c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.bytes[i] = 64;
        c.rows[i] = 16;
    }
    _tile_loadconfig(&c);
}

/* exp, to some six digits */
static inline __m512 exp16(__m512 x) {
    x = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    x = _mm512_max_ps(x, _mm512_set1_ps(-120.0f));
    __m512 n = _mm512_roundscale_ps(x, 0), f = _mm512_sub_ps(x, n);
    __m512 y = _mm512_set1_ps(0.00133389f);
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.00961813f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.05550411f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.24022651f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(0.69314718f));
    y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, n);
}

/* Queries of a head as right factors, and what is known of each. */
static void lay_queries(const struct job *j, int head, struct room *r) {
    size_t at = (size_t)head * (size_t)j->tq;
    const bf16 *q = j->q + at * D, *dout = j->dout + at * D, *out = j->out + at * D;
    for (int i = 0; i < j->tq; i++) {
        float sum = 0.0f;
        for (int d = 0; d < D; d++) {
            int t = (d / 2 * r->nq + i) * 2 + d % 2, v = (i / 2 * D + d) * 2 + i % 2;
            r->q_t[t] = r->q_v[v] = q[i * D + d];
            r->do_t[t] = r->do_v[v] = dout[i * D + d];
            sum += wide(out[i * D + d]) * wide(dout[i * D + d]);
        }
        r->delta[i] = sum;
        r->lse[i] = j->lse[at + (size_t)i];
    }
    memset(r->dq, 0, sizeof *r->dq * (size_t)(D * r->nq));
}

/* A strip of 32 keys: left factors for scores, and for dQ'. */
static void lay_keys(const bf16 *k, int n, bf16 *rows, bf16 *columns) {
    memset(rows, 0, sizeof *rows * STRIP * D);
    memcpy(rows, k, sizeof *rows * (size_t)(n * D));
    for (int d = 0; d < D; d++)
        for (int i = 0; i < STRIP; i++)
            columns[d * STRIP + i] = rows[i * D + d];
}

static inline __m512i pairs(__m512 low, __m512 high) {
    __m512i a = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low));
    __m512i b = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

/* Scores of 32 keys and 32 queries -> P', dS' in both layouts. s, dp: four tiles (key half, query half). */
static void finish_block(const struct job *j, const struct room *r, const uint8_t *mask, int n, int at,
                         const float *s, const float *dp) {
    __m512 scale = _mm512_set1_ps(j->scale);
    for (int key = 0; key < STRIP; key += 2) {
        __m512 p[2][2], ds[2][2];
        for (int a = 0; a < 2; a++)
            for (int half = 0; half < 2; half++) {
                int from = ((key + a) / 16 * 2 + half) * TILE + (key + a) % 16 * 16, i = at + half * 16;
                __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(s + from), scale, _mm512_loadu_ps(r->lse + i));
                __mmask16 seen = 0xffff;
                if (mask) {
                    int left = j->tq - i < 16 ? j->tq - i : 16;
                    __mmask16 ok = key + a < n && left > 0 ? (__mmask16)((1u << left) - 1) : 0;
                    seen = _mm_test_epi8_mask(_mm_maskz_loadu_epi8(ok, mask + (size_t)(key + a) * (size_t)j->tq + i),
                                              _mm_set1_epi8(1));
                }
                p[a][half] = _mm512_maskz_mov_ps(seen, exp16(x));
                __m512 off = _mm512_sub_ps(_mm512_loadu_ps(dp + from), _mm512_loadu_ps(r->delta + i));
                ds[a][half] = _mm512_mul_ps(_mm512_mul_ps(p[a][half], off), scale);
            }
        for (int a = 0; a < 2; a++) {
            size_t to = (size_t)(key + a) * (size_t)r->nq + (size_t)at;
            _mm512_storeu_si512(r->p + to, (__m512i)_mm512_cvtne2ps_pbh(p[a][1], p[a][0]));
            _mm512_storeu_si512(r->ds + to, (__m512i)_mm512_cvtne2ps_pbh(ds[a][1], ds[a][0]));
        }
        for (int half = 0; half < 2; half++)
            _mm512_storeu_si512(r->ds_v + ((size_t)(key / 2) * (size_t)r->nq + (size_t)(at + half * 16)) * 2,
                                pairs(ds[0][half], ds[1][half]));
    }
}

static void scores(const struct job *j, const struct room *r, const uint8_t *mask, int n, const bf16 *k,
                   const bf16 *v) {
    float s[4 * TILE] __attribute__((aligned(64))), dp[4 * TILE] __attribute__((aligned(64)));
    int ld = r->nq * 4;
    for (int at = 0; at < r->nq; at += 32) {
        for (int which = 0; which < 2; which++) {
            const bf16 *left = which ? v : k, *right = which ? r->do_t : r->q_t;
            float *to = which ? dp : s;
            _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
            _tile_loadd(4, left, D * 2);
            _tile_loadd(5, left + 16 * D, D * 2);
            _tile_loadd(6, right + at * 2, ld);
            _tile_loadd(7, right + (at + 16) * 2, ld);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            _tile_stored(0, to, 64);
            _tile_stored(1, to + TILE, 64);
            _tile_stored(2, to + 2 * TILE, 64);
            _tile_stored(3, to + 3 * TILE, 64);
        }
        finish_block(j, r, mask, n, at, s, dp);
    }
}

/* to (n <= 32, D) = left (32, nq) x right, depth query */
static void gather(const struct room *r, const bf16 *left, const bf16 *right, int n, bf16 *to) {
    float sum[4 * TILE] __attribute__((aligned(64)));
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    for (int at = 0; at < r->nq; at += 32) {
        _tile_loadd(4, left + at, r->nq * 2);
        _tile_loadd(5, left + 16 * r->nq + at, r->nq * 2);
        _tile_loadd(6, right + at * D, D * 4);
        _tile_loadd(7, right + at * D + 32, D * 4);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sum, 64);
    _tile_stored(1, sum + TILE, 64);
    _tile_stored(2, sum + 2 * TILE, 64);
    _tile_stored(3, sum + 3 * TILE, 64);
    for (int i = 0; i < n; i++)
        for (int d = 0; d < D; d++)
            to[i * D + d] = narrow(sum[(i / 16 * 2 + d / 16) * TILE + i % 16 * 16 + d % 16]);
}

/* dQ' (D, nq) += K' (D, 32) dS' */
static void spread(const struct room *r, const bf16 *k_columns) {
    _tile_loadd(4, k_columns, STRIP * 2);
    _tile_loadd(5, k_columns + 16 * STRIP, STRIP * 2);
    for (int at = 0; at < r->nq; at += 32) {
        float *to = r->dq + at, *low = to + 16 * r->nq;
        int ld = r->nq * 4;
        _tile_loadd(6, r->ds_v + at * 2, ld);
        _tile_loadd(7, r->ds_v + (at + 16) * 2, ld);
        _tile_loadd(0, to, ld);
        _tile_loadd(1, to + 16, ld);
        _tile_loadd(2, low, ld);
        _tile_loadd(3, low + 16, ld);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _tile_stored(0, to, ld);
        _tile_stored(1, to + 16, ld);
        _tile_stored(2, low, ld);
        _tile_stored(3, low + 16, ld);
    }
}

static void one_head(const struct job *j, int head, struct room *r) {
    bf16 k[STRIP * D] __attribute__((aligned(64))), v[STRIP * D] __attribute__((aligned(64)));
    bf16 k_columns[D * STRIP] __attribute__((aligned(64))), unused[D * STRIP];
    lay_queries(j, head, r);
    for (int key = 0; key < j->tk; key += STRIP) {
        int n = j->tk - key < STRIP ? j->tk - key : STRIP;
        size_t at = (size_t)head * (size_t)j->tk + (size_t)key;
        const uint8_t *mask = j->mask;
        if (mask)
            mask += ((size_t)(head / j->heads_of_mask) * (size_t)j->tk + (size_t)key) * (size_t)j->tq;
        lay_keys(j->k + at * D, n, k, k_columns);
        lay_keys(j->v + at * D, n, v, unused);
        scores(j, r, mask, n, k, v);
        gather(r, r->p, r->do_v, n, j->dv + at * D);
        gather(r, r->ds, r->q_v, n, j->dk + at * D);
        spread(r, k_columns);
    }
    bf16 *dq = j->dq + (size_t)head * (size_t)j->tq * D;
    for (int i = 0; i < j->tq; i++)
        for (int d = 0; d < D; d++)
            dq[i * D + d] = narrow(r->dq[d * r->nq + i]);
}

static void *work(void *arg) {
    struct job *j = arg;
    struct room r = {.nq = (j->tq + 31) / 32 * 32};
    size_t nq = (size_t)r.nq, halves = nq * D * 4 + nq * STRIP * 3, floats = nq * D + nq * 2;
    char *block = aligned_alloc(64, (halves * 2 + floats * 4 + 63) / 64 * 64);
    if (!block) {
        j->failed = 1;
        return NULL;
    }
    memset(block, 0, halves * 2 + floats * 4);
    bf16 *h = (bf16 *)block;
    r.q_t = h, r.do_t = h + nq * D, r.q_v = h + nq * D * 2, r.do_v = h + nq * D * 3, h += nq * D * 4;
    r.p = h, r.ds = h + nq * STRIP, r.ds_v = h + nq * STRIP * 2;
    r.dq = (float *)(h + nq * STRIP * 3), r.lse = r.dq + nq * D, r.delta = r.lse + nq;
    for (size_t i = 0; i < nq; i++)
        r.lse[i] = INFINITY; /* padding is not seen */
    configure();
    for (int head; (head = __atomic_fetch_add(&j->next, 1, __ATOMIC_RELAXED)) < j->heads;)
        one_head(j, head, &r);
    _tile_release();
    free(block);
    return NULL;
}

/* May this process use tiles? The kernel wants to be asked. */
int attend_ready(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}

/* Gradients of softmax(scale q k') v; see struct job. 0, or -1: no memory. */
int attend_back(int heads, int heads_of_mask, int tq, int tk, float scale, const bf16 *q, const bf16 *k,
                const bf16 *v, const bf16 *out, const bf16 *dout, const float *lse, const uint8_t *mask, bf16 *dq,
                bf16 *dk, bf16 *dv, int threads) {
    struct job j = {heads, heads_of_mask, tq, tk, scale, q, k, v, out, dout, lse, mask, dq, dk, dv, 0, 0};
    pthread_t more[16];
    int n = 0;
    while (n < threads - 1 && n < 16 && pthread_create(&more[n], NULL, work, &j) == 0)
        n++;
    work(&j);
    while (n)
        pthread_join(more[--n], NULL);
    return j.failed && j.next < j.heads ? -1 : 0;
}
