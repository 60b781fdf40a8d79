/* test_devices.c - an engine on several devices: which lists of them are legal, that answers are
 * the same bits wherever they come from, where jobs go (by counters, never by time), and how
 * it ends. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/mem.h"
#include "kernels/kern.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static const char *pair_of_hosts(void) {
    static char list[32];
    (void)snprintf(list, sizeof list, "%s,%s", eng_rig_backend(), eng_rig_backend());
    return list;
}

static struct eng *open_pair(const char *dir) {
    struct eng *e = NULL;
    struct err err = {0};
    struct eng_options o = {.model = dir, .device = pair_of_hosts(), .threads = 2};
    int rc = eng_open(&o, &e, &err);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    return e;
}

static struct eng_ask all_of(struct eng_picture **picture) {
    return (struct eng_ask){.pictures = picture,
                            .n_pictures = 1,
                            .points = eng_rig_points(),
                            .n_points = ENG_RIG_ALL,
                            .urgency = ENG_PICTURE};
}

static void ask_and_wait(struct eng *e, const struct eng_ask *ask) {
    struct eng_job *j;
    CHECK_EQ(eng_submit(e, ask, &j, NULL), 0);
    eng_rig_wait(j);
    CHECK_EQ(eng_job_state(j), ENG_DONE);
    eng_job_put(j);
}

/* A picture at home on this device: one after the other is asked about, until it is this one that
 * looks. The engine is at rest before and after. *from: number of the first to try, then behind the
 * one found. */
static struct eng_picture *picture_at(struct eng *e, int device, int *from) {
    for (int tries = 0; tries < 32; tries++) {
        struct eng_picture *picture = eng_rig_picture(e, (*from)++);
        struct eng_ask ask = all_of(&picture);
        uint64_t before = eng_rig_seen(e, device);
        ask.n_points = 1;
        ask_and_wait(e, &ask);
        if (eng_rig_seen(e, device) > before) return picture;
        eng_picture_put(picture);
    }
    test_failed(__FILE__, __LINE__, "at rest no picture goes to device %d", device);
}

TEST(devices_refuses_lists_that_are_none) {
    static const struct {
        const char *list, *text;
        int rc;
    } wrong[] = {{"", "is empty", E_INVALID},
                 {"cpu,", "is empty", E_INVALID},
                 {"cpu,,cpu", "is empty", E_INVALID},
                 {",cpu", "is empty", E_INVALID},
                 {"cpu,auto", "auto stands alone", E_INVALID},
                 {"auto,cpu", "auto stands alone", E_INVALID},
                 {"cpu,gpu", "no backend \"gpu\"", E_NOT_FOUND},
                 {"ref,ref:3", "ref:3: ref: no device 3", E_NOT_FOUND},
                 {"ref,ref:x", "number of a device", E_INVALID},
                 {"cpu,a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-name",
                  "too long", E_INVALID},
                 {"ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref,ref",
                  "at most 16", E_INVALID}};
    struct mem_stats before, after;
    mem_stats(&before);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct eng *e = NULL;
        struct err err = {0};
        struct eng_options o = {.model = TINY, .device = wrong[i].list};
        CHECK_EQ(eng_open(&o, &e, &err), wrong[i].rc);
        CHECK_HAS(err.text, wrong[i].text);
        CHECK(e == NULL);
    }
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

/* With a plugin that is whole but has no device: what is wrong with a list is found before one is
 * opened. */
TEST(devices_of_a_plugin_are_named_once) {
    static const struct {
        const char *list, *text;
        int rc;
    } lists[] = {{"cuda:0,cuda:0", "cuda:0 is named twice", E_INVALID},
                 {"cuda:1,cpu,cuda:1", "cuda:1 is named twice", E_INVALID},
                 {"cuda,cuda:0", "cuda:0 is named twice", E_INVALID},
                 {"cuda:0,cuda:1", "cuda:0: fake: there is no device", E_NOT_FOUND}};
    char plugin[4200], exe[4000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    (void)snprintf(plugin, sizeof plugin, "%s/plugin_good.so", exe);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct eng *e = NULL;
        struct err err = {0};
        struct eng_options o = {.model = TINY, .device = lists[i].list, .plugin = plugin};
        CHECK_EQ(eng_open(&o, &e, &err), lists[i].rc);
        CHECK_HAS(err.text, lists[i].text);
    }
}

