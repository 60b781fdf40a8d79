/* test_peer.c - addresses as peers: who is one, who is another, and how they are written. */
#include "server/http/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "tests/check.h"

static struct peer v4(const char *text) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    CHECK_EQ(inet_pton(AF_INET, text, &at.sin_addr), 1);
    return peer_of((struct sockaddr *)&at, sizeof(at));
}

static struct peer v6(const char *text) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6};
    CHECK_EQ(inet_pton(AF_INET6, text, &at.sin6_addr), 1);
    return peer_of((struct sockaddr *)&at, sizeof(at));
}

static int same(struct peer a, struct peer b) { return peer_is_same(&a, &b); }

TEST(peer_is_an_address) {
    CHECK(same(v4("10.0.0.1"), v4("10.0.0.1")));
    CHECK(!same(v4("10.0.0.1"), v4("10.0.0.2")));
    CHECK(same(v4("10.0.0.1"), v6("::ffff:10.0.0.1")));
    CHECK(!same(v4("10.0.0.1"), v6("::ffff:10.0.0.2")));
    CHECK(same(v6("2001:db8::1"), v6("2001:db8::2:1")));
    CHECK(!same(v6("2001:db8::1"), v6("2001:db8:0:1::1")));
    CHECK(!same(v6("::1"), v4("0.0.0.1")));
    CHECK(!same(peer_of(NULL, 0), peer_of(NULL, 0)));
}

TEST(peer_is_written) {
    const struct {
        struct peer p;
        const char *want;
    } all[] = {{v4("192.0.2.7"), "192.0.2.7"},
               {v6("2001:db8::7"), "2001:db8::7"},
               {v6("::ffff:192.0.2.7"), "192.0.2.7"},
               {peer_of(NULL, 0), "-"}};
    char text[PEER_TEXT];
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        peer_write(&all[i].p, text);
        CHECK_STR(text, all[i].want);
    }
    struct sockaddr_un {
        sa_family_t family;
        char path[108];
    } un = {.family = AF_UNIX};
    struct peer p = peer_of((struct sockaddr *)&un, sizeof(un));
    peer_write(&p, text);
    CHECK_STR(text, "-");
}
