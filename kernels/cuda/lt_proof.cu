/* lt_proof.cu - what an algorithm of cuBLASLt does with seeded rows: has each row the bytes that
 * the base gives it, and how long does a call take?
 *
 * The rows have magnitudes of eight powers of two and any mantissa, so that no two orders of their
 * sums agree everywhere. They are multiplied by the matrix itself. The base does so once with all
 * rows, without and with numbers that lie in y already; of any other call the first rows must be
 * the same to the bit, in each stride of y that comes. What a call leaves unwritten is seen: where
 * the base writes there were zeros before, where others do no numbers. The stage of inputs holds
 * the rows; all else is in one block that lives as long as the proof, and is not counted: it is
 * gone before anybody counts. Where memory is short, there are fewer rows; at last the stage of
 * sums is the block.
 *
 * A call is timed by events, behind a write of as many bytes as the L2 has: in a pass each product
 * finds another matrix there than its own. The write also gives the host time to queue the call.
 */
#include <string.h>

#include "kernels/cuda/lt.cuh"

enum { THREADS = 256, TIMES = 3 };
enum { BUCKET_LEAST = 2 };                      /* whose rows a proof has at least */
enum { HAS_NUMBER, HAS_OTHER, DIFFERS, FACTS }; /* what kernels find out: 1 or 0 */

struct lt_proof {
    struct kern *k;
    const struct lt_shape *s;
    const struct kern_mat *m;
    int with_bias, rows;
    char *memory;            /* of what follows, if it is not in the stage */
    size_t staged;           /* bytes of the stage of sums that are used instead */
    float *want, *want_more; /* (rows, s->ldy): without and with numbers in y */
    float *got;              /* (rows, the widest stride) */
    float *bias, *scales;    /* (s->out), (rows) */
    int *facts;              /* (FACTS) */
    cudaEvent_t begin, from, to;
};

/* ---- kernels ---- */

/* As random as rows need to be: the 32 bits of a place, mixed by three products. */
static __device__ inline uint32_t seeded(uint32_t i, uint32_t stream) {
    uint32_t h = i * 2654435761u + stream * 2246822519u + 374761393u;
    h = (h ^ h >> 15) * 2246822519u;
    h = (h ^ h >> 13) * 3266489917u;
    return h ^ h >> 16;
}

/* Bits of a number with sign, `mantissa` bits, and an exponent of `low` or up to seven more. */
static __device__ inline uint32_t seeded_bits(uint32_t h, int low, int exponent, int mantissa) {
    uint32_t power = (uint32_t)low + (h >> 1 & 7u), fraction = h >> 4 & ((1u << mantissa) - 1u);
    return (h & 1u) << (exponent + mantissa) | power << mantissa | fraction;
}

/* n numbers of one of our types: 2 bytes or 1. */
static __global__ void __launch_bounds__(THREADS)
    seed_rows(size_t n, bool is_bf16, bool is_code, void *to) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    uint32_t h = seeded((uint32_t)i, 1);
    if (is_code)
        ((uint8_t *)to)[i] = (uint8_t)seeded_bits(h, 4, 4, 3);
    else
        ((uint16_t *)to)[i] =
            (uint16_t)(is_bf16 ? seeded_bits(h, 123, 8, 7) : seeded_bits(h, 11, 5, 10));
}

/* (rows, n) f32, each the same in any stride. */
static __global__ void __launch_bounds__(THREADS)
    seed_floats(size_t cells, int n, int ld, uint32_t stream, bool is_positive, float *to) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= cells) return;
    union {
        uint32_t bits;
        float v;
    } u = {seeded_bits(seeded((uint32_t)i, stream), 123, 8, 23)};
    if (is_positive) u.bits &= 0x7fffffffu;
    to[i / (size_t)n * (size_t)ld + i % (size_t)n] = u.v;
}

