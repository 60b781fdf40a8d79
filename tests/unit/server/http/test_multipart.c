/* test_multipart.c - multipart bodies as clients write them, one dialect a row, in pieces of any
 * size; and what is refused, with the sentence that says why. */
#include "server/http/multipart.h"

#include <stdio.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "tests/check.h"

/* What came, as text: `name|file name|type=data` and a line break for each part. */
struct heard {
    struct buf text;
    int is_inside, fails;
};

static int hear_begin(void *ud, const struct multipart_part *p) {
    struct heard *h = ud;
    CHECK(!h->is_inside);
    h->is_inside = 1;
    buf_printf(&h->text, "%s|%s|%s=", p->name, p->file_name ? p->file_name : "-",
               p->type ? p->type : "-");
    return h->fails == 1 ? E_BUSY : 0;
}

static int hear_data(void *ud, const char *bytes, size_t n) {
    struct heard *h = ud;
    CHECK(h->is_inside && n > 0);
    buf_add(&h->text, bytes, n);
    return h->fails == 2 ? E_BUSY : 0;
}

static int hear_end(void *ud) {
    struct heard *h = ud;
    CHECK(h->is_inside);
    h->is_inside = 0;
    buf_char(&h->text, '\n');
    return h->fails == 3 ? E_BUSY : 0;
}

static const struct multipart_sink ear = {hear_begin, hear_data, hear_end};

static int run(struct multipart *m, struct heard *h, const char *type, const char *body, size_t len,
               size_t piece) {
    buf_init(&h->text, 1 << 20);
    int rc = multipart_open(m, type, &ear, h);
    for (size_t at = 0; rc == 0 && at < len; at += piece)
        rc = multipart_feed(m, body + at, len - at < piece ? len - at : piece);
    return rc ? rc : multipart_end(m);
}

#define FORM "multipart/form-data; boundary="
#define CD   "Content-Disposition: form-data; name="
#define ONE  "image|-|-=1\n"

struct dialect {
    const char *client, *type, *body, *want;
};

