/* cgroup.h - what a container or a unit lets this process have: cpu.max and memory.max of its
 * control group and of all groups above it, or what they are called in version 1.
 *
 * The machine's own counts (sched_getaffinity, /proc/meminfo) don't know of these limits.
 * Thread: any.
 */
#ifndef KERNELS_BASE_CGROUP_H
#define KERNELS_BASE_CGROUP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cgroup {
    int cpus;             /* processors at once, rounded up; 0: no limit */
    uint64_t memory_left; /* bytes below the nearest limit; UINT64_MAX: no limit */
};

/* NULL: "/proc/self/cgroup" and "/sys/fs/cgroup". What can't be read limits nothing. */
void cgroup_read(const char *self, const char *root, struct cgroup *out);
/* Processors that this process may use at once: those that it may run on, as far as the limit goes.
 * At least 1. */
int cgroup_processors(void);
/* How many processes the kernel has ended because memory ran out: of this process's group, or of
 * the machine where the group doesn't count them. 0 where nobody counts. NULL: as above, and
 * "/proc/vmstat". */
uint64_t cgroup_oom_kills(const char *self, const char *root, const char *vmstat);

#ifdef __cplusplus
}
#endif
#endif
