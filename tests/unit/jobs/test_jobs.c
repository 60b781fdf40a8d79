/* test_jobs.c - jobs through their door, over a program that stands in for `lammd train`. */
#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rig.h"
#include "tests/check.h"

struct seen {
    int n, metrics;
    int64_t last;
    char text[4000];
};

static int on_event(void *ud, const struct jobs_event *e) {
    struct seen *s = ud;
    s->n++;
    s->metrics += strcmp(e->type, "metrics") == 0;
    CHECK_EQ(e->seq, s->last + 1);
    s->last = e->seq;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof(s->text) - at, "%s\n", e->message);
    return 0;
}

static struct seen events_of(struct rig *r, const char *id) {
    struct seen s = {0};
    int more = 1, is_over;
    while (more)
        CHECK_EQ(jobs_events(r->jobs, id, s.last, 5, on_event, &s, &more, &is_over, NULL), 0);
    return s;
}

TEST(jobs_run_to_an_adapter) {
    struct rig r;
    rig_open(&r);
    struct jobs_file f = rig_file(&r, "lines");
    CHECK_STR(f.name, "pairs.jsonl");
    struct jobs_job job = rig_wait(&r, rig_job(&r, f.id, 7).id, JOBS_SUCCEEDED);
    char adapter[200];
    snprintf(adapter, sizeof(adapter), "adapters/%s/gate.json", job.name);
    CHECK(rig_has(&r, adapter));
    CHECK_HAS(job.name, "ft:small::ftjob-");
    CHECK_EQ(job.step, 7);
    CHECK_EQ(job.tokens, 21);
    CHECK_NEAR(job.how.epochs, 7.0 * 4 / 8, 1e-9);
    struct seen s = events_of(&r, job.id);
    CHECK_EQ(s.metrics, 7);
    CHECK_HAS(s.text, "Step 7/7: training loss=1.5000");
    struct jobs_stats st;
    jobs_stats(r.jobs, &st);
    CHECK_EQ(st.steps, 7);
    rig_close(&r); /* it was told by then */
    CHECK_STR(r.done, job.name);
}

/* How long a job takes depends on its pictures, which are counted when the file is checked. */
TEST(jobs_say_how_long_as_soon_as_they_know) {
    struct rig r;
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job first = rig_job(&r, f.id, 0), asked = rig_job(&r, f.id, 6);
    CHECK_EQ(first.state, JOBS_VALIDATING);
    CHECK_EQ(first.how.steps, 0);
    CHECK_NEAR(first.how.epochs, 0, 1e-9);
    CHECK_EQ(first.how.batch, 4);
    CHECK_EQ(first.how.lora_r, 16);
    CHECK_EQ(asked.how.steps, 6);
    first = rig_wait(&r, first.id, JOBS_RUNNING);
    CHECK_EQ(first.how.steps, 100); /* 8 epochs of 8 pictures are fewer than the least */
    CHECK_NEAR(first.how.epochs, 50, 1e-9);
    struct jobs_job second = rig_job(&r, f.id, 0);
    CHECK_EQ(second.how.steps, 100); /* at once: the file was checked */
    CHECK_NEAR(second.how.epochs, 50, 1e-9);
    asked = rig_job(&r, f.id, 6);
    CHECK_EQ(asked.how.steps, 6);
    CHECK_NEAR(asked.how.epochs, 3, 1e-9);
    rig_close(&r);
}

/* The stand-in says a tenth of a second for each step. */
TEST(jobs_say_when_they_are_over) {
    struct rig r;
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job first = rig_job(&r, f.id, 10), now;
    CHECK_EQ(jobs_finish(r.jobs, &first), 0); /* there was none like it */
    rig_wait_step(&r, first.id, 1);
    CHECK_EQ(jobs_get(r.jobs, first.id, &now, NULL), 0);
    CHECK(jobs_finish(r.jobs, &now) >= now.created);
    now = rig_wait(&r, first.id, JOBS_SUCCEEDED);
    CHECK_EQ(jobs_finish(r.jobs, &now), 0);
    struct jobs_job second = rig_job(&r, f.id, 1000), third = rig_job(&r, f.id, 500);
    CHECK_NEAR((double)(jobs_finish(r.jobs, &second) - second.created), 100, 3);
    CHECK_NEAR((double)(jobs_finish(r.jobs, &third) - third.created), 150, 3); /* behind it */
    CHECK_EQ(jobs_pause(r.jobs, second.id, &now, NULL), 0);
    CHECK_EQ(jobs_finish(r.jobs, &now), 0);
    rig_wait(&r, second.id, JOBS_PAUSED);
    rig_restart(&r, JOBS_PULL);
    CHECK_EQ(jobs_pause(r.jobs, third.id, &now, NULL), 0);
    CHECK_EQ(jobs_finish(r.jobs, &now), 0);
    rig_close(&r);
}