/* Written by hand after what these clients send. */
static const struct dialect clients[] = {
    {"curl", FORM "------------------------d74496d66958873e",
     "--------------------------d74496d66958873e\r\n" CD "\"image\"; filename=\"a.png\"\r\n"
     "Content-Type: image/png\r\n\r\n\x89PNG\r\n"
     "--------------------------d74496d66958873e\r\n" CD "\"width\"\r\n\r\n8\r\n"
     "--------------------------d74496d66958873e--\r\n",
     "image|a.png|image/png=\x89PNG\nwidth|-|-=8\n"},
    {"Chrome", FORM "----WebKitFormBoundary7MA4YWxkTrZu0gW",
     "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\n" CD "\"image\"; filename=\"a%22b.png\"\r\n"
     "Content-Type: image/png\r\n\r\n1\r\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
     "image|a%22b.png|image/png=1\n"},
    {"Firefox", FORM "---------------------------9051914041544843365972754266",
     "-----------------------------9051914041544843365972754266\r\n" CD "\"image\"\r\n\r\n1\r\n"
     "-----------------------------9051914041544843365972754266--\r\n",
     ONE},
    {"a browser's empty file field", FORM "bb",
     "--bb\r\n" CD "\"image\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n"
     "--bb--\r\n",
     "image||application/octet-stream=\n"},
    {"a browser's empty form", FORM "bb", "--bb--\r\n", ""},
    {"old Internet Explorer", FORM "---------------------------7d4a6d158c9",
     "-----------------------------7d4a6d158c9\r\n" CD "\"image\"; filename=\"C:\\new\\a.png\"\r\n"
     "Content-Type: image/pjpeg\r\n\r\n1\r\n-----------------------------7d4a6d158c9--\r\n",
     "image|C:\\new\\a.png|image/pjpeg=1\n"},
    {".NET HttpClient", FORM "\"0b7a1f9e-1c2d-4e3f-8a9b-0c1d2e3f4a5b\"",
     "--0b7a1f9e-1c2d-4e3f-8a9b-0c1d2e3f4a5b\r\nContent-Type: image/png\r\n"
     "Content-Disposition: form-data; name=image; filename=a.png; filename*=utf-8''a.png\r\n\r\n1"
     "\r\n--0b7a1f9e-1c2d-4e3f-8a9b-0c1d2e3f4a5b\r\nContent-Type: text/plain; charset=utf-8\r\n"
     "Content-Disposition: form-data; name=width\r\n\r\n8\r\n"
     "--0b7a1f9e-1c2d-4e3f-8a9b-0c1d2e3f4a5b--\r\n",
     "image|a.png|image/png=1\nwidth|-|text/plain; charset=utf-8=8\n"},
    {".NET, a name that is not ASCII", FORM "\"bb\"",
     "--bb\r\n" CD "image; filename=\"=?utf-8?B?w6QucG5n?=\"; filename*=utf-8''%C3%A4.png\r\n\r\n1"
     "\r\n--bb--\r\n",
     "image|\xc3\xa4.png|-=1\n"},
    {"Apache HttpClient", "multipart/form-data; boundary=k9uZ_-Qx; charset=UTF-8",
     "--k9uZ_-Qx\r\n" CD "\"image\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n"
     "Content-Transfer-Encoding: binary\r\n\r\n1\r\n--k9uZ_-Qx\r\n" CD "\"width\"\r\n"
     "Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n8\r\n"
     "--k9uZ_-Qx--\r\n",
     "image|a.png|image/png=1\nwidth|-|text/plain; charset=ISO-8859-1=8\n"},
    {"JMeter", FORM "-----------------------------7d159c1302d0y0;",
     "-------------------------------7d159c1302d0y0\r\n" CD "\"image\"\r\n\r\n1\r\n"
     "-------------------------------7d159c1302d0y0--\r\n",
     ONE},
    {"OkHttp", FORM "3d39bd2a-3f3c-4f3d-9f0e-6a1f7a0d7c11",
     "--3d39bd2a-3f3c-4f3d-9f0e-6a1f7a0d7c11\r\n" CD "\"image\"\r\nContent-Length: 1\r\n\r\n1\r\n"
     "--3d39bd2a-3f3c-4f3d-9f0e-6a1f7a0d7c11--\r\n",
     ONE},
    {"Python requests and httpx", FORM "7c6e9b0f5d8a4c3f8e2a1b0c9d8e7f60",
     "--7c6e9b0f5d8a4c3f8e2a1b0c9d8e7f60\r\n" CD "\"image\"; filename=\"a\\\"b.png\"\r\n\r\n1\r\n"
     "--7c6e9b0f5d8a4c3f8e2a1b0c9d8e7f60--\r\n",
     "image|a\"b.png|-=1\n"},
    {"urllib3, a name that is not ASCII", FORM "bb",
     "--bb\r\n" CD "\"image\"; filename*=utf-8''a%20b.png\r\n\r\n1\r\n--bb--\r\n",
     "image|a b.png|-=1\n"},
    {"Python's email", FORM "\"===============0815==\"",
     "--===============0815==\nContent-Type: image/png\nMIME-Version: 1.0\n"
     "Content-Disposition: form-data; name=\"image\"\n\n1\r\n2\n--===============0815==--\n",
     "image|-|image/png=1\r\n2\n"},
    {"Java Mail, not quoted", FORM "----=_Part_1_123.456",
     "------=_Part_1_123.456\r\nContent-Disposition: form-data;\r\n\tname=\"image\"\r\n\r\n1\r\n"
     "------=_Part_1_123.456--\r\n",
     ONE},
    {"Go", FORM "f1e2d3c4b5a6",
     "--f1e2d3c4b5a6\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n1\r\n--f1e2d3c4b5a6--\r\n",
     "image|a.png|application/octet-stream=1\n"},
    {"an Arduino sketch, no last line break", FORM "RandomNerd",
     "--RandomNerd\r\nContent-Disposition:form-data;name=\"image\";filename=\"a.jpg\"\r\n"
     "Content-Type:image/jpeg\r\n\r\n1\r\n--RandomNerd--",
     "image|a.jpg|image/jpeg=1\n"},
    {"an Arduino sketch, one line break more in front", FORM "bb",
     "\r\n--bb\r\n" CD "\"image\"\r\n\r\n1\r\n--bb--\r\n\r\n", ONE},
};

