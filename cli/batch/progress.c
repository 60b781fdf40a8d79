/* progress.c - see progress.h. */
#include "cli/batch/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "kernels/base/clock.h"

enum { BAR_WIDTH = 30, SAID_MAX = 20 };
static const uint64_t BAR_NS = 250 * CLOCK_MS, LINE_NS = 10 * CLOCK_S;

void progress_begin(struct progress *p, uint64_t total, uint64_t before) {
    *p = (struct progress){.total = total, .before = before, .is_bar = isatty(STDERR_FILENO)};
    p->start_ns = p->said_ns = clock_ns();
    if (before)
        fprintf(stderr, "going on: %llu of %llu lines are done\n", (unsigned long long)before,
                (unsigned long long)total);
}

double progress_pace(const struct progress *p) {
    double seconds = (double)(clock_ns() - p->start_ns) / 1e9;
    return seconds > 0 ? (double)p->done / seconds : 0;
}

void progress_time(double seconds, char *to, size_t size) {
    uint64_t s = (uint64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(to, size, "%llu h %llu min", (unsigned long long)(s / 3600),
                 (unsigned long long)(s % 3600 / 60));
    else if (s >= 60)
        snprintf(to, size, "%llu min %llu s", (unsigned long long)(s / 60),
                 (unsigned long long)(s % 60));
    else
        snprintf(to, size, "%llu s", (unsigned long long)s);
}

static void print_bar(uint64_t n, uint64_t of) {
    int full = of ? (int)(n * BAR_WIDTH / of) : BAR_WIDTH;
    fputs("\r\033[K[", stderr);
    for (int i = 0; i < BAR_WIDTH; i++)
        fputc(i < full ? '#' : ' ', stderr);
    fputs("] ", stderr);
}

static void progress_print(const struct progress *p) {
    uint64_t n = p->before + p->done;
    double pace = progress_pace(p);
    if (p->is_bar) print_bar(n, p->total);
    fprintf(stderr, "%llu of %llu lines", (unsigned long long)n, (unsigned long long)p->total);
    if (p->failed) fprintf(stderr, ", %llu failed", (unsigned long long)p->failed);
    if (pace > 0) {
        char left[40];
        progress_time((double)(p->total > n ? p->total - n : 0) / pace, left, sizeof(left));
        fprintf(stderr, ", %.*f a second, %s to go", pace < 10 ? 2 : 0, pace, left);
    }
    fputs(p->is_bar ? "" : "\n", stderr);
}

void progress_tick(struct progress *p) {
    uint64_t now = clock_ns();
    if (now - p->said_ns < (p->is_bar ? BAR_NS : LINE_NS)) return;
    p->said_ns = now;
    progress_print(p);
}

void progress_end(struct progress *p) {
    if (!p->is_bar) return;
    progress_print(p);
    fputc('\n', stderr);
}

void progress_say(struct progress *p, uint64_t line, const char *text) {
    if (p->n_said > SAID_MAX) return;
    if (p->is_bar) fputs("\r\033[K", stderr);
    if (p->n_said++ < SAID_MAX)
        fprintf(stderr, "lammd: line %llu: %s\n", (unsigned long long)line, text);
    else
        fputs("lammd: more lines failed, which are not said\n", stderr);
}
