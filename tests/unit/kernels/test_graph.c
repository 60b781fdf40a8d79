/* test_graph.c - passes that are recorded (kernels/cuda/graph.cu): the same bits as passes that
 * are not, at any mix of shapes, and when something is refused. On the emulated card
 * (tests/cuda/emu) it is the test that refuses. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/half.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"
#include "tests/unit/kernels/emu_rig.h"

enum { D = 24, ROWS = 20, CELLS = ROWS * D };

/* A device with a matrix, and two buffers that a pass works on. */
struct card {
    const struct kern_ops *ops;
    struct kern *k;
    struct kern_mat *w;
    struct kern_ptr x, y, weight;
    struct emu_control *emu; /* NULL: a real one */
    int again;               /* how often end asked for a pass again */
};

static void card_open(struct card *c, const char *isa) {
    struct err e = {0};
    *c = (struct card){0};
    int rc = kern_find("cuda", &c->ops, &e);
    if (!rc) rc = c->ops->open(&(struct kern_config){.isa = isa}, &c->k, &e);
    if (rc == E_NOT_FOUND || rc == E_UNSUPPORTED) skip("%s", e.text);
    CHECK_EQ(rc, 0);
    c->emu = emu_find(c->ops);
    uint16_t w[D * D];
    float ones[D];
    for (uint64_t i = 0; i < D * D; i++)
        w[i] = half_to_bf16(0.2f * rng_normal(1, i));
    for (int i = 0; i < D; i++)
        ones[i] = 1;
    struct kern_mat_part part = {w, D, KERN_BF16};
    CHECK_EQ(c->ops->mat_new(c->k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = D},
                             &c->w, NULL),
             0);
    CHECK_EQ(c->ops->alloc(c->k, CELLS * sizeof(float), &c->x, NULL), 0);
    CHECK_EQ(c->ops->alloc(c->k, CELLS * sizeof(float), &c->y, NULL), 0);
    CHECK_EQ(c->ops->alloc(c->k, sizeof ones, &c->weight, NULL), 0);
    c->ops->put(c->k, c->weight, ones, sizeof ones);
}

/* Nothing of a graph is left behind; the card's counts are those of both. */
static void card_close(struct card *c) {
    c->ops->close(c->k);
    if (c->emu) CHECK_EQ(c->emu->graphs + c->emu->execs, 0);
}

static void close_two(struct card *plain, struct card *c) {
    plain->ops->close(plain->k);
    card_close(c);
}

/* `layers` times: y += x W^T, x = norm(y). Adding shows whether a pass ran twice. */
static void issue(const struct card *c, int rows, int layers) {
    struct kern_gemm add = {
        .m = rows, .x = c->x, .ldx = D, .w = c->w, .y = c->y, .ldy = D, .accumulate = 1};
    struct kern_norm norm = {.rows = rows,
                             .width = D,
                             .x = c->y,
                             .ldx = D,
                             .weight = c->weight,
                             .eps = 1e-5f,
                             .y = c->x,
                             .ldy = D};
    for (int i = 0; i < layers; i++) {
        c->ops->gemm(c->k, &add);
        c->ops->rmsnorm(c->k, &norm);
    }
}

struct issued {
    struct card *c;
    int rows, layers, n; /* n: times */
};

static void issue_counted(void *ud) {
    struct issued *i = ud;
    issue(i->c, i->rows, i->layers);
    i->n++;
}

/* One pass over numbers of its own, into `out` (2, CELLS); 0 or what get says. */
static int run(struct card *c, uint64_t key, int rows, int layers, float *out) {
    float host[CELLS];
    for (uint64_t i = 0; i < CELLS; i++)
        host[i] = rng_normal(key * 1000 + (uint64_t)(rows * 10 + layers), i);
    c->ops->put(c->k, c->x, host, sizeof host);
    c->ops->put(c->k, c->y, host, sizeof host);
    struct issued i = {c, rows, layers, 0};
    c->ops->pass(c->k, key, issue_counted, &i);
    c->again += i.n - 1;
    CHECK(c->again <= 1);
    int rc = c->ops->get(c->k, out, c->x, CELLS * sizeof *out, NULL);
    return rc ? rc : c->ops->get(c->k, out + CELLS, c->y, CELLS * sizeof *out, NULL);
}

/* The same pass on both. */
static void check_pass(struct card *plain, struct card *c, uint64_t key, int rows, int layers) {
    float want[2 * CELLS], got[2 * CELLS];
    CHECK_EQ(run(plain, key, rows, layers, want), 0);
    CHECK_EQ(run(c, key, rows, layers, got), 0);
    CHECK_MEM(want, got, sizeof want);
}

