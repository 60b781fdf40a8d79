/* fake_lt.h - what a test may ask of the stand-in for cuBLASLt, and what it can make it refuse.
 * Found by its name in the library that the plugin has loaded; the real one has nothing of the
 * kind. C11 and C++. */
#ifndef TESTS_CUDA_EMU_FAKE_LT_H
#define TESTS_CUDA_EMU_FAKE_LT_H

#define FAKE_LT_LIBRARY "libcublasLt.so.13"
#define FAKE_LT_CONTROL "fake_lt_control"

struct fake_lt_control {
    int products;     /* that were asked for so far */
    int fail_rows;    /* products of so many rows fail; 0: none */
    int fail_layout;  /* the how many-th change of a layout from now on fails; 0: none */
    int bias_tile;    /* algorithms with a bias have another tile */
    int no_algorithm; /* the heuristic has nothing to offer */
};

#endif
