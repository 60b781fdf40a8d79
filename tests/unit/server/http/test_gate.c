/* test_gate.c - what may come in, and what not: the hygiene corpus as a table. */
#include "server/http/gate.h"

#include <stdio.h>

#include "tests/check.h"

#define HOST "Host: 127.0.0.1:8080\n"

/* Headers one a line, `Name: value`; the colon belongs to neither. */
static struct gate_verdict run_gate(const char *method, const char *target, const char *version,
                                    const char *headers) {
    static const char *const hosts[] = {"lamm.example"};
    static const char *const origins[] = {"https://See.example"};
    struct gate_header at[GATE_HEADERS_MAX];
    size_t n = 0;
    for (const char *s = headers; *s;) {
        size_t line = strcspn(s, "\n"), name = strcspn(s, ":");
        if (n < GATE_HEADERS_MAX)
            at[n] = (struct gate_header){
                .name = s, .name_len = name, .value = s + name + 2, .value_len = line - name - 2};
        n++;
        s += line + (s[line] == '\n');
    }
    struct gate_request q = {
        .method = method,
        .version = version,
        .target = target,
        .headers = at,
        .n_headers = n,
        .rules = {.hosts = hosts, .n_hosts = 1, .origins = origins, .n_origins = 1}};
    return gate_check(&q);
}

static void check_gate(const char *method, const char *target, const char *headers,
                       enum problem_code code) {
    struct gate_verdict v = run_gate(method, target, "HTTP/1.1", headers);
    if (v.code != code) printf("%s %s\n%s", method, target, headers);
    CHECK_EQ(v.code, code);
}

