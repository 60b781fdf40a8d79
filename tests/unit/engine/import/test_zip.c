/* test_zip.c - zips made by hand, and what may be wrong with them. */
#include "engine/import/zip.h"

#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

/* What differs from a good zip. */
struct lie {
    const char *name;              /* of the second member */
    uint64_t local, bytes, packed; /* of it; 0: the truth */
    uint32_t crc, flags, method;
    int is_64;            /* its sizes stand in a zip64 field, and the end in a zip64 record */
    uint64_t n, size, at; /* of the directory; 0: the truth */
    int is_short64, is_bad_locator;
    size_t cut; /* bytes off the end */
    const char *comment;
};

static void put(struct buf *b, uint64_t v, int n) {
    for (int i = 0; i < n; i++)
        CHECK_EQ(buf_char(b, (char)(v >> 8 * i & 255)), 0);
}

static void local(struct buf *b, const char *name, const char *data) {
    put(b, 0x04034b50, 4);
    put(b, 0, 22); /* torch leaves the sizes at 0 */
    put(b, strlen(name), 2);
    put(b, 3, 2);
    buf_str(b, name);
    buf_str(b, "FB\x01");
    buf_str(b, data);
}

static void entry(struct buf *b, const char *name, const struct lie *l, uint64_t at, uint64_t bytes,
                  uint32_t crc) {
    int is_64 = l->is_64;
    put(b, 0x02014b50, 4);
    put(b, 0, 4);
    put(b, l->flags, 2);
    put(b, l->method, 2);
    put(b, 0, 4);
    put(b, l->crc ? l->crc : crc, 4);
    uint64_t shown = l->bytes ? l->bytes : bytes, packed = l->packed ? l->packed : shown;
    put(b, is_64 ? UINT32_MAX : packed, 4);
    put(b, is_64 ? UINT32_MAX : shown, 4);
    put(b, strlen(name), 2);
    put(b, is_64 ? l->is_short64 ? 12 : 28 : 0, 2);
    put(b, 0, 10);
    put(b, is_64 ? UINT32_MAX : l->local ? l->local : at, 4);
    buf_str(b, name);
    if (!is_64) return;
    put(b, 1, 2);
    put(b, l->is_short64 ? 8 : 24, 2);
    put(b, shown, 8);
    if (l->is_short64) return;
    put(b, packed, 8);
    put(b, l->local ? l->local : at, 8);
}

static struct buf make(const struct lie *l) {
    static const struct lie truth = {0};
    struct buf b;
    buf_init(&b, 1 << 16);
    const char *second = l->name ? l->name : "r/data/0";
    local(&b, "r/data.pkl", "123456789");
    uint64_t at = b.len;
    local(&b, second, "");
    uint64_t from = b.len;
    entry(&b, "r/data.pkl", &truth, 0, 9, 0xcbf43926);
    entry(&b, second, l, at, 0, 0);
    uint64_t size = l->size ? l->size : b.len - from, n = l->n ? l->n : 2;
    uint64_t place = l->at ? l->at : from, end = b.len;
    if (l->is_64) {
        put(&b, 0x06064b50, 4);
        put(&b, 44, 8);
        put(&b, 0, 12);
        put(&b, n, 8);
        put(&b, n, 8);
        put(&b, size, 8);
        put(&b, place, 8);
        put(&b, 0x07064b50, 4);
        put(&b, 0, 4);
        put(&b, l->is_bad_locator ? UINT64_MAX - 3 : end, 8);
        put(&b, 1, 4);
    }
    put(&b, 0x06054b50, 4);
    put(&b, 0, 4);
    put(&b, l->is_64 ? 65535 : n, 2);
    put(&b, l->is_64 ? 65535 : n, 2);
    put(&b, l->is_64 ? UINT32_MAX : size, 4);
    put(&b, l->is_64 ? UINT32_MAX : place, 4);
    put(&b, l->comment ? strlen(l->comment) : 0, 2);
    buf_str(&b, l->comment ? l->comment : "");
    b.len -= l->cut;
    return b;
}

