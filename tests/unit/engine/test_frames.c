/* test_frames.c - the frames of a game in one call of the tower, where the device likes it so: as
 * many at once as it says, and the same answer, to the bit, as one by one. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/kern.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

enum { FRAMES = 4, LIKED = 3 };

static void (*real_attn_full)(struct kern *k, const struct kern_attn_full *a);
static atomic_int calls, of_three, of_one;

static void attn_full_and_note(struct kern *k, const struct kern_attn_full *a) {
    atomic_fetch_add(&calls, 1);
    atomic_fetch_add(&of_three, a->images == LIKED);
    atomic_fetch_add(&of_one, a->images == 1);
    real_attn_full(k, a);
}
static int likes_three(const struct kern *k) { return (void)k, LIKED; }

/* The action that follows from four frames. */
static struct eng_job *act_of(struct eng *e) {
    struct eng_picture *frames[FRAMES];
    struct eng_job *j;
    for (int i = 0; i < FRAMES; i++)
        frames[i] = eng_rig_picture(e, i);
    struct eng_ask ask = {
        .task = ENG_SHOOT, .pictures = frames, .n_pictures = FRAMES, .urgency = ENG_ACT};
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), 0);
    eng_rig_wait(j);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    for (int i = 0; i < FRAMES; i++)
        eng_picture_put(frames[i]);
    return j;
}

TEST_LIMIT(frames_go_through_the_tower_together, 60) {
    const struct kern_ops *ops;
    struct eng *e[2];
    struct eng_job *j[2];
    const struct eng_answer *a[2];
    struct eng_stats st;
    uint32_t n;
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops liking = *ops;
    real_attn_full = ops->attn_full;
    liking.attn_full = attn_full_and_note;
    liking.pass_pictures = likes_three;
    struct eng_options opt = {.model = MINI, .threads = 1};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(eng_open_on(&opt, &(const struct kern_ops *){i ? &liking : ops}, 1, &e[i], NULL),
                 0);
        j[i] = act_of(e[i]);
        a[i] = eng_job_answers(j[i], &n);
        CHECK_EQ(n, 1);
        eng_rig_idle(e[i], &st);
        CHECK_EQ(st.pictures, FRAMES);
        CHECK_EQ(st.allocations_in_step, 0);
    }
    CHECK(eng_rig_same(a[0], a[1], 1));
    CHECK(atomic_load(&of_three) > 0 && atomic_load(&of_three) == atomic_load(&of_one));
    CHECK_EQ(atomic_load(&of_three) + atomic_load(&of_one), atomic_load(&calls));
    for (int i = 0; i < 2; i++) {
        eng_job_put(j[i]);
        eng_close(e[i]);
    }
}
