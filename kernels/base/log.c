/* log.c - a line is formatted on the stack, made harmless, and written with one write(2). */
#include "kernels/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level most = LOG_LEVEL_INFO; /* set before threads start */

void log_set_level(enum log_level level) { most = level; }

/* Control bytes, which could start a line of their own or move a terminal's cursor -> \xNN. */
static size_t escape(char *out, size_t cap, const char *in) {
    size_t n = 0;
    for (; *in && n + 5 < cap; in++) {
        unsigned char c = (unsigned char)*in;
        if (c < 32 || c == 127) {
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...) {
    if (level > most) return;
    char text[1000], line[1000];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char when[32], prio[8] = "";
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!isatty(STDERR_FILENO)) snprintf(prio, sizeof prio, "<%d>", (int)level);
    int n = snprintf(line, sizeof line, "%stime=%s.%03ldZ event=%s ", prio, when,
                     now.tv_nsec / 1000000, event);
    if (n < 0 || n >= 200) return;
    size_t len = (size_t)n + escape(line + n, sizeof line - (size_t)n - 1, text);
    line[len++] = '\n';
    ssize_t put = write(STDERR_FILENO, line, len);
    (void)put; /* nobody to tell */
}
