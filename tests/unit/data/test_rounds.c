/* test_rounds.c - recorded rounds: both games, and what is wrong with each field. */
#include "data/rounds.h"

#include <stdio.h>

#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/data/rig.h"

#define CAR(steps)   "{\"game\": \"car_racing\", \"steps\": [" steps "]}"
#define SPACE(steps) "{\"game\": \"space_invaders\", \"steps\": [" steps "]}"
#define DRIVE        "{\"frames\": [\"0.png\", \"1.png\"], \"action\": [10, 20, 0]}"
#define SHOOT        "{\"frames\": [\"0.png\", \"1.png\", \"2.png\", \"3.png\"], \"action\": 5}"

TEST(rounds_of_both_games) {
    struct rig r;
    struct rounds got;
    rig_open(&r);
    const char *path = rig_file(&r, "rollout.json", CAR(DRIVE ", " DRIVE ", " DRIVE));
    CHECK_EQ(rounds_open(r.dir, 0, &got, NULL), 0); /* by its folder */
    CHECK_EQ(got.game, ROUNDS_CAR_RACING);
    CHECK_EQ(got.n, 3);
    CHECK_STR(got.at[2].frames[1], "1.png");
    CHECK_MEM(got.at[2].action, ((uint8_t[]){10, 20, 0}), 3);
    CHECK(got.rules->frames == 2 && got.rules->values == 3 && got.rules->most == 20);
    rounds_close(&got);
    CHECK_EQ(rounds_open(path, 2, &got, NULL), 0);
    CHECK_EQ(got.n, 2);
    rounds_close(&got);
    CHECK_EQ(rounds_open(rig_file(&r, "b.json", SPACE(SHOOT)), 0, &got, NULL), 0);
    CHECK_EQ(got.game, ROUNDS_SPACE_INVADERS);
    CHECK_STR(got.at[0].frames[3], "3.png");
    CHECK_EQ(got.at[0].action[0], 5);
    rounds_close(&got);
    rig_close(&r);
}

TEST(rounds_say_what_is_wrong) {
    static const char *const wrong[][2] = {
        {CAR(""), "no step"},
        {"{\"game\": \"chess\", \"steps\": [" DRIVE "]}", "neither car_racing nor space_invaders"},
        {"{\"steps\": []}", "\"game\" must be a text"},
        {"{\"game\": \"car_racing\"}", "\"steps\" must be an array"},
        {CAR(DRIVE ", " SHOOT), "steps[1]: \"frames\" must be 2 names"},
        {SPACE(DRIVE), "steps[0]: \"frames\" must be 4 names"},
        {CAR("{\"frames\": [\"a\", \"b\"], \"action\": [0, 0, 21]}"),
         "three whole numbers of 0 .. 20"},
        {CAR("{\"frames\": [\"a\", \"b\"], \"action\": [0, 0, 0, 0]}"), "three whole numbers"},
        {CAR("{\"frames\": [\"a\", \"b\"], \"action\": [0, -1, 0]}"), "three whole numbers"},
        {CAR("{\"frames\": [\"a\", \"b\"]}"), "three whole numbers"},
        {SPACE("{\"frames\": [\"a\", \"b\", \"c\", \"d\"], \"action\": 6}"),
         "a whole number of 0 .. 5"},
        {SPACE("{\"frames\": [\"a\", \"b\", \"c\", \"d\"], \"action\": [1]}"), "a whole number"},
        {CAR("{\"frames\": [\"a\", \"../b\"], \"action\": [0, 0, 0]}"),
         "below the pictures' folder"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct rig r;
        struct rounds got;
        struct err e = {0};
        rig_open(&r);
        CHECK_EQ(rounds_open(rig_file(&r, "r.json", wrong[i][0]), 0, &got, &e), E_FORMAT);
        CHECK_HAS(e.text, wrong[i][1]);
        rounds_close(&got);
        rig_close(&r);
    }
    struct rounds got;
    CHECK_EQ(rounds_open("/nowhere", 0, &got, NULL), E_IO);
    rounds_close(&got);
}