static int count_checkpoints(struct rig *r, const char *id) {
    struct jobs_checkpoint all[JOBS_CHECKPOINTS_MAX];
    int n = -1;
    CHECK_EQ(jobs_checkpoints(r->jobs, id, all, &n, NULL), 0);
    return n;
}

TEST(jobs_pause_resume_and_cancel) {
    struct rig r;
    struct jobs_job now;
    struct err e = {0};
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job job = rig_job(&r, f.id, 12), next = rig_job(&r, f.id, 3);
    rig_wait_step(&r, job.id, 2);
    CHECK_EQ(jobs_file_delete(r.jobs, f.id, NULL), E_BUSY);
    CHECK_EQ(jobs_pause(r.jobs, job.id, &now, &e), 0);
    CHECK_EQ(jobs_pause(r.jobs, job.id, &now, &e), 0);
    now = rig_wait(&r, job.id, JOBS_PAUSED);
    CHECK(now.step >= 2 && now.step < 12);
    CHECK_EQ(count_checkpoints(&r, job.id), 1);
    rig_wait(&r, next.id, JOBS_SUCCEEDED);
    CHECK_EQ(jobs_resume(r.jobs, job.id, &now, &e), 0);
    CHECK_EQ(now.state, JOBS_QUEUED);
    rig_wait(&r, job.id, JOBS_SUCCEEDED);
    rig_restart(&r, JOBS_LOCAL); /* its checkpoints have gone by then */
    CHECK_EQ(count_checkpoints(&r, job.id), 0);
    CHECK_EQ(jobs_cancel(r.jobs, job.id, &now, &e), E_BUSY);
    CHECK_HAS(e.text, "succeeded can't be cancelled");
    e = (struct err){0};
    CHECK_EQ(jobs_resume(r.jobs, job.id, &now, &e), E_BUSY);
    CHECK_HAS(e.text, "succeeded can't be resumed");
    CHECK_EQ(jobs_resume(r.jobs, "ftjob-0", &now, NULL), E_NOT_FOUND);
    job = rig_job(&r, f.id, 1000);
    rig_wait_step(&r, job.id, 1);
    CHECK_EQ(jobs_cancel(r.jobs, job.id, &now, NULL), 0);
    CHECK_EQ(jobs_cancel(r.jobs, job.id, &now, NULL), 0);
    rig_wait(&r, job.id, JOBS_CANCELLED);
    job = rig_job(&r, f.id, 1000);
    rig_wait_step(&r, job.id, 1);
    CHECK_EQ(jobs_pause(r.jobs, job.id, &now, NULL), 0);
    rig_wait(&r, job.id, JOBS_PAUSED);
    CHECK_EQ(count_checkpoints(&r, job.id), 1);
    CHECK_EQ(jobs_cancel(r.jobs, job.id, &now, NULL), 0); /* at once: nothing runs */
    CHECK_EQ(count_checkpoints(&r, job.id), 0);
    CHECK_EQ(jobs_file_delete(r.jobs, f.id, NULL), 0);
    CHECK(!rig_has(&r, "files/"
                       "0000000000000005aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    rig_close(&r);
}

TEST(jobs_fail_with_a_word) {
    static const struct {
        const char *fail, *code;
    } cases[] = {{"\"error\":\"format\",\"text\":\"line 3: no box\"", "bad_data"},
                 {"\"error\":\"format\",\"text\":\"diverged: 10 steps\"", "diverged"},
                 {"\"error\":\"no_memory\",\"text\":\"takes 3 MiB\"", "too_big"},
                 {"\"error\":\"device\",\"text\":\"lost\"", "device"}};
    struct rig r;
    rig_open(&r);
    struct jobs_file f = rig_file(&r, "lines");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_set(&r, "fail", cases[i].fail);
        struct jobs_job job = rig_wait(&r, rig_job(&r, f.id, 3).id, JOBS_FAILED);
        CHECK_STR(job.error_code, cases[i].code);
    }
    rig_set(&r, "fail", "\"error\":\"io\",\"text\":\"/x: No space left on device\"");
    struct jobs_job job = rig_wait(&r, rig_job(&r, f.id, 3).id, JOBS_PAUSED), now;
    CHECK_STR(job.error_code, "no_space");
    rig_set(&r, "fail", NULL);
    CHECK_EQ(jobs_resume(r.jobs, job.id, &now, NULL), 0);
    CHECK_STR(now.error_code, "");
    rig_wait(&r, job.id, JOBS_SUCCEEDED);
    for (int i = 0; i < 2; i++) {
        rig_set(&r, "die", i ? "SEGV" : "0"); /* 0: it exits */
        job = rig_wait(&r, rig_job(&r, f.id, 9).id, JOBS_FAILED);
        CHECK_STR(job.error_code, "crashed");
        CHECK_EQ(job.attempts, 3);
    }
    rig_close(&r);
}

TEST(jobs_wait_for_a_good_file) {
    struct rig r;
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "bad lines");
    struct jobs_job job = rig_wait(&r, rig_job(&r, f.id, 3).id, JOBS_FAILED);
    CHECK_STR(job.error_code, "bad_data");
    CHECK_STR(job.error_param, "training_file");
    struct jobs_outcome how;
    const struct jobs_new ask = {.training_file = f.id, .owner = ""};
    CHECK_EQ(jobs_create(r.jobs, &ask, &job, &how, NULL), E_UNSUPPORTED);
    CHECK_STR(how.param, "training_file");
    rig_close(&r);
}

