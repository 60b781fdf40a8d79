/* The history of adapters: what was added is told again; a cut line is taken off, a wrong one is
 * named; what can't be written leaves nothing. */
#include "api/store/history.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"

struct told {
    struct history_line lines[8];
    int n;
};

static void tell(void *ud, const struct history_line *line) {
    struct told *t = ud;
    CHECK(t->n < 8);
    t->lines[t->n++] = *line;
}

static struct history *open_at(const char *path, struct told *t) {
    struct history *h;
    struct err e = {0};
    t->n = 0;
    if (history_open(path, tell, t, &h, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return h;
}

static void path_in(char dir[64], char path[96]) {
    snprintf(dir, 64, "/tmp/lammd-history-XXXXXX");
    CHECK(mkdtemp(dir));
    snprintf(path, 96, "%s/history.jsonl", dir);
}

static void put(const char *path, const char *text, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    CHECK(write(fd, text, n) == (ssize_t)n);
    close(fd);
}

static void clear(const char *dir, const char *path) {
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
}

static struct history_line line_of(enum history_event event, const char *name) {
    struct history_line l = {.event = event, .key = "k3v9", .is_forced = event == HISTORY_PROMOTE};
    snprintf(l.name, sizeof(l.name), "%s", name);
    memset(l.digest, 'd', 64);
    return l;
}

TEST(history_tells_what_was_added) {
    char dir[64], path[96];
    struct told t;
    path_in(dir, path);
    struct history *h = open_at(path, &t);
    CHECK_EQ(t.n, 0);
    for (int i = 0; i < 4; i++) {
        struct history_line l = line_of((enum history_event)i, i == 3 ? "a \"base\"" : "ft:x:y:1");
        CHECK_EQ(history_add(h, &l, NULL), 0);
    }
    history_close(h);
    h = open_at(path, &t);
    CHECK_EQ(t.n, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(t.lines[i].event, i);
        CHECK_STR(t.lines[i].key, "k3v9");
        CHECK_EQ(strlen(t.lines[i].digest), 64);
        CHECK_EQ(t.lines[i].is_forced, i == HISTORY_PROMOTE);
        CHECK_EQ(strlen(t.lines[i].time), 20);
    }
    CHECK_STR(t.lines[3].name, "a \"base\"");
    history_close(h);
    clear(dir, path);
}

/* Cut at each byte, the file has the whole lines before it, and takes the next one. */
TEST(history_drops_a_cut_line) {
    char dir[64], path[96];
    struct told t;
    path_in(dir, path);
    struct history *h = open_at(path, &t);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    struct stat one, two;
    CHECK_EQ(history_add(h, &l, NULL), 0);
    CHECK(stat(path, &one) == 0);
    CHECK_EQ(history_add(h, &l, NULL), 0);
    CHECK(stat(path, &two) == 0);
    history_close(h);
    for (off_t cut = two.st_size - 1; cut >= 0; cut--) {
        CHECK(truncate(path, cut) == 0);
        h = open_at(path, &t);
        CHECK_EQ(t.n, cut >= one.st_size);
        history_close(h);
        CHECK(stat(path, &two) == 0);
        CHECK_EQ(two.st_size, cut >= one.st_size ? one.st_size : 0);
    }
    h = open_at(path, &t);
    CHECK_EQ(history_add(h, &l, NULL), 0);
    history_close(h);
    h = open_at(path, &t);
    CHECK_EQ(t.n, 1);
    history_close(h);
    clear(dir, path);
}

TEST(history_names_a_wrong_line) {
    static const char good[] = "{\"time\":\"t\",\"event\":\"load\",\"name\":\"a\",\"digest\":\"d\","
                               "\"key\":\"k\"}\n";
    static const char *const wrong[] = {
        "\n",
        "{}\n",
        "[]\n",
        "nonsense\n",
        "{\"time\":\"t\",\"event\":\"load\",\"name\":\"a\"}\n",
        "{\"time\":\"t\",\"event\":\"jump\",\"name\":\"a\",\"digest\":\"d\",\"key\":\"k\"}\n",
        "{\"time\":\"t\",\"event\":\"load\",\"name\":7,\"digest\":\"d\",\"key\":\"k\"}\n",
        "{\"time\":\"t\",\"event\":\"load\",\"name\":\"a\",\"digest\":\"d\",\"key\":\"k\",\"x\":1}"
        "\n",
        "{\"time\":\"t\",\"event\":\"load\",\"name\":\"a\",\"digest\":\"d\",\"key\":\"k\","
        "\"forced\":1}\n"};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char dir[64], path[96];
        struct told t = {.n = 0};
        struct history *h;
        struct err e = {0};
        path_in(dir, path);
        put(path, good, strlen(good));
        put(path, wrong[i], strlen(wrong[i]));
        put(path, good, strlen(good));
        CHECK_EQ(history_open(path, tell, &t, &h, &e), E_FORMAT);
        CHECK_HAS(e.text, "history.jsonl: line 2: ");
        clear(dir, path);
    }
}

TEST(history_refuses_what_is_no_file) {
    char dir[64], path[96], long_line[4000];
    struct told t = {.n = 0};
    struct history *h;
    struct err e = {0};
    path_in(dir, path);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK_EQ(history_open(path, tell, &t, &h, &e), E_FORMAT);
    unlink(path);
    memset(long_line, 'x', sizeof(long_line));
    put(path, long_line, sizeof(long_line));
    e = (struct err){0};
    CHECK_EQ(history_open(path, tell, &t, &h, &e), E_FORMAT);
    CHECK_HAS(e.text, "too long");
    clear(dir, path);
}

/* A limit of the file's size stands for a full disk. */
TEST(history_adds_a_line_or_nothing) {
    char dir[64], path[96];
    struct told t;
    struct stat before, after;
    path_in(dir, path);
    struct history *h = open_at(path, &t);
    struct history_line l = line_of(HISTORY_LOAD, "a");
    CHECK_EQ(history_add(h, &l, NULL), 0);
    CHECK(stat(path, &before) == 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit most = {(rlim_t)before.st_size + 20, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &most) == 0);
    struct err e = {0};
    CHECK_EQ(history_add(h, &l, &e), E_IO);
    CHECK(stat(path, &after) == 0);
    CHECK_EQ(after.st_size, before.st_size);
    most.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_FSIZE, &most) == 0);
    CHECK_EQ(history_add(h, &l, NULL), 0);
    history_close(h);
    h = open_at(path, &t);
    CHECK_EQ(t.n, 2);
    history_close(h);
    clear(dir, path);
}
