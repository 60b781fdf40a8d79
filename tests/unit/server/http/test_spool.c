/* test_spool.c - uploads on their way to the disk: alone, and as the file of a form over HTTP. */
#include "server/http/spool.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/hex.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/http/http.h"
#include "tests/check.h"
#include "tests/unit/server/fake_api.h"
#include "tests/unit/server/http/http_rig.h"

#define SECOND UINT64_C(1000000000)

struct place {
    char folder[64], spool[80];
};

static struct place place_new(void) {
    struct place p = {"/tmp/spool-XXXXXX", ""};
    CHECK(mkdtemp(p.folder) != NULL);
    snprintf(p.spool, sizeof(p.spool), "%s/spool", p.folder);
    return p;
}

/* Files in the spool; *size: of the last one. */
static int place_count(const struct place *p, uint64_t *size) {
    DIR *d = opendir(p->spool);
    int n = 0;
    CHECK(d != NULL);
    for (const struct dirent *at; (at = readdir(d));) {
        struct stat st;
        if (at->d_name[0] == '.') continue;
        if (fstatat(dirfd(d), at->d_name, &st, 0) && errno == ENOENT) continue; /* gone since */
        CHECK_EQ(st.st_mode & 0777, 0600);
        if (size) *size = (uint64_t)st.st_size;
        n++;
    }
    closedir(d);
    return n;
}

static void place_free(const struct place *p) {
    CHECK_EQ(rmdir(p->spool), 0); /* so nothing is left in it */
    CHECK_EQ(rmdir(p->folder), 0);
}

static void count_wake(void *ud) { atomic_fetch_add((atomic_int *)ud, 1); }

static void wait_for_room(struct upload *u, size_t n) { FAKE_WAIT(upload_has_room(u, n)); }

