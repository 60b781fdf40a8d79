/* test_batches.c - what is remembered of batches: states, turns, owners, and their files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/batches.h"
#include "tests/check.h"
#include "tests/unit/jobs/rig.h"

static void put_file(const char *path, const char *text) {
    FILE *f = fopen(path, "we");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A file of that owner; `digit` makes it another one. */
static int batch_file(struct rig *r, const char *owner, char digit, struct jobs_file *out) {
    char path[400], sha[65];
    snprintf(path, sizeof(path), "%s/spool/x", r->state);
    put_file(path, "{}\n");
    memset(sha, digit, 64);
    sha[64] = '\0';
    const struct jobs_file_new add = {.spooled = path,
                                      .sha256 = sha,
                                      .bytes = 3,
                                      .name = "q.jsonl",
                                      .purpose = JOBS_BATCH_INPUT,
                                      .owner = owner};
    return jobs_file_add(r->jobs, &add, out, NULL);
}

static struct jobs_batch batch_of(struct rig *r, const char *owner, char digit) {
    struct jobs_file f;
    struct jobs_batch b;
    struct jobs_outcome how;
    CHECK_EQ(batch_file(r, owner, digit, &f), 0);
    const struct jobs_batch_new asked = {.input_file = f.id,
                                         .endpoint = "*",
                                         .owner = owner,
                                         .by = {.owner = owner},
                                         .window_s = 60};
    CHECK_EQ(jobs_batch_create(r->jobs, &asked, &b, &how, NULL), 0);
    return b;
}

static void look_good(struct rig *r, struct jobs_batch *b) {
    b->total = 3;
    b->broken = 1;
    CHECK_EQ(jobs_batch_looked(r->jobs, b, 1, "{}", NULL), 0);
    CHECK_EQ(b->state, JOBS_BATCH_IN_PROGRESS);
    CHECK_EQ(b->failed, 1);
}

/* Its file of answers has become a file, once, and the folder is gone. */
TEST(batch_ends_with_its_files) {
    struct rig r;
    struct jobs_batch b, taken;
    struct jobs_file f;
    char path[JOBS_PATH_MAX], sha[65];
    rig_open(&r);
    b = batch_of(&r, "k1", '1');
    CHECK_EQ(jobs_batch_take(r.jobs, &taken, NULL), 0);
    CHECK_STR(taken.id, b.id);
    look_good(&r, &b);
    CHECK_EQ(jobs_file_delete(r.jobs, b.input_file, NULL), E_BUSY);
    jobs_batch_path(r.jobs, b.id, "output.jsonl", path);
    put_file(path, "{}\n");
    memset(sha, 'b', 64);
    sha[64] = '\0';
    const struct jobs_batch_file output = {"output.jsonl", sha, 3}, none = {.name = NULL};
    b.completed = 2;
    CHECK_EQ(jobs_batch_finalize(r.jobs, &b, JOBS_BATCH_COMPLETED, NULL, NULL), 0);
    CHECK_EQ(jobs_batch_cancel(r.jobs, b.id, "k1", &taken, NULL), E_BUSY);
    /* The bytes have their second name, and the daemon ends before the row is written. */
    char kept[JOBS_PATH_MAX];
    snprintf(kept, sizeof(kept), "%s/files/%s", r.state, sha);
    CHECK_EQ(link(path, kept), 0);
    rig_restart(&r, JOBS_LOCAL);
    CHECK_EQ(access(kept, F_OK), -1);
    CHECK_EQ(access(path, F_OK), 0);
    CHECK_EQ(jobs_batch_take(r.jobs, &b, NULL), 0);
    CHECK_EQ(b.state, JOBS_BATCH_FINALIZING);
    CHECK_EQ(jobs_batch_end(r.jobs, &b, &output, &none, NULL), 0);
    CHECK_EQ(b.state, JOBS_BATCH_COMPLETED);
    CHECK(b.output_file[0] && !b.error_file[0]);
    CHECK_EQ(jobs_file_get(r.jobs, b.output_file, &f, NULL), 0);
    CHECK_STR(f.purpose, JOBS_BATCH_OUTPUT);
    CHECK_STR(f.owner, "k1");
    CHECK_EQ(access(path, F_OK), -1);
    CHECK_EQ(jobs_batch_take(r.jobs, &b, NULL), E_NOT_FOUND);
    CHECK_EQ(jobs_file_delete(r.jobs, b.input_file, NULL), 0);
    rig_close(&r);
}