/* What the RFCs allow, and what is read although they don't. */
static const struct dialect forms[] = {
    {"Boundary", "Multipart/Form-Data;  BOUNDARY=bb", "--bb\r\n" CD "image\r\n\r\n1\r\n--bb--",
     ONE},
    {"blanks around =", "multipart/form-data ; boundary = \"bb\" ; x",
     "--bb\r\n" CD "image\r\n\r\n1\r\n--bb--", ONE},
    {"a boundary of one character", FORM "x", "--x\r\n" CD "image\r\n\r\n1\r\n--x--\r\n", ONE},
    {"of one dash", FORM "-", "---\r\n" CD "image\r\n\r\n1\r\n-----\r\n", ONE},
    {"of 70", FORM "0123456789012345678901234567890123456789012345678901234567890123456789",
     "--0123456789012345678901234567890123456789012345678901234567890123456789\r\n" CD "image\r\n"
     "\r\n1\r\n--0123456789012345678901234567890123456789012345678901234567890123456789--\r\n",
     ONE},
    {"of all legal marks", FORM "\"a'()+_,-./:=? b\"",
     "--a'()+_,-./:=? b\r\n" CD "image\r\n\r\n1\r\n--a'()+_,-./:=? b--", ONE},
    {"a quoted pair", FORM "\"b\\\"b\"", "--b\"b\r\n" CD "image\r\n\r\n1\r\n--b\"b--", ONE},
    {"preamble and epilogue", FORM "bb",
     "--b\r\nx --bb\r\n\r\n--bb\r\n" CD "image\r\n\r\n1\r\n--bb--\r\n--bb\r\n\r\nmore --bb", ONE},
    {"blanks behind boundaries", FORM "bb", "--bb \t\r\n" CD "image\r\n\r\n1\r\n--bb--  \r\n", ONE},
    {"TAB and no blank behind colons", FORM "bb",
     "--bb\r\ncontent-disposition:\tform-data;\tname=image\r\nCONTENT-TYPE:a/b \r\n\r\n1\r\n--bb--",
     "image|-|a/b=1\n"},
    {"a blank before the colon", FORM "bb",
     "--bb\r\nContent-Disposition : form-data ; name = image ;\r\n\r\n1\r\n--bb--", ONE},
    {"a fold", FORM "bb",
     "--bb\r\nContent-Disposition: form-data;\r\n name=image\r\nX: 1\r\n\t2\r\n\r\n1\r\n--bb--",
     ONE},
    {"marks inside quotes", FORM "bb",
     "--bb\r\n" CD "\"a;b=c\\\\d\"; filename=\"x;name=y\"\r\n\r\n1\r\n--bb--",
     "a;b=c\\d|x;name=y|-=1\n"},
    {"filename* before filename", FORM "bb",
     "--bb\r\n" CD
     "image; filename*=UTF-8'en'%e2%82%ac; filename=euro; filename*=x\r\n\r\n1\r\n--bb--",
     "image|\xe2\x82\xac|-=1\n"},
    {"filename* that can't be read", FORM "bb",
     "--bb\r\n" CD "image; filename=a; filename*=iso-8859-1''%e4; Filename*=UTF-8''%4\r\n\r\n1\r\n"
     "--bb--",
     "image|a|-=1\n"},
    {"no line break for an empty part", FORM "bb",
     "--bb\r\n" CD "image\r\n\r\n--bb\r\n" CD "b\r\n\r\n--bb--", "image|-|-=\nb|-|-=\n"},
    {"an empty part", FORM "bb", "--bb\r\n" CD "image\r\n\r\n\r\n--bb--", "image|-|-=\n"},
    {"almost boundaries are data", FORM "bb",
     "--bb\r\n" CD "image\r\n\r\n\r\n--b\r--bb\n--bb\r\n--bbb\r\n--bb-x\r\n--bb  x\r\n--bb\rx\r\n"
     "\r\n--bb--",
     "image|-|-=\r\n--b\r--bb\n--bb\r\n--bbb\r\n--bb-x\r\n--bb  x\r\n--bb\rx\r\n\n"},
    {"held bytes at the end of a near miss", FORM "bb",
     "--bb\r\n" CD "image\r\n\r\n1\r\r\n--bb\r\r\n--bb \r\r\n\r\n--bb--",
     "image|-|-=1\r\r\n--bb\r\r\n--bb \r\r\n\n"},
    {"a nested boundary", FORM "bb",
     "--bb\r\n" CD "image\r\n\r\n--bbc\r\n\r\n1\r\n--bbc--\r\n--bb--",
     "image|-|-=--bbc\r\n\r\n1\r\n--bbc--\n"},
    {"LF alone", FORM "bb", "--bb\n" CD "image\n\n1\r\n2\r\n--bb\n" CD "b\n\n3\n--bb--\n",
     "image|-|-=1\r\n2\r\nb|-|-=3\n"},
    {"the type of a part is kept whole", FORM "bb",
     "--bb\r\n" CD "image\r\nContent-Type: a/b; c=\"d:e\"\r\nContent-Type:\r\n\r\n1\r\n--bb--",
     "image|-|a/b; c=\"d:e\"=1\n"},
};

