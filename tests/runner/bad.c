/* bad.c - tests that end in every way there is, for the runner's own test (run.py). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"

/* Until so much processor time is used up. */
static void work(int ms) {
    while ((double)clock() < (double)ms * 1e-3 * CLOCKS_PER_SEC)
        continue;
}

TEST(a_slow_one) {
    work(300);
    printf("the slow one speaks\n");
}
TEST(b_quick_one) {
    CHECK_EQ(2 + 2, 4);
    CHECK_STR("a", "a");
    CHECK_HAS("abc", "bc");
    CHECK_NEAR(1, 1.1, 0.2);
    CHECK_MEM("ab", "ac", 1);
    printf("the quick one speaks\n");
}
TEST(c_failing) { CHECK(1 > 2); }
TEST(c_unequal) { CHECK_EQ(1, 2); }
TEST(c_other_text) { CHECK_STR("a", NULL); }
TEST(c_no_part) { CHECK_HAS("abc", "x"); }
TEST(c_far) { CHECK_NEAR(1, 1.3, 0.2); }
TEST(c_no_number) { CHECK_NEAR(1, NAN, 5); }
TEST(c_other_bytes) { CHECK_MEM("abc", "abd", 3); }
TEST(d_skipping) { skip("there is no moon"); }
TEST(e_crashing) { abort(); }
TEST(f_exiting) { exit(3); }
TEST(g_spinning) {
    for (;;)
        work(1000000);
}
TEST(h_waiting) {
    for (;;)
        pause();
}
TEST(i_polling) {
    for (;;)
        usleep(100000);
}
TEST(j_leaving_a_child_behind) {
    if (fork() == 0) pause();
}
TEST(k_working) { work(6000); }
TEST_LIMIT(l_working_longer, 20) { work(3000); }
TEST(m_counting) { printf("counted to %d\n", test_count(10, 1000)); }
TEST(n_steady) { work(1500); }