/* n bytes that a seed says. */
static uint8_t *noise(size_t n, unsigned seed) {
    uint8_t *p = mem_must(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
    return p;
}

static void digest(const void *p, size_t n, char hex[65]) {
    unsigned char sum[32];
    CHECK(EVP_Digest(p, n, sum, NULL, EVP_sha256(), NULL));
    hex_write(sum, 32, hex);
}

static void put_all(struct upload *u, const uint8_t *p, size_t n, size_t piece) {
    for (size_t at = 0; at < n; at += piece) {
        size_t now = n - at < piece ? n - at : piece;
        wait_for_room(u, now);
        CHECK_EQ(upload_put(u, p + at, now), 0);
    }
    FAKE_WAIT(upload_end(u) == 1);
}

static void check_file(const char *path, const uint8_t *p, size_t n) {
    FILE *f = fopen(path, "rb");
    uint8_t *got = mem_must(n + 2);
    CHECK(f != NULL);
    CHECK_EQ(fread(got, 1, n + 1, f), n);
    CHECK_MEM(got, p, n);
    fclose(f);
    mem_free(got);
}

TEST(spool_writes_and_digests) {
    static const size_t sizes[] = {0, 1, UPLOAD_RING - 1, UPLOAD_RING, 3 * UPLOAD_RING + 17};
    static const size_t pieces[] = {1 << 20, 65536, 4097};
    struct place p = place_new();
    struct spool *s;
    atomic_int wakes = 0;
    CHECK_EQ(spool_open(p.spool, 0, &s, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes) * ARRAY_LEN(pieces); i++) {
        size_t n = sizes[i / ARRAY_LEN(pieces)];
        struct upload *u;
        char want[65];
        uint8_t *bytes = noise(n, (unsigned)i);
        CHECK_EQ(upload_begin(s, n, count_wake, &wakes, &u), 0);
        put_all(u, bytes, n, pieces[i % ARRAY_LEN(pieces)]);
        digest(bytes, n, want);
        CHECK_STR(upload_file(u)->sha256, want);
        CHECK_EQ(upload_file(u)->bytes, n);
        check_file(upload_file(u)->path, bytes, n);
        upload_drop(u);
        FAKE_WAIT(place_count(&p, NULL) == 0);
        mem_free(bytes);
    }
    spool_close(s);
    place_free(&p);
}

TEST(spool_leaves_what_was_moved_away_and_empties_itself) {
    struct place p = place_new();
    struct spool *s;
    struct upload *u;
    char kept[96];
    atomic_int wakes = 0;
    CHECK_EQ(spool_open(p.spool, 0, &s, NULL), 0);
    CHECK_EQ(upload_begin(s, 0, count_wake, &wakes, &u), 0);
    put_all(u, (const uint8_t *)"abc", 3, 3);
    snprintf(kept, sizeof(kept), "%s/kept", p.folder);
    CHECK_EQ(rename(upload_file(u)->path, kept), 0);
    upload_drop(u);
    spool_close(s);
    check_file(kept, (const uint8_t *)"abc", 3);
    snprintf(kept + strlen(p.folder), sizeof(kept) - strlen(p.folder), "/spool/left-over");
    FILE *f = fopen(kept, "w");
    CHECK(f && fclose(f) == 0);
    CHECK_EQ(spool_open(p.spool, 0, &s, NULL), 0);
    CHECK_EQ(place_count(&p, NULL), 0);
    spool_close(s);
    snprintf(kept, sizeof(kept), "%s/kept", p.folder);
    CHECK_EQ(unlink(kept), 0);
    place_free(&p);
}

/* Several at once, of which one is dropped half-way: the others get all of theirs. */
TEST(spool_serves_several) {
    enum { N = 4, BYTES = 5 << 20, PIECE = 50000 };
    struct place p = place_new();
    struct spool *s;
    struct upload *u[N];
    uint8_t *bytes = noise(BYTES, 7);
    char want[65];
    atomic_int wakes = 0;
    CHECK_EQ(spool_open(p.spool, 0, &s, NULL), 0);
    for (int i = 0; i < N; i++)
        CHECK_EQ(upload_begin(s, BYTES, count_wake, &wakes, &u[i]), 0);
    for (size_t at = 0; at < BYTES; at += PIECE) {
        size_t n = BYTES - at < PIECE ? BYTES - at : PIECE;
        for (int i = 0; i < N; i++) {
            if (i == 2 && at > BYTES / 2) continue;
            wait_for_room(u[i], n);
            CHECK_EQ(upload_put(u[i], bytes + at, n), 0);
        }
        if (at <= BYTES / 2 && at + PIECE > BYTES / 2) upload_drop(u[2]);
    }
    digest(bytes, BYTES, want);
    for (int i = 0; i < N; i++) {
        if (i == 2) continue;
        FAKE_WAIT(upload_end(u[i]) == 1);
        CHECK_STR(upload_file(u[i])->sha256, want);
        upload_drop(u[i]);
    }
    FAKE_WAIT(place_count(&p, NULL) == 0);
    spool_close(s);
    mem_free(bytes);
    place_free(&p);
}

TEST(spool_keeps_room_on_the_disk) {
    struct place p = place_new();
    struct spool *s;
    struct upload *u;
    atomic_int wakes = 0;
    CHECK_EQ(spool_open(p.spool, UINT64_MAX, &s, NULL), 0); /* all of it is to stay free */
    CHECK_EQ(upload_begin(s, 0, count_wake, &wakes, &u), E_BUSY);
    CHECK_EQ(upload_begin(s, 1, count_wake, &wakes, &u), E_BUSY);
    spool_close(s);
    CHECK_EQ(spool_open(p.spool, 0, &s, NULL), 0);
    CHECK_EQ(upload_begin(s, UINT64_C(1) << 60, count_wake, &wakes, &u), E_BUSY);
    CHECK_EQ(upload_begin(s, 1 << 20, count_wake, &wakes, &u), 0);
    upload_drop(u);
    spool_close(s);
    place_free(&p);
}

/* ---- over HTTP ---- */

struct rig {
    struct place place;
    struct spool *spool;
    struct api *api;
    struct http *http;
    char text[RIG_TEXT];
};

static void rig_open(struct rig *g, uint64_t keep) {
    struct http_options opt = {.connections = 8, .workers = 2, .bodies_max = 4 << 20};
    opt.limits = (struct watch_limits){60 * SECOND, 60 * SECOND, 60 * SECOND, 60 * SECOND};
    log_set_level(LOG_LEVEL_ERROR);
    g->place = place_new();
    CHECK_EQ(spool_open(g->place.spool, keep, &g->spool, NULL), 0);
    opt.spool = g->spool;
    CHECK_EQ(api_new(NULL, NULL, &g->api, NULL), 0);
    CHECK_EQ(http_open(&opt, g->api, &g->http, NULL), 0);
}

static void rig_end(struct rig *g) {
    http_close(g->http);
    spool_close(g->spool);
    api_free(g->api);
    place_free(&g->place);
}

static int client_of(struct rig *g) {
    int client, server;
    rig_pair(&client, &server);
    http_add(g->http, server, NULL, 0);
    return client;
}

#define FORM "Content-Type: multipart/form-data; boundary=bb\r\n"
static const char front[] =
    "--bb\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune"
    "\r\n--bb\r\nContent-Disposition: form-data; name=\"file\"; "
    "filename=\"parts.tar\"\r\nContent-Type: application/x-tar\r\n\r\n";
static const char back[] = "\r\n--bb--\r\n";

static int send_some(int fd, const void *bytes, size_t n) {
    const char *p = bytes;
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        p += sent;
        n -= (size_t)sent;
    }
    return 0;
}