TEST(gate_lets_in) {
    static const char *const headers[] = {
        HOST,
        "Host: localhost\n",
        "Host: LOCALHOST:1\n",
        "Host: [::1]:8080\n",
        "Host: 192.168.1.7\n",
        "Host: Lamm.Example:443\n",
        HOST "Content-Length: 0\n",
        HOST "Content-Length: 123456789012345678\n",
        HOST "Transfer-Encoding: Chunked\n",
        HOST "Content-Encoding: identity\n",
        HOST "Origin: http://127.0.0.1:8080\n",
        HOST "Origin: https://127.0.0.1:8080\n",
        "Host: lamm.example\nOrigin: https://lamm.example\n",
        "Host: lamm.example:443\nOrigin: https://LAMM.example\n",
        "Host: lamm.example\nOrigin: https://lamm.example:443\n",
        "Host: lamm.example:80\nOrigin: http://lamm.example\n",
        "Host: [::1]\nOrigin: http://[::1]:80\n",
        HOST "Origin: https://see.example\n",
        HOST "Origin: HTTPS://see.example:443\n",
        HOST "Accept: a\nAccept: b\nX-Odd!#$: tab\there\n",
        HOST "X-Latin: caf\xe9\n",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
        check_gate("POST", "/v1/reconstruct?width=8", headers[i], PROBLEM_NONE);
    static const char *const targets[] = {"/", "/a/", "/v1/images/%2e%2e", "/?a=//../.",
                                          "/..a/b.."};
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
        check_gate("GET", targets[i], HOST, PROBLEM_NONE);
    check_gate("BREW", "/", HOST, PROBLEM_NONE); /* the router's 405 */
}

TEST(gate_refuses_headers) {
    static const char *const headers[] = {
        "",
        "Host: \n",
        "Host: a b\n",
        "Host: [::1\n",
        "Host: 127.0.0.1:\n",
        "Host: 127.0.0.1:123456\n",
        "Host: 127.0.0.1:80x\n",
        HOST HOST,
        HOST "Content-Length: 1\nTransfer-Encoding: chunked\n",
        HOST "Content-Length: 1\nContent-Length: 1\n",
        HOST "Content-Length: +3\n",
        HOST "Content-Length: -1\n",
        HOST "Content-Length: 1, 1\n",
        HOST "Content-Length: \n",
        HOST "Content-Length: 1234567890123456789\n",
        HOST "Transfer-Encoding: xchunked\n",
        HOST "Transfer-Encoding: gzip, chunked\n",
        HOST "Transfer-Encoding: identity\n",
        HOST "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
        HOST "Content-Length : 3\n",
        HOST "X A: 1\n",
        HOST "X\tA: 1\n",
        HOST ": empty\n",
        HOST "X: a\rb\n",
        HOST "X: a\x01\n",
        HOST "X: a\x7f\n",
        HOST "Content-Type: a\nContent-Type: b\n",
        HOST "Authorization: a\nAuthorization: b\n",
        HOST "Origin: a\nOrigin: b\n",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
        check_gate("POST", "/v1/pixels", headers[i], PROBLEM_HEADER_GATE);
    check_gate("POST", "/", HOST "Content-Encoding: gzip\n", PROBLEM_UNSUPPORTED_MEDIA_TYPE);
}

TEST(gate_refuses_strangers) {
    static const char *const headers[] = {
        "Host: evil.example\n",
        "Host: evil.example:8080\n",
        "Host: localhost.evil.example\n",
        "Host: 127.0.0.1.evil.example\n",
        "Host: 1.2.3\n",
        HOST "Origin: http://evil.example\n",
        HOST "Origin: http://127.0.0.1:9090\n",
        HOST "Origin: http://127.0.0.1:8080.evil.example\n",
        HOST "Origin: null\n",
        HOST "Origin: \n",
        HOST "Origin: ftp://127.0.0.1:8080\n",
        HOST "Origin: http://see.example\n",
        HOST "Origin: https://see.example:8443\n",
        HOST "Origin: https://see.example/\n",
        HOST "Origin: https://see.example.evil.example\n",
        HOST "Origin: https://\n",
        "Host: lamm.example:80\nOrigin: https://lamm.example\n",
        "Host: lamm.example:443\nOrigin: http://lamm.example\n",
        "Host: lamm.example\nOrigin: https://lamm.example:8443\n",
        "Host: see.example\n",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
        check_gate("POST", "/v1/pixels", headers[i], PROBLEM_FORBIDDEN);
}

/* HAProxy's check knows no Host. */
TEST(gate_lets_probes_in) {
    static const struct {
        const char *method, *target, *version, *headers;
        enum problem_code code;
    } cases[] = {
        {"GET", "/readyz", "HTTP/1.0", "", PROBLEM_NONE},
        {"HEAD", "/livez", "HTTP/1.0", "User-Agent: x\n", PROBLEM_NONE},
        {"GET", "/readyz", "HTTP/1.0", "Host: evil.example\n", PROBLEM_FORBIDDEN},
        {"GET", "/readyz", "HTTP/1.0", "Origin: http://evil.example\n", PROBLEM_FORBIDDEN},
        {"GET", "/readyz", "HTTP/1.1", "", PROBLEM_HEADER_GATE},
        {"POST", "/readyz", "HTTP/1.0", "", PROBLEM_HEADER_GATE},
        {"GET", "/metrics", "HTTP/1.0", "", PROBLEM_HEADER_GATE},
        {"GET", "/v1/models", "HTTP/1.0", "", PROBLEM_HEADER_GATE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        CHECK_EQ(
            run_gate(cases[i].method, cases[i].target, cases[i].version, cases[i].headers).code,
            cases[i].code);
}

TEST(gate_refuses_lines) {
    static const char *const targets[] = {"http://evil/v1", "*",      "v1",         "//", "/a//b",
                                          "/./a",           "/a/..",  "/a/../b",    "/.", "/a b",
                                          "/a\tb",          "/a\x7f", "/a\xc3\xa9", "/#", "/a\\b"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++)
        check_gate("GET", targets[i], HOST, PROBLEM_HEADER_GATE);
    check_gate("", "/", HOST, PROBLEM_HEADER_GATE);
    check_gate("G T", "/", HOST, PROBLEM_HEADER_GATE);
    static char longest[GATE_TARGET_MAX + 2];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[0] = '/';
    check_gate("GET", longest, HOST, PROBLEM_URI_TOO_LONG);
    longest[GATE_TARGET_MAX] = 0;
    check_gate("GET", longest, HOST, PROBLEM_NONE);
    static const char *const versions[] = {"HTTP/2.0", "HTTP/0.9", "HTTP/1.2", ""};
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(run_gate("GET", "/", versions[i], HOST).code, PROBLEM_HEADER_GATE);
    CHECK(!run_gate("GET", "/", "HTTP/1.0", HOST).code);
    CHECK_EQ(run_gate("POST", "/", "HTTP/1.0", HOST "Transfer-Encoding: chunked\n").code,
             PROBLEM_HEADER_GATE);
}

TEST(gate_counts_headers) {
    char headers[GATE_HEADERS_MAX * 8 + 100] = HOST;
    for (int i = 1; i < GATE_HEADERS_MAX; i++)
        snprintf(headers + strlen(headers), 8, "X: 1\n");
    check_gate("GET", "/", headers, PROBLEM_NONE);
    snprintf(headers + strlen(headers), 8, "X: 1\n");
    check_gate("GET", "/", headers, PROBLEM_HEADERS_TOO_LARGE);
}
