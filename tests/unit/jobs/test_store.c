/* test_store.c - the database of an older program. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/store.h"
#include "tests/check.h"

static void sql(const char *path, const char *text) {
    sqlite3 *db;
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_close(db), SQLITE_OK);
}

static void remove_all(const char *path) {
    char other[80];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(other, sizeof(other), "%s%s", path, ends[i]);
        (void)unlink(other);
    }
}

/* Version 1 had no `crashes`: each end was one. */
TEST(store_takes_an_older_database) {
    char path[64];
    struct store *s;
    struct err e = {0};
    struct store_job job = {.saved = 3}, got;
    snprintf(path, sizeof(path), "/tmp/lammd-store-%ld", (long)getpid());
    remove_all(path);
    CHECK_EQ(store_open(path, 1, &s, NULL), 0);
    snprintf(job.job.id, sizeof(job.job.id), "ftjob-1");
    job.job.attempts = 2;
    CHECK_EQ(store_job_add(s, &job, NULL, NULL), 0);
    store_close(s);
    sql(path, "ALTER TABLE jobs DROP COLUMN crashes; DROP TABLE batches; PRAGMA user_version = 1;");
    for (int again = 0; again < 2; again++) {
        if (store_open(path, 1, &s, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
        CHECK_EQ(store_job_get(s, "ftjob-1", &got, NULL), 0);
        CHECK_EQ(got.crashes, 2);
        CHECK_EQ(got.job.attempts, 2);
        CHECK_EQ(got.saved, 3);
        int64_t batches = 1;
        CHECK_EQ(store_batch_live(s, NULL, &batches, NULL), 0);
        CHECK_EQ(batches, 0);
        store_close(s);
    }
    sql(path, "PRAGMA user_version = 99;");
    CHECK_EQ(store_open(path, 1, &s, &e), E_FORMAT);
    CHECK_HAS(e.text, "it has version 99");
    remove_all(path);
}

/* Of an owner's batches that are over the newest stay; those that go on do. */
TEST(store_forgets_old_batches) {
    char path[64];
    struct store *s;
    struct jobs_batch b, out[8];
    int n, more;
    snprintf(path, sizeof(path), "/tmp/lammd-store-%ld", (long)getpid());
    remove_all(path);
    CHECK_EQ(store_open(path, 1, &s, NULL), 0);
    for (int i = 0; i < 6; i++) {
        b = (struct jobs_batch){.state = i ? JOBS_BATCH_FAILED : JOBS_BATCH_IN_PROGRESS};
        snprintf(b.id, sizeof(b.id), "batch_%d", i);
        snprintf(b.owner, sizeof(b.owner), i == 5 ? "k2" : "k1");
        CHECK_EQ(store_batch_add(s, &b, NULL, NULL), 0);
    }
    CHECK_EQ(store_batch_forget(s, "k1", 4, NULL), 0);
    CHECK_EQ(store_batch_list(s, NULL, NULL, 8, out, &n, &more, NULL), 0);
    CHECK_EQ(n, 6);
    CHECK_EQ(store_batch_forget(s, "k1", 2, NULL), 0);
    CHECK_EQ(store_batch_list(s, NULL, NULL, 8, out, &n, &more, NULL), 0);
    CHECK_EQ(n, 4);
    static const char *const stay[] = {"batch_5", "batch_4", "batch_3", "batch_0"};
    for (int i = 0; i < n; i++)
        CHECK_STR(out[i].id, stay[i]);
    store_close(s);
    remove_all(path);
}