TEST(devices_refuse_what_is_no_picture) {
    struct eng *e = open_pair(TINY);
    struct eng_picture *none[ENG_PICTURES_MAX + 1] = {NULL};
    struct eng_ask ask = all_of(none);
    struct eng_job *j = NULL;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), E_INVALID);
    ask.n_pictures = ENG_PICTURES_MAX + 1;
    CHECK(eng_submit(e, &ask, &j, NULL) < 0);
    ask.pictures = NULL;
    ask.n_pictures = 1;
    CHECK_EQ(eng_submit(e, &ask, &j, NULL), E_INVALID);
    CHECK(j == NULL);
    eng_close(e);
}

TEST(devices_are_named_and_share_the_threads) {
    struct eng *e = NULL;
    struct err err = {0};
    struct eng_options o = {.model = TINY, .device = "cpu,cpu", .threads = 5};
    int rc = eng_open(&o, &e, &err);
    if (rc == E_NOT_FOUND) skip("%s", err.text);
    CHECK_EQ(rc, 0);
    CHECK_EQ(eng_devices(e), 2);
    const char *first = strstr(eng_info(e)->backend, "2 threads");
    CHECK(first != NULL && strstr(first + 1, "2 threads") != NULL);
    CHECK_HAS(eng_info(e)->backend, "; cpu: ");
    eng_close(e);
}

TEST_LIMIT(devices_answer_with_the_same_bits, 60) {
    struct eng_answer want[ENG_RIG_ALL], got[ENG_RIG_ALL];
    struct eng *one = eng_rig_open(&(struct eng_options){.model = TINY}), *two = open_pair(TINY);
    CHECK_STR(eng_info(one)->digest, eng_info(two)->digest);
    for (int i = 0, n = 0; i < 4; i++) { /* on each device twice */
        struct eng_picture *picture = picture_at(two, i % 2, &n);
        uint64_t before = eng_rig_seen(two, 1 - i % 2);
        eng_rig_ask_all(one, picture, ENG_MEDIAN, 1, want);
        eng_rig_ask_all(two, picture, ENG_MEDIAN, 1, got);
        CHECK(eng_rig_same(want, got, ENG_RIG_ALL));
        CHECK_EQ(eng_rig_seen(two, 1 - i % 2), before);
        eng_picture_put(picture);
    }
    eng_close(one);
    eng_close(two);
}

/* Many pictures at once, each asked three times: both devices get some, and each picture is looked
 * at once, wherever it went. */
TEST_LIMIT(devices_share_pictures_and_keep_them, 60) {
    enum { PICTURES = 8, TIMES = 3 };
    struct eng *e = open_pair(TINY);
    struct eng_picture *picture[PICTURES];
    struct eng_job *job[TIMES][PICTURES];
    struct eng_point one = {3, 4};
    for (int n = 0; n < PICTURES; n++)
        picture[n] = eng_rig_picture(e, n);
    for (int t = 0; t < TIMES; t++) {
        for (int n = 0; n < PICTURES; n++) {
            struct eng_ask ask = all_of(&picture[n]);
            if (t) {
                ask.points = &one;
                ask.n_points = 1;
            }
            CHECK_EQ(eng_submit(e, &ask, &job[t][n], NULL), 0);
        }
        for (int n = 0; n < PICTURES; n++) {
            eng_rig_wait(job[t][n]);
            CHECK_EQ(eng_job_state(job[t][n]), ENG_DONE);
        }
    }
    struct eng_stats all, part[2];
    eng_rig_idle(e, &all);
    for (int d = 0; d < 2; d++) {
        eng_device_stats(e, d, &part[d]);
        CHECK(part[d].pictures > 0 && part[d].jobs_done > 0);
    }
    CHECK_EQ(all.pictures, PICTURES);
    CHECK_EQ(all.pictures, part[0].pictures + part[1].pictures);
    CHECK_EQ(all.rows, part[0].rows + part[1].rows);
    CHECK_EQ(all.jobs_done, TIMES * PICTURES);
    CHECK_EQ(all.answers[ENG_PIXELS], PICTURES * (ENG_RIG_ALL + TIMES - 1));
    for (int n = 0; n < PICTURES; n++) {
        for (int t = 0; t < TIMES; t++)
            eng_job_put(job[t][n]);
        eng_picture_put(picture[n]);
    }
    eng_close(e);
}

/* Two games at once, each a chain of frames of which a step holds the last two: every frame is
 * looked at once, where the game's first one was. */
