/* test_room.c - a card without room, at whichever allocation: it is said, nothing stays behind, the
 * device is not lost for it, and what can be done without is done without. The emulated card
 * (tests/cuda/emu) refuses; a real one is not asked. */
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
        k, &(struct kern_mat_src){.parts = &part, .n_parts = 1, .k = K, .as_fp8 = as_fp8}, &m,
        NULL);
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

TEST_LIMIT(room_runs_out_at_every_place_cuda_flat, 120) {
    const struct kern_ops *ops;
    struct err e = {0};
    if (kern_find("cuda", &ops, &e)) skip("%s", e.text);
    struct emu_control *emu = emu_find(ops);
    if (!emu) skip("no emulated card");
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
