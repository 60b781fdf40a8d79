/* test_card.c - cards that can't be had, run out of memory or get lost: it is said, nothing stays
 * behind, a device is not lost for an allocation, and what can be done without is done without.
 * The emulated card (tests/cuda/emu) plays them; a real one is not asked. */
#include <unistd.h>

#include "kernels/base/half.h"
#include "tests/unit/kernels/emu_rig.h"

enum { N = 16, K = 32 };

/* A product, as far as there is memory for it. 0 or E_NOMEM. */
static int multiply(const struct kern_ops *ops, struct kern *k, int as_fp8) {
    uint16_t w[N * K];
    float x[K], y[N];
    struct kern_ptr px, py;
    struct kern_mat *m = NULL;
    struct kern_mat_part part = {w, N, KERN_BF16};
    for (int i = 0; i < N * K; i++)
        w[i] = half_to_bf16(i % K == i / K ? 2 : 0);
    for (int i = 0; i < K; i++)
        x[i] = (float)i;
    int rc = ops->mat_new(
        k,
        &(struct kern_mat_src){
            .parts = &part, .n_parts = 1, .k = K, .keep = as_fp8 ? KERN_KEEP_FP8 : KERN_KEEP_OWN},
        &m, NULL);
    if (!rc) rc = ops->alloc(k, sizeof x, &px, NULL);
    if (!rc) rc = ops->alloc(k, sizeof y, &py, NULL);
    if (rc) return rc;
    ops->put(k, px, x, sizeof x);
    ops->gemm(k, &(struct kern_gemm){.m = 1, .x = px, .ldx = K, .w = m, .y = py, .ldy = N});
    CHECK_EQ(ops->get(k, y, py, sizeof y, NULL), 0);
    for (int i = 0; i < N && !as_fp8; i++)
        CHECK_EQ(y[i], 2 * i);
    return 0;
}

static struct emu_control *emulated(const struct kern_ops **ops) {
    struct err e = {0};
    if (kern_find("cuda", ops, &e)) skip("%s", e.text);
    struct emu_control *emu = emu_find(*ops);
    if (!emu) skip("no emulated card");
    return emu;
}

TEST(card_that_cannot_be_had_says_why_cuda_flat) {
    static const struct {
        int driver, devices, major, device, rc;
        const char *text;
    } cases[] = {
        {-1, 0, 0, 0, E_UNSUPPORTED, "there is no NVIDIA driver"},
        {12020, 0, 0, 0, E_UNSUPPORTED, "the driver is for CUDA 12.2, this needs 13."},
        {0, -1, 0, 0, E_NOT_FOUND, "there is no device"},
        {0, 2, 0, 2, E_NOT_FOUND, "there is no device 2, only 2 of them"},
        {0, 0, 7, 0, E_UNSUPPORTED, "emulated, has compute capability 7.0, not 8"},
    };
    const struct kern_ops *ops;
    struct emu_control *emu = emulated(&ops);
    CHECK(ops->score() > 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kern *k = NULL;
        struct err e = {0};
        emu->driver = cases[i].driver;
        emu->devices = cases[i].devices;
        emu->major = cases[i].major;
        CHECK_EQ(ops->open(&(struct kern_config){.device = cases[i].device}, &k, &e), cases[i].rc);
        CHECK_HAS(e.text, cases[i].text);
        CHECK(k == NULL);
        CHECK_EQ(ops->score() == 0, cases[i].device == 0);
    }
}