TEST_LIMIT(devices_keep_a_game_together, 60) {
    enum { GAMES = 2, STEPS = 4 };
    struct eng *e = open_pair(MINI);
    struct eng_picture *frame[GAMES][STEPS + 1];
    int n = 0;
    for (int g = 0; g < GAMES; g++)
        frame[g][0] = picture_at(e, g, &n);
    uint64_t before[GAMES] = {eng_rig_seen(e, 0), eng_rig_seen(e, 1)};
    for (int s = 0; s < STEPS; s++) {
        for (int g = 0; g < GAMES; g++) {
            frame[g][s + 1] = eng_rig_picture(e, n++);
            struct eng_ask ask = {.task = ENG_DRIVE,
                                  .pictures = &frame[g][s],
                                  .n_pictures = ENG_DRIVE_FRAMES,
                                  .urgency = ENG_ACT};
            ask_and_wait(e, &ask);
            CHECK_EQ(eng_rig_seen(e, g), before[g] + (uint64_t)s + 1);
        }
    }
    for (int g = 0; g < GAMES; g++)
        for (int s = 0; s <= STEPS; s++)
            eng_picture_put(frame[g][s]);
    eng_close(e);
}

/* ---- with a device that can be held ---- */

static atomic_int held, gets_left;
static int (*real_get)(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e);

/* Of the first device: it waits while it is held, and is lost when its gets are used up. */
static int get_slowly(struct kern *k, void *dst, struct kern_ptr src, size_t bytes, struct err *e) {
    while (atomic_load(&held))
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (atomic_fetch_sub(&gets_left, 1) <= 0) return err_set(e, E_DEVICE, "it fell off the bus");
    return real_get(k, dst, src, bytes, e);
}

static struct eng *open_held(struct kern_ops *slow) {
    const struct kern_ops *ops;
    struct eng *e = NULL;
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    *slow = *ops;
    real_get = ops->get;
    slow->get = get_slowly;
    atomic_store(&gets_left, 1 << 30);
    struct eng_options o = {.model = TINY, .threads = 2};
    CHECK_EQ(eng_open_on(&o, (const struct kern_ops *const[]){slow, ops}, 2, &e, NULL), 0);
    return e;
}

TEST_LIMIT(devices_take_over_from_one_that_is_far_behind, 60) {
    enum { BEHIND = 4 };
    struct kern_ops slow;
    struct eng *e = open_held(&slow);
    int n = 1;
    struct eng_picture *picture = picture_at(e, 0, &n);
    struct eng_ask ask = all_of(&picture);
    struct eng_job *job[BEHIND];
    uint64_t before[2] = {eng_rig_seen(e, 0), eng_rig_seen(e, 1)};
    atomic_store(&held, 1);
    for (int i = 0; i < BEHIND; i++) /* two to the first device, then it is a picture behind */
        CHECK_EQ(eng_submit(e, &ask, &job[i], NULL), 0);
    eng_rig_wait(job[2]);
    eng_rig_wait(job[3]);
    CHECK_EQ(eng_rig_seen(e, 1), before[1] + 1); /* it looked at the picture too */
    CHECK(eng_job_state(job[0]) < ENG_DONE && eng_job_state(job[1]) < ENG_DONE);
    atomic_store(&held, 0);
    for (int i = 0; i < BEHIND; i++) {
        eng_rig_wait(job[i]);
        CHECK_EQ(eng_job_state(job[i]), ENG_DONE);
        eng_job_put(job[i]);
    }
    CHECK_EQ(eng_rig_seen(e, 0), before[0]);
    eng_picture_put(picture);
    eng_close(e);
}

/* What the lost device had fails; what another has may end; no more jobs are accepted. */
TEST_LIMIT(devices_one_lost_ends_all, 60) {
    struct kern_ops slow;
    struct eng *e = open_held(&slow);
    int n = 1;
    struct eng_picture *picture = picture_at(e, 0, &n), *other = picture_at(e, 1, &n);
    struct eng_ask ask = all_of(&picture), more = all_of(&other);
    struct eng_job *job, *well, *none = NULL;
    struct err err = {0};
    atomic_store(&held, 1);
    atomic_store(&gets_left, 1);
    CHECK_EQ(eng_submit(e, &ask, &job, NULL), 0);
    CHECK_EQ(eng_submit(e, &more, &well, NULL), 0);
    atomic_store(&held, 0);
    eng_rig_wait(job);
    eng_rig_wait(well);
    CHECK_EQ(eng_job_state(job), ENG_FAILED);
    CHECK_EQ(eng_job_error(job)->code, E_DEVICE);
    CHECK_EQ(eng_job_state(well), ENG_DONE);
    CHECK_EQ(eng_health(e), E_DEVICE);
    CHECK_HAS(eng_lost(e), "bus");
    CHECK_EQ(eng_submit(e, &more, &none, &err), E_DEVICE);
    CHECK(none == NULL);
    eng_job_put(job);
    eng_job_put(well);
    eng_picture_put(picture);
    eng_picture_put(other);
    eng_close(e);
}

