/* fake_lt.h - what a test may ask of the stand-in for cuBLASLt, and what it can make it refuse.
 * Found by its name in the library that the plugin has loaded; the real one has nothing of the
 * kind. C11 and C++. */
#ifndef TESTS_CUDA_EMU_FAKE_LT_H
#define TESTS_CUDA_EMU_FAKE_LT_H

#define FAKE_LT_LIBRARY "libcublasLt.so.13"
#define FAKE_LT_CONTROL "fake_lt_control"

/* Of fake_lt_control.more: it has the best one's bytes, and takes half of its time for up to so
 * many rows, then twice of it. */
enum { FAKE_LT_TWIN = 13, FAKE_LT_TWIN_ROWS = 64 };

/* Of fake_lt_control.first: other bits in calls of more than 2,048 rows; the last column is not
 * written, unless it is added to. */
enum { FAKE_LT_CROWD = 19, FAKE_LT_GAPS };

struct fake_lt_control {
    int products;     /* that were asked for so far */
    int by;           /* the algorithm of the last one */
    int asked;        /* times that the heuristic was */
    int more;         /* more algorithms are offered */
    int first;        /* this one is offered before all others; 0: none */
    int slow;         /* products say that they take a thousand times as long */
    int no_scales;    /* codes are not scaled, as by older libraries and on other cards */
    int fail_rows;    /* products of so many rows fail; 0: none */
    int fail_by;      /* by this algorithm alone; 0: by any */
    int fail_layout;  /* the how many-th change of a layout from now on fails; 0: none */
    int bias_tile;    /* algorithms with a bias have another tile */
    int no_algorithm; /* the heuristic has nothing to offer */
};

#endif