/* cudaErrorInvalidPtx and its like: their numbers are NVIDIA's, and stay. */
TEST(card_without_code_says_what_to_do_cuda_flat) {
    static const struct {
        int error, rc;
        const char *text;
    } cases[] = {
        {222, E_UNSUPPORTED, "the driver is too old to make code for it: install one for CUDA 13."},
        {209, E_UNSUPPORTED, "build it with make CUDA_ARCH=\"80 90 100\""},
        {200, E_UNSUPPORTED, "has no code for it"},
        {218, E_UNSUPPORTED, "has no code for it"},
        {221, E_UNSUPPORTED, "libnvidia-ptxjitcompiler"},
        {223, E_UNSUPPORTED, "CUDA_DISABLE_PTX_JIT"},
        {0, E_DEVICE, "an emulated error"}};
    const struct kern_ops *ops;
    struct emu_control *emu = emulated(&ops);
    emu->major = 10;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kern *k = NULL;
        struct err e = {0};
        int mallocs = emu->mallocs;
        emu->launch_error = cases[i].error;
        emu->refuse[EMU_LAUNCH] = 1;
        CHECK_EQ(ops->open(&(struct kern_config){0}, &k, &e), cases[i].rc);
        CHECK_HAS(e.text, "cuda: device 0, emulated, compute capability 10.0: ");
        CHECK_HAS(e.text, cases[i].text);
        CHECK(k == NULL);
        CHECK_EQ(emu->mallocs, mallocs);
    }
}

TEST(card_takes_the_tile_mode_by_itself_cuda_flat) {
    static const char *const names[][2] = {{NULL, ", tile, "},
                                           {"auto", ", tile, "},
                                           {"auto+graphs", ", tile+graphs, "},
                                           {"auto+base", ", tile+base, "},
                                           {"flat+base+graphs", ", flat+graphs+base, "},
                                           {"flat", ", flat, "}};
    static const char *const wrong[] = {"",       "tile+",      "tile+x", "tile+graphs+graphs",
                                        "graphs", "tile+base+", "+base"};
    const struct kern_ops *ops;
    (void)emulated(&ops);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct kern *k = NULL;
        CHECK_EQ(ops->open(&(struct kern_config){.isa = names[i][0]}, &k, NULL), 0);
        CHECK_HAS(ops->describe(k), names[i][1]);
        ops->close(k);
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct kern *k = NULL;
        struct err e = {0};
        CHECK_EQ(ops->open(&(struct kern_config){.isa = wrong[i]}, &k, &e), E_NOT_FOUND);
        CHECK_HAS(e.text, "or one of them+graphs or +base");
    }
}

/* Two thousand rows where more than 60 GB may be used, whether the card ends there or a cap
 * does. */
TEST(card_with_room_takes_more_rows_a_pass_cuda_flat) {
    static const uint64_t enough = 60000000000u, spare = 256 << 20; /* plugin.cu */
    static const struct {
        uint64_t card, cap;
        int rows;
    } cases[] = {{0, 0, 1024},
                 {enough + spare, 0, 1024},
                 {enough + spare + 1, 0, 2048},
                 {2 * enough, 0, 2048},
                 {2 * enough, enough, 1024},
                 {2 * enough, enough + 1, 2048},
                 {enough, 2 * enough, 1024}};
    const struct kern_ops *ops;
    struct emu_control *emu = emulated(&ops);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kern *k = NULL;
        struct kern_ptr p;
        emu->memory = cases[i].card;
        CHECK_EQ(ops->open(&(struct kern_config){.memory_max = cases[i].cap}, &k, NULL), 0);
        CHECK_EQ(ops->pass_rows(k), cases[i].rows);
        CHECK_EQ(ops->alloc(k, 1 << 20, &p, NULL), 0);
        emu->memory = 1 << 20; /* what is taken later changes nothing */
        CHECK_EQ(ops->pass_rows(k), cases[i].rows);
        ops->close(k);
    }
}

static int notes;
static char note[400];
static void take_note(void *ud, const char *text) {
    CHECK(ud == note && strlen(text) < sizeof note);
    memcpy(note, text, strlen(text) + 1);
    notes++;
}