static struct kern_stats stats_of(const struct card *c) {
    struct kern_stats s;
    c->ops->stats(c->k, &s);
    return s;
}

/* ---- on any card ---- */

static void check_mode(const char *isa, const char *with_graphs) {
    enum { PASSES = 60 };
    struct card plain, c;
    card_open(&plain, isa);
    card_open(&c, with_graphs);
    CHECK_HAS(c.ops->describe(c.k), "+graphs");
    uint64_t seen = 0, recurred = 0;
    for (uint64_t i = 0; i < PASSES; i++) {
        uint64_t r = rng_u64(test_seed(), i), key = r % 5;
        recurred += seen >> key & 1;
        seen |= UINT64_C(1) << key;
        /* one key may have passes of two lengths, against what kern.h says: refused, not wrong */
        int layers = 1 + (int)(key == 4 ? r >> 8 & 1 : key);
        check_pass(&plain, &c, key, 1 + (int)((r >> 16) % ROWS), layers);
    }
    struct kern_stats s = stats_of(&c), p = stats_of(&plain);
    CHECK_EQ(s.replays, recurred);
    CHECK_EQ(p.replays, 0);
    CHECK_EQ(s.ops, p.ops);
    CHECK_EQ(s.flops, p.flops);
    CHECK_EQ(s.allocations, p.allocations);
    CHECK_EQ(c.again, 0);
    close_two(&plain, &c);
}

TEST(graph_passes_have_the_same_bits_cuda) {
    check_mode("strict", "strict+graphs");
    check_mode("flat", "flat+graphs");
}

TEST(graph_modes_are_spelled_out_cuda) {
    static const char *const wrong[] = {"+graphs", "flat+", "flat+graph", "flat+graphs+graphs",
                                        "graphs"};
    struct card c;
    card_open(&c, "auto+graphs"); /* skips early */
    card_close(&c);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = {0};
        CHECK_EQ(c.ops->open(&(struct kern_config){.isa = wrong[i]}, &c.k, &e), E_NOT_FOUND);
        CHECK_HAS(e.text, wrong[i]);
    }
}

/* ---- on the emulated card ---- */

static void open_two(struct card *plain, struct card *c, const char *isa) {
    card_open(plain, "flat");
    if (!plain->emu) skip("cuda: needs the emulated card, see make test-cuda-emu");
    card_open(c, isa);
}

TEST(graph_is_kept_and_updated_cuda) {
    struct card plain, c;
    open_two(&plain, &c, "flat+graphs");
    int *calls = c.emu->calls;
    for (int i = 0; i < 6; i++)
        check_pass(&plain, &c, 7, 1 + i, 2);
    CHECK_EQ(calls[EMU_BEGIN], 5); /* not the first */
    CHECK_EQ(calls[EMU_INSTANTIATE], 1);
    CHECK_EQ(calls[EMU_UPDATE], 4);
    CHECK_EQ(calls[EMU_GRAPH_LAUNCH], 5);
    check_pass(&plain, &c, 7, 9, 3); /* other nodes: a graph of its own beside the first */
    check_pass(&plain, &c, 7, 9, 2);
    CHECK_EQ(calls[EMU_INSTANTIATE], 2);
    CHECK_EQ(calls[EMU_UPDATE], 5);
    CHECK_EQ(c.emu->graphs, 0);
    CHECK_EQ(c.emu->execs, 2);
    close_two(&plain, &c);
}

TEST(graph_that_was_not_used_for_longest_goes_cuda) {
    enum { GRAPHS = 16, SEEN = 64 }; /* graph.cu */
    struct card plain, c;
    open_two(&plain, &c, "flat+graphs");
    int *calls = c.emu->calls;
    for (uint64_t key = 0; key <= GRAPHS; key++)
        for (int i = 0; i < 2; i++)
            check_pass(&plain, &c, key, 3, 1);
    CHECK_EQ(calls[EMU_INSTANTIATE], GRAPHS + 1);
    CHECK_EQ(c.emu->execs, GRAPHS);
    check_pass(&plain, &c, GRAPHS, 4, 1);
    check_pass(&plain, &c, 1, 4, 1);
    CHECK_EQ(calls[EMU_INSTANTIATE], GRAPHS + 1);
    check_pass(&plain, &c, 0, 4, 1); /* its graph had to go */
    CHECK_EQ(calls[EMU_INSTANTIATE], GRAPHS + 2);
    int begun = calls[EMU_BEGIN];
    for (uint64_t key = 100; key < 100 + SEEN; key++) /* each but once: never captured */
        check_pass(&plain, &c, key, 2, 1);
    check_pass(&plain, &c, 0, 4, 1); /* forgotten: as if it were new */
    CHECK_EQ(calls[EMU_BEGIN], begun);
    check_pass(&plain, &c, 0, 4, 1);
    CHECK_EQ(calls[EMU_BEGIN], begun + 1);
    close_two(&plain, &c);
}

