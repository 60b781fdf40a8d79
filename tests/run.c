/* run.c - runs the tests that were linked with it.
 *
 *     run-base [--list] [--seed N] [--limit SECONDS] [--no-fork] [-v] [--not SUBSTRING] [SUBSTRING...]
 *
 * 1. Every test runs in a child with its own process group, so that a crash, a hang or a stray
 *    process can't touch the next test; what is left of the group when the child ends is killed.
 * 2. The parent has no threads and forks before any exist: right under ThreadSanitizer too.
 * 3. A child that passed leaves by exit(), so that leak checkers get to speak; what they complain
 *    about is a failure.
 * 4. The last line is `N passed, N failed, N skipped`; the exit status is 0 only if none failed. No
 *    test by that name is no failure: the same substring is given to every room's runner.
 * --no-fork is for the debugger: the first failure ends everything.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/check.h"

enum { EXIT_FAILED = 1, EXIT_SKIPPED = 77 };
enum result { PASSED, FAILED, SKIPPED, N_RESULTS };

static struct test_case *cases; /* sorted by file, then name */
static const struct test_case *running;
static uint64_t run_seed = 1;
static uint64_t limit_s = 60;
static int is_list, is_verbose, is_debugged;
static const char *left_out; /* a substring, or NULL */

void test_register(struct test_case *t) {
    struct test_case **at = &cases;
    while (*at) {
        int order = strcmp((*at)->file, t->file);
        if (order > 0 || (order == 0 && strcmp((*at)->name, t->name) > 0)) break;
        at = &(*at)->next;
    }
    t->next = *at;
    *at = t;
}

/* ---- in the child ---- */
void test_failed(const char *file, int line, const char *fmt, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    printf("%s:%d: %s: %s\n", file, line, running->name, text);
    fflush(stdout);
    _exit(EXIT_FAILED);
}

void skip(const char *why, ...) {
    char text[1000];
    va_list ap;
    va_start(ap, why);
    vsnprintf(text, sizeof(text), why, ap);
    va_end(ap);
    printf("skip: %s: %s\n", running->name, text);
    fflush(stdout);
    _exit(EXIT_SKIPPED);
}

uint64_t test_seed(void) {
    uint64_t h = run_seed * 0x9e3779b97f4a7c15u;
    for (const char *c = running->name; *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3u;
    return h;
}

void check_eq(long long a, long long b, const char *as, const char *bs, const char *file,
              int line) {
    if (a != b) test_failed(file, line, "%s is %lld, not %s = %lld", as, a, bs, b);
}

void check_str(const char *a, const char *b, const char *as, const char *bs, const char *file,
               int line) {
    if (!a || !b || strcmp(a, b) != 0)
        test_failed(file, line, "%s is \"%s\", not %s = \"%s\"", as, a ? a : "NULL", bs,
                    b ? b : "NULL");
}

void check_has(const char *a, const char *part, const char *as, const char *file, int line) {
    if (!a || !strstr(a, part))
        test_failed(file, line, "%s is \"%s\", without \"%s\"", as, a ? a : "NULL", part);
}

void check_near(double a, double b, double tol, const char *as, const char *bs, const char *file,
                int line) {
    if (!(fabs(a - b) <= tol))
        test_failed(file, line, "%s is %.9g, not %s = %.9g: apart by %.3g > %.3g", as, a, bs, b,
                    fabs(a - b), tol);
}

void check_mem(const void *a, const void *b, size_t n, const char *as, const char *bs,
               const char *file, int line) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            test_failed(file, line, "%s and %s differ at byte %zu of %zu: %02x, not %02x", as, bs,
                        i, n, x[i], y[i]);
    }
}

/* ---- in the parent ---- */
static void block_sigchld(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(how, &set, NULL);
}

/* Wait for the child until the deadline. 0, or -1 when it is still running. SIGCHLD is blocked. */
static int await(pid_t pid, uint64_t deadline_ns, int *status) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    for (;;) {
        if (waitpid(pid, status, WNOHANG) == pid) return 0;
        uint64_t now = clock_ns();
        if (now >= deadline_ns) return -1;
        uint64_t left = deadline_ns - now;
        struct timespec ts = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        sigtimedwait(&set, NULL, &ts);
    }
}