/* The file is refused while no file of this process grows beyond 64 bytes: its own has fewer, but
 * its row can't be written. */
static void refused_by_the_disk(struct rig *r, const char *text) {
    struct jobs_file out;
    struct rlimit most;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &most), 0);
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    most.rlim_cur = 64;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &most), 0);
    int rc = rig_add(r, text, &out, NULL);
    most.rlim_cur = most.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &most), 0);
    CHECK_EQ(rc, E_IO);
    CHECK(rig_has(r, "spool/x"));
}

static int files_kept(const struct rig *r) {
    char path[400];
    int n = 0;
    snprintf(path, sizeof(path), "%s/files", r->state);
    DIR *d = opendir(path);
    CHECK(d);
    for (const struct dirent *at; (at = readdir(d));)
        n += at->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Those that are there lose nothing, not even to one of the same bytes; what is refused leaves
 * nothing. */
TEST(jobs_take_no_file_on_a_full_disk) {
    struct rig r;
    char name[80];
    rig_open(&r);
    struct jobs_file f = rig_file(&r, "lines");
    snprintf(name, sizeof(name), "files/%s", f.sha256);
    refused_by_the_disk(&r, "lines");
    CHECK(rig_has(&r, name));
    refused_by_the_disk(&r, "others");
    CHECK_EQ(files_kept(&r), 1);
    struct jobs_file again = rig_file(&r, "lines");
    CHECK_STR(again.sha256, f.sha256);
    CHECK_EQ(jobs_file_delete(r.jobs, f.id, NULL), 0);
    CHECK(rig_has(&r, name));
    CHECK_EQ(jobs_file_delete(r.jobs, again.id, NULL), 0);
    CHECK(!rig_has(&r, name));
    rig_close(&r);
}

/* What `--plan --json` says of 99 MiB where there are 20. */
static const char big[] =
    "{\"status\":\"too_big\",\"text\":\"[stage a] takes 99 MiB, and there are 20\","
    "\"stages\":[{\"memory\":{\"together\":103809024},\"available\":20971520}]}";

TEST(jobs_are_bounded_and_come_once) {
    struct rig r;
    struct err e = {0};
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_outcome how;
    struct jobs_job a, b;
    struct jobs_new ask = {
        .training_file = f.id, .how = {.steps = 1000}, .owner = "k", .once = "one", .digest = "d1"};
    CHECK_EQ(jobs_create(r.jobs, &ask, &a, &how, NULL), 0);
    CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, NULL), 0);
    CHECK(how.is_old);
    CHECK_STR(a.id, b.id);
    ask.digest = "d2";
    CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, NULL), E_CANCELLED);
    ask.once = NULL;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, NULL), 0);
    CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, &e), E_BUSY);
    CHECK(how.is_owner);
    rig_set(&r, "big", big);
    ask.owner = "other";
    CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, (e = (struct err){0}, &e)), E_TOO_BIG);
    CHECK_STR(e.text, "[stage a] takes 99 MiB, and there are 20, beside what serving holds");
    rig_set(&r, "big", "no plan at all");
    CHECK_EQ(jobs_create(r.jobs, &ask, &b, &how, (e = (struct err){0}, &e)), E_INVALID);
    CHECK_STR(e.text, "the run can't be planned: it is big");
    struct jobs_job list[3];
    int n, more;
    CHECK_EQ(jobs_list(r.jobs, NULL, 3, list, &n, &more, NULL), 0);
    CHECK(n == 3 && more);
    CHECK_EQ(jobs_list(r.jobs, list[2].id, 3, list, &n, &more, NULL), 0);
    CHECK(n == 1 && !more);
    CHECK_STR(list[0].id, a.id);
    rig_close(&r);
}

