/* test_peer.c - addresses, nets, and what a proxy may say of others. */
#include "server/http/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "tests/check.h"

static struct peer peer(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) return peer_of((struct sockaddr *)&v4);
    CHECK_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return peer_of((struct sockaddr *)&v6);
}

static int is_in(const char *address, const char *net) {
    struct peer_net n;
    struct peer p = peer(address);
    CHECK_EQ(peer_net_read(net, &n, NULL), 0);
    return peer_is_in(&p, &n, 1);
}

TEST(peer_is_in_a_net) {
    CHECK(is_in("192.0.2.7", "192.0.2.0/24") && !is_in("192.0.3.7", "192.0.2.0/24"));
    CHECK(is_in("192.0.2.7", "192.0.2.99/24")); /* bits behind the net don't count */
    CHECK(is_in("192.0.2.7", "192.0.2.7") && !is_in("192.0.2.8", "192.0.2.7"));
    CHECK(is_in("192.0.2.7", "0.0.0.0/0") && !is_in("2001:db8::1", "0.0.0.0/0"));
    CHECK(is_in("2001:db8::1", "::/0") && is_in("192.0.2.7", "::ffff:192.0.2.0/120"));
    CHECK(is_in("2001:db8:1::5", "2001:db8::/32") && !is_in("2001:db9::5", "2001:db8::/32"));
    CHECK(is_in("10.127.0.1", "10.0.0.0/9") && !is_in("10.128.0.1", "10.0.0.0/9"));
    struct peer local = peer_of(NULL);
    struct peer_net all;
    CHECK_EQ(peer_net_read("::/0", &all, NULL), 0);
    CHECK(!peer_is_in(&local, &all, 1));
}

TEST(peer_refuses_what_is_no_net) {
    static const char *const bad[] = {"",          "/",         "10.0.0.0/",    "10.0.0.0/33",
                                      "10.0.0/8",  "::/129",    "10.0.0.0/8x",  "10.0.0.0/-1",
                                      "localhost", "[::1]/128", "10.0.0.0/ 8",  "10.0.0.0/0008",
                                      "::1%lo",    "1.2.3.4.5", "10.0.0.0/8/8", " 10.0.0.0/8"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct peer_net n;
        struct err e = {0};
        CHECK_EQ(peer_net_read(bad[i], &n, &e), E_INVALID);
        CHECK_HAS(e.text, "no address or net");
    }
}