TEST(zip_reads_what_is_stored) {
    const struct lie forms[] = {{0}, {.is_64 = 1}, {.comment = "PK\5\6 not yet the end of it all"}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct buf b = make(&forms[i]);
        struct zip *z;
        struct err e = {0};
        int rc = zip_open(b.p, b.len, &z, &e);
        CHECK_STR(e.text, "");
        CHECK_EQ(rc, 0);
        CHECK_EQ(zip_count(z), 2);
        struct zip_member *m = zip_find(z, "r/data.pkl");
        CHECK(m && m == zip_at(z, 0) && m->bytes == 9);
        CHECK_MEM(m->data, "123456789", 9);
        CHECK_EQ(zip_check(z, m, &e), 0); /* 0xcbf43926 is the check value of CRC-32 */
        CHECK_EQ(zip_check(z, zip_find(z, "r/data/0"), &e), 0);
        CHECK(!zip_find(z, "r/data/1"));
        zip_close(z);
        buf_clear(&b);
    }
}

TEST(zip_refuses_what_lies) {
    static const struct {
        struct lie lie;
        int code;
        const char *text;
    } cases[] = {
        {{.name = "../x"}, E_FORMAT, "leads elsewhere"},
        {{.name = "/x"}, E_FORMAT, "leads elsewhere"},
        {{.name = "r\\x"}, E_FORMAT, "leads elsewhere"},
        {{.name = "r/\n"}, E_FORMAT, "leads elsewhere"},
        {{.name = "r/data.pkl"}, E_FORMAT, "twice"},
        {{.local = 1}, E_FORMAT, "isn't where"},
        {{.local = 1u << 30}, E_FORMAT, "begins behind the end"},
        {{.bytes = 1}, E_FORMAT, "ends behind the end"},
        {{.bytes = UINT32_MAX - 1}, E_FORMAT, "ends behind the end"},
        {{.bytes = UINT64_MAX, .is_64 = 1}, E_FORMAT, "ends behind the end"},
        {{.local = UINT64_MAX - 8, .is_64 = 1}, E_FORMAT, "begins behind the end"},
        {{.packed = 7}, E_UNSUPPORTED, "compressed"},
        {{.method = 8}, E_UNSUPPORTED, "compressed"},
        {{.flags = 1}, E_UNSUPPORTED, "encrypted"},
        {{.is_64 = 1, .is_short64 = 1}, E_FORMAT, "zip64 field is too short"},
        {{.is_64 = 1, .is_bad_locator = 1}, E_FORMAT, "zip64 record"},
        {{.is_64 = 1, .n = UINT64_MAX}, E_TOO_BIG, "members"},
        {{.is_64 = 1, .size = UINT64_MAX}, E_FORMAT, "lies outside"},
        {{.is_64 = 1, .at = UINT64_MAX}, E_FORMAT, "lies outside"},
        {{.n = 60000}, E_FORMAT, "directory is broken"},
        {{.n = 3}, E_FORMAT, "directory is broken"},
        {{.at = 3}, E_FORMAT, "directory is broken"},
        {{.size = 60000}, E_FORMAT, "lies outside"},
        {{.cut = 1}, E_FORMAT, "truncated?"},
        {{.cut = 100}, E_FORMAT, "truncated?"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = make(&cases[i].lie);
        struct zip *z;
        struct err e = {0};
        uint8_t *exact = memcpy(mem_must(b.len), b.p, b.len);
        int rc = zip_open(exact, b.len, &z, &e);
        CHECK_HAS(e.text, cases[i].text);
        CHECK_EQ(rc, cases[i].code);
        CHECK(z == NULL);
        mem_free(exact);
        buf_clear(&b);
    }
}

/* The second member begins where the first one has its data, as in bombs that share it. */
TEST(zip_refuses_overlaps) {
    struct buf b = make(&(struct lie){0});
    struct zip *z;
    struct err e = {0};
    uint8_t *p = (uint8_t *)memmem(b.p + 60, b.len - 60, "PK\1\2", 4); /* the first entry */
    uint8_t *q = (uint8_t *)memmem(p + 4, b.len - (size_t)(p + 4 - b.p), "PK\1\2", 4);
    memset(q + 42, 0, 4); /* its place: that of the first */
    CHECK_EQ(zip_open(b.p, b.len, &z, &e), E_FORMAT);
    CHECK_HAS(e.text, "overlaps");
    buf_clear(&b);
}
