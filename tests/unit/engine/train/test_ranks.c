/* test_ranks.c - the order of sums: a step has the same bits on 1, 2 and 4 ranks. The ranks are
 * threads. */
#include <pthread.h>

#include "tests/unit/engine/train/train_rig.h"

enum { RANKS_MAX = 4, SAMPLES_MAX = 12, STEPS = 2 };

/* What the ranks share. */
struct room {
    pthread_barrier_t barrier;
    const void *given[RANKS_MAX];
    int size;
};
struct rank {
    struct room *room;
    struct train_comm comm;
    struct train_options o;
    const struct sample *samples; /* of the step */
    int n;
    struct train_result result;
    float *value; /* the masters in the end */
    size_t floats;
    pthread_t thread;
};

static void meet(const struct rank *r) { (void)pthread_barrier_wait(&r->room->barrier); }

/* The tree over ranks, lo .. lo+n-1. */
static double tree_f64(const struct room *room, size_t i, int lo, int n) {
    if (n == 1) return ((const double *)room->given[lo])[i];
    return tree_f64(room, i, lo, n / 2) + tree_f64(room, i, lo + n / 2, n / 2);
}

static float tree_f32(const struct room *room, size_t i, int lo, int n) {
    if (n == 1) return ((const float *)room->given[lo])[i];
    return tree_f32(room, i, lo, n / 2) + tree_f32(room, i, lo + n / 2, n / 2);
}

static int sum_f32(void *state, float *x, size_t n, struct err *e) {
    struct rank *r = state;
    float *sum = mem_must(n * sizeof *sum);
    (void)e;
    r->room->given[r->comm.rank] = x;
    meet(r);
    for (size_t i = 0; i < n; i++)
        sum[i] = tree_f32(r->room, i, 0, r->room->size);
    meet(r);
    memcpy(x, sum, n * sizeof *x);
    mem_free(sum);
    return 0;
}

static int sum_f64(void *state, double *x, size_t n, struct err *e) {
    struct rank *r = state;
    double *sum = mem_must(n * sizeof *sum);
    (void)e;
    r->room->given[r->comm.rank] = x;
    meet(r);
    for (size_t i = 0; i < n; i++)
        sum[i] = tree_f64(r->room, i, 0, r->room->size);
    meet(r);
    memcpy(x, sum, n * sizeof *x);
    mem_free(sum);
    return 0;
}

static int broadcast(void *state, void *bytes, size_t n, struct err *e) {
    (void)state, (void)bytes, (void)n, (void)e;
    return 0;
}

static int barrier(void *state, struct err *e) {
    (void)e;
    meet(state);
    return 0;
}

static void *rank_main(void *ud) {
    struct rank *r = ud;
    struct train *t = rig_open(&r->o, r->n);
    int share = r->n / r->room->size;
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < share; i++) {
            int which = r->comm.rank * share + i;
            if (which == 1 && step == 1) { /* one that was skipped */
                struct train_loss loss;
                CHECK_EQ(train_add(t, NULL, &loss, NULL), 0);
            } else {
                rig_add(t, &r->samples[which], NULL);
            }
        }
        r->result = rig_step(t);
    }
    r->floats = t->params.floats;
    r->value = rig_floats(t, t->params.value, r->floats);
    train_close(t);
    return NULL;
}

/* The masters behind STEPS steps of n samples on so many ranks, which all have them. */
static float *run(struct train_options o, const struct sample *samples, int n, int size,
                  size_t *floats, struct train_result *result) {
    struct room room = {.size = size};
    struct rank ranks[RANKS_MAX];
    CHECK_EQ(pthread_barrier_init(&room.barrier, NULL, (unsigned)size), 0);
    for (int i = 0; i < size; i++) {
        struct rank *r = &ranks[i];
        *r = (struct rank){.room = &room, .o = o, .samples = samples, .n = n};
        r->comm = (struct train_comm){.state = r,
                                      .rank = i,
                                      .size = size,
                                      .sum_f32 = sum_f32,
                                      .sum_f64 = sum_f64,
                                      .broadcast = broadcast,
                                      .barrier = barrier};
        r->o.threads = 1;
        if (size > 1) r->o.comm = &r->comm;
        CHECK_EQ(pthread_create(&r->thread, NULL, rank_main, r), 0);
    }
    for (int i = 0; i < size; i++)
        CHECK_EQ(pthread_join(ranks[i].thread, NULL), 0);
    *floats = ranks[0].floats;
    *result = ranks[0].result;
    for (int i = 1; i < size; i++) {
        CHECK_MEM(ranks[i].value, ranks[0].value, *floats * sizeof(float));
        mem_free(ranks[i].value);
    }
    (void)pthread_barrier_destroy(&room.barrier);
    return ranks[0].value;
}

static void compare_ranks(struct train_options o, int n) {
    struct rig_sample *r = mem_must(SAMPLES_MAX * sizeof *r);
    struct sample samples[SAMPLES_MAX];
    struct train_result one, other;
    size_t floats;
    for (int i = 0; i < n; i++) {
        rig_mixed(&r[i], (uint64_t)(50 + 7 * i));
        if (i % 3) rig_things(&r[i]);
        if (i % 3) rig_features(&r[i]);
        samples[i] = r[i].s;
        samples[i].n_talks = 3 + (uint32_t)i % 4;
        for (uint32_t k = 0; k < samples[i].n_talks; k++)
            r[i].talks[k].weight = 0.1f * (float)(k + 1);
    }
    float *alone = run(o, samples, n, 1, &floats, &one);
    if (o.text == TRAIN_TEXT_FULL) CHECK(floats > TRAIN_PIECE); /* so there are several */
    for (int size = 2; size <= RANKS_MAX && n % size == 0; size *= 2) {
        float *value = run(o, samples, n, size, &floats, &other);
        CHECK_MEM(alone, value, floats * sizeof *value);
        CHECK_MEM(one.loss.sum, other.loss.sum, sizeof one.loss.sum);
        CHECK_MEM(one.loss.dense, other.loss.dense, sizeof one.loss.dense);
        CHECK_EQ(one.norm == other.norm, 1);
        CHECK_EQ(one.loss.rows, other.loss.rows);
        mem_free(value);
    }
    mem_free(alone);
    mem_free(r);
}

