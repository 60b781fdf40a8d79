/* test_framing.c - what passes, byte for byte, and what ends a request; cuts change nothing. */
#include "server/http/framing.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

enum { TEXT_MAX = 4096 };

/* What comes out of `in` when it comes in pieces of `piece` bytes. Returns the length. */
static size_t relay_text(const char *in, size_t n, size_t piece, char out[TEXT_MAX]) {
    struct framing f = {0};
    struct buf b;
    buf_init(&b, TEXT_MAX - 1);
    for (size_t at = 0; at < n; at += piece)
        CHECK_EQ(framing_feed(&f, (const uint8_t *)in + at, n - at < piece ? n - at : piece, &b),
                 0);
    size_t len = b.len;
    if (len) memcpy(out, b.p, len);
    out[len] = '\0';
    buf_clear(&b);
    return len;
}

static void check_relay(const char *in, size_t n, const char *want) {
    char out[TEXT_MAX];
    for (size_t piece = 1; piece <= n; piece++) {
        size_t len = relay_text(in, n, piece, out);
        if (len != strlen(want) || strcmp(out, want) != 0)
            printf("pieces of %zu of: %s\n", piece, in);
        CHECK_STR(out, want);
        CHECK_EQ(len, strlen(want));
    }
}

#define RELAYS(in, want) check_relay(in, sizeof(in) - 1, want)
#define SAME(in)         RELAYS(in, in)
#define GET              "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST             "POST /x HTTP/1.1\r\n"

