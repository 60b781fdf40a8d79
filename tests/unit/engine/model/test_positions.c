/* test_positions.c - resized positions have torch's weights, and a flat grid stays flat. */
#include "tests/unit/engine/model/model_rig.h"

/* Weight of source index k in index i of a doubled axis, as docs/model.md section 1.2 states it:
 * i = 2j+1 reads j-1 .. j+2, i = 2j reads j-2 .. j+1 with the weights reversed. */
static double double_tap(int i, int k) {
    static const double weight[4] = {-0.10546875, 0.87890625, 0.26171875, -0.03515625};
    int t = i % 2 ? k - (i / 2 - 1) : 3 - (k - (i / 2 - 2));
    return t < 0 || t > 3 ? 0 : weight[t];
}

TEST(positions_double_exactly) {
    float src[1 + 64] = {7}, dst[1 + 256];
    src[1 + 3 * 8 + 4] = 1; /* an impulse at row 3, column 4 */
    positions_resize(src, 8, dst, 16, 1);
    CHECK(dst[0] == 7);
    for (int y = 0; y < 16; y++)
        for (int x = 0; x < 16; x++) {
            double want = double_tap(y, 3) * double_tap(x, 4);
            CHECK_NEAR(dst[1 + y * 16 + x], want, 1e-7);
        }
    for (int i = 0; i < 64; i++)
        src[1 + i] = 0.5f; /* a flat grid stays flat, edges too */
    positions_resize(src, 8, dst, 5, 1);
    for (int i = 0; i < 25; i++)
        CHECK_NEAR(dst[1 + i], 0.5, 1e-7);
}

/* The same side: nothing changes. Row 0 and every column of the width go their own way. */
TEST(positions_of_the_same_grid_stay) {
    enum { SIDE = 6, WIDTH = 3, N = (1 + SIDE * SIDE) * WIDTH };
    float src[N], dst[N];
    for (int i = 0; i < N; i++)
        src[i] = (float)(i * 37 % 101) - 50;
    positions_resize(src, SIDE, dst, SIDE, WIDTH);
    for (int i = 0; i < N; i++)
        CHECK_NEAR(dst[i], src[i], 1e-5);
}
