/* test_wait.c - the estimate of a wait: what stands before a job, and the pace behind it. */
#include "engine/run/wait.h"

#include "tests/check.h"

enum { ME = 7, YOU = 8 };
#define SECONDS(l, class, cost) wait_before(&(l), ME, class, cost)

TEST(wait_is_what_stands_before) {
    struct wait_load l = {.pace = 1000};
    CHECK(wait_is_idle(&l));
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 50000), 0, 0); /* its own length is no wait */
    l.of[ME].waiting[ENG_PICTURE] = 3000;
    CHECK(!wait_is_idle(&l));
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 3, 1e-9);
    l.of[ME].running[ENG_PICTURE] = 4; /* they share: each gets on as far as it does */
    l.of[ME].left[ENG_PICTURE] = 100000;
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 5, 1e-9);
    l.pace = 0;
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 0, 0); /* not known: nothing is said */
}

/* Beside another class it gets its share, and never waits for more than the other has. */
TEST(wait_knows_the_shares_of_classes) {
    struct wait_load l = {.pace = 1000};
    l.of[ME].running[ENG_PICTURE] = 1;
    l.of[ME].left[ENG_PICTURE] = 1000000;
    /* An answer's row counts 4, a picture's 8: it has two thirds. */
    CHECK_NEAR(SECONDS(l, ENG_ANSWER, 600), 0.3, 1e-9);
    l.of[ME].left[ENG_PICTURE] = 100;
    CHECK_NEAR(SECONDS(l, ENG_ANSWER, 600), 0.1, 1e-9);
    CHECK_NEAR(SECONDS(l, ENG_ACT, 600), 0.6 / 8, 1e-9);
}

/* Each owner gets as much as this one meanwhile, and no more than he has. */
TEST(wait_knows_owners) {
    struct wait_load l = {.pace = 1000};
    l.of[YOU].waiting[ENG_PICTURE] = 1000000;
    l.of[YOU].running[ENG_PICTURE] = 4;
    l.of[YOU].left[ENG_PICTURE] = 20000;
    CHECK(!wait_is_idle(&l));
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 0.5, 1e-9); /* not 1,000 s */
    CHECK_NEAR(wait_before(&l, YOU, ENG_PICTURE, 500), 1002, 1e-9);
    CHECK_NEAR(wait_of_all(&l), 1000, 1e-9);
    l.of[ME].waiting[ENG_PICTURE] = 2000;
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 2 + 2.5, 1e-9);
    l.of[YOU].waiting[ENG_PICTURE] = 0;
    l.of[YOU].left[ENG_PICTURE] = 100;
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 2 + 0.1, 1e-9);
    for (int i = 10; i < 20; i++)
        l.of[i].waiting[ENG_ANSWER] = 50; /* whatever its class */
    CHECK_NEAR(SECONDS(l, ENG_PICTURE, 500), 2 + 0.1 + 10 * 0.05, 1e-9);
    CHECK_NEAR(wait_of_all(&l), 2 + 10 * 0.05, 1e-9);
}

/* The first sample alone says little: a device warms up, and others are new at once. */
TEST(wait_forgets_a_bad_first_sample) {
    struct wait_pace p = {0};
    wait_turn(&p, 0.3, 300, 1);
    CHECK_NEAR(p.rate, 1000, 1);
    for (int i = 0; i < 9; i++)
        wait_turn(&p, 0.3, 3000, 1);
    CHECK_NEAR(p.rate, 9100, 1);
}

TEST(wait_measures_when_the_device_is_busy) {
    struct wait_pace p = {0};
    for (int i = 0; i < 99; i++) /* a job now and then says nothing of what the device can do */
        wait_turn(&p, 0.1, 10, 0);
    CHECK_NEAR(p.rate, 0, 0);
    for (int i = 0; i < 30; i++)
        wait_turn(&p, 0.1, 500, 1);
    CHECK_NEAR(p.rate, 5000, 1);
    for (int i = 0; i < 99; i++)
        wait_turn(&p, 0.1, 10, 0);
    CHECK_NEAR(p.rate, 5000, 1);
    for (int i = 0; i < 300; i++)
        wait_turn(&p, 0.1, 800, 0); /* but that it can do more */
    CHECK_NEAR(p.rate, 8000, 20);
    for (int i = 0; i < 300; i++)
        wait_turn(&p, 0.1, 300, 1);
    CHECK_NEAR(p.rate, 3000, 20);
}