static void check_dialects(const struct dialect *d, size_t n) {
    static struct multipart m;
    for (; n--; d++) {
        size_t len = strlen(d->body);
        for (size_t piece = 1; piece <= len; piece++) {
            struct heard h = {.fails = 0};
            int rc = run(&m, &h, d->type, d->body, len, piece);
            if (rc) printf("%s: %s\n", d->client, multipart_why(&m));
            CHECK_EQ(rc, 0);
            CHECK(!h.is_inside);
            CHECK_STR(h.text.p ? (const char *)h.text.p : "", d->want);
            buf_clear(&h.text);
        }
    }
}

TEST(multipart_dialects_of_clients) { check_dialects(clients, sizeof(clients) / sizeof(*clients)); }

TEST(multipart_forms_of_the_rfcs) { check_dialects(forms, sizeof(forms) / sizeof(*forms)); }

TEST(multipart_long_padding_is_data) {
    char body[300], want[300];
    snprintf(body, sizeof(body), "--bb\r\n" CD "a\r\n\r\n1\r\n--bb%*s\r\n\r\n--bb--", 150, "");
    snprintf(want, sizeof(want), "a|-|-=1\r\n--bb%*s\r\n\n", 150, "");
    check_dialects(&(struct dialect){"padding", FORM "bb", body, want}, 1);
}

static void check_refused(const char *type, const char *body, size_t len, int rc, const char *why) {
    static struct multipart m;
    for (size_t piece = 1; piece <= len + 1; piece++) {
        struct heard h = {.fails = 0};
        int got = run(&m, &h, type, body, len, piece);
        if (got != rc) printf("%s\n%s\n", type, body);
        CHECK_EQ(got, rc);
        CHECK_HAS(multipart_why(&m), why);
        CHECK_EQ(multipart_feed(&m, "x", 1), rc); /* the first error stays */
        CHECK_EQ(multipart_end(&m), rc);
        buf_clear(&h.text);
    }
}

