/* run.c - runs the tests that were linked with it.
 *
 *     run-base [--list] [--seed N] [--limit SECONDS] [--idle SECONDS] [--long] [-jN]
 *              [--no-fork] [-v] [--not SUBSTRING] [SUBSTRING...]
 *
 * 1. Every test runs in a child with its own process group, so that a crash, a hang or a stray
 *    process can't touch the next test; what is left of the group when the child ends is killed.
 * 2. The parent has no threads and forks before any exist: right under ThreadSanitizer too.
 * 3. A child that passed leaves by exit(), so that leak checkers get to speak; what they complain
 *    about is a failure.
 * 4. A test's limit is processor time, of all its threads together: on a busy machine a test takes
 *    longer and does not fail. One that waits for ever is found out because it uses no processor
 *    time at all for --idle seconds, or, if it polls meanwhile, because CEILING times its limit
 *    passed.
 * 5. -jN runs N tests at a time. What each prints is kept and shown in the order of the list.
 * 6. The last line is `N passed, N failed, N skipped`; the exit status is 0 only if none failed. No
 *    test by that name is no failure: the same substring is given to every room's runner.
 * --long is for test_count(): the full counts. --no-fork is for the debugger: the first failure
 * ends everything.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/check.h"

enum { CASES_MAX = 4000, CEILING = 20, SLOW_S = 5 };
enum result { PASSED, FAILED, SKIPPED, N_RESULTS };

/* One test of this run. */
struct job {
    const struct test_case *t;
    pid_t pid;
    int out, is_over; /* what it prints (-1: straight to our own); the child is gone */
    enum result result;
    char why[100];                /* of a failure that the test itself can't speak of */
    uint64_t begun_ns, wall_ns;   /* on the clock of the wall */
    uint64_t cpu_ns, moved_at_ns; /* processor time so far, and when that was last seen to grow */
};

static struct test_case *cases; /* sorted by file, then name */
static struct job jobs[CASES_MAX];
static uint64_t run_seed = 1, limit_s = 60, idle_s = 60, at_a_time = 1;
static int is_list, is_verbose, is_debugged, is_long;
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

/* ---- a child ---- */
static void set_sigchld_blocked(int is_blocked) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(is_blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void run_child(const struct job *j) {
    set_sigchld_blocked(0);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (j->out >= 0 && (dup2(j->out, STDOUT_FILENO) < 0 || dup2(j->out, STDERR_FILENO) < 0))
        _exit(TEST_FAILED);
    test_begin(j->t, run_seed, is_long);
    j->t->run();
    exit(0);
}

static void start(struct job *j) {
    fflush(NULL);
    j->out = at_a_time > 1 ? memfd_create("test", MFD_CLOEXEC) : -1;
    j->begun_ns = j->moved_at_ns = clock_ns();
    j->pid = fork();
    if (j->pid == 0) run_child(j);
    if (j->pid > 0) {
        setpgid(j->pid, j->pid);
    } else {
        j->result = FAILED;
        j->is_over = 1;
        snprintf(j->why, sizeof(j->why), "fork: %s", strerror(errno));
    }
}

/* ---- its end ---- */
static void judge(struct job *j, int status) {
    j->result = FAILED;
    if (j->why[0]) return; /* it was we who killed it */
    if (WIFSIGNALED(status))
        snprintf(j->why, sizeof(j->why), "%s", strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == TEST_SKIPPED)
        j->result = SKIPPED;
    else if (WEXITSTATUS(status) != 0)
        snprintf(j->why, sizeof(j->why), "exit status %d", WEXITSTATUS(status));
    else
        j->result = PASSED;
}

static uint64_t in_ns(struct timeval t) {
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

/* Takes note of what the child has used, and says in `why` when that is too much or too little. */
static void hold_to_limit(struct job *j) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(j->pid, &clock) || clock_gettime(clock, &used)) return;
    uint64_t now = clock_ns(),
             cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    if (cpu_ns > j->cpu_ns) j->moved_at_ns = now;
    j->cpu_ns = cpu_ns;
    uint64_t limit = j->t->seconds > limit_s ? j->t->seconds : limit_s;
    if (cpu_ns / 1000000000u >= limit)
        snprintf(j->why, sizeof(j->why), "still running after %" PRIu64 " s of processor time",
                 limit);
    else if (now - j->moved_at_ns >= idle_s * 1000000000u)
        snprintf(j->why, sizeof(j->why), "has done nothing for %" PRIu64 " s", idle_s);
    else if (now - j->begun_ns >= CEILING * limit * 1000000000u)
        snprintf(j->why, sizeof(j->why), "still running after %" PRIu64 " s", CEILING * limit);
}

