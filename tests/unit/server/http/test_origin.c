/* test_origin.c - rules that would never match are refused when the server starts. */
#include "server/http/origin.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

TEST(origin_every_host) {
    static const char *const all[] = {"*"};
    const struct origin_rules r = {.hosts = all, .n_hosts = 1};
    struct origin_host h;
    CHECK_EQ(origin_read_host("any.example:8080", 16, &h), 0);
    CHECK(h.len == 11 && h.port == 8080);
    CHECK(origin_is_served(&r, &h));
    CHECK(origin_may_ask(&r, "http://any.example:8080", 23, &h));
    CHECK(!origin_may_ask(&r, "http://evil.example:8080", 24, &h));
    CHECK_EQ(origin_check_rules(&r, NULL), 0);
}

TEST(origin_rules_that_never_match) {
    static const char *const hosts[] = {"",          "see.example:443", "https://see.example",
                                        "*.example", "see.example/",    "a b"};
    static const char *const origins[] = {"",
                                          "*",
                                          "see.example",
                                          "https://see.example/",
                                          "https://see.example/path",
                                          "ftp://see.example",
                                          "https://*.example",
                                          "null"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
        const struct origin_rules r = {.hosts = hosts + i, .n_hosts = 1};
        struct err e = {0};
        CHECK_EQ(origin_check_rules(&r, &e), E_INVALID);
        CHECK_HAS(e.text, "--allow-host takes a name");
    }
    for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++) {
        const struct origin_rules r = {.origins = origins + i, .n_origins = 1};
        struct err e = {0};
        CHECK_EQ(origin_check_rules(&r, &e), E_INVALID);
        CHECK_HAS(e.text, "--allow-origin takes what");
    }
    static const char *const good_hosts[] = {"see.example", "*", "intranet", "10.0.0.1"};
    static const char *const good[] = {"https://see.example", "http://see.example:8080",
                                       "HTTP://[::1]:1"};
    const struct origin_rules r = {
        .hosts = good_hosts, .n_hosts = 4, .origins = good, .n_origins = 3};
    CHECK_EQ(origin_check_rules(&r, NULL), 0);
}