/* What a run at work holds is free by the turn of the next one. */
TEST(jobs_take_turns_in_memory) {
    struct rig r;
    struct jobs_job job;
    struct jobs_outcome how;
    rig_open(&r);
    struct jobs_file f = rig_file(&r, "lines");
    const struct jobs_new ask = {
        .training_file = f.id, .seed = 1, .how = {.steps = 2}, .owner = "k"};
    static const struct {
        const char *held;
        int rc;
    } cases[] = {{"{\"stages\":[{\"memory\":{\"together\":81788928}}]}", E_TOO_BIG}, /* 78 MiB */
                 {"{\"stages\":[{\"memory\":{\"together\":81788928}},"
                  "{\"memory\":{\"together\":82837504}}]}",
                  0}};
    rig_set(&r, "slow", "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        rig_set(&r, "held", cases[i].held);
        struct jobs_job first = rig_job(&r, f.id, 1000);
        rig_wait_step(&r, first.id, 1);
        rig_set(&r, "big", big);
        CHECK_EQ(jobs_create(r.jobs, &ask, &job, &how, NULL), cases[i].rc);
        rig_set(&r, "big", NULL);
        CHECK_EQ(jobs_cancel(r.jobs, first.id, &first, NULL), 0);
        rig_wait(&r, first.id, JOBS_CANCELLED);
    }
    rig_close(&r);
}

TEST(jobs_go_on_after_the_daemon) {
    struct rig r;
    rig_open(&r);
    rig_set(&r, "slow", "");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job job = rig_job(&r, f.id, 10);
    rig_wait_step(&r, job.id, 2);
    rig_restart(&r, JOBS_LOCAL);
    job = rig_wait(&r, job.id, JOBS_SUCCEEDED);
    struct seen s = events_of(&r, job.id);
    CHECK_HAS(s.text, "The run was stopped; it goes on from step");
    CHECK_EQ(s.metrics, 10); /* no step was done twice */
    rig_close(&r);
}

static void wait_for_attempts(struct rig *r, const char *id, int n) {
    struct jobs_job job = {.attempts = 0};
    for (int i = 0; i < 3000 && job.attempts < n && !jobs_is_over(job.state); i++) {
        usleep(10000);
        CHECK_EQ(jobs_get(r->jobs, id, &job, NULL), 0);
    }
    CHECK_EQ(job.attempts, n);
    CHECK(!jobs_is_over(job.state));
}

/* `attempts` so far; the daemon is away meanwhile. */
static void set_attempts(struct rig *r, const char *id, int n) {
    char path[400], text[120];
    sqlite3 *db;
    jobs_close(r->jobs);
    snprintf(path, sizeof(path), "%s/jobs.db", r->state);
    snprintf(text, sizeof(text), "UPDATE jobs SET attempts = %d WHERE id = '%s'", n, id);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_close(db), SQLITE_OK);
    rig_start(r, JOBS_LOCAL);
}

/* The fourth kill in a row is no reason, and the thirtieth is one. */
TEST(jobs_that_are_killed_are_not_given_up) {
    struct rig r;
    rig_open(&r);
    rig_set(&r, "die", "KILL");
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job job = rig_job(&r, f.id, 9), now;
    wait_for_attempts(&r, job.id, 2);
    rig_restart(&r, JOBS_LOCAL); /* it waits no longer */
    wait_for_attempts(&r, job.id, 3);
    set_attempts(&r, job.id, 28);
    wait_for_attempts(&r, job.id, 29);
    rig_set(&r, "die", NULL);
    rig_restart(&r, JOBS_LOCAL);
    now = rig_wait(&r, job.id, JOBS_SUCCEEDED);
    struct seen s = events_of(&r, job.id);
    CHECK_HAS(s.text, "The run was killed; it goes on from step 0");
    rig_set(&r, "die", "KILL");
    job = rig_job(&r, f.id, 9);
    wait_for_attempts(&r, job.id, 1);
    set_attempts(&r, job.id, 29);
    now = rig_wait(&r, job.id, JOBS_FAILED);
    CHECK_STR(now.error_code, "crashed");
    CHECK_EQ(now.attempts, 30);
    CHECK_HAS(now.error, "killed again and again");
    rig_close(&r);
}

