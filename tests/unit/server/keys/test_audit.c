/* test_audit.c - a line for each, appended; renamed away, and opened again; and a full disk. */
#include "server/keys/audit.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "tests/check.h"

static const struct audit_line line = {"refused", "k3v9", "POST",     "/v1/pixels",
                                       "bad_key", "r-1",  "192.0.2.7"};

static void path_of(char path[64]) {
    snprintf(path, 64, "/tmp/lammd-audit-%ld", (long)getpid());
    unlink(path);
}

static int count_lines(const char *path) {
    FILE *f = fopen(path, "r");
    char text[2000];
    int n = 0;
    while (f && fgets(text, sizeof(text), f)) {
        json_t *o = json_loads(text, 0, NULL);
        CHECK(o != NULL);
        CHECK_STR(json_string_value(json_object_get(o, "result")), "bad_key");
        CHECK_STR(json_string_value(json_object_get(o, "route")), "POST /v1/pixels");
        CHECK_EQ(strlen(json_string_value(json_object_get(o, "time"))), 24);
        CHECK_EQ(json_object_size(o), 7);
        json_decref(o);
        n++;
    }
    if (f) fclose(f);
    return n;
}

TEST(audit_appends_and_opens_again) {
    char path[64], old[80];
    struct audit *a;
    struct stat s;
    path_of(path);
    snprintf(old, sizeof(old), "%s.1", path);
    CHECK_EQ(audit_open(path, &a, NULL), 0);
    CHECK_EQ(audit_write(a, &line), 0);
    audit_close(a);
    CHECK_EQ(audit_open(path, &a, NULL), 0);
    CHECK_EQ(audit_write(a, &line), 0);
    CHECK_EQ(count_lines(path), 2);
    CHECK(stat(path, &s) == 0 && (s.st_mode & 0777) == 0600);
    CHECK_EQ(rename(path, old), 0);
    CHECK_EQ(audit_write(a, &line), 0);
    CHECK_EQ(count_lines(old), 3);
    CHECK_EQ(audit_reopen(a, NULL), 0);
    CHECK_EQ(audit_write(a, &line), 0);
    CHECK_EQ(count_lines(path), 1);
    CHECK_EQ(count_lines(old), 3);
    /* It can't be opened again: the one that is open stays. */
    unlink(path);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(audit_reopen(a, NULL), E_IO);
    CHECK_EQ(audit_write(a, &line), 0);
    audit_close(a);
    audit_close(NULL);
    rmdir(path);
    unlink(old);
    struct err e = {0};
    CHECK(audit_open("/tmp/no/such/audit", &a, &e) < 0 && a == NULL);
    CHECK_HAS(e.text, "/tmp/no/such/audit");
    CHECK_EQ(audit_open("/dev/zero", &a, NULL), E_INVALID);
}

/* A disk that fills up in the middle of a line: nothing of the line stays, and it is said. */
TEST(audit_says_when_it_is_full) {
    char path[64];
    struct audit *a;
    struct stat s;
    path_of(path);
    log_set_level(LOG_LEVEL_ERROR);
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(audit_open(path, &a, NULL), 0);
    CHECK_EQ(audit_write(a, &line), 0);
    CHECK_EQ(stat(path, &s), 0);
    struct rlimit before, small;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)s.st_size + 20;
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    CHECK_EQ(audit_write(a, &line), E_IO);
    CHECK_EQ(audit_write(a, &line), E_IO);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    CHECK_EQ(count_lines(path), 1);
    CHECK_EQ(audit_write(a, &line), 0);
    CHECK_EQ(count_lines(path), 2);
    audit_close(a);
    unlink(path);
}