/* An owner with many batches doesn't keep another out; who is to end comes before all. */
TEST(batches_take_turns_by_their_owners) {
    struct rig r;
    struct jobs_batch of[4], b;
    static const char *const owners[] = {"k1", "k1", "k1", "k2"};
    static const int order[] = {0, 3, 0, 3};
    int64_t others, ending;
    rig_open(&r);
    for (int i = 0; i < 4; i++)
        of[i] = batch_of(&r, owners[i], (char)('1' + i));
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(jobs_batch_take(r.jobs, &b, NULL), 0);
        CHECK_STR(b.id, of[order[i]].id);
    }
    CHECK_EQ(jobs_batch_others(r.jobs, &of[0], &others, &ending, NULL), 0);
    CHECK_EQ(others, 1);
    CHECK_EQ(ending, 0);
    look_good(&r, &of[2]);
    CHECK_EQ(jobs_batch_cancel(r.jobs, of[2].id, NULL, &b, NULL), 0);
    CHECK_EQ(b.state, JOBS_BATCH_CANCELLING);
    CHECK_EQ(jobs_batch_others(r.jobs, &of[0], &others, &ending, NULL), 0);
    CHECK_EQ(others, 2);
    CHECK_EQ(ending, 1);
    CHECK_EQ(jobs_batch_take(r.jobs, &b, NULL), 0);
    CHECK_STR(b.id, of[2].id);
    /* What the thread notes meanwhile doesn't undo it. */
    of[2].completed = 1;
    CHECK_EQ(jobs_batch_finalize(r.jobs, &of[2], JOBS_BATCH_COMPLETED, NULL, NULL), 0);
    CHECK_EQ(of[2].state, JOBS_BATCH_CANCELLING);
    const struct jobs_batch_file none = {.name = NULL};
    CHECK_EQ(jobs_batch_end(r.jobs, &of[2], &none, &none, NULL), 0);
    CHECK_EQ(of[2].state, JOBS_BATCH_CANCELLED);
    /* One that wasn't looked at yet is cancelled at once. */
    CHECK_EQ(jobs_batch_cancel(r.jobs, of[1].id, "k1", &b, NULL), 0);
    CHECK_EQ(b.state, JOBS_BATCH_CANCELLED);
    CHECK_EQ(jobs_batch_looked(r.jobs, &of[1], 1, NULL, NULL), 0);
    CHECK_EQ(of[1].state, JOBS_BATCH_CANCELLED);
    rig_close(&r);
}

/* Two are cancelled, and their turns fail: whoever else has one gets every other turn. */
TEST(batches_that_cannot_end_keep_nobody_out) {
    struct rig r;
    struct jobs_batch of[4], b;
    static const char *const owners[] = {"k1", "k1", "k1", "k2"};
    int turns[4] = {0};
    rig_open(&r);
    for (int i = 0; i < 4; i++)
        of[i] = batch_of(&r, owners[i], (char)('1' + i));
    for (int i = 0; i < 2; i++) {
        look_good(&r, &of[i]);
        CHECK_EQ(jobs_batch_cancel(r.jobs, of[i].id, NULL, &b, NULL), 0);
    }
    for (int n = 0; n < 8; n++) {
        CHECK_EQ(jobs_batch_take(r.jobs, &b, NULL), 0);
        for (int i = 0; i < 4; i++)
            turns[i] += strcmp(b.id, of[i].id) == 0;
    }
    for (int i = 0; i < 4; i++)
        CHECK_EQ(turns[i], 2);
    rig_close(&r);
}

/* What it says then is kept with it. */
TEST(batch_fails_when_its_file_is_lost) {
    struct rig r;
    struct jobs_batch b;
    struct buf said;
    rig_open(&r);
    b = batch_of(&r, "k1", '1');
    look_good(&r, &b);
    CHECK_EQ(jobs_batch_finalize(r.jobs, &b, JOBS_BATCH_FAILED, "{\"lost\":1}", NULL), 0);
    const struct jobs_batch_file none = {.name = NULL};
    CHECK_EQ(jobs_batch_end(r.jobs, &b, &none, &none, NULL), 0);
    CHECK_EQ(b.state, JOBS_BATCH_FAILED);
    buf_init(&said, 1000);
    CHECK_EQ(jobs_batch_errors(r.jobs, b.id, &said, NULL), 0);
    CHECK_STR((const char *)said.p, "{\"lost\":1}");
    buf_clear(&said);
    rig_close(&r);
}