TEST(peer_kinds_and_texts) {
    char text[PEER_TEXT];
    struct sockaddr_un admin = peer_unix(PEER_ADMIN), other = peer_unix(PEER_UNIX);
    struct peer p = peer_of((struct sockaddr *)&admin), q = peer_of((struct sockaddr *)&other);
    CHECK_EQ(p.kind, PEER_ADMIN);
    CHECK_EQ(q.kind, PEER_UNIX);
    peer_text(&p, text);
    CHECK_STR(text, "admin-socket");
    p = peer("2001:db8:0:7:1:2:3:4");
    peer_text(&p, text);
    CHECK_STR(text, "2001:db8:0:7:1:2:3:4");
    peer_group_text(&p, text);
    CHECK_STR(text, "2001:db8:0:7::/64");
    p = peer("::ffff:192.0.2.7");
    peer_group_text(&p, text);
    CHECK_STR(text, "192.0.2.7");
    p = peer("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    peer_group_text(&p, text);
    CHECK_STR(text, "ffff:ffff:ffff:ffff::/64");
    static const char *const near[] = {"127.0.0.1", "127.9.9.9", "::1"};
    static const char *const far[] = {"128.0.0.1", "::2", "10.0.0.1", "::"};
    for (size_t i = 0; i < ARRAY_LEN(near); i++) {
        CHECK((p = peer(near[i]), peer_is_loopback(&p)));
        peer_payer_text(&p, text);
        CHECK_STR(text, "this-machine");
    }
    for (size_t i = 0; i < ARRAY_LEN(far); i++) {
        CHECK((p = peer(far[i]), !peer_is_loopback(&p)));
        peer_payer_text(&p, text);
        CHECK(strcmp(text, "this-machine") != 0);
    }
}

TEST(peer_pays_for_its_site_or_its_machine) {
    char text[PEER_TEXT];
    struct sockaddr_un admin = peer_unix(PEER_ADMIN), other = peer_unix(PEER_UNIX);
    struct peer p = peer_of((struct sockaddr *)&admin);
    peer_payer_text(&p, text);
    CHECK_STR(text, "admin-socket");
    p = peer_of((struct sockaddr *)&other);
    peer_payer_text(&p, text);
    CHECK_STR(text, "this-machine");
    p = peer("2001:db8:0:7:1:2:3:4");
    peer_payer_text(&p, text);
    CHECK_STR(text, "2001:db8:0:7::/64");
}

/* Fields of X-Forwarded-For in their order, NULL at the end -> whom the request is for. */
static void check_forward(const char *from, const char *const *fields, const char *want) {
    struct peer_net nets[2];
    char text[PEER_TEXT];
    struct peer p = peer(from);
    int n = 0, more = 1;
    CHECK_EQ(peer_net_read("10.0.0.0/8", &nets[0], NULL), 0);
    CHECK_EQ(peer_net_read("2001:db8:aa::/48", &nets[1], NULL), 0);
    while (fields[n])
        n++;
    while (n > 0 && more)
        more = peer_forward(&p, fields[--n], nets, 2);
    peer_text(&p, text);
    CHECK_STR(text, want);
}

TEST(peer_believes_trusted_proxies_alone) {
#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})
    check_forward("192.0.2.1", FIELDS("203.0.113.9"), "192.0.2.1"); /* anybody can write that */
    check_forward("10.0.0.1", FIELDS("203.0.113.9"), "203.0.113.9");
    check_forward("10.0.0.1", FIELDS("1.1.1.1, 203.0.113.9"),
                  "203.0.113.9"); /* invented: 1.1.1.1 */
    check_forward("10.0.0.1", FIELDS("1.1.1.1", "203.0.113.9"), "203.0.113.9");
    check_forward("10.0.0.1", FIELDS("1.1.1.1, 203.0.113.9 ,10.0.0.2,\t10.0.0.3 "), "203.0.113.9");
    check_forward("10.0.0.1", FIELDS("203.0.113.9", "10.0.0.2", "10.0.0.3"), "203.0.113.9");
    check_forward("10.0.0.1", FIELDS("10.0.0.9, 10.0.0.2"), "10.0.0.9"); /* proxies all the way */
    check_forward("10.0.0.1", FIELDS("203.0.113.9, unknown"), "10.0.0.1");
    check_forward("10.0.0.1", FIELDS("203.0.113.9, "), "10.0.0.1");
    check_forward("10.0.0.1", FIELDS(""), "10.0.0.1");
    check_forward("10.0.0.1", FIELDS(",,,"), "10.0.0.1");
    check_forward("10.0.0.1", FIELDS("203.0.113.9:4711"), "203.0.113.9");
    check_forward("2001:db8:aa::1", FIELDS("[2001:db8::7]:80"), "2001:db8::7");
    check_forward("2001:db8:aa::1", FIELDS("2001:db8::7"), "2001:db8::7");
    check_forward("10.0.0.1", FIELDS("[2001:db8::7"), "10.0.0.1");
    check_forward("10.0.0.1", FIELDS("203.0.113.9\"}"), "10.0.0.1");
}

static int same(struct peer a, struct peer b) { return peer_is_same(&a, &b); }

TEST(peer_of_a_site_is_one) {
    CHECK(same(peer("10.0.0.1"), peer("10.0.0.1")));
    CHECK(!same(peer("10.0.0.1"), peer("10.0.0.2")));
    CHECK(same(peer("10.0.0.1"), peer("::ffff:10.0.0.1")));
    CHECK(!same(peer("10.0.0.1"), peer("::ffff:10.0.0.2")));
    CHECK(same(peer("2001:db8::1"), peer("2001:db8::2:1")));
    CHECK(!same(peer("2001:db8::1"), peer("2001:db8:0:1::1")));
    CHECK(!same(peer("::1"), peer("0.0.0.1")));
    CHECK(!same(peer_of(NULL), peer_of(NULL)));
}
