/* say.c - see say.h. */
#include "cli/train/say.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/clock.h"

enum { BAR = 24, TERMINAL_MS = 200, ELSEWHERE_MS = 10000, WIDTH = 160 };
#define FADE 0.95 /* of a loss that is shown, with each step */

void say_begin(struct say *s, int is_silent) {
    *s = (struct say){.is_silent = is_silent, .is_terminal = isatty(STDERR_FILENO)};
    s->start_ns = clock_ns();
}

void say_time(double seconds, char to[24]) {
    long t = (long)(seconds + 0.5);
    if (seconds > 99 * 3600.0)
        snprintf(to, 24, "%ldd%02ldh", t / 86400, t / 3600 % 24);
    else if (t >= 3600)
        snprintf(to, 24, "%ldh%02ldm", t / 3600, t / 60 % 60);
    else if (t >= 60)
        snprintf(to, 24, "%ldm%02lds", t / 60, t % 60);
    else
        snprintf(to, 24, "%lds", t);
}

void say_losses(const struct losses *l, char *to, size_t cap) {
    int tasks = 0;
    for (int t = 0; t < SAMPLE_TASKS; t++)
        tasks += l->weight[t] > 0;
    size_t n = (size_t)snprintf(to, cap, "%.4f", losses_mean(l));
    const char *before = " (";
    for (int t = 0; tasks && t < SAMPLE_TASKS && n < cap; t++) {
        if (l->weight[t] <= 0) continue;
        n += (size_t)snprintf(to + n, cap - n, "%s%s %.3f", before, sample_task_words[t],
                              losses_of(l, t));
        before = ", ";
    }
    if (tasks && n < cap) snprintf(to + n, cap - n, ")");
}

static void fade(struct losses *l, double by) {
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        l->sum[t] *= by;
        l->weight[t] *= by;
    }
    l->box *= by;
    l->hold *= by;
    for (int i = 0; i < TRAIN_DENSE; i++)
        l->dense[i] *= by;
}

static void paint(struct say *s, uint64_t done, uint64_t all, uint64_t now) {
    char losses[WIDTH], left[24], bar[BAR + 1];
    double seconds = (double)(now - s->start_ns) / 1e9;
    double each = s->steps ? seconds / (double)s->steps : 0;
    say_losses(&s->recent, losses, sizeof(losses));
    say_time(each * (double)(all - done), left);
    if (s->is_terminal) {
        int full = (int)(all ? BAR * done / all : 0);
        for (int i = 0; i < BAR; i++)
            bar[i] = i < full ? '#' : '.';
        bar[BAR] = '\0';
        fprintf(stderr, "\r\033[K[%s] ", bar);
    }
    fprintf(stderr, "%" PRIu64 "/%" PRIu64 "  loss %s  %.1f questions/s  %s left%s", done, all,
            losses, seconds > 0 ? (double)s->talks / seconds : 0, left, s->is_terminal ? "" : "\n");
    s->is_open = s->is_terminal;
    s->said_ns = now;
    if (!s->is_terminal) s->recent = (struct losses){0};
}

void say_step(struct say *s, uint64_t done, uint64_t all, const struct losses *l, uint64_t talks) {
    if (s->is_silent) return;
    uint64_t now = clock_ns();
    s->steps++;
    s->talks += talks;
    if (s->is_terminal) fade(&s->recent, FADE);
    losses_add(&s->recent, l);
    uint64_t wait = (s->is_terminal ? TERMINAL_MS : ELSEWHERE_MS) * CLOCK_MS;
    if (s->said_ns == 0 || now - s->said_ns >= wait) paint(s, done, all, now);
}

void say_line(struct say *s, const char *fmt, ...) {
    if (s->is_silent) return;
    if (s->is_open) fputs("\r\033[K", stderr);
    s->is_open = 0;
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void say_end(struct say *s, uint64_t done, uint64_t all) {
    if (s->is_silent || !s->steps) return;
    if (losses_any(&s->recent)) paint(s, done, all, clock_ns());
    if (s->is_open) fputc('\n', stderr);
    s->is_open = 0;
}
