/* test_log.c - one line each, escaped, capped, with the priority that journald reads. */
#include <fcntl.h>
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
