/* test_local.c - an API call without a server: the reply goes to a file, a refusal has the API's
 * text. */
#include "cli/local.h"

#include <stdio.h>
#include <unistd.h>

#include "data/files.h"
#include "kernels/base/mem.h"
#include "media/picture.h"
#include "tests/check.h"

static const struct config tiny = {.model = "tests/golden/tiny", .threads = 1};

static int call(const char *path, const char *width, const char *out, struct err *e) {
    static const uint8_t rgb[4 * 4 * 3] = {200, 30, 30};
    const struct api_field query = {
        .name = "width", .data = (const uint8_t *)width, .len = strlen(width)};
    struct buf png;
    buf_init(&png, 10000);
    CHECK_EQ(picture_png(rgb, 4, 4, &png), 0);
    const struct api_input in = {.query = &query,
                                 .n_query = 1,
                                 .content_type = "image/png",
                                 .accept = "image/png",
                                 .request_id = "local",
                                 .body = png.p,
                                 .body_len = png.len};
    *e = (struct err){0};
    int rc = local_call(&tiny, path, &in, out, e);
    buf_clear(&png);
    return rc;
}

TEST(local_call_writes_the_reply) {
    char out[64];
    struct err e;
    uint8_t *rgb;
    int w, h;
    snprintf(out, sizeof(out), "/tmp/lammd-local-%ld.png", (long)getpid());
    CHECK_EQ(call("/v1/reconstruct", "2", out, &e), 0);
    CHECK_EQ(file_picture(out, &rgb, &w, &h, NULL), 0);
    CHECK_EQ(w, 2);
    mem_free(rgb);
    unlink(out);
}

TEST(local_call_says_what_is_wrong) {
    struct err e;
    CHECK_EQ(call("/v1/reconstruct", "0", "/tmp/lammd-local-none", &e), E_INVALID);
    CHECK_HAS(e.text, "width must be an integer from 1 to ");
    CHECK(access("/tmp/lammd-local-none", F_OK) != 0);
    CHECK_EQ(call("/v1/nothing", "2", "/tmp/lammd-local-none", &e), E_NOT_FOUND);
    CHECK_EQ(call("/v1/reconstruct", "2", "/nowhere/seen.png", &e), E_IO);
    CHECK_HAS(e.text, "/nowhere/seen.png");
    struct config none = tiny;
    none.model = "tests/golden/nowhere";
    e = (struct err){0};
    CHECK(local_call(&none, "/v1/reconstruct", &(struct api_input){.request_id = "x"}, "-", &e) !=
          0);
    CHECK_HAS(e.text, "tests/golden/nowhere");
}
