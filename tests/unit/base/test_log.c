/* test_log.c - one line each, escaped, capped, with the priority that journald reads. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "tests/check.h"

/* What `level` and `text` print, through a pipe in place of stderr. */
static const char *logged(enum log_level level, const char *text) {
    static char line[4096];
    int fd[2], old = dup(STDERR_FILENO);
    CHECK(old >= 0 && pipe2(fd, O_NONBLOCK) == 0);
    dup2(fd[1], STDERR_FILENO);
    log_event(level, "test", "%s", text);
    dup2(old, STDERR_FILENO);
    ssize_t n = read(fd[0], line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    close(fd[0]);
    close(fd[1]);
    close(old);
    return line;
}

TEST(log_line_has_priority_time_event_and_text) {
    const char *l = logged(LOG_LEVEL_WARN, "id=r-17 pixels=4096");
    CHECK_MEM(l, "<4>time=20", 10);
    CHECK_EQ(strcspn(l, "Z"), 3 + 5 + 23); /* <4> time= and 2026-01-31T12:00:00.123 */
    CHECK_STR(l + 32, " event=test id=r-17 pixels=4096\n");
    CHECK_MEM(logged(LOG_LEVEL_ERROR, "x"), "<3>", 3);
}

TEST(log_control_bytes_are_escaped_and_letters_are_not) {
    const char *l = logged(LOG_LEVEL_INFO, "a\nb\r\x1b[2J\x7f\t\x01\x1f \xc3\xa4");
    CHECK(strstr(l, "a\\x0ab\\x0d\\x1b[2J\\x7f\\x09\\x01\\x1f \xc3\xa4\n") != NULL);
    CHECK_EQ(strcspn(l, "\n"), strlen(l) - 1);
}

TEST(log_lines_are_capped) {
    char text[3000];
    for (int c = 1; c <= 'a'; c += 'a' - 1) { /* every byte escaped, then none */
        memset(text, c, sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        const char *l = logged(LOG_LEVEL_INFO, text);
        CHECK(strlen(l) > 900 && strlen(l) <= 1000);
        CHECK_EQ(strcspn(l, "\n"), strlen(l) - 1);
    }
}

TEST(log_debug_is_off_unless_asked_for) {
    CHECK_STR(logged(LOG_LEVEL_DEBUG, "hidden"), "");
    log_set_level(LOG_LEVEL_DEBUG);
    CHECK(strstr(logged(LOG_LEVEL_DEBUG, "shown"), "shown") != NULL);
    log_set_level(LOG_LEVEL_ERROR);
    CHECK_STR(logged(LOG_LEVEL_WARN, "hidden"), "");
}

/* A pipe that nobody reads in place of stderr; *out: its reading end. Returns what stderr was. */
static int stall(int *out) {
    int fd[2], old = dup(STDERR_FILENO);
    CHECK(old >= 0 && pipe(fd) == 0);
    dup2(fd[1], STDERR_FILENO);
    close(fd[1]);
    *out = fd[0];
    return old;
}

/* Nobody waits for a reader of stderr that stalls, what is lost is counted, and told later. */
TEST(log_never_blocks) {
    enum { LINES = 5000 };
    static char text[8 << 20];
    int out, old = stall(&out);
    log_begin();
    for (int i = 0; i < LINES; i++)
        log_event(LOG_LEVEL_INFO, "test", "line=%d and a few more words to fill the pipe with", i);
    unsigned long long lost = log_lost();
    size_t n = 0;
    CHECK(lost > 0 && lost <= LINES - LOG_LINES); /* `=`: the writer had no turn meanwhile */
    fcntl(out, F_SETFL, O_NONBLOCK);
    for (int quiet = 0; quiet < 50 || !strstr(text, "event=log_lost");) { /* until all is out */
        ssize_t got = read(out, text + n, sizeof(text) - 1 - n);
        if (got > 0) n += (size_t)got;
        quiet = got > 0 ? 0 : quiet + 1;
        if (got < 0) usleep(10000);
    }
    log_event(LOG_LEVEL_INFO, "test", "the last");
    log_end(20000);
    ssize_t got = read(out, text + n, sizeof(text) - 1 - n);
    CHECK(got > 0);
    dup2(old, STDERR_FILENO);
    int lines = 0, told = 0;
    for (const char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        const char *word = memmem(at, (size_t)(end - at), "event=log_lost lines=", 21);
        if (word)
            told += (int)strtol(word + 21, NULL, 10);
        else
            lines++;
    }
    CHECK_EQ(lines + (int)lost, LINES + 1); /* and the last */
    CHECK_EQ(told, lost);
    CHECK_HAS(text, "the last\n");
}

TEST(log_ends_though_stderr_is_stuck) {
    int out, old = stall(&out);
    log_begin();
    for (int i = 0; i < 3000; i++)
        log_event(LOG_LEVEL_INFO, "test", "line=%d", i);
    log_end(0);
    log_event(LOG_LEVEL_INFO, "test", "nor does this block");
    dup2(old, STDERR_FILENO);
    CHECK(log_lost() > 0); /* `out` stays open: the writer is still at it */
}
