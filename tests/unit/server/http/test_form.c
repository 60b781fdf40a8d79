/* test_form.c - the parts of a form in memory: whole, several of a name, too many. The dialects are
 * in test_multipart.c. */
#include <stdio.h>

#include "kernels/base/err.h"
#include "tests/check.h"
#include "tests/unit/server/http/form_rig.h"

#define TYPE "multipart/form-data; boundary=bb"
#define PART(name, more, data) \
    "--bb\r\nContent-Disposition: form-data; name=\"" name "\"" more "\r\n\r\n" data "\r\n"

static struct form_rig run_body(const char *type, const void *body, size_t len, size_t piece) {
    struct form_rig r = {.max = 1 << 20, .piece = piece};
    form_rig_run(&r, type, body, len);
    return r;
}

static struct form_rig run_text(const char *body, size_t piece) {
    return run_body(TYPE, body, strlen(body), piece);
}

static void check_refused(const char *body, size_t len, int rc, const char *why) {
    struct form_rig r = run_body(TYPE, body, len, 4096);
    CHECK_EQ(r.rc, rc);
    if (why) CHECK_HAS(form_why(r.form), why);
    form_free(r.form);
}

TEST(form_pieces_of_any_size) {
    static const char body[] = PART("image", "; filename=\"../../x\"\r\nContent-Type: image/png",
                                    "\x89PNG\r\n\r\n--a\r\n-- bb\0tail") PART("width", "", "64")
        PART("note", "", "\r\n--") PART("none", "", "") PART("none", "", "x") "--bb--\r\n";
    static const char data[] = "\x89PNG\r\n\r\n--a\r\n-- bb\0tail";
    for (size_t piece = 1; piece < sizeof(body); piece++) {
        struct form_rig r = run_body(TYPE, body, sizeof(body) - 1, piece);
        CHECK_EQ(r.rc, 0);
        CHECK_EQ(r.n_fields, 5);
        CHECK_STR(r.fields[0].name, "image");
        CHECK_STR(r.fields[0].content_type, "image/png");
        CHECK_EQ(r.fields[0].len, sizeof(data) - 1);
        CHECK_MEM(r.fields[0].data, data, sizeof(data) - 1);
        CHECK_STR(r.fields[1].name, "width");
        CHECK(!r.fields[1].content_type);
        CHECK_EQ(r.fields[1].len, 2);
        CHECK_MEM(r.fields[2].data, "\r\n--", 4);
        CHECK_EQ(r.fields[2].len, 4);
        CHECK_EQ(r.fields[3].len, 0); /* an empty part and the next of its name are two */
        CHECK_EQ(r.fields[4].len, 1);
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
    size_t need = sizeof(body) - 1 - 2; /* the last line break may be missing */
    for (size_t len = 0; len < need; len++)
        check_refused(body, len, E_FORMAT, len > 10 ? "cut short" : NULL);
}

TEST(form_limits) {
    size_t big = 2 << 20;
    char *body = mem_must(big + 200);
    int head =
        snprintf(body, 200, "%s", "--bb\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n");
    memset(body + head, 'x', big);
    memcpy(body + head + big, "\r\n--bb--\r\n", 10);
    check_refused(body, (size_t)head + big + 10, E_TOO_BIG, NULL);
    memset(body, 'x', big); /* before the first boundary, and behind the last */
    check_refused(body, big, E_TOO_BIG, NULL);
    memcpy(body, "--bb--", 6);
    check_refused(body, big, E_TOO_BIG, NULL);
    mem_free(body);

    static char many[FORM_PARTS_MAX * 80 + 200];
    size_t n = 0;
    for (int i = 0; i <= FORM_PARTS_MAX; i++)
        n += (size_t)snprintf(many + n, sizeof(many) - n, PART("a%d", "", "1"), i);
    n += (size_t)snprintf(many + n, sizeof(many) - n, "--bb--\r\n");
    check_refused(many, n, E_TOO_BIG, "over 32 parts");
}

TEST(form_refuses) {
    char name[FORM_NAME_MAX + 2], body[600];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = 0;
    snprintf(body, sizeof(body), PART("%s", "", "1") "--bb--\r\n", name);
    check_refused(body, strlen(body), E_FORMAT, "over 64 bytes");
    static const char coded[] =
        PART("a", "\r\nContent-Transfer-Encoding: base64", "MQ==") "--bb--\r\n";
    check_refused(coded, sizeof(coded) - 1, E_UNSUPPORTED, "Content-Transfer-Encoding");
    struct form_rig r = run_body("multipart/form-data", "", 0, 1);
    CHECK_EQ(r.rc, E_FORMAT);
    CHECK_HAS(form_why(r.form), "boundary is missing");
    form_free(r.form);
}

TEST(form_every_failing_allocation) {
    static const char body[] = PART("image", "\r\nContent-Type: image/png", "0123456789")
        PART("width", "", "64") "--bb--\r\n";
    for (uint64_t n = 1, over = 0; !over; n++) {
        mem_fail_at(n);
        struct form_rig r = run_text(body, 5);
        over = r.rc == 0;
        CHECK(over || r.rc == E_NOMEM);
        mem_fail_at(0);
        form_free(r.form);
        CHECK(n < 100);
    }
}