/* Whatever is refused, no pass is lost and none runs twice; from then on nothing is recorded. */
TEST(graph_falls_back_when_a_call_is_refused_cuda) {
    for (int call = EMU_BEGIN; call < EMU_CALLS; call++)
        for (int nth = 1; nth <= 3; nth++) {
            struct card plain, c;
            open_two(&plain, &c, "flat+graphs");
            check_pass(&plain, &c, 1, 5, 2);
            for (int i = 0; i < 6; i++) {
                float want[2 * CELLS], got[2 * CELLS];
                uint64_t key = (uint64_t)(i & 1) + 1;
                CHECK_EQ(run(&plain, key, 5 + i, 2, want), 0);
                if (i == 2) c.emu->refuse[call] = nth; /* both keys were seen, one was made */
                CHECK_EQ(run(&c, key, 5 + i, 2, got), 0);
                CHECK_MEM(want, got, sizeof want);
                if (call == EMU_LAUNCH && i == 2) c.emu->refuse[call] = 0;
            }
            /* all but an update that is refused: then there is a new graph */
            int is_refused = c.emu->refuse[call] == 0, is_off = is_refused && call != EMU_UPDATE;
            CHECK(is_refused || call == EMU_INSTANTIATE); /* of which there are not three */
            CHECK_EQ(c.again, is_off && call != EMU_BEGIN);
            int begun = c.emu->calls[EMU_BEGIN];
            check_pass(&plain, &c, 1, 5, 2);
            CHECK_EQ(c.emu->calls[EMU_BEGIN] - begun, !is_off);
            CHECK_EQ(stats_of(&c).ops, stats_of(&plain).ops);
            close_two(&plain, &c);
            memset(c.emu, 0, sizeof *c.emu);
        }
}

/* A device that is lost stays lost, recorded or not. */
TEST(graph_does_not_hide_a_lost_device_cuda) {
    static const char *const modes[] = {"flat", "flat+graphs"};
    for (int m = 0; m < 2; m++) {
        struct card plain, c;
        float got[2 * CELLS];
        open_two(&plain, &c, modes[m]);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(run(&c, 1, 5, 2, got), 0);
        c.emu->refuse[EMU_LAUNCH] = 1;
        issue(&c, 5, 1); /* in no pass: nobody issues it again */
        struct err e = {0};
        CHECK_EQ(c.ops->sync(c.k, &e), E_DEVICE);
        CHECK_HAS(e.text, "cuda: device 0: ");
        int launched = c.emu->calls[EMU_LAUNCH];
        CHECK_EQ(run(&c, 1, 5, 2, got), E_DEVICE);
        CHECK_EQ(c.emu->calls[EMU_LAUNCH], launched);
        CHECK_EQ(c.again, 0);
        close_two(&plain, &c);
    }
}

enum { NOTHING, PUT, GET, COPY, SYNC, ALLOC, FREE, PASS, CASES };
struct misuse {
    struct card *c;
    int what;
};

static void issue_nothing(void *ud) { (void)ud; }

static void issue_misuse(void *ud) {
    const struct misuse *m = ud;
    struct card *c = m->c;
    static float host[CELLS];
    struct kern_ptr p;
    issue(c, 5, 2);
    if (m->what == PUT) c->ops->put(c->k, c->x, host, sizeof host);
    if (m->what == GET) (void)c->ops->get(c->k, host, c->x, sizeof host, NULL);
    if (m->what == COPY) c->ops->copy(c->k, c->x, c->y, sizeof host);
    if (m->what == SYNC) (void)c->ops->sync(c->k, NULL);
    if (m->what == ALLOC) (void)c->ops->alloc(c->k, 64, &p, NULL);
    if (m->what == FREE) c->ops->free(c->k, c->x);
    if (m->what == PASS) c->ops->pass(c->k, 1, issue_nothing, NULL);
}

/* What an issue may not do dies there. */
TEST(graph_takes_forward_operations_alone_cuda) {
    struct card plain, c;
    open_two(&plain, &c, "flat+graphs");
    CHECK_EQ(run(&c, 1, 5, 2, (float[2 * CELLS]){0}), 0);
    for (int what = NOTHING; what < CASES; what++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            signal(SIGABRT, SIG_DFL);
            CHECK(freopen("/dev/null", "w", stderr) != NULL);
            c.ops->pass(c.k, 1, issue_misuse, &(struct misuse){&c, what});
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(WIFEXITED(status) ? 0 : WTERMSIG(status), what == NOTHING ? 0 : SIGABRT);
    }
    close_two(&plain, &c);
}
