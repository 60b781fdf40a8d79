/* log.c - a line is formatted on the stack, made harmless, and written with one write(2): at once,
 * or by the writer between log_begin and log_end.
 *
 * The ring's invariant: lines [head, head + n) modulo LOG_LINES wait; the writer takes a line off
 * only when it is written, so an empty ring means that all is. The writer never holds the lock
 * while it writes. When it is stuck at log_end it is left behind, and dies with the process.
 */
#include "kernels/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

enum { LINE_BYTES = 1000 };

static enum log_level most = LOG_LEVEL_INFO; /* set before threads start */

struct log_line {
    size_t len;
    char text[LINE_BYTES];
};

static struct {
    atomic_int is_on;
    _Atomic unsigned long long lost;
    pthread_t writer;
    pthread_mutex_t mu;
    pthread_cond_t news;    /* for the writer, and for log_end */
    struct log_line *lines; /* (LOG_LINES) Lock: mu, as is all below */
    size_t head, n;
    unsigned long long told; /* of `lost`, as far as logged */
    int is_ending, is_over;
} ring = {.mu = PTHREAD_MUTEX_INITIALIZER};

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

/* By whoever may block. */
static void log_write(const struct log_line *l) {
    size_t at = 0;
    while (at < l->len) {
        ssize_t n = write(STDERR_FILENO, l->text + at, l->len - at);
        struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (n > 0) {
            at += (size_t)n;
        } else if (n < 0 && errno == EAGAIN && atomic_load(&ring.is_on)) {
            (void)poll(&p, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            atomic_fetch_add(&ring.lost, 1);
            return;
        }
    }
}

static void ring_put(const struct log_line *l) {
    pthread_mutex_lock(&ring.mu);
    if (ring.n < LOG_LINES) {
        ring.lines[(ring.head + ring.n++) % LOG_LINES] = *l;
        pthread_cond_broadcast(&ring.news);
    } else {
        atomic_fetch_add(&ring.lost, 1);
    }
    pthread_mutex_unlock(&ring.mu);
}

/* The whole line, with its end. */
static void log_format(struct log_line *l, enum log_level level, const char *event,
                       const char *text) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char when[32], prio[8] = "";
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!isatty(STDERR_FILENO)) snprintf(prio, sizeof prio, "<%d>", (int)level);
    int n = snprintf(l->text, sizeof l->text, "%stime=%s.%03ldZ event=%.100s ", prio, when,
                     now.tv_nsec / 1000000, event);
    must(n > 0 && (size_t)n < sizeof l->text);
    l->len = (size_t)n + escape(l->text + n, sizeof l->text - (size_t)n - 1, text);
    l->text[l->len++] = '\n';
}

void log_event(enum log_level level, const char *event, const char *fmt, ...) {
    if (level > most) return;
    char text[LINE_BYTES];
    struct log_line line;
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    log_format(&line, level, event, text);
    if (atomic_load(&ring.is_on))
        ring_put(&line);
    else
        log_write(&line);
}

/* ---- the writer ---- */

/* With the lock: the next line to write. 0: there is none, and none will come. */
static int ring_next(struct log_line *out) {
    while (ring.n == 0 && !ring.is_ending)
        pthread_cond_wait(&ring.news, &ring.mu);
    if (ring.n == 0) return 0;
    *out = ring.lines[ring.head];
    return 1;
}

/* With the lock: how many lines were lost since it was last told. */
static unsigned long long ring_untold(void) {
    unsigned long long all = atomic_load(&ring.lost), n = all - ring.told;
    ring.told = all;
    return n;
}

static void *ring_run(void *ud) {
    (void)ud;
    struct log_line line;
    pthread_mutex_lock(&ring.mu);
    while (ring_next(&line)) {
        pthread_mutex_unlock(&ring.mu);
        log_write(&line);
        pthread_mutex_lock(&ring.mu);
        ring.head = (ring.head + 1) % LOG_LINES;
        ring.n--;
        unsigned long long lost = ring_untold();
        if (!lost) continue;
        pthread_mutex_unlock(&ring.mu);
        char text[40];
        (void)snprintf(text, sizeof text, "lines=%llu", lost);
        log_format(&line, LOG_LEVEL_WARN, "log_lost", text);
        log_write(&line);
        pthread_mutex_lock(&ring.mu);
    }
    ring.is_over = 1;
    pthread_cond_broadcast(&ring.news);
    pthread_mutex_unlock(&ring.mu);
    return NULL;
}

void log_begin(void) {
    must(!ring.lines);
    ring.lines = mem_must(LOG_LINES * sizeof *ring.lines);
    pthread_condattr_t a;
    must(pthread_condattr_init(&a) == 0);
    must(pthread_condattr_setclock(&a, CLOCK_MONOTONIC) == 0);
    must(pthread_cond_init(&ring.news, &a) == 0);
    pthread_condattr_destroy(&a);
    must(pthread_create(&ring.writer, NULL, ring_run, NULL) == 0);
    atomic_store(&ring.is_on, 1);
}

void log_end(unsigned wait_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000 + 1; /* a second more is no harm, and saves the carry */
    pthread_mutex_lock(&ring.mu);
    ring.is_ending = 1;
    pthread_cond_broadcast(&ring.news);
    int rc = 0;
    while (!ring.is_over && rc == 0)
        rc = pthread_cond_timedwait(&ring.news, &ring.mu, &until);
    int is_over = ring.is_over;
    pthread_mutex_unlock(&ring.mu);
    if (!is_over) return; /* it may hold a line of the ring yet */
    pthread_join(ring.writer, NULL);
    atomic_store(&ring.is_on, 0);
    pthread_cond_destroy(&ring.news);
    mem_free(ring.lines);
    ring.lines = NULL;
    ring.is_ending = ring.is_over = 0;
}

unsigned long long log_lost(void) { return atomic_load(&ring.lost); }
