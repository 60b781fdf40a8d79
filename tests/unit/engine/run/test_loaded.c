/* test_loaded.c - the table of berths, and who holds an adapter. */
#include "engine/run/loaded.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

TEST(loaded_berths_are_taken_and_given) {
    struct berths *b = berths_new(4, 2);
    CHECK_EQ(berths_take(b, 0), 3); /* those with room for an overlay last */
    CHECK_EQ(berths_take(b, 1), 1);
    CHECK_EQ(berths_take(b, 0), 2);
    CHECK_EQ(berths_take(b, 0), 0);
    CHECK_EQ(berths_take(b, 1), -1);
    CHECK_EQ(berths_take(b, 0), -1);
    CHECK_EQ(berths_taken(b), 4);
    berths_give(b, 1);
    CHECK_EQ(berths_taken(b), 3);
    CHECK_EQ(berths_take(b, 1), 1);
    berths_put(b);
    b = berths_new(0, 0);
    CHECK_EQ(berths_take(b, 0), -1);
    berths_put(b);
    berths_put(NULL);
}

static int woken;
static void count_wake(void *ud, struct eng_adapter *a) {
    CHECK(ud == &woken && eng_adapter_state(a) >= ENG_DONE);
    woken++;
}

/* Two units: the last of them wakes; the first error stays; the berth is free behind the last
 * reference, of whomever. */
TEST(loaded_ends_with_the_last_unit) {
    for (int fails = 0; fails < 2; fails++) {
        struct berths *b = berths_new(1, 0);
        struct eng_adapter *a = loaded_new(b, berths_take(b, 0), NULL, 2);
        a->wake = count_wake;
        a->ud = &woken;
        woken = 0;
        CHECK_EQ(eng_adapter_state(a), ENG_WAITING);
        loaded_begin(a);
        CHECK_EQ(eng_adapter_state(a), ENG_RUNNING);
        loaded_end(a, fails ? E_DEVICE : 0, "lost");
        CHECK(eng_adapter_state(a) == ENG_RUNNING && !woken && !eng_adapter_error(a)->code);
        loaded_end(a, fails ? E_CANCELLED : 0, "closed");
        CHECK_EQ(woken, 1);
        CHECK_EQ(eng_adapter_state(a), fails ? ENG_FAILED : ENG_DONE);
        CHECK_STR(eng_adapter_error(a)->text, fails ? "lost" : "");
        struct eng_adapter *job = loaded_get(a);
        eng_adapter_put(a);
        CHECK(!loaded_is_wanted(job));
        CHECK_EQ(berths_taken(b), 1);
        loaded_put(job);
        CHECK_EQ(berths_taken(b), 0);
        berths_put(b);
    }
}

/* Nobody is woken who has put it. */
TEST(loaded_wakes_nobody_who_has_gone) {
    struct berths *b = berths_new(1, 0);
    struct eng_adapter *a = loaded_new(b, berths_take(b, 0), NULL, 1);
    a->wake = count_wake;
    a->ud = &woken;
    woken = 0;
    eng_adapter_put(a);
    berths_put(b); /* the adapter has its own reference */
    CHECK(!loaded_is_wanted(a));
    loaded_end(a, E_CANCELLED, "given up");
    CHECK_EQ(woken, 0);
}