/* Are there numbers, and nothing but numbers? All who find the same write the same. */
static __global__ void __launch_bounds__(THREADS)
    judge_cells(size_t cells, int n, const float *y, int ld, int *facts) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= cells) return;
    float v = y[i / (size_t)n * (size_t)ld + i % (size_t)n];
    if (!isfinite(v))
        facts[HAS_OTHER] = 1;
    else if (v > 0 || v < 0)
        facts[HAS_NUMBER] = 1;
}

static __global__ void __launch_bounds__(THREADS)
    compare_cells(size_t cells, int n, const uint32_t *want, int ldw, const uint32_t *got, int ldg,
                  int *facts) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= cells) return;
    size_t row = i / (size_t)n, c = i % (size_t)n;
    if (want[row * (size_t)ldw + c] != got[row * (size_t)ldg + c]) facts[DIFFERS] = 1;
}

/* ---- buffers ---- */

static size_t widest(const struct lt_shape *s) {
    int strides[3], n = lt_strides(s, strides), most = 0;
    for (int i = 0; i < n; i++)
        if (strides[i] > most) most = strides[i];
    return (size_t)most;
}

/* Bytes of the block for so many rows, in pieces of 256 as memory is given. */
enum { PIECES = 6 };
static size_t lay_out(const struct lt_shape *s, int rows, size_t (&at)[PIECES]) {
    size_t n = (size_t)rows, sums = n * (size_t)s->ldy, bytes = 0;
    const size_t floats[PIECES] = {sums, sums, n * widest(s), (size_t)s->out, n, FACTS};
    for (int i = 0; i < PIECES; i++) {
        at[i] = bytes;
        bytes += (floats[i] * sizeof(float) + 255) / 256 * 256;
    }
    return bytes;
}

/* Bytes that may be taken: half of what is free. */
static size_t find_room(const struct kern *k) {
    size_t room = 0, total = 0;
    if (cudaMemGetInfo(&room, &total) != cudaSuccess) return 0;
    if (k->memory_max && room > k->memory_max - k->stats.live_bytes)
        room = k->memory_max - k->stats.live_bytes;
    return room / 2;
}

/* A block for the rows of the largest bucket that it can be had for; the stage of inputs takes them
 * as well. NULL: there is no room. */
static char *take_block(struct lt_proof *p) {
    const struct lt_shape *s = p->s;
    size_t at[PIECES], room = find_room(p->k), item = s->type == CUDA_R_8F_E4M3 ? 1 : 2;
    int most = cuda_rows_that_fit((size_t)s->ldx * item, 0);
    for (int i = LT_BUCKETS - 1; i >= BUCKET_LEAST; i--) {
        p->rows = lt_bucket_rows[i];
        size_t bytes = lay_out(s, p->rows, at);
        if (p->rows > most || bytes > room) continue;
        if (cudaMalloc((void **)&p->memory, bytes) == cudaSuccess) return p->memory;
        p->memory = NULL;
        (void)cudaGetLastError(); /* fewer rows, then */
    }
    for (int i = LT_BUCKETS - 1; i >= BUCKET_LEAST; i--) {
        p->rows = lt_bucket_rows[i];
        p->staged = lay_out(s, p->rows, at);
        if (p->rows <= most && p->staged <= cuda_stage_bytes) return (char *)p->k->stage_out;
    }
    return NULL;
}

static void proof_fill(struct lt_proof *p) {
    struct kern *k = p->k;
    const struct lt_shape *s = p->s;
    size_t x = (size_t)p->rows * (size_t)s->ldx, out = (size_t)s->out, rows = (size_t)p->rows;
    seed_rows<<<cuda_blocks(x, THREADS), THREADS, 0, k->stream>>>(
        x, s->type == CUDA_R_16BF, s->type == CUDA_R_8F_E4M3, k->stage_in);
    cuda_launched(k, "seed_rows");
    seed_floats<<<cuda_blocks(out, THREADS), THREADS, 0, k->stream>>>(out, s->out, s->out, 2, false,
                                                                      p->bias);
    seed_floats<<<cuda_blocks(rows, THREADS), THREADS, 0, k->stream>>>(rows, p->rows, p->rows, 3,
                                                                       true, p->scales);
    cuda_launched(k, "seed_floats");
}

