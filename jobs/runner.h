/* runner.h - processes: starting one, looking whether it is over, ending it. Knows no job.
 *
 * A child has a process group and a log file of its own, no descriptor of ours, and outlives us.
 * When memory runs out the kernel ends it before it ends us. It is known by a pidfd, which can't
 * come to mean another process. A child of a daemon that died is found by the lock that it holds,
 * and the process number that it wrote there.
 * Thread: one at a time for each child.
 */
#ifndef JOBS_RUNNER_H
#define JOBS_RUNNER_H

#include <stdint.h>
#include <sys/types.h>

#include "kernels/base/err.h"

struct runner_child {
    pid_t pid;   /* 0: there is none */
    int fd;      /* pidfd; < 0: the kernel has none */
    int is_mine; /* we started it */
    int is_over, status;
    int signal; /* that ended it, when it is ours; 0: it exited */
};
struct runner_start {
    const char *const *argv; /* argv[0] is an absolute path; NULL behind the last */
    const char *log;         /* file that gets standard error, behind what is in it */
    const char *out;         /* file that gets standard output, anew; NULL: the log */
    uint64_t memory_bytes, cpu_s, file_bytes; /* limits; 0: none */
};

/* E_IO. */
int runner_begin(const struct runner_start *how, struct runner_child *out, struct err *e);
/* Somebody else's child. E_NOT_FOUND: there is no such process. */
int runner_adopt(pid_t pid, struct runner_child *out, struct err *e);
/* Has it ended? *status: 0 when it is ours and exited with 0, else not 0. */
int runner_is_over(struct runner_child *c, int *status);
/* Waits at most so long for its end. The same answer. */
int runner_wait(struct runner_child *c, int ms, int *status);
void runner_signal(const struct runner_child *c, int sig);
/* Forgets it; it goes on. */
void runner_forget(struct runner_child *c);

/* Does somebody hold the lock of this file? 1, and its *pid (0: unknown); 0: nobody does, or there
 * is no such file; E_IO. */
int runner_lock_is_held(const char *path, pid_t *pid, struct err *e);

#endif