/* The head of a request with such a body, its form's first part, and the headers of its file. */
static void send_front(int fd, size_t bytes) {
    char head[400];
    snprintf(head, sizeof(head), RIG_POST("/file") FORM "Content-Length: %zu\r\n\r\n",
             bytes + strlen(front) + strlen(back));
    rig_send(fd, head);
    rig_send(fd, front);
}

TEST(upload_comes_through_whole) {
    static const size_t sizes[] = {0, 1, 100000, 20 << 20};
    struct rig g;
    rig_open(&g, 0);
    int fd = client_of(&g);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint8_t *bytes = noise(sizes[i], 3);
        char want[65], line[200];
        digest(bytes, sizes[i], want);
        snprintf(line, sizeof(line), " name=parts.tar bytes=%zu sha256=%s end", sizes[i], want);
        send_front(fd, sizes[i]);
        CHECK_EQ(send_some(fd, bytes, sizes[i]), 0);
        rig_send(fd, back);
        rig_read(fd, " end\n", g.text);
        CHECK_HAS(g.text, "HTTP/1.1 200");
        CHECK_HAS(g.text, "\npurpose=fine-tune\npath=/tmp/");
        CHECK_HAS(g.text, line);
        mem_free(bytes);
    }
    close(fd);
    FAKE_WAIT(place_count(&g.place, NULL) == 0); /* nobody moved them */
    rig_end(&g);
}

TEST(upload_of_a_client_that_leaves_costs_nothing) {
    struct rig g;
    rig_open(&g, 0);
    uint8_t *bytes = noise(7 << 20, 3);
    for (int how = 0; how < 3; how++) {
        int fd = client_of(&g);
        uint64_t size = 0;
        send_front(fd, 50 << 20);
        CHECK_EQ(send_some(fd, bytes, (size_t)how * (3 << 20) + 1000), 0);
        FAKE_WAIT(place_count(&g.place, &size) == 1 && size > 0);
        close(fd);
        FAKE_WAIT(place_count(&g.place, NULL) == 0);
        FAKE_WAIT(fake_server_stats(g.api).body_bytes == 0);
    }
    mem_free(bytes);
    CHECK_EQ(fake_counts(g.api).calls, 0);
    rig_end(&g);
}

TEST(upload_refusals) {
    static const struct {
        const char *head, *want;
    } all[] = {{RIG_POST("/file") "Content-Type: application/x-tar\r\nContent-Length: 3\r\n\r\nabc",
                " 415 "},
               {RIG_POST("/file") "Content-Length: 3\r\n\r\nabc", " 415 "},
               {RIG_POST("/file") FORM
                "Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
                " 413 "},
               {RIG_POST("/file") FORM "Content-Length: 3\r\n\r\nabc", "the boundary"},
               {RIG_POST("/file") FORM
                "Transfer-Encoding: chunked\r\n\r\n"
                "5b\r\n--bb\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n"
                "--bb\r\nContent-Disposition: form-d\r\n0\r\n\r\n",
                " 400 "}};
    struct rig g;
    rig_open(&g, 0);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        int fd = client_of(&g);
        rig_send(fd, all[i].head);
        rig_read(fd, all[i].want, g.text);
        CHECK_HAS(g.text, all[i].want);
        close(fd);
    }
    FAKE_WAIT(place_count(&g.place, NULL) == 0);
    rig_end(&g);
}

TEST(upload_needs_room_on_the_disk) {
    struct rig g;
    rig_open(&g, UINT64_MAX);
    int fd = client_of(&g);
    send_front(fd, 3);
    rig_send(fd, "abc");
    rig_send(fd, back);
    rig_read(fd, "no room", g.text);
    CHECK_HAS(g.text, "HTTP/1.1 503");
    close(fd);
    rig_end(&g);
}

/* Closed while files are on their way, parked or not. */
TEST(upload_ends_with_the_server) {
    struct rig g;
    uint8_t *bytes = noise(3 << 20, 3);
    for (int how = 0; how < 4; how++) {
        rig_open(&g, 0);
        int fd[3];
        for (int i = 0; i < 3; i++) {
            fd[i] = client_of(&g);
            send_front(fd[i], 50 << 20);
            CHECK_EQ(send_some(fd[i], bytes, (size_t)how * (1 << 20)), 0);
        }
        if (how % 2) http_cancel(g.http);
        rig_end(&g);
        for (int i = 0; i < 3; i++)
            close(fd[i]);
    }
    mem_free(bytes);
}