static void run_child(const struct test_case *t) {
    block_sigchld(SIG_UNBLOCK);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    running = t;
    t->run();
    exit(0);
}

static enum result judge(const struct test_case *t, int status, int is_late, unsigned seconds) {
    if (is_late)
        printf("FAIL %s: still running after %u s (%s)\n", t->name, seconds, t->file);
    else if (WIFSIGNALED(status))
        printf("FAIL %s: %s (%s)\n", t->name, strsignal(WTERMSIG(status)), t->file);
    else if (WEXITSTATUS(status) == EXIT_SKIPPED)
        return SKIPPED;
    else if (WEXITSTATUS(status) != 0)
        printf("FAIL %s: exit status %d (%s)\n", t->name, WEXITSTATUS(status), t->file);
    else
        return PASSED;
    return FAILED;
}

static enum result run_case(const struct test_case *t) {
    if (is_debugged) {
        running = t;
        t->run();
        return PASSED;
    }
    fflush(NULL);
    uint64_t t0 = clock_ns();
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return FAILED;
    }
    if (pid == 0) run_child(t);
    setpgid(pid, pid);
    unsigned seconds = t->seconds > limit_s ? t->seconds : (unsigned)limit_s;
    int status = 0;
    int is_late = await(pid, t0 + seconds * UINT64_C(1000000000), &status) != 0;
    kill(-pid, SIGKILL);
    if (is_late) waitpid(pid, &status, 0);
    enum result r = judge(t, status, is_late, seconds);
    double s = (double)(clock_ns() - t0) / 1e9;
    if (r == PASSED && (is_verbose || s > 5)) printf("ok   %s (%.2f s)\n", t->name, s);
    return r;
}

static int has(const struct test_case *t, const char *word) {
    return strstr(t->name, word) || strstr(t->file, word);
}

static int is_chosen(const struct test_case *t, char **words, int n) {
    if (left_out && has(t, left_out)) return 0;
    for (int i = 0; i < n; i++) {
        if (has(t, words[i])) return 1;
    }
    return n == 0;
}

static int read_number(const char *s, uint64_t least, uint64_t *out) {
    char *end;
    if (!s) return 0;
    errno = 0;
    *out = strtoull(s, &end, 0);
    return errno == 0 && end != s && *end == '\0' && *out >= least;
}

/* Options out of argv; what remains are the substrings, in front. Their number, or -1. */
static int read_options(int argc, char **argv) {
    int n = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--list") == 0)
            is_list = 1;
        else if (strcmp(a, "-v") == 0)
            is_verbose = 1;
        else if (strcmp(a, "--no-fork") == 0)
            is_debugged = 1;
        else if (strcmp(a, "--seed") == 0 && read_number(argv[i + 1], 0, &run_seed))
            i++;
        else if (strcmp(a, "--limit") == 0 && read_number(argv[i + 1], 1, &limit_s))
            i++;
        else if (strcmp(a, "--not") == 0 && i + 1 < argc)
            left_out = argv[++i];
        else if (a[0] == '-')
            return -1;
        else
            argv[n++] = argv[i];
    }
    return n;
}

int main(int argc, char **argv) {
    int n_words = read_options(argc, argv);
    if (n_words < 0) {
        fprintf(stderr,
                "options: --list, --seed N, --limit SECONDS, --no-fork, -v, --not SUBSTRING\n");
        return 2;
    }
    block_sigchld(SIG_BLOCK);
    int count[N_RESULTS] = {0};
    for (const struct test_case *t = cases; t; t = t->next) {
        if (!is_chosen(t, argv, n_words)) continue;
        if (is_list)
            printf("%s %s\n", t->file, t->name);
        else
            count[run_case(t)]++;
    }
    if (is_list) return 0;
    printf("seed %" PRIu64 "\n%d passed, %d failed, %d skipped\n", run_seed, count[PASSED],
           count[FAILED], count[SKIPPED]);
    return count[FAILED] ? 1 : 0;
}