TEST(multipart_refuses_types) {
    static const char *const types[][2] = {
        {"multipart/form-data", "boundary is missing"},
        {"multipart/form-data; boundary", "boundary is missing"},
        {"multipart/form-data; boundary=", "boundary is missing"},
        {"multipart/form-data; boundary=\"\"", "boundary is missing"},
        {"multipart/form-data; xboundary=bb", "boundary is missing"},
        {"multipart/form-data; boundary=\"bb", "boundary is missing"},
        {"multipart/form-data; boundary=a; boundary=b", "two boundaries"},
        {"multipart/form-data; boundary=\"bb \"", "not legal"},
        {"multipart/form-data; boundary=b\xc3\xa4", "not legal"},
        {FORM "01234567890123456789012345678901234567890123456789012345678901234567890",
         "over 70 characters"},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        check_refused(types[i][0], "", 0, E_FORMAT, types[i][1]);
}

TEST(multipart_refuses_bodies) {
    static const struct {
        const char *body;
        int rc;
        const char *why;
    } bodies[] = {
        {"", E_FORMAT, "is not in the body"},
        {"--b", E_FORMAT, "is not in the body"},
        {"x--bb--", E_FORMAT, "is not in the body"},
        {"--other\r\n\r\n", E_FORMAT, "is not in the body"},
        {"--bb\r\n", E_FORMAT, "cut short"},
        {"--bb\r\n" CD "a\r\n", E_FORMAT, "cut short"},
        {"--bb\r\n" CD "a\r\n\r\n1\r\n--bb-", E_FORMAT, "cut short"},
        {"--bb\r\n\r\n1\r\n--bb--", E_FORMAT, "no name"},
        {"--bb\r\nContent-Disposition: form-data\r\n\r\n1\r\n--bb--", E_FORMAT, "no name"},
        {"--bb\r\nContent-Disposition: form-data; filename=a\r\n\r\n1", E_FORMAT, "no name"},
        {"--bb\r\n" CD "a; name=b\r\n\r\n1\r\n--bb--", E_FORMAT, "two names"},
        {"--bb\r\n" CD "\"a\r\n\r\n1\r\n--bb--", E_FORMAT, "is malformed"},
        {"--bb\r\nno colon\r\n\r\n1\r\n--bb--", E_FORMAT, "no colon"},
        {"--bb\r\n" CD "a\r\nContent-Transfer-Encoding: BASE64\r\n\r\nMQ==\r\n--bb--",
         E_UNSUPPORTED, "send its bytes as they are"},
        {"--bb\r\n" CD "a\r\nContent-Transfer-Encoding:quoted-printable\r\n\r\n1\r\n--bb--",
         E_UNSUPPORTED, "Content-Transfer-Encoding"},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        check_refused(FORM "bb", bodies[i].body, strlen(bodies[i].body), bodies[i].rc,
                      bodies[i].why);
    static const char nul[] = "--bb\r\n" CD "a\0b\r\n\r\n1\r\n--bb--";
    check_refused(FORM "bb", nul, sizeof(nul) - 1, E_FORMAT, "NUL");
}

TEST(multipart_headers_are_bounded) {
    static struct multipart m;
    static char head[MULTIPART_HEAD_MAX + 200], type[MULTIPART_HEAD_MAX + 100];
    for (int over = 0; over < 2; over++) {
        int n = snprintf(head, sizeof(head), "--bb\r\n" CD "a\r\nX: ");
        int rest = MULTIPART_HEAD_MAX - (n - 6) - 4 + over; /* with two line breaks behind it */
        memset(head + n, 'x', (size_t)rest);
        snprintf(head + n + rest, 50, "\r\n\r\n1\r\n--bb--");
        struct heard h = {.fails = 0};
        CHECK_EQ(run(&m, &h, FORM "bb", head, strlen(head), 7), over ? E_FORMAT : 0);
        if (over) CHECK_HAS(multipart_why(&m), "over 4096 bytes");
        buf_clear(&h.text);
    }
    memset(type, 'x', sizeof(type) - 1);
    memcpy(type, FORM "bb;", strlen(FORM "bb;"));
    struct heard h = {.fails = 0};
    CHECK_EQ(run(&m, &h, type, "", 0, 1), E_FORMAT);
}

TEST(multipart_sink_may_refuse) {
    static struct multipart m;
    static const char body[] = "--bb\r\n" CD "a\r\n\r\n1\r\n--bb\r\n" CD "b\r\n\r\n2\r\n--bb--";
    for (int which = 1; which <= 3; which++) {
        struct heard h = {.fails = which};
        CHECK_EQ(run(&m, &h, FORM "bb", body, sizeof(body) - 1, 3), E_BUSY);
        CHECK(!multipart_why(&m));
        CHECK(!strchr((const char *)h.text.p, 'b')); /* nothing comes after it */
        buf_clear(&h.text);
    }
}
