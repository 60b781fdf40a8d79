/* test_comm.c - ranks: one that is alone, and plugins that don't fit. Those that do: tests/comm. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/train/comm.h"
#include "kernels/base/version.h"
#include "tests/check.h"

TEST(train_comm_of_one) {
    struct train_comm c;
    struct err e = {0};
    CHECK_EQ(train_comm_open("one", NULL, &c, &e), 0);
    CHECK(c.rank == 0 && c.size == 1);
    float x[2] = {1, 2};
    double y[2] = {3, 4};
    CHECK_EQ(c.sum_f32(c.state, x, 2, &e), 0);
    CHECK_EQ(c.sum_f64(c.state, y, 2, &e), 0);
    CHECK_EQ(c.broadcast(c.state, x, sizeof x, &e), 0);
    CHECK_EQ(c.barrier(c.state, &e), 0);
    CHECK(x[0] == 1 && x[1] == 2 && y[0] == 3 && y[1] == 4);
    train_comm_close(&c);
    CHECK_EQ(c.size, 0);
    train_comm_close(&c); /* of nothing */
}

static const char *beside(const char *name) {
    static char path[300];
    char exe[200];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    snprintf(path, sizeof path, "%s/%s", exe, name);
    return path;
}

static void check_refused(const char *name, const char *plugin, int code, const char *says) {
    struct train_comm c;
    struct err e = {0};
    int rc = train_comm_open(name, plugin, &c, &e);
    if (rc != code || !strstr(e.text, says))
        test_failed(__FILE__, __LINE__, "%s: %d, not %d: %s", plugin, rc, code, e.text);
    CHECK(c.size == 0 && c.close == NULL);
}

TEST(train_comm_refuses_what_does_not_fit) {
    check_refused("nccl", NULL, E_NOT_FOUND, "\"one\" or \"mpi\"");
    check_refused("mpi", "/none/lammd-mpi.so", E_NOT_FOUND, "/none/lammd-mpi.so");
    check_refused("mpi", beside("plugin_good.so"), E_UNSUPPORTED, "has no lammd_comm_plugin");
    check_refused("mpi", beside("plugin_comm_abi.so"), E_UNSUPPORTED, "another version");
    check_refused("mpi", beside("plugin_comm_size.so"), E_UNSUPPORTED, "another version");
    check_refused("mpi", beside("plugin_comm_hole.so"), E_UNSUPPORTED, "another version");
    check_refused("mpi", beside("plugin_comm_null.so"), E_UNSUPPORTED, "another version");
}

TEST(train_comm_takes_what_fits) {
    struct train_comm c;
    CHECK_EQ(train_comm_open("mpi", beside("plugin_comm_good.so"), &c, NULL), 0);
    CHECK(c.rank == 1 && c.size == 2);
    CHECK_STR((const char *)c.state, LAMMD_VERSION);
    train_comm_close(&c);
}