/* A run that was stopped at a new checkpoint has come further, whatever became of those before. */
TEST(jobs_that_come_further_are_not_given_up) {
    struct rig r;
    struct jobs_job job = {.attempts = 0};
    rig_open(&r);
    rig_set(&r, "slow", "");
    rig_set(&r, "die", "0");
    struct jobs_file f = rig_file(&r, "lines");
    const struct jobs_job made = rig_job(&r, f.id, 1000);
    while (!job.attempts)
        CHECK_EQ(jobs_get(r.jobs, made.id, &job, NULL), 0);
    rig_set(&r, "die", NULL);
    rig_wait_step(&r, made.id, 4);
    rig_restart(&r, JOBS_LOCAL);
    CHECK_EQ(jobs_get(r.jobs, made.id, &job, NULL), 0);
    CHECK_EQ(job.attempts, 0);
    CHECK_EQ(jobs_cancel(r.jobs, made.id, &job, NULL), 0);
    rig_close(&r);
}

TEST(jobs_pull_is_claimed_by_its_lock) {
    struct rig r;
    char command[1200], path[200];
    rig_open(&r);
    rig_restart(&r, JOBS_PULL);
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job job = rig_job(&r, f.id, 4);
    rig_wait(&r, job.id, JOBS_QUEUED);
    snprintf(path, sizeof(path), "runs/%s/queued", job.id);
    for (int i = 0; i < 500 && !rig_has(&r, path); i++)
        usleep(10000);
    CHECK(rig_has(&r, path));
    snprintf(command, sizeof(command), "cd %s && %s train runs/%s/job.ini --out runs/%s &", r.state,
             r.program, job.id, job.id);
    CHECK_EQ(system(command), 0);         /* NOLINT: it stands in for somebody else */
    rig_wait(&r, job.id, JOBS_SUCCEEDED); /* it may be over before the keeper looks */
    for (int i = 0; i < 500 && rig_has(&r, path); i++)
        usleep(10000); /* what was written is seen a moment sooner */
    CHECK(!rig_has(&r, path));
    rig_close(&r);
}

struct woken {
    int n;
};
static void on_wake(void *ud) { __atomic_add_fetch(&((struct woken *)ud)->n, 1, __ATOMIC_SEQ_CST); }

TEST(jobs_wake_whoever_watches) {
    struct rig r;
    struct woken w = {0};
    struct jobs_watch *watch;
    rig_open(&r);
    struct jobs_file f = rig_file(&r, "lines");
    struct jobs_job job = rig_job(&r, f.id, 3);
    CHECK_EQ(jobs_watch(r.jobs, job.id, on_wake, &w, &watch, NULL), 0);
    rig_wait(&r, job.id, JOBS_SUCCEEDED);
    for (int i = 0; i < 300 && !__atomic_load_n(&w.n, __ATOMIC_SEQ_CST); i++)
        usleep(10000);
    CHECK(__atomic_load_n(&w.n, __ATOMIC_SEQ_CST) > 0);
    jobs_unwatch(watch);
    rig_close(&r);
}

TEST(jobs_folder_has_one_owner_and_is_swept) {
    struct rig r;
    struct err e = {0};
    struct jobs *second;
    char path[1200];
    rig_open(&r);
    const struct jobs_options o = {.dir = r.state, .program = "/x", .model = "/x", .recipes = "/x"};
    CHECK_EQ(jobs_open(&o, &second, &e), E_BUSY);
    snprintf(path, sizeof(path),
             "touch %s/files/orphan %s/spool/half && mkdir %s/runs/ftjob-orphan", r.state, r.state,
             r.state);
    CHECK_EQ(system(path), 0);
    rig_restart(&r, JOBS_LOCAL);
    CHECK(!rig_has(&r, "files/orphan") && !rig_has(&r, "spool/half") &&
          !rig_has(&r, "runs/ftjob-orphan"));
    jobs_close(r.jobs);
    snprintf(path, sizeof(path), "head -c 9000 /dev/urandom > %s/jobs.db && rm -f %s/jobs.db-*",
             r.state, r.state);
    CHECK_EQ(system(path), 0);
    CHECK(jobs_open(&o, &r.jobs, (e = (struct err){0}, &e)) != 0);
    CHECK_HAS(e.text, "jobs.db");
    rig_close(&r);
}
