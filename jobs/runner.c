/* runner.c - see runner.h.
 *
 * posix_spawn doesn't copy the page tables of a process that serves a large model. What a child is
 * to be (idle priority, one thread) it makes of itself, by its options; limits are set from here,
 * right behind its start.
 */
#include "jobs/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { FIRST_OTHER = 3, POLL_MS = 20 };
static const char oom_score_adj[] = "1000"; /* more than any process of ours without it can have */

extern char **environ;

/* ---- start ---- */

/* What systemd told this process alone, and keys, are none of the child's. */
static int is_private(const char *variable) {
    static const char *const names[] = {"NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "LAMMD_KEY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0) return 1;
    return 0;
}

/* Given to the caller (mem_free); the texts are the environment's. */
static char **child_environment(void) {
    size_t n = 0, kept = 0;
    while (environ && environ[n])
        n++;
    char **to = mem_must((n + 1) * sizeof(*to));
    for (size_t i = 0; i < n; i++)
        if (!is_private(environ[i])) to[kept++] = environ[i];
    return to;
}

static int file_actions(posix_spawn_file_actions_t *a, const struct runner_start *how) {
    const int add = O_WRONLY | O_CREAT | O_APPEND, anew = O_WRONLY | O_CREAT | O_TRUNC;
    int rc = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (rc == 0) rc = posix_spawn_file_actions_addopen(a, STDERR_FILENO, how->log, add, 0600);
    if (rc == 0)
        rc = how->out ? posix_spawn_file_actions_addopen(a, STDOUT_FILENO, how->out, anew, 0600)
                      : posix_spawn_file_actions_adddup2(a, STDERR_FILENO, STDOUT_FILENO);
    return rc ? rc : posix_spawn_file_actions_addclosefrom_np(a, FIRST_OTHER);
}

static int attributes(posix_spawnattr_t *a) {
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGTERM);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGHUP);
    int rc = posix_spawnattr_setsigmask(a, &none);
    if (rc == 0) rc = posix_spawnattr_setsigdefault(a, &usual);
    if (rc == 0) rc = posix_spawnattr_setpgroup(a, 0);
    if (rc == 0)
        rc = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                             POSIX_SPAWN_SETPGROUP);
    return rc;
}

static void runner_limit(pid_t pid, __rlimit_resource_t what, uint64_t most) {
    const struct rlimit r = {most, most};
    if (most) (void)prlimit(pid, what, &r, NULL);
}

/* When memory runs out the kernel ends it rather than us. */
static void runner_yield_memory(pid_t pid) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/oom_score_adj", (long)pid);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!write(fd, oom_score_adj, sizeof(oom_score_adj) - 1);
    close(fd);
}

/* posix_spawn takes texts that it doesn't change as if it might. */
static int spawn(const struct runner_start *how, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    char *argv[32];
    size_t n = 0;
    for (; how->argv[n]; n++) {
        must(n + 1 < ARRAY_LEN(argv));
        memcpy(&argv[n], &how->argv[n], sizeof(argv[n]));
    }
    argv[n] = NULL;
    char **env = child_environment();
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    int rc = file_actions(&files, how);
    if (rc == 0) rc = attributes(&attr);
    if (rc == 0) rc = posix_spawn(pid, argv[0], &files, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    mem_free(env);
    return rc;
}

int runner_begin(const struct runner_start *how, struct runner_child *out, struct err *e) {
    pid_t pid = 0;
    int rc = spawn(how, &pid);
    if (rc) return err_set(e, E_IO, "%s can't be started: %s", how->argv[0], strerror(rc));
    runner_yield_memory(pid);
    runner_limit(pid, RLIMIT_AS, how->memory_bytes);
    runner_limit(pid, RLIMIT_CPU, how->cpu_s);
    runner_limit(pid, RLIMIT_FSIZE, how->file_bytes);
    *out = (struct runner_child){.pid = pid, .fd = pidfd_open(pid, 0), .is_mine = 1};
    return 0;
}

int runner_adopt(pid_t pid, struct runner_child *out, struct err *e) {
    int fd = pidfd_open(pid, 0);
    if (fd < 0 && errno == ESRCH) return err_set(e, E_NOT_FOUND, "no process %ld", (long)pid);
    *out = (struct runner_child){.pid = pid, .fd = fd};
    return 0;
}

/* ---- end ---- */

static void reap(struct runner_child *c) {
    siginfo_t info = {0};
    int rc = waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG);
    c->is_over = rc != 0 || info.si_pid != 0; /* an error: somebody else took it */
    if (rc || !info.si_pid) return;
    if (info.si_code == CLD_EXITED)
        c->status = info.si_status;
    else
        c->signal = info.si_status;
}

int runner_is_over(struct runner_child *c, int *status) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (!c->is_over) {
        c->status = -1;
        if (!c->pid)
            c->is_over = 1;
        else if (c->is_mine)
            reap(c);
        else
            c->is_over = c->fd < 0 ? kill(c->pid, 0) != 0 && errno == ESRCH : poll(&p, 1, 0) > 0;
    }
    *status = c->status;
    return c->is_over;
}

int runner_wait(struct runner_child *c, int ms, int *status) {
    int is_over = runner_is_over(c, status);
    for (; ms > 0 && !is_over; ms -= POLL_MS) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        (void)poll(&p, c->fd >= 0, POLL_MS);
        is_over = runner_is_over(c, status);
    }
    return is_over;
}

void runner_signal(const struct runner_child *c, int sig) {
    if (!c->pid || c->is_over) return; /* its number may be another's by now */
    if (c->fd >= 0)
        (void)pidfd_send_signal(c->fd, sig, NULL, 0);
    else
        (void)kill(c->pid, sig);
}

void runner_forget(struct runner_child *c) {
    if (c->pid && c->fd >= 0) close(c->fd);
    *c = (struct runner_child){.fd = -1};
}

/* ---- locks ---- */

static pid_t pid_in(int fd) {
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0) return 0;
    char *end;
    long pid = strtol(text, &end, 10);
    return end != text && pid > 1 ? (pid_t)pid : 0;
}

int runner_lock_is_held(const char *path, pid_t *pid, struct err *e) {
    *pid = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int is_held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    if (is_held && errno != EWOULDBLOCK) {
        int why = errno;
        close(fd);
        return err_set(e, E_IO, "%s: %s", path, strerror(why));
    }
    if (is_held) *pid = pid_in(fd);
    close(fd);
    return is_held;
}