/* 1 when the child is over, of itself or by its limit. */
static int look_at(struct job *j) {
    int status;
    struct rusage used;
    pid_t gone = wait4(j->pid, &status, WNOHANG, &used);
    if (gone == 0) {
        hold_to_limit(j);
        if (!j->why[0]) return 0;
    }
    kill(-j->pid, SIGKILL);
    if (gone == 0) wait4(j->pid, &status, 0, &used);
    j->cpu_ns = in_ns(used.ru_utime) + in_ns(used.ru_stime);
    j->wall_ns = clock_ns() - j->begun_ns;
    j->is_over = 1;
    judge(j, status);
    return 1;
}

static void tell(const struct job *j) {
    char text[4096];
    ssize_t n;
    for (off_t at = 0; j->out >= 0 && (n = pread(j->out, text, sizeof(text), at)) > 0; at += n)
        fwrite(text, 1, (size_t)n, stdout);
    if (j->out >= 0) close(j->out);
    if (j->why[0]) printf("FAIL %s: %s (%s)\n", j->t->name, j->why, j->t->file);
    double wall = (double)j->wall_ns / 1e9, cpu = (double)j->cpu_ns / 1e9;
    if (j->result == PASSED && (is_verbose || wall > SLOW_S))
        printf("ok   %s (%.2f s, %.2f s of processor time)\n", j->t->name, wall, cpu);
}

/* ---- all of them ---- */
/* Until a child ends, or for a second. SIGCHLD is blocked. */
static void wait_a_little(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 1});
}

static void run_all(int n) {
    int begun = 0, told = 0;
    uint64_t running = 0;
    set_sigchld_blocked(1);
    while (told < n) {
        for (; begun < n && running < at_a_time; begun++) {
            start(&jobs[begun]);
            running += !jobs[begun].is_over;
        }
        if (running > 0) wait_a_little();
        for (int i = told; i < begun; i++)
            if (!jobs[i].is_over && look_at(&jobs[i])) running--;
        for (; told < begun && jobs[told].is_over; told++)
            tell(&jobs[told]);
    }
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
        else if (strcmp(a, "--long") == 0)
            is_long = 1;
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
        else if (strcmp(a, "--idle") == 0 && read_number(argv[i + 1], 1, &idle_s))
            i++;
        else if (strncmp(a, "-j", 2) == 0 && read_number(a + 2, 1, &at_a_time))
            continue;
        else if (a[0] == '-')
            return -1;
        else
            argv[n++] = argv[i];
    }
    return n;
}

static void run_here(const struct test_case *t) {
    test_begin(t, run_seed, is_long);
    t->run();
}

int main(int argc, char **argv) {
    int n_words = read_options(argc, argv), n = 0;
    if (n_words < 0) {
        fprintf(stderr, "options: --list, --seed N, --limit SECONDS, --idle SECONDS, --long, -jN, "
                        "--no-fork, -v, --not SUBSTRING\n");
        return 2;
    }
    for (const struct test_case *t = cases; t; t = t->next) {
        if (!is_chosen(t, argv, n_words)) continue;
        if (n == CASES_MAX) return 2;
        jobs[n++].t = t;
    }
    for (int i = 0; i < n && is_list; i++)
        printf("%s %s\n", jobs[i].t->file, jobs[i].t->name);
    if (is_list) return 0;
    for (int i = 0; i < n && is_debugged; i++)
        run_here(jobs[i].t);
    if (!is_debugged) run_all(n);
    int count[N_RESULTS] = {0};
    for (int i = 0; i < n; i++)
        count[jobs[i].result]++;
    printf("seed %" PRIu64 "\n%d passed, %d failed, %d skipped\n", run_seed, count[PASSED],
           count[FAILED], count[SKIPPED]);
    return count[FAILED] ? 1 : 0;
}
