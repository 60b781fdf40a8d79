/* The history that replicas share: what one adds the others are told, of two at once one is second,
 * what a killed one left undone is found and mended, and a folder has one model. */
#include "api/store/ledger.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/check.h"

#define SHA(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c

enum { REPLICAS = 4, LINES = 25 };

struct told {
    struct history_line lines[REPLICAS * LINES + 1];
    int n;
};

static void tell(void *ud, const struct history_line *line) {
    struct told *t = ud;
    CHECK(t->n < (int)ARRAY_LEN(t->lines));
    t->lines[t->n++] = *line;
}

static struct history_line line_of(enum history_event event, const char *name) {
    struct history_line l = {.event = event, .digest = SHA("ab"), .key = "k3v9"};
    snprintf(l.name, sizeof(l.name), "%s", name);
    return l;
}

static struct ledger *open_in(const char *dir) {
    struct ledger *l;
    struct err e = {0};
    char path[200];
    snprintf(path, sizeof(path), "%s/history", dir);
    if (ledger_open(path, &l, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return l;
}

static void file_in(const char *dir, const char *name, char path[200]) {
    snprintf(path, 200, "%s/history/%s", dir, name);
}

static void write_in(const char *dir, const char *name, const char *text) {
    char path[200];
    file_in(dir, name, path);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static int is_in(const char *dir, const char *name) {
    char path[200];
    file_in(dir, name, path);
    return access(path, F_OK) == 0;
}

static int forget(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void make_dir(char dir[64]) {
    snprintf(dir, 64, "/tmp/lammd-ledger-XXXXXX");
    CHECK(mkdtemp(dir));
}

static void drop_dir(const char *dir) { CHECK(nftw(dir, forget, 8, FTW_DEPTH | FTW_PHYS) == 0); }

TEST(ledger_tells_all_what_one_adds) {
    char dir[64];
    static struct told told[2];
    make_dir(dir);
    struct ledger *one = open_in(dir), *two = open_in(dir);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    l = line_of(HISTORY_PROMOTE, "a");
    l.is_forced = 1;
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    CHECK_EQ(ledger_lines(one), 2);
    CHECK_EQ(ledger_follow(one, tell, &told[0], NULL), 0);
    CHECK_EQ(told[0].n, 0); /* it knows what it did */
    CHECK_EQ(ledger_follow(two, tell, &told[1], NULL), 0);
    CHECK_EQ(told[1].n, 2);
    CHECK_EQ(told[1].lines[0].event, HISTORY_LOAD);
    CHECK_STR(told[1].lines[1].name, "a");
    CHECK_STR(told[1].lines[1].time, l.time);
    CHECK(told[1].lines[1].is_forced);
    /* Who has not seen the newest line adds nothing. */
    l = line_of(HISTORY_PROMOTE, "b");
    CHECK_EQ(ledger_add(two, &l, NULL), 0);
    l = line_of(HISTORY_ROLLBACK, "tiny");
    CHECK_EQ(ledger_add(one, &l, NULL), E_BUSY);
    CHECK_EQ(ledger_follow(one, tell, &told[0], NULL), 0);
    CHECK_EQ(told[0].n, 1);
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    CHECK(is_in(dir, "00000004.json") && !is_in(dir, "00000005.json"));
    ledger_close(one);
    ledger_close(two);
    drop_dir(dir);
}

/* Killed between the line and the hint, between temporary file and line, or while writing it. */
TEST(ledger_survives_who_is_killed) {
    char dir[64], path[200];
    static struct told told;
    make_dir(dir);
    struct ledger *one = open_in(dir), *two = open_in(dir);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    CHECK_EQ(ledger_follow(two, tell, &told, NULL), 0); /* the whole folder was looked through */
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    file_in(dir, "newest", path);
    CHECK_EQ(unlink(path), 0);
    write_in(dir, ".new-abcdef", "{\"time\":");
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    file_in(dir, ".new-abcdef", path);
    CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
    write_in(dir, ".new-fedcba", "{\"time\":"); /* somebody is at it */
    for (int i = 0; i < LEDGER_WHOLE_LOOK; i++)
        CHECK_EQ(ledger_follow(two, tell, &told, NULL), 0);
    CHECK_EQ(told.n, 1);
    CHECK(is_in(dir, "newest"));
    CHECK(!is_in(dir, ".new-abcdef") && is_in(dir, ".new-fedcba"));
    /* Also who wants to add finds it. */
    write_in(dir, "newest", "1\n");
    struct ledger *three = open_in(dir);
    CHECK_EQ(ledger_follow(three, tell, &told, NULL), 0);
    l = line_of(HISTORY_LOAD, "b");
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    write_in(dir, "newest", "1\n");
    CHECK_EQ(ledger_add(three, &l, NULL), E_BUSY);
    CHECK_EQ(ledger_follow(three, tell, &told, NULL), 0);
    CHECK_EQ(ledger_lines(three), 2);
    CHECK_EQ(ledger_add(three, &l, NULL), 0);
    ledger_close(one);
    ledger_close(two);
    ledger_close(three);
    drop_dir(dir);
}

TEST(ledger_names_what_it_cannot_read) {
    char dir[64], path[200];
    static struct told told;
    static const char *const bad[] = {"", "{}\n", "nonsense",
                                      "{\"time\":\"t\",\"event\":\"load\",\"name\":\"b\","
                                      "\"digest\":\"d\",\"key\":\"k\"}"};
    make_dir(dir);
    struct ledger *one = open_in(dir);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct err e = {0};
        struct ledger *two = open_in(dir);
        told.n = 0;
        write_in(dir, "00000002.json", bad[i]);
        CHECK_EQ(ledger_follow(two, tell, &told, &e), E_FORMAT);
        CHECK_HAS(e.text, "00000002.json: ");
        CHECK_EQ(told.n, 1);
        ledger_close(two);
    }
    file_in(dir, "00000002.json", path);
    CHECK_EQ(unlink(path), 0);
    static const char *const hints[] = {"", "x\n", "-1\n", "99999999999999999999\n", "1"};
    for (unsigned i = 0; i < ARRAY_LEN(hints); i++) {
        write_in(dir, "newest", hints[i]);
        CHECK_EQ(ledger_follow(one, tell, &told, NULL), 0);
    }
    /* A hint that is ahead of the lines: they may come yet. */
    struct err e = {0};
    write_in(dir, "newest", "7\n");
    CHECK_EQ(ledger_follow(one, tell, &told, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "00000002.json: ");
    CHECK_EQ(ledger_lines(one), 1);
    ledger_close(one);
    drop_dir(dir);
}

TEST(ledger_adds_a_line_or_nothing) {
    char dir[64];
    static struct told told;
    struct err e = {0};
    make_dir(dir);
    struct ledger *one = open_in(dir);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    struct rlimit was, tight;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &was), 0);
    tight = (struct rlimit){.rlim_cur = 10, .rlim_max = was.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    CHECK_EQ(ledger_add(one, &l, &e), E_IO);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &was), 0);
    CHECK_EQ(ledger_follow(one, tell, &told, NULL), 0);
    CHECK_EQ(told.n, 0);
    CHECK_EQ(ledger_add(one, &l, NULL), 0);
    CHECK_EQ(ledger_lines(one), 2);
    ledger_close(one);
    drop_dir(dir);
}

TEST(ledger_has_one_model) {
    char dir[64];
    make_dir(dir);
    struct ledger *one = open_in(dir), *two = open_in(dir);
    struct err e = {0};
    CHECK_EQ(ledger_claim(one, "tiny", SHA("01"), NULL), 0);
    CHECK_EQ(ledger_claim(one, "tiny", SHA("01"), NULL), 0);
    CHECK_EQ(ledger_claim(two, "the same", SHA("01"), NULL), 0);
    CHECK_EQ(ledger_claim(two, "mini", SHA("02"), &e), E_INVALID);
    CHECK_HAS(e.text, "it is the folder of tiny (sha256 010101010101)");
    write_in(dir, "model.json", "{\"model\":\"tiny\"}");
    e = (struct err){0};
    CHECK_EQ(ledger_claim(two, "tiny", SHA("01"), &e), E_FORMAT);
    CHECK_HAS(e.text, "model.json: it says no model");
    ledger_close(one);
    ledger_close(two);
    drop_dir(dir);
}

struct writer {
    struct ledger *ledger;
    struct told told;
    char name[8];
    int busy;
};

static void *writer_go(void *ud) {
    struct writer *w = ud;
    for (int done = 0; done < LINES;) {
        struct history_line l = line_of(HISTORY_LOAD, w->name);
        struct err e = {0};
        int rc = ledger_add(w->ledger, &l, &e);
        if (rc == 0) tell(&w->told, &l);
        done += rc == 0;
        w->busy += rc == E_BUSY;
        if (rc == E_BUSY) rc = ledger_follow(w->ledger, tell, &w->told, &e);
        if (rc) test_failed(__FILE__, __LINE__, "%s", e.text);
    }
    return NULL;
}

/* Whatever happens at once: all have the same lines in the same order, and none is lost. */
TEST(ledger_orders_many_at_once) {
    char dir[64];
    static struct writer w[REPLICAS];
    pthread_t threads[REPLICAS];
    make_dir(dir);
    for (int i = 0; i < REPLICAS; i++) {
        w[i].ledger = open_in(dir);
        snprintf(w[i].name, sizeof(w[i].name), "w%d", i);
    }
    for (int i = 0; i < REPLICAS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, writer_go, &w[i]), 0);
    for (int i = 0; i < REPLICAS; i++)
        pthread_join(threads[i], NULL);
    int busy = 0, of[REPLICAS] = {0};
    for (int i = 0; i < REPLICAS; i++) {
        for (int k = 0; k < LEDGER_WHOLE_LOOK; k++)
            CHECK_EQ(ledger_follow(w[i].ledger, tell, &w[i].told, NULL), 0);
        CHECK_EQ(w[i].told.n, REPLICAS * LINES);
        busy += w[i].busy;
        for (int k = 0; k < REPLICAS * LINES; k++)
            CHECK_STR(w[i].told.lines[k].name, w[0].told.lines[k].name);
        ledger_close(w[i].ledger);
    }
    for (int k = 0; k < REPLICAS * LINES; k++)
        of[w[0].told.lines[k].name[1] - '0']++;
    for (int i = 0; i < REPLICAS; i++)
        CHECK_EQ(of[i], LINES);
    CHECK(busy > 0); /* they did meet */
    drop_dir(dir);
}