TEST(ranks_have_the_bits_of_one) {
    compare_ranks(rig_options("cpu"), 8);
    compare_ranks(rig_options("cpu"), 6);
}

TEST(ranks_have_the_bits_of_one_in_bf16) {
    compare_ranks(rig_bf16(rig_options("cpu"), "avx512bf16"), 8);
    compare_ranks(rig_bf16(rig_lora("cpu"), "avx512bf16"), 6);
}

TEST(ranks_have_the_bits_of_one_by_amx) {
    compare_ranks(rig_bf16(rig_options("cpu"), "amx"), 8);
    compare_ranks(rig_bf16(rig_lora("cpu"), "amx"), 6);
}

TEST(ranks_have_the_bits_of_one_with_dropout) {
    struct train_options o = rig_lora("cpu");
    o.lora.dropout = 0.1f;
    compare_ranks(o, 12);
}

TEST(ranks_have_the_bits_of_one_with_dense_questions_a_teacher_and_legal_answers) {
    struct train_options o = rig_lora("cpu");
    o.tower = 1;
    for (int i = 0; i < TRAIN_DENSE; i++)
        o.dense[i] = 1;
    o.dense_rate = 10;
    o.teacher = RIG_TINY;
    o.teach[SAMPLE_PIXELS] = 0.5f;
    o.is_legal = 1;
    compare_ranks(o, 8);
}

/* ---- on a card ---- */

/* Its emulation has one thread, so ranks come one after the other: the last one hears all of them.
 * A step each. */
struct turn {
    struct train_comm comm;
    float *f32[RANKS_MAX]; /* what they gave */
    double *f64[RANKS_MAX];
    size_t at; /* of f32: pieces come in their order */
};

static int turn_f32(void *state, float *x, size_t n, struct err *e) {
    struct turn *t = state;
    struct room room = {.size = t->comm.size};
    (void)e;
    memcpy(t->f32[t->comm.rank] + t->at, x, n * sizeof *x);
    for (int i = 0; i < room.size; i++)
        room.given[i] = t->f32[i] + t->at;
    for (size_t i = 0; t->comm.rank == room.size - 1 && i < n; i++)
        x[i] = tree_f32(&room, i, 0, room.size);
    t->at += n;
    return 0;
}

static int turn_f64(void *state, double *x, size_t n, struct err *e) {
    struct turn *t = state;
    struct room room = {.size = t->comm.size};
    (void)e;
    memcpy(t->f64[t->comm.rank], x, n * sizeof *x);
    for (int i = 0; i < room.size; i++)
        room.given[i] = t->f64[i];
    for (size_t i = 0; t->comm.rank == room.size - 1 && i < n; i++)
        x[i] = tree_f64(&room, i, 0, room.size);
    return 0;
}

/* The masters behind a step of n samples. */
static float *in_turns(struct train_options o, const struct sample *samples, int n, int size,
                       size_t *floats, struct train_result *result) {
    struct turn t = {.comm = {.size = size, .sum_f32 = turn_f32, .sum_f64 = turn_f64}};
    float *value = NULL;
    for (int rank = 0; rank < size; rank++) {
        t.comm.rank = rank;
        t.comm.state = &t;
        t.at = 0;
        o.comm = &t.comm;
        struct train *train = rig_open(&o, n);
        for (int i = 0; i < RANKS_MAX && !rank; i++) {
            t.f32[i] = mem_must(train->params.floats * sizeof(float));
            t.f64[i] = mem_must(256 * sizeof(double));
        }
        for (int i = 0; i < n / size; i++)
            rig_add(train, &samples[rank * (n / size) + i], NULL);
        *result = rig_step(train);
        *floats = train->params.floats;
        mem_free(value);
        value = rig_floats(train, train->params.value, *floats);
        train_close(train);
    }
    for (int i = 0; i < RANKS_MAX; i++) {
        mem_free(t.f32[i]);
        mem_free(t.f64[i]);
    }
    return value;
}

TEST_LIMIT(ranks_have_the_bits_of_one_kept_cuda, 300) {
    enum { N = 4 };
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    struct rig_sample *r = mem_must(N * sizeof *r);
    struct sample samples[N];
    struct train_result one, other;
    struct train_options o = rig_options("cuda");
    size_t floats;
    o.recompute = 2;
    for (int i = 0; i < N; i++) {
        rig_mixed(&r[i], (uint64_t)(50 + 7 * i));
        samples[i] = r[i].s;
        samples[i].n_talks = 1 + (uint32_t)i % 2;
    }
    float *alone = in_turns(o, samples, N, 1, &floats, &one);
    for (int size = 2; size <= RANKS_MAX; size *= 2) {
        float *value = in_turns(o, samples, N, size, &floats, &other);
        CHECK_MEM(alone, value, floats * sizeof *value);
        CHECK_MEM(one.loss.sum, other.loss.sum, sizeof one.loss.sum);
        CHECK(one.norm == other.norm && !one.is_skipped);
        mem_free(value);
    }
    mem_free(alone);
    mem_free(r);
}
