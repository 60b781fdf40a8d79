/* test_digest.c - SHA-256 in a thread of its own: the true sum, whatever the length, and stopped
 * when loading fails. */
#include "engine/model/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernels/base/mem.h"
#include "tests/check.h"

static void plain(const void *bytes, size_t len, char hex[65]) {
    unsigned char sum[32];
    CHECK(EVP_Digest(bytes, len, sum, NULL, EVP_sha256(), NULL));
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

TEST(digest_is_the_sha256_of_all_bytes) {
    enum { STEP = 4 << 20 };
    static const size_t lengths[] = {0, 1, 3, STEP - 1, STEP, STEP + 1, 2 * STEP + 77};
    uint8_t *bytes = mem_must(2 * STEP + 77);
    for (size_t i = 0; i < 2 * STEP + 77; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 13));
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        struct digest d;
        struct model_ids ids;
        char want[65];
        plain(bytes, lengths[i], want);
        digest_start(&d, &(struct digest_of){.bytes = bytes, .len = lengths[i]}, NULL);
        CHECK_EQ(digest_end(&d, 0, &ids, NULL), 0);
        CHECK_STR(ids.all, want);
        CHECK(strcmp(ids.vision, want) != 0);
    }
    struct digest d;
    struct model_ids ids;
    digest_start(&d, &(struct digest_of){.bytes = "abc", .len = 3}, NULL);
    CHECK_EQ(digest_end(&d, 0, &ids, NULL), 0);
    CHECK_STR(ids.all, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    mem_free(bytes);
}

static double cpu_seconds(void) {
    struct timespec t;
    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The error is returned, the sum is not, and the rest of the bytes is not hashed. */
TEST(digest_stops_when_loading_failed) {
    enum { LEN = 1 << 30 };
    uint8_t *bytes = mem_must(LEN); /* untouched pages: they cost nothing */
    struct digest d;
    struct model_ids ids = {.all = "as it was"};
    double start = cpu_seconds();
    digest_start(&d, &(struct digest_of){.bytes = bytes, .len = LEN}, NULL);
    CHECK_EQ(digest_end(&d, -7, &ids, NULL), -7);
    CHECK_STR(ids.all, "as it was");
    double stopped = cpu_seconds() - start;
    char whole[65];
    start = cpu_seconds();
    plain(bytes, LEN / 8, whole);
    CHECK(stopped < cpu_seconds() - start); /* less than an eighth of it was hashed */
    mem_free(bytes);
}

TEST(digest_add_names_another_use) {
    char a[65], b[65], want[65];
    plain("x", 1, a);
    strcpy(b, a);
    char text[80];
    snprintf(text, sizeof text, "%s fp8", a);
    plain(text, strlen(text), want);
    CHECK_EQ(digest_add(b, "fp8", NULL), 0);
    CHECK_STR(b, want);
    CHECK(strcmp(a, b) != 0);
}
