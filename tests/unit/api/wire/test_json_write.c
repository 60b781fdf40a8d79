/* What we write is valid JSON, whatever bytes go in. */
#include "api/wire/json_write.h"

#include <jansson.h>
#include <string.h>

#include "kernels/base/err.h"
#include "tests/check.h"

TEST(json_write_str_is_always_valid) {
    static const char *const texts[] = {"plain",
                                        "quote \" slash \\",
                                        "line\nbreak\x01\x7f",
                                        "gr\xc3\xbc\xc3\x9f",
                                        "\xff",
                                        "\xc3",
                                        "\xe2\x82",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xf0\x9f\x98\x80",
                                        "\xc0\x80",
                                        "a\xe2\x82\xac"};
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf b;
        buf_init(&b, 1000);
        CHECK_EQ(json_write_str(&b, texts[i]), 0);
        json_t *v = json_loadb((char *)b.p, b.len, JSON_DECODE_ANY, NULL);
        CHECK(v && json_is_string(v));
        json_t *is_utf8 = json_string(texts[i]);
        if (is_utf8) CHECK_STR(json_string_value(v), texts[i]);
        json_decref(is_utf8);
        json_decref(v);
        buf_clear(&b);
    }
}

TEST(json_write_text_may_hold_nul) {
    struct buf b;
    buf_init(&b, 100);
    CHECK_EQ(json_write_text(&b, "a\0b", 3), 0);
    CHECK_STR((char *)b.p, "\"a\\u0000b\"");
    buf_clear(&b);
}

TEST(json_write_png_is_a_data_url) {
    struct buf b;
    buf_init(&b, 100);
    CHECK_EQ(json_write_png(&b, (const uint8_t *)"Man", 3), 0);
    CHECK_STR((char *)b.p, "\"data:image/png;base64,TWFu\"");
    buf_clear(&b);
    buf_init(&b, 10); /* too small: it says so */
    CHECK(json_write_png(&b, (const uint8_t *)"Man", 3) != 0);
    buf_clear(&b);
}