struct lt_proof *lt_proof_open(struct kern *k, const struct lt_shape *s, const struct kern_mat *m,
                               int with_bias) {
    size_t at[PIECES];
    struct lt_proof *p = (struct lt_proof *)mem_must(sizeof *p);
    p->k = k;
    p->s = s;
    p->m = m;
    p->with_bias = with_bias;
    char *block = take_block(p);
    if (!block) {
        mem_free(p);
        return NULL;
    }
    (void)lay_out(s, p->rows, at);
    p->want = (float *)(void *)(block + at[0]);
    p->want_more = (float *)(void *)(block + at[1]);
    p->got = (float *)(void *)(block + at[2]);
    p->bias = (float *)(void *)(block + at[3]);
    p->scales = (float *)(void *)(block + at[4]);
    p->facts = (int *)(void *)(block + at[5]);
    cudaEvent_t *events[] = {&p->begin, &p->from, &p->to};
    for (cudaEvent_t *e : events)
        CUDA_TRY(k, cudaEventCreateWithFlags(e, cudaEventDefault));
    CUDA_TRY(k, cudaEventRecord(p->begin, k->stream));
    proof_fill(p);
    return p;
}

void lt_proof_close(struct lt_proof *p) {
    if (!p) return;
    cudaEvent_t events[] = {p->begin, p->from, p->to};
    for (cudaEvent_t e : events)
        if (e) (void)cudaEventDestroy(e);
    if (p->memory) (void)cudaFree(p->memory);
    mem_free(p);
}

int lt_proof_rows(const struct lt_proof *p) { return p->rows; }

/* ---- bytes ---- */

/* One call with the first rows. */
static bool multiply(struct lt_proof *p, const struct lt_algo *a, int rows, float *y, int ldy,
                     bool accumulate) {
    const struct lt_shape *s = p->s;
    size_t cells = (size_t)rows * (size_t)s->out;
    if (accumulate) {
        seed_floats<<<cuda_blocks(cells, THREADS), THREADS, 0, p->k->stream>>>(cells, s->out, ldy,
                                                                               4, false, y);
        cuda_launched(p->k, "seed_floats");
    }
    struct lt_call c = {rows,
                        p->m->w,
                        p->k->stage_in,
                        p->m->scales,
                        p->scales,
                        y,
                        ldy,
                        p->with_bias ? p->bias : NULL,
                        accumulate};
    if (p->k->lost.code || !lt_run(p->k, s, a, &c)) return true;
    (void)cudaGetLastError(); /* it is the algorithm's */
    return false;
}

static size_t bytes_of(int rows, int ldy) { return (size_t)rows * (size_t)ldy * sizeof(float); }

/* What kernels found out. */
static bool take_facts(struct lt_proof *p, int (&facts)[FACTS]) {
    struct kern *k = p->k;
    CUDA_TRY(k, cudaMemcpyAsync(facts, p->facts, sizeof facts, cudaMemcpyDeviceToHost, k->stream));
    CUDA_TRY(k, cudaStreamSynchronize(k->stream));
    return !k->lost.code;
}

enum lt_verdict lt_proof_base(struct lt_proof *p, const struct lt_algo *a) {
    struct kern *k = p->k;
    const struct lt_shape *s = p->s;
    size_t cells = (size_t)p->rows * (size_t)s->out;
    int facts[FACTS] = {};
    CUDA_TRY(k, cudaMemsetAsync(p->facts, 0, sizeof facts, k->stream));
    CUDA_TRY(k, cudaMemsetAsync(p->want, 0, bytes_of(p->rows, s->ldy), k->stream));
    if (!multiply(p, a, p->rows, p->want, s->ldy, false) ||
        !multiply(p, a, p->rows, p->want_more, s->ldy, true))
        return LT_FAILS;
    judge_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, k->stream>>>(cells, s->out, p->want,
                                                                        s->ldy, p->facts);
    cuda_launched(k, "judge_cells");
    if (!take_facts(p, facts)) return LT_FAILS;
    return facts[HAS_NUMBER] && !facts[HAS_OTHER] ? LT_SAME : LT_OTHER;
}

