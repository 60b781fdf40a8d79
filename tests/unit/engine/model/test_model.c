/* test_model.c - parity with the PyTorch oracle, tensor by tensor, on every backend.
 *
 * Small: the two fixture models (bf16 whole numbers; f16 digits, resized positions, no ln_vision)
 * and one of odd sizes in f32. Wide: one layer at the sizes of EVA-CLIP ViT-g and LLaMA-2-7B.
 */
#include <sys/sysinfo.h>
#include <unistd.h>

#include "tests/unit/engine/model/model_rig.h"

#define TOLERANCE 1e-4

/* Encode the picture, run the golden prompt in one pass, compare everything. */
static void check_parity(struct rig *r, const char *dir, const char *what) {
    struct gold g;
    struct err e = {0};
    char path[96];
    int n;
    snprintf(path, sizeof path, "%s/taps.safetensors", dir);
    CHECK_EQ(gold_open(&g, path, &e), 0);
    const int32_t *ids = gold_ids(&g, &n);
    struct rig_pass *p = mem_must(sizeof *p);
    int32_t src[RIG_ROWS];
    n = rig_expand(r, ids, n, 1, src);
    rig_ready(r, n, n);
    model_set_tap(r->m, gold_tap, &g);
    rig_encode(r, 1);
    rig_begin(r, p);
    for (int i = 0; i < n; i++) {
        rig_row(p, src[i], i, i);
        rig_pick(p, i);
    }
    rig_group(p, 0, 0, 0);
    mem_free(rig_run(r, p));
    const struct model_config *c = model_config(r->m);
    CHECK_EQ(g.seen, 5 + c->vision.layers + c->text.layers);
    if (!(g.worst <= TOLERANCE))
        printf("%s on %s: %g at %s\n", what, r->ops->name, g.worst, g.where);
    CHECK(g.worst <= TOLERANCE);
    CHECK(g.worst > 0); /* it did compare */
    mem_free(p);
    st_close(g.st);
}

TEST(model_parity_tiny) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        rig_open(&r, rig_backends[i], "tests/golden/tiny");
        check_parity(&r, "tests/golden/tiny", "tiny");
        rig_close(&r);
    }
}

TEST(model_parity_tiny_digits) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        rig_open(&r, rig_backends[i], "tests/golden/tiny-digits");
        check_parity(&r, "tests/golden/tiny-digits", "tiny-digits");
        rig_close(&r);
    }
}

TEST(model_parity_odd_sizes) {
    struct rig_file f;
    rig_make(&f, "tests/golden/odd", ST_F32);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        rig_open_file(&r, rig_backends[i], &f);
        check_parity(&r, "tests/golden/odd", "odd");
        rig_close(&r);
    }
    rig_drop(&f);
}

/* In f32. What 16 bits cost is for the engine's answers to show: test_engine_mini.c. */
TEST(model_parity_cuda) {
    static const char *const dirs[] = {"tests/golden/tiny", "tests/golden/tiny-digits"};
    struct rig r;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        rig_open(&r, "cuda-strict", dirs[i]);
        check_parity(&r, dirs[i], dirs[i]);
        rig_close(&r);
    }
    struct rig_file f;
    rig_make(&f, "tests/golden/odd", ST_F32);
    rig_open_file(&r, "cuda-strict", &f);
    check_parity(&r, "tests/golden/odd", "odd");
    rig_close(&r);
    rig_drop(&f);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

/* A quarter of a billion weights: 0.5 GB of bf16 and what the backend makes of them. */
TEST(model_parity_true_widths) {
    struct sysinfo s;
    CHECK_EQ(sysinfo(&s), 0);
    uint64_t free_bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t cached = (uint64_t)s.bufferram * s.mem_unit;
    if (IS_SANITIZED || free_bytes + cached < (uint64_t)4 << 30)
        skip("true widths need 4 GB of free memory and no sanitizer");
    struct rig_file f;
    rig_make(&f, "tests/golden/wide", ST_BF16);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct rig r;
        rig_open_file(&r, rig_backends[i], &f);
        check_parity(&r, "tests/golden/wide", "wide");
        rig_close(&r);
    }
    rig_drop(&f);
}
