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