TEST_LIMIT(devices_close_with_work_on_all_of_them, 60) {
    struct eng *e = open_pair(TINY);
    struct eng_picture *picture[4];
    struct eng_job *job[4];
    int n = 0;
    for (int i = 0; i < 4; i++)
        picture[i] = picture_at(e, i % 2, &n);
    for (int i = 0; i < 4; i++) {
        struct eng_ask ask = all_of(&picture[i]);
        CHECK_EQ(eng_submit(e, &ask, &job[i], NULL), 0);
    }
    eng_close(e);
    for (int i = 0; i < 4; i++) {
        CHECK(eng_job_state(job[i]) == ENG_DONE || eng_job_state(job[i]) == ENG_CANCELLED);
        eng_job_put(job[i]);
        eng_picture_put(picture[i]);
    }
}

/* ---- opening ---- */

static char model_link[64];
static const char *model_next;
static int (*real_open)(const struct kern_config *cfg, struct kern **out, struct err *e);

/* Another model replaces it while the devices are being opened. */
static int open_and_change(const struct kern_config *cfg, struct kern **out, struct err *e) {
    CHECK_EQ(unlink(model_link), 0);
    CHECK_EQ(symlink(model_next, model_link), 0);
    return real_open(cfg, out, e);
}

/* One that has something to say. */
static int open_and_note(const struct kern_config *cfg, struct kern **out, struct err *e) {
    CHECK(cfg->note != NULL);
    cfg->note(cfg->note_ud, "cuda: device 0: it is slow\nand old");
    return real_open(cfg, out, e);
}

TEST(devices_notes_go_to_the_log) {
    const struct kern_ops *ops;
    struct eng *e = NULL;
    char path[] = "/tmp/lammd-notes-XXXXXX", text[2000] = "";
    int file = mkstemp(path), was = dup(STDERR_FILENO);
    CHECK(file >= 0 && was >= 0);
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops speaking = *ops;
    real_open = ops->open;
    speaking.open = open_and_note;
    struct eng_options o = {.model = TINY, .threads = 1};
    CHECK(dup2(file, STDERR_FILENO) >= 0);
    int rc = eng_open_on(&o, (const struct kern_ops *const[]){&speaking}, 1, &e, NULL);
    CHECK(dup2(was, STDERR_FILENO) >= 0);
    CHECK_EQ(rc, 0);
    eng_close(e);
    CHECK(pread(file, text, sizeof text - 1, 0) > 0);
    CHECK_HAS(text, "event=device_note cuda: device 0: it is slow\\x0aand old\n");
    close(file);
    CHECK_EQ(unlink(path), 0);
}

TEST(devices_with_different_models_are_no_engine) {
    const struct kern_ops *ops;
    struct mem_stats before, after;
    struct eng *e = NULL;
    struct err err = {0};
    char dir[] = "/tmp/lammd-devices-XXXXXX", *now = realpath(TINY, NULL),
         *next = realpath(TINY_DIGITS, NULL);
    CHECK(mkdtemp(dir) && now && next);
    (void)snprintf(model_link, sizeof model_link, "%s/model", dir);
    CHECK_EQ(symlink(now, model_link), 0);
    CHECK_EQ(kern_find(eng_rig_backend(), &ops, NULL), 0);
    struct kern_ops changing = *ops;
    real_open = ops->open;
    changing.open = open_and_change;
    struct eng_options o = {.model = model_link, .threads = 2};
    const struct kern_ops *const both[] = {ops, &changing};
    mem_stats(&before);
    model_next = next;
    int rc = eng_open_on(&o, both, 2, &e, &err);
    mem_stats(&after);
    CHECK_EQ(unlink(model_link), 0);
    CHECK_EQ(rmdir(dir), 0);
    free(now);
    free(next);
    CHECK_EQ(rc, E_FORMAT);
    CHECK_HAS(err.text, "holds another model");
    CHECK(e == NULL);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

/* The first one is open already when the second can't be: nothing stays. */
TEST(devices_open_leaves_nothing_when_one_fails) {
    struct mem_stats before, after;
    mem_stats(&before);
    struct eng *e = NULL;
    struct err err = {0};
    struct eng_options o = {.model = TINY, .device = "ref,ref:1"};
    CHECK_EQ(eng_open(&o, &e, &err), E_NOT_FOUND);
    o = (struct eng_options){.model = "tests/golden/nowhere", .device = pair_of_hosts()};
    CHECK_EQ(eng_open(&o, &e, NULL), E_NOT_FOUND);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}
