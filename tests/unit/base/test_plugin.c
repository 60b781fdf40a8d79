/* test_plugin.c - libraries that are found beside the program, or not. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/plugin.h"
#include "tests/check.h"

TEST(plugin_is_found_beside_the_program) {
    char path[2200], exe[2000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = '\0';
    CHECK(plugin_find(strrchr(exe, '/') + 1, path, sizeof path)); /* the program itself is there */
    CHECK_STR(path, exe);
    CHECK(!plugin_find(strrchr(exe, '/') + 1, path, 8)); /* no room */
    CHECK(!plugin_find("no-such-plugin.so", path, sizeof path));
}

TEST(plugin_that_can_not_be_loaded) {
    plugin_fn *fn;
    struct err e = {0};
    CHECK_EQ(plugin_load("/none/x.so", "x", &fn, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "/none/x.so");
}
