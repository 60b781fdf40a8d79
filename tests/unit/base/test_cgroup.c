/* test_cgroup.c - limits of control groups, read from made-up hierarchies. */
#include "kernels/base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/check.h"

static char top[64];

static void put(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s%s", top, dir);
    for (char *at = path + strlen(top) + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s%s/%s", top, dir, name);
    FILE *f = fopen(path, "we");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static struct cgroup read_with(const char *self) {
    char path[128];
    struct cgroup g;
    put("", "self", self);
    snprintf(path, sizeof path, "%s/self", top);
    cgroup_read(path, top, &g);
    return g;
}

static void begin(void) {
    snprintf(top, sizeof top, "/tmp/lammd-cgroup-XXXXXX");
    CHECK(mkdtemp(top));
}

static void end(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", top);
    CHECK_EQ(system(command), 0);
}

TEST(cgroup_without_limits) {
    struct cgroup g;
    begin();
    g = read_with("0::/a\n");
    CHECK(g.cpus == 0 && g.memory_left == UINT64_MAX);
    put("/a", "cpu.max", "max 100000\n");
    put("/a", "memory.max", "max\n");
    put("/a", "memory.current", "12345\n");
    g = read_with("0::/a\n");
    CHECK(g.cpus == 0 && g.memory_left == UINT64_MAX);
    cgroup_read("/nowhere", "/nowhere", &g);
    CHECK(g.cpus == 0 && g.memory_left == UINT64_MAX);
    g = read_with("nonsense\n0::\n:::\n0::/../a\n");
    CHECK(g.cpus == 0 && g.memory_left == UINT64_MAX);
    end();
}

TEST(cgroup_of_version_2) {
    begin();
    put("/sys/unit", "cpu.max", "150000 100000\n");
    put("/sys/unit", "memory.max", "3000000\n");
    put("/sys/unit", "memory.current", "1000000\n");
    put("/sys/unit", "memory.stat", "anon 500000\ninactive_file 400000\nactive_file 1\n");
    struct cgroup g = read_with("0::/sys/unit\n");
    CHECK_EQ(g.cpus, 2); /* rounded up */
    CHECK_EQ(g.memory_left, 2400000);
    put("/sys", "cpu.max", "50000 100000\n"); /* a limit above holds, too */
    put("/sys", "memory.max", "2000000\n");
    put("/sys", "memory.current", "1900000\n");
    g = read_with("0::/sys/unit\n");
    CHECK_EQ(g.cpus, 1);
    CHECK_EQ(g.memory_left, 100000);
    g = read_with("0::/docker/that/is/not/here\n");
    CHECK_EQ(g.cpus, 0);
    put("", "cpu.max", "400000 100000\n"); /* a container sees its own group as the root */
    g = read_with("0::/docker/that/is/not/here\n");
    CHECK_EQ(g.cpus, 4);
    end();
}

TEST(cgroup_of_version_1) {
    begin();
    put("/cpu/x", "cpu.cfs_quota_us", "-1\n");
    put("/cpu/x", "cpu.cfs_period_us", "100000\n");
    put("/memory/y", "memory.limit_in_bytes", "9223372036854771712\n");
    put("/memory/y", "memory.usage_in_bytes", "5\n");
    const char *self = "2:cpu:/x\n1:memory:/y\n0::/\n";
    struct cgroup g = read_with(self);
    CHECK(g.cpus == 0 && g.memory_left == UINT64_MAX);
    put("/cpu/x", "cpu.cfs_quota_us", "300000\n");
    put("/memory/y", "memory.limit_in_bytes", "1000\n");
    g = read_with(self);
    CHECK_EQ(g.cpus, 3);
    CHECK_EQ(g.memory_left, 995);
    end();
}

static uint64_t kills_with(const char *self) {
    char path[128], vmstat[128];
    put("", "self", self);
    snprintf(path, sizeof path, "%s/self", top);
    snprintf(vmstat, sizeof vmstat, "%s/vmstat", top);
    return cgroup_oom_kills(path, top, vmstat);
}

/* The nearest group that counts; then the machine. */
TEST(cgroup_counts_who_was_killed) {
    begin();
    CHECK_EQ(kills_with("0::/sys/unit\n"), 0);
    put("", "vmstat", "nr_free_pages 7\noom_kill 9\n");
    CHECK_EQ(kills_with("0::/sys/unit\n"), 9);
    CHECK_EQ(cgroup_oom_kills("/nowhere", "/nowhere", "/nowhere"), 0);
    put("/sys", "memory.events", "low 0\noom 8\noom_kill 5\noom_group_kill 1\n");
    CHECK_EQ(kills_with("0::/sys/unit\n"), 5);
    put("/sys/unit", "memory.events", "oom 3\noom_kill 2\n");
    CHECK_EQ(kills_with("0::/sys/unit\n"), 2);
    put("/memory/y", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
    CHECK_EQ(kills_with("2:cpu:/x\n1:memory:/y\n0::/nothing\n"), 4);
    put("/old/z", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n"); /* before 4.13 */
    CHECK_EQ(kills_with("1:old:/z\n"), 9);
    end();
}