TEST(batches_are_their_owners) {
    struct rig r;
    struct jobs_batch b, out[4];
    struct jobs_file f;
    struct jobs_outcome how;
    int n, more;
    rig_open(&r);
    b = batch_of(&r, "k1", '1');
    CHECK_EQ(jobs_batch_get(r.jobs, b.id, "k2", out, NULL), E_NOT_FOUND);
    CHECK_EQ(jobs_batch_cancel(r.jobs, b.id, "k2", out, NULL), E_NOT_FOUND);
    CHECK_EQ(jobs_batch_get(r.jobs, b.id, NULL, out, NULL), 0);
    CHECK_EQ(jobs_batch_list(r.jobs, "k2", NULL, 4, out, &n, &more, NULL), 0);
    CHECK_EQ(n, 0);
    const struct jobs_batch_new asked = {
        .input_file = b.input_file, .endpoint = "*", .owner = "k2", .by = {.owner = "k2"}};
    CHECK_EQ(jobs_batch_create(r.jobs, &asked, out, &how, NULL), E_NOT_FOUND);
    CHECK_EQ(jobs_file_get(r.jobs, b.input_file, &f, NULL), 0);
    CHECK(!jobs_file_is_seen(&f, &(struct jobs_eyes){.trains = 1, .owner = "k2"}));
    CHECK(jobs_file_is_seen(&f, &(struct jobs_eyes){.owner = "k1"}));
    f = rig_file(&r, "{}");
    CHECK(!jobs_file_is_seen(&f, &(struct jobs_eyes){.owner = "k"}));
    struct jobs_file files[4];
    const struct jobs_file_page pages[] = {{.by = {.owner = "k1"}, .max = 4},
                                           {.by = {.owner = "k2"}, .max = 4},
                                           {.by = {.owner = "k1", .trains = 1}, .max = 4}};
    static const int found[] = {1, 0, 2};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        CHECK_EQ(jobs_file_list(r.jobs, &pages[i], files, &n, &more, NULL), 0);
        CHECK_EQ(n, found[i]);
    }
    /* What is shown is newer than the row. */
    b.completed = 7;
    jobs_batch_show(r.jobs, &b, 7, 0);
    CHECK_EQ(jobs_batch_get(r.jobs, b.id, "k1", out, NULL), 0);
    CHECK_EQ(out[0].completed, 7);
    jobs_batch_show(r.jobs, NULL, 0, 0);
    CHECK_EQ(jobs_batch_get(r.jobs, b.id, "k1", out, NULL), 0);
    CHECK_EQ(out[0].completed, 0);
    rig_close(&r);
}

/* Nothing of a batch stays in its folder that fails, or is cancelled, while it is looked at. */
TEST(batches_that_end_early_leave_no_folder) {
    struct rig r;
    struct jobs_batch b, taken;
    char path[JOBS_PATH_MAX];
    rig_open(&r);
    for (int cancel = 0; cancel < 2; cancel++) {
        b = batch_of(&r, "k1", (char)('1' + cancel));
        CHECK_EQ(jobs_batch_take(r.jobs, &taken, NULL), 0);
        jobs_batch_path(r.jobs, b.id, "", path);
        CHECK_EQ(access(path, F_OK), 0);
        if (cancel) CHECK_EQ(jobs_batch_cancel(r.jobs, b.id, "k1", &b, NULL), 0);
        CHECK_EQ(jobs_batch_looked(r.jobs, &taken, cancel, "[]", NULL), 0);
        CHECK_EQ(taken.state, cancel ? JOBS_BATCH_CANCELLED : JOBS_BATCH_FAILED);
        CHECK_EQ(access(path, F_OK), -1);
    }
    rig_close(&r);
}

/* A folder that can't be made: whoever looks at the batch is told. */
TEST(batches_without_a_folder_wait) {
    struct rig r;
    struct jobs_batch b, taken;
    struct err e = {0};
    char path[JOBS_PATH_MAX];
    rig_open(&r);
    b = batch_of(&r, "k1", '1');
    snprintf(path, sizeof(path), "%s/batches", r.state);
    CHECK_EQ(rmdir(path), 0);
    CHECK_EQ(jobs_batch_take(r.jobs, &taken, &e), E_IO);
    CHECK_HAS(e.text, b.id);
    CHECK_EQ(jobs_batch_get(r.jobs, b.id, "k1", &taken, NULL), 0);
    CHECK_STR(taken.waits, "disk");
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(jobs_batch_take(r.jobs, &taken, NULL), 0);
    CHECK_STR(taken.waits, "");
    rig_close(&r);
}

/* Answers could not be kept at the end: said at the start. */
TEST(jobs_refuse_folders_of_two_disks) {
    struct rig r;
    struct err e = {0};
    struct stat a, b;
    char path[JOBS_PATH_MAX], other[] = "/dev/shm/lammd-batches-XXXXXX";
    rig_open(&r);
    jobs_close(r.jobs);
    r.jobs = NULL;
    snprintf(path, sizeof(path), "%s/batches", r.state);
    if (mkdtemp(other) && stat(other, &a) == 0 && stat(r.state, &b) == 0 && a.st_dev != b.st_dev) {
        const struct jobs_options o = {.dir = r.state};
        CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(symlink(other, path), 0);
        CHECK_EQ(jobs_open(&o, &r.jobs, &e), E_INVALID);
        CHECK_HAS(e.text, "must be on one file system");
        CHECK_EQ(unlink(path), 0);
    }
    (void)rmdir(other);
    rig_start(&r, JOBS_LOCAL);
    rig_close(&r);
}
