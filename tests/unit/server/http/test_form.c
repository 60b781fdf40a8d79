/* test_form.c - multipart bodies in pieces of any size, whole, odd and cut. */
#include "kernels/base/err.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/server/http/form_rig.h"

#define TYPE "multipart/form-data; boundary=bb"
#define PART(name, more, data) \
    "--bb\r\nContent-Disposition: form-data; name=\"" name "\"" more "\r\n\r\n" data "\r\n"

static struct form_rig run_body(const char *type, const void *body, size_t len, size_t piece) {
    struct form_rig r = {.max = 1 << 20, .piece = piece};
    form_rig_run(&r, type, body, len);
    CHECK(r.is_whole && r.is_over);
    return r;
}

static struct form_rig run_text(const char *body, size_t piece) {
    return run_body(TYPE, body, strlen(body), piece);
}

TEST(form_pieces_of_any_size) {
    static const char body[] = PART("image", "; filename=\"../../x\"\r\nContent-Type: image/png",
                                    "\x89PNG\r\n\r\n--a\r\n-- bb\0tail") PART("width", "", "64")
        PART("note", "", "\r\n--") "--bb--\r\n";
    static const char data[] = "\x89PNG\r\n\r\n--a\r\n-- bb\0tail";
    for (size_t piece = 1; piece < sizeof(body); piece++) {
        struct form_rig r = run_body(TYPE, body, sizeof(body) - 1, piece);
        CHECK_EQ(r.rc, 0);
        CHECK_EQ(r.n_fields, 3);
        CHECK_STR(r.fields[0].name, "image");
        CHECK_STR(r.fields[0].content_type, "image/png");
        CHECK_EQ(r.fields[0].len, sizeof(data) - 1);
        CHECK_MEM(r.fields[0].data, data, sizeof(data) - 1);
        CHECK_STR(r.fields[1].name, "width");
        CHECK(!r.fields[1].content_type);
        CHECK_EQ(r.fields[1].len, 2);
        CHECK_EQ(r.fields[2].len, 4);
        form_free(r.form);
    }
}

TEST(form_two_of_a_name_are_two) {
    struct form_rig r = run_text(PART("image", "", "1") PART("image", "", "2") "--bb--\r\n", 7);
    CHECK_EQ(r.rc, 0);
    CHECK_EQ(r.n_fields, 2);
    form_free(r.form);
}

TEST(form_cut_short) {
    static const char body[] = PART("image", "", "0123456789") "--bb--\r\n";
    size_t need =
        sizeof(body) - 1 - 4; /* what follows the closing boundary's name may be missing */
    for (size_t len = 0; len < need; len++) {
        struct form_rig r = run_body(TYPE, body, len, 1000);
        CHECK_EQ(r.rc, E_FORMAT);
        form_free(r.form);
    }
}

TEST(form_limits) {
    size_t big = 2 << 20;
    char *body = mem_must(big + 200);
    int head =
        snprintf(body, 200, "%s", "--bb\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n");
    memset(body + head, 'x', big);
    memcpy(body + head + big, "\r\n--bb--\r\n", 10);
    struct form_rig r = run_body(TYPE, body, (size_t)head + big + 10, 4096);
    CHECK_EQ(r.rc, E_TOO_BIG);
    form_free(r.form);
    mem_free(body);

    static char many[FORM_PARTS_MAX * 80 + 200];
    size_t n = 0;
    for (int i = 0; i <= FORM_PARTS_MAX; i++)
        n += (size_t)snprintf(many + n, sizeof(many) - n, PART("a%d", "", "1"), i);
    snprintf(many + n, sizeof(many) - n, "--bb--\r\n");
    r = run_text(many, 100);
    CHECK_EQ(r.rc, E_TOO_BIG);
    form_free(r.form);
}

TEST(form_refuses) {
    char name[200];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = 0;
    char body[600];
    snprintf(body, sizeof(body), PART("%s", "", "1") "--bb--\r\n", name);
    struct form_rig r = run_text(body, 100);
    CHECK_EQ(r.rc, E_FORMAT);
    form_free(r.form);
    r = run_text(PART("a", "\r\nContent-Transfer-Encoding: base64", "MQ==") "--bb--\r\n", 100);
    CHECK_EQ(r.rc, E_UNSUPPORTED);
    form_free(r.form);
    static const char whole[] = PART("a", "", "1") "--bb--\r\n";
    r = run_body("multipart/form-data", whole, sizeof(whole) - 1, 100);
    CHECK(!r.form);
    r = run_body("multipart/form-data; boundary=other", whole, sizeof(whole) - 1, 100);
    CHECK_EQ(r.rc, E_FORMAT);
    form_free(r.form);
}
