/* cgroup.c - see cgroup.h. The kernel's Documentation: admin-guide/cgroup-v2.rst; for version 1
 * cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
 *
 * /proc/self/cgroup has a line `number:controllers:path` for each hierarchy; in version 2 there is
 * one, without controllers. Inside a container the path may be that of the host, so that only the
 * root exists: missing folders are passed over. What page cache could be given back counts as
 * free. */
#include "kernels/base/cgroup.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 1024 };

/* The words of a file of one line, of which `max` stays UINT64_MAX. How many there are. */
static int read_two(const char *dir, const char *name, uint64_t v[2]) {
    char path[PATH_BYTES + 64], line[128] = "", word[2][32];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    char *got = fgets(line, sizeof line, f);
    (void)fclose(f);
    int n = got ? sscanf(line, "%31s %31s", word[0], word[1]) : 0;
    for (int i = 0; i < n; i++) {
        unsigned long long u;
        v[i] = sscanf(word[i], "%llu", &u) == 1 && word[i][0] != '-' ? u : UINT64_MAX;
    }
    return n < 0 ? 0 : n;
}

/* The number behind a word, in a file of such lines. Is it there? */
static int cgroup_key(const char *path, const char *key, uint64_t *v) {
    char line[128], name[64];
    unsigned long long u;
    int is_there = 0;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%63s %llu", name, &u) != 2 || strcmp(name, key) != 0) continue;
        *v = u;
        is_there = 1;
    }
    if (f) (void)fclose(f);
    return is_there;
}

static int read_in(const char *dir, const char *name, const char *key, uint64_t *v) {
    char path[PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return cgroup_key(path, key, v);
}

static uint64_t read_stat(const char *dir, const char *key) {
    uint64_t v = 0;
    (void)read_in(dir, "memory.stat", key, &v);
    return v;
}

static void limit_cpus(struct cgroup *g, uint64_t quota, uint64_t period) {
    if (quota == UINT64_MAX || quota == 0 || period == 0 || period == UINT64_MAX) return;
    uint64_t n = (quota + period - 1) / period;
    if (n < 100000 && (g->cpus == 0 || (int)n < g->cpus)) g->cpus = (int)n;
}

static void limit_memory(struct cgroup *g, uint64_t most, uint64_t used, uint64_t cache) {
    if (most > UINT64_C(1) << 60) return; /* version 1 says "no limit" by a huge one */
    used -= cache < used ? cache : used;
    uint64_t left = used < most ? most - used : 0;
    if (left < g->memory_left) g->memory_left = left;
}

static int look_for_limits(void *ud, const char *dir) {
    struct cgroup *g = ud;
    uint64_t v[2], quota[2], period[2];
    if (read_two(dir, "cpu.max", v) == 2) limit_cpus(g, v[0], v[1]);
    if (read_two(dir, "cpu.cfs_quota_us", quota) == 1 &&
        read_two(dir, "cpu.cfs_period_us", period) == 1)
        limit_cpus(g, quota[0], period[0]);
    uint64_t most[2], used[2];
    if (read_two(dir, "memory.max", most) == 1 && read_two(dir, "memory.current", used) == 1)
        limit_memory(g, most[0], used[0], read_stat(dir, "inactive_file"));
    if (read_two(dir, "memory.limit_in_bytes", most) == 1 &&
        read_two(dir, "memory.usage_in_bytes", used) == 1)
        limit_memory(g, most[0], used[0], read_stat(dir, "total_inactive_file"));
    return 0;
}

/* Version 1 calls the file memory.oom_control. */
static int look_for_kills(void *ud, const char *dir) {
    return read_in(dir, "memory.events", "oom_kill", ud) ||
           read_in(dir, "memory.oom_control", "oom_kill", ud);
}

/* What is done in a folder. Not 0: that was enough. */
typedef int look_fn(void *ud, const char *dir);

/* A group and all above it, up to the hierarchy's root. */
static int walk_up(look_fn *look, void *ud, const char *root, const char *hierarchy,
                   const char *path) {
    char dir[PATH_BYTES];
    int n = snprintf(dir, sizeof dir, "%s%s%s%s", root, *hierarchy ? "/" : "", hierarchy, path);
    size_t base = strlen(root) + (*hierarchy ? 1 + strlen(hierarchy) : 0);
    if (n < 0 || (size_t)n >= sizeof dir) return 0;
    for (size_t len = (size_t)n;; len--) {
        dir[len] = '\0';
        if (look(ud, dir)) return 1;
        while (len > base && dir[len - 1] != '/')
            len--;
        if (len <= base) break;
    }
    dir[base] = '\0';
    return look(ud, dir);
}

/* The groups of this process, one hierarchy after the other. */
static int walk_all(look_fn *look, void *ud, const char *self, const char *root) {
    char line[PATH_BYTES];
    int is_enough = 0;
    if (!root) root = "/sys/fs/cgroup";
    FILE *f = fopen(self ? self : "/proc/self/cgroup", "re");
    while (f && !is_enough && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path++ = '\0';
        if (strstr(path, "..")) continue;
        if (strlen(names + 1) < 64) is_enough = walk_up(look, ud, root, names + 1, path);
    }
    if (f) (void)fclose(f);
    return is_enough;
}

void cgroup_read(const char *self, const char *root, struct cgroup *out) {
    *out = (struct cgroup){.memory_left = UINT64_MAX};
    (void)walk_all(look_for_limits, out, self, root);
}

uint64_t cgroup_oom_kills(const char *self, const char *root, const char *vmstat) {
    uint64_t n = 0;
    if (!walk_all(look_for_kills, &n, self, root))
        (void)cgroup_key(vmstat ? vmstat : "/proc/vmstat", "oom_kill", &n);
    return n;
}

int cgroup_processors(void) {
    struct cgroup group;
    cpu_set_t set;
    cgroup_read(NULL, NULL, &group);
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (group.cpus && group.cpus < n) n = group.cpus;
    return n < 1 ? 1 : n;
}