/* Products are our own then, right and slow; strict ones always are. */
TEST(card_without_cublaslt_says_so_cuda_flat) {
    const struct kern_ops *ops;
    struct emu_control *emu = emulated(&ops);
    for (int way = 0; way < 3; way++) { /* as it is; hidden; not wanted */
        struct kern *k = NULL;
        notes = 0;
        emu->hide_libraries = way == 1;
        emu->libraries = 0;
        const struct kern_config cfg = {
            .isa = way == 2 ? "strict" : NULL, .note = take_note, .note_ud = note};
        CHECK_EQ(ops->open(&cfg, &k, NULL), 0);
        int has_own = strstr(ops->describe(k), "own products") != NULL;
        CHECK_EQ(notes, has_own);
        CHECK_EQ(emu->libraries, way == 0 ? 1 : way == 2 ? 0 : emu->libraries);
        if (has_own)
            CHECK_HAS(note, "cuda: device 0: no cuBLASLt, so products are our own, and slow: ");
        if (has_own && way == 0) CHECK_HAS(note, "libcublasLt.so.13 has no cublasLt");
        if (way == 1) {
            CHECK(has_own);
            CHECK_HAS(note, "nowhere/libcublasLt.so.13: cannot open shared object file");
            if (!access("/usr/local/cuda/lib64/libcublasLt.so.13", R_OK)) CHECK(emu->libraries > 1);
        }
        CHECK_EQ(multiply(ops, k, 0), 0);
        ops->close(k);
    }
}

/* From the first refused launch on nothing is done any more, and whoever waits is told the same. */
TEST(card_that_is_lost_stays_lost_cuda_flat) {
    const struct kern_ops *ops;
    struct emu_control *emu = emulated(&ops);
    struct kern *k = NULL;
    struct kern_ptr p;
    struct err first = {0}, later = {0};
    float x[N] = {0};
    int live = emu->mallocs;
    CHECK_EQ(ops->open(&(struct kern_config){.isa = "flat"}, &k, NULL), 0);
    CHECK_EQ(multiply(ops, k, 0), 0);
    CHECK_EQ(ops->alloc(k, sizeof x, &p, NULL), 0);
    emu->refuse[EMU_LAUNCH] = 1;
    for (int i = 0; i < 2; i++) {
        int calls = emu->calls[EMU_LAUNCH];
        ops->swiglu(k, &(struct kern_swiglu){
                           .rows = 1, .width = N / 2, .x = p, .ldx = N, .y = p, .ldy = N});
        ops->put(k, p, x, sizeof x);
        CHECK_EQ(emu->calls[EMU_LAUNCH], calls + (i == 0));
    }
    CHECK_EQ(ops->sync(k, &first), E_DEVICE);
    CHECK_HAS(first.text, "cuda: device 0: swiglu: ");
    CHECK_EQ(ops->get(k, x, p, sizeof x, &later), E_DEVICE);
    CHECK_STR(later.text, first.text);
    CHECK_EQ(ops->alloc(k, 64, &p, NULL), E_DEVICE);
    ops->close(k);
    CHECK_EQ(emu->mallocs, live);
}

TEST_LIMIT(card_runs_out_of_memory_at_every_place_cuda_flat, 120) {
    const struct kern_ops *ops;
    struct err e;
    struct emu_control *emu = emulated(&ops);
    int unopened = 0, short_of = 0, n = 0, live = emu->mallocs;
    do {
        struct kern *k = NULL;
        e = (struct err){0};
        emu->refuse[EMU_MALLOC] = ++n;
        int rc = ops->open(&(struct kern_config){.isa = "flat"}, &k, &e);
        CHECK(rc == (k ? 0 : E_NOMEM));
        if (rc) CHECK_HAS(e.text, "are needed before the model");
        unopened += rc != 0;
        for (int as_fp8 = 0; !rc && as_fp8 < 2; as_fp8++) {
            int short_now = multiply(ops, k, as_fp8);
            CHECK(short_now == 0 || short_now == E_NOMEM);
            short_of += short_now != 0;
        }
        ops->close(k);
        CHECK_EQ(emu->mallocs, live);
    } while (emu->refuse[EMU_MALLOC] == 0);
    emu->refuse[EMU_MALLOC] = 0;
    CHECK_EQ(unopened, 3); /* pinned ring, two stages */
    CHECK_EQ(short_of, 7); /* weights, x, y; in 8 bits scales, too */
}