TEST(framing_passes_requests_as_they_are) {
    SAME(GET);
    SAME(GET GET "HEAD / HTTP/1.0\r\n\r\n");
    SAME(POST "Content-Length: 5\r\n\r\nab\r\n\n" GET);
    SAME(POST "Content-Length: 0\r\n\r\n" GET);
    SAME(POST "X:\r\nY: \t a,\xc3\xa9 \r\n\r\n" GET);
    SAME("PRI * HTTP/2.0\r\n\r\n");
    SAME(POST "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\na\r\n0123456789\r\n0\r\n\r\n" GET);
    SAME(POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n1" GET);
}

TEST(framing_writes_lengths_and_chunks_in_one_way) {
    RELAYS("\r\n\r\n" GET, GET);
    RELAYS(POST "content-length: \t 3  \r\n\r\nabc" GET, POST "content-length: 3\r\n\r\nabc" GET);
    RELAYS(
        POST
        "Transfer-Encoding: CHUNKED \r\n\r\n0002 ;a=\"b\r\n{}\r\n000;x\r\nA: b\r\nC:\r\n\r\n" GET,
        POST "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" GET);
}

static void check_fault(const char *in, size_t n, enum framing_fault fault) {
    char out[TEXT_MAX], want[64];
    snprintf(want, sizeof(want), "\r\nHost: localhost\r\n" FRAMING_HEADER ": %d\r\n\r\n", fault);
    for (size_t piece = 1; piece <= n; piece++) {
        size_t len = relay_text(in, n, piece, out), tail = strlen(want);
        if (len < tail || strcmp(out + len - tail, want) != 0) printf("%s\n->\n%s\n", in, out);
        CHECK(len >= tail);
        CHECK_STR(out + len - tail, want);
        CHECK(!strstr(out, "GET /evil"));
    }
}

#define FAILS(in, fault) \
    check_fault(in "GET /evil HTTP/1.1\r\n\r\n", sizeof(in "GET /evil HTTP/1.1\r\n\r\n") - 1, fault)

TEST(framing_ends_requests_that_can_be_read_in_two_ways) {
    FAILS(POST "Content-Length:\r\n 60\r\n\r\n", FRAMING_LENGTH);
    FAILS(POST "X: a\r\n b\r\n\r\n", FRAMING_FOLD);
    FAILS(POST "X: a\r\n\tb\r\n\r\n", FRAMING_FOLD);
    FAILS("POST /x HTTP/1.1\r\n X: a\r\n\r\n", FRAMING_FOLD);
    FAILS(POST "Content-Length: 0\0 75\r\n\r\n", FRAMING_NUL);
    FAILS(POST "Transfer-Encoding: chunked\0x\r\n\r\n", FRAMING_NUL);
    FAILS(POST "X: a\0\r\n\r\n", FRAMING_NUL);
    FAILS(POST "X\0: a\r\n\r\n", FRAMING_NUL);
    FAILS(POST "X: a\n\r\n", FRAMING_BARE_LF);
    FAILS(POST "X: a\r\n\n", FRAMING_BARE_LF);
    FAILS("\n", FRAMING_BARE_LF);
    FAILS("POST /x HTTP/1.1\n\n", FRAMING_LINE);
    FAILS(POST "X: a\rb\r\n\r\n", FRAMING_BARE_CR);
    FAILS(POST "X: a\r\n\rb", FRAMING_BARE_CR);
    FAILS("POST /x HTTP/1.1\rX", FRAMING_BARE_CR);
    FAILS(POST ": a\r\n\r\n", FRAMING_NAME);
    FAILS(POST "X : a\r\n\r\n", FRAMING_NAME);
    FAILS(POST "Content-Length : 3\r\n\r\nabc", FRAMING_NAME);
    FAILS(POST "no colon\r\n\r\n", FRAMING_NAME);
    FAILS(POST "X\r\n\r\n", FRAMING_NAME);
    FAILS("GET /livez x HTTP/1.1\r\n\r\n", FRAMING_LINE);
    FAILS("GET  /livez HTTP/1.1\r\n\r\n", FRAMING_LINE);
    FAILS("GET /livez\r\n\r\n", FRAMING_LINE);
    FAILS("GET /livez http/1.1\r\n\r\n", FRAMING_LINE);
    FAILS("GET /livez HTTP/1.1 \r\n\r\n", FRAMING_LINE);
    FAILS("G\x01T / HTTP/1.1\r\n\r\n", FRAMING_LINE);
    FAILS("\r\n\r\n\r\n\r\n\r\n", FRAMING_EMPTY_LINES);
    FAILS(POST "Content-Length: +3\r\n\r\nabc", FRAMING_LENGTH);
    FAILS(POST "Content-Length: 3, 3\r\n\r\nabc", FRAMING_LENGTH);
    FAILS(POST "Content-Length: 0x3\r\n\r\nabc", FRAMING_LENGTH);
    FAILS(POST "Content-Length: 0000000000000000000000000000003\r\n\r\nabc", FRAMING_LENGTH);
    FAILS(POST "Transfer-Encoding: xchunked\r\n\r\n", FRAMING_CODING);
    FAILS(POST "Transfer-Encoding: gzip, chunked\r\n\r\n", FRAMING_CODING);
    FAILS(POST "Transfer-Encoding: identity\r\n\r\n", FRAMING_CODING);
}

/* These pass, and the gate refuses them: nothing behind the headers is taken for anything. */
TEST(framing_is_deaf_behind_lengths_that_are_refused) {
#define HEAD POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    RELAYS(HEAD "abc" GET, HEAD);
#undef HEAD
#define HEAD POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\n"
    RELAYS(HEAD "abc" GET, HEAD);
#undef HEAD
#define HEAD POST "Content-Length: 18446744073709551619\r\n\r\n" /* 2^64 + 3 */
    RELAYS(HEAD "abc" GET, HEAD);
#undef HEAD
}

TEST(framing_makes_bad_chunks_worse) {
#define HEAD POST "Transfer-Encoding: chunked\r\n\r\n"
    RELAYS(HEAD "2;\nxx{}\r\n0\r\n\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "2\n{}\r\n0\r\n\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "-2\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "0x2\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "ffffffffffffffff\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "2\r\n{}xx0\r\n\r\n" GET, HEAD "2\r\n{}x\r\n");
    RELAYS(HEAD "2\r\n{}\rx0\r\n\r\n" GET, HEAD "2\r\n{}\rx\r\n");
    RELAYS(HEAD "0\r\nA: b\n\r\n" GET, HEAD "x\r\n");
    RELAYS(HEAD "0\r\n\rx" GET, HEAD "x\r\n");
#undef HEAD
}

TEST(framing_bounds_what_it_drops) {
    char in[20000], out[TEXT_MAX];
    int n = snprintf(in, sizeof(in), POST "Transfer-Encoding:chunked\r\n\r\n1;");
    memset(in + n, 'a', sizeof(in) - (size_t)n);
    size_t len = relay_text(in, sizeof(in), 100, out);
    CHECK(len > 3);
    CHECK_STR(out + len - 3, "x\r\n");
}

TEST(framing_says_when_there_is_no_room) {
    struct framing f = {0};
    struct buf b;
    buf_init(&b, 10);
    CHECK_EQ(framing_feed(&f, (const uint8_t *)GET, sizeof(GET) - 1, &b), -1);
    buf_clear(&b);
}

TEST(framing_gives_reasons) {
    CHECK_HAS(framing_reason("1", 1), "CR LF");
    CHECK(framing_reason("0", 1) == NULL);
    CHECK(framing_reason("", 0) == NULL);
    CHECK(framing_reason("11", 2) == NULL);
    CHECK(framing_reason("x", 1) == NULL);
}
