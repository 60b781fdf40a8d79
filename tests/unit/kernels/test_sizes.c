/* test_sizes.c - the CUDA plugin's arithmetic about buffers, which needs no device. */
#include "kernels/base/err.h"
#include "kernels/cuda/sizes.h"
#include "tests/check.h"

TEST(sizes_rows_are_whole_vectors) {
    for (size_t n = 0; n < 100; n++) {
        size_t k = cuda_row_16bit(n), s = cuda_row_sums(n);
        CHECK(k >= n && k < n + 8 && k % 8 == 0);
        CHECK(s >= n && s < n + 4 && s % 4 == 0);
    }
}

TEST(sizes_rows_fit_into_the_stages) {
    static const size_t sides[] = {1, 7, 192, 1408, 4096, 11008, 22016, 32000, 1 << 20, 1 << 24};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        for (size_t j = 0; j < ARRAY_LEN(sides); j++) {
            size_t rows = (size_t)cuda_rows_at_once(sides[i], sides[j]), more = rows + 1;
            CHECK(rows >= 1 && rows <= CUDA_ROWS_MOST);
            size_t in = 2 * cuda_row_16bit(sides[i]), out = 4 * cuda_row_sums(sides[j]);
            CHECK(rows * in <= cuda_stage_bytes && rows * out <= cuda_stage_bytes);
            CHECK(rows == CUDA_ROWS_MOST || more * in > cuda_stage_bytes ||
                  more * out > cuda_stage_bytes);
            size_t codes = (size_t)cuda_rows_fp8(sides[i], sides[j]), k = cuda_side_fp8(sides[i]);
            CHECK(codes % 16 == 0 && codes <= CUDA_ROWS_MOST && k % 16 == 0 && k >= sides[i]);
            CHECK(codes * (k + 4) <= cuda_stage_bytes);
            CHECK(codes * 4 * cuda_side_fp8(sides[j]) <= cuda_stage_bytes);
            CHECK(codes || sides[i] > 1 << 20 || sides[j] >= 1 << 20);
        }
    CHECK_EQ(cuda_rows_at_once((size_t)1 << 26, 1), 0); /* refused when the matrix is made */
    CHECK_EQ(cuda_rows_at_once(1, (size_t)1 << 25), 0);
}