/* One call, and its bytes; what differs is noted in the facts. */
static bool look_once(struct lt_proof *p, const struct lt_algo *a, int rows, int ldy,
                      bool accumulate) {
    const struct lt_shape *s = p->s;
    size_t cells = (size_t)rows * (size_t)s->out;
    if (!accumulate)
        CUDA_TRY(p->k, cudaMemsetAsync(p->got, 0xff, bytes_of(rows, ldy), p->k->stream));
    if (!multiply(p, a, rows, p->got, ldy, accumulate)) return false;
    const void *want = accumulate ? p->want_more : p->want, *got = p->got;
    compare_cells<<<cuda_blocks(cells, THREADS), THREADS, 0, p->k->stream>>>(
        cells, s->out, (const uint32_t *)want, s->ldy, (const uint32_t *)got, ldy, p->facts);
    cuda_launched(p->k, "compare_cells");
    return true;
}

enum lt_verdict lt_proof_look(struct lt_proof *p, const struct lt_algo *a, int bucket) {
    struct kern *k = p->k;
    int rows[LT_COUNTS], strides[3], n = lt_bucket_counts(bucket, rows),
                                     n_strides = lt_strides(p->s, strides), facts[FACTS] = {};
    int most = rows[n - 1] < p->rows ? rows[n - 1] : p->rows;
    CUDA_TRY(k, cudaMemsetAsync(p->facts, 0, sizeof facts, k->stream));
    for (int i = 0; i < n; i++)
        if (rows[i] <= p->rows && !look_once(p, a, rows[i], strides[0], false)) return LT_FAILS;
    for (int i = 0; i < n_strides; i++)
        if (!look_once(p, a, most, strides[i], i % 2 == 0)) return LT_FAILS;
    if (!take_facts(p, facts)) return LT_FAILS;
    return facts[DIFFERS] ? LT_OTHER : LT_SAME;
}

/* ---- time ---- */

/* Milliseconds between two events; the second has happened when this returns. */
static float between(struct kern *k, cudaEvent_t from, cudaEvent_t to) {
    float ms = 0;
    CUDA_TRY(k, cudaEventSynchronize(to));
    CUDA_TRY(k, cudaEventElapsedTime(&ms, from, to));
    return ms;
}

float lt_proof_ms(struct lt_proof *p) {
    CUDA_TRY(p->k, cudaEventRecord(p->to, p->k->stream));
    return between(p->k, p->begin, p->to);
}

float lt_proof_time(struct lt_proof *p, const struct lt_algo *a, int bucket) {
    struct kern *k = p->k;
    size_t room = cuda_stage_bytes - p->staged, l2 = k->l2_bytes < room ? k->l2_bytes : room;
    int rows = lt_bucket_rows[bucket] < p->rows ? lt_bucket_rows[bucket] : p->rows;
    float ms[TIMES] = {};
    for (int i = 0; i < TIMES; i++) {
        CUDA_TRY(k, cudaMemsetAsync((char *)k->stage_out + p->staged, 0, l2, k->stream));
        CUDA_TRY(k, cudaEventRecord(p->from, k->stream));
        if (!multiply(p, a, rows, p->got, p->s->ldy, false)) return INFINITY;
        CUDA_TRY(k, cudaEventRecord(p->to, k->stream));
        float v = between(k, p->from, p->to);
        int at = i; /* in order */
        for (; at > 0 && ms[at - 1] > v; at--)
            ms[at] = ms[at - 1];
        ms[at] = v;
    }
    return 1000 * ms[TIMES / 2];
}
