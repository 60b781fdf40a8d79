/* test_sptok.c - our tokenizer gives the ids of the real sentencepiece, 10,000 strings and three
 * models long, and refuses every file that is not what it claims. Goldens:
 * tools/oracle/make_text_golden.py. */
#include <stdlib.h>

#include "tests/unit/engine/text_rig.h"

enum { STRINGS = 10000, RANDOM_LISTS = 1000, IDS_MAX = 4096 };

/* ---- against sentencepiece ---- */

struct cursor {
    const uint8_t *p, *end;
};
static uint32_t take(struct cursor *c, int bytes) {
    CHECK(c->end - c->p >= bytes);
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)c->p[i] << (8 * i);
    c->p += bytes;
    return v;
}

struct golden {
    int32_t ids[IDS_MAX];
    size_t n;
    uint32_t decoded; /* FNV-1a */
};
static void next_golden(struct cursor *c, struct golden *g) {
    g->n = take(c, 2);
    CHECK(g->n <= IDS_MAX);
    for (size_t i = 0; i < g->n; i++)
        g->ids[i] = (int32_t)take(c, 2);
    g->decoded = take(c, 4);
}

static void check_encoded(const struct sptok *t, int i, const char *s, size_t len,
                          const struct golden *g) {
    int32_t ids[IDS_MAX];
    size_t n;
    struct err e = {0};
    CHECK_EQ(sptok_encode(t, s, len, SPTOK_PREFIX, ids, IDS_MAX, &n, &e), 0);
    size_t same = 0;
    while (same < n && same < g->n && ids[same] == g->ids[same])
        same++;
    if (same == n && n == g->n) return;
    test_failed(__FILE__, __LINE__, "string %d \"%.*s\": %zu ids, expected %zu, alike up to %zu", i,
                (int)len, s, n, g->n, same);
}

static void check_decoded(const struct sptok *t, int i, const struct golden *g) {
    static char text[16 * IDS_MAX];
    size_t len;
    struct err e = {0};
    CHECK_EQ(sptok_decode(t, g->ids, g->n, text, sizeof text, &len, &e), 0);
    if (text_fnv(text, len) != g->decoded)
        test_failed(__FILE__, __LINE__, "ids of string %d decode to \"%s\"", i, text);
}

static void against_sentencepiece(const char *model, const char *ids_path) {
    struct sptok *t = text_open(model);
    size_t n_text, n_ids;
    uint8_t *texts = text_read("tests/golden/text/strings.bin", &n_text);
    uint8_t *lists = text_read(ids_path, &n_ids);
    struct cursor text = {texts, texts + n_text}, ids = {lists, lists + n_ids};
    static struct golden g;
    for (int i = 0; i < STRINGS + RANDOM_LISTS; i++) {
        next_golden(&ids, &g);
        if (i < STRINGS) {
            size_t len = take(&text, 2);
            CHECK((size_t)(text.end - text.p) >= len);
            check_encoded(t, i, (const char *)text.p, len, &g);
            text.p += len;
        }
        check_decoded(t, i, &g);
    }
    CHECK(text.p == text.end && ids.p == ids.end);
    mem_free(texts);
    mem_free(lists);
    sptok_close(t);
}

TEST(sptok_equals_sentencepiece_mini) {
    against_sentencepiece(MINI_TOKENIZER, "tests/golden/text/lamm-mini.ids");
}
TEST(sptok_equals_sentencepiece_digits) {
    against_sentencepiece(DIGITS_TOKENIZER, "tests/golden/text/tiny-digits.ids");
}
/* Trained as LLaMA-2's was, with user-defined pieces that overlap. */
TEST(sptok_equals_sentencepiece_trained) {
    against_sentencepiece("tests/golden/text/trained.model", "tests/golden/text/trained.ids");
}

/* ---- the edges of encode and decode ---- */

TEST(sptok_says_how_much_room_it_needs) {
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    struct err e = {0};
    int32_t ids[16] = {0};
    size_t n;
    CHECK_EQ(sptok_encode(t, "[31,6,108]", 10, SPTOK_PREFIX, ids, 10, &n, &e), 0);
    CHECK_EQ(n, 10u);
    ids[9] = -7;
    CHECK_EQ(sptok_encode(t, "[31,6,108]", 10, SPTOK_PREFIX, ids, 9, &n, &e), E_TOO_BIG);
    CHECK_EQ(n, 10u);
    CHECK_EQ(ids[9], -7);
    CHECK_EQ(sptok_encode(t, "", 0, SPTOK_PREFIX, ids, 0, &n, &e), 0);
    CHECK_EQ(n, 0u);
    char text[8];
    size_t len;
    CHECK_EQ(sptok_encode(t, "abc", 3, SPTOK_PREFIX, ids, 16, &n, &e), 0);
    CHECK_EQ(sptok_decode(t, ids, n, text, 4, &len, &e), 0);
    CHECK_STR(text, "abc");
    CHECK_EQ(sptok_decode(t, ids, n, text, 3, &len, &e), E_TOO_BIG);
    CHECK_EQ(sptok_decode(t, ids, n, text, 0, &len, &e), E_TOO_BIG);
    for (int k = 0; k < 2; k++) {
        int32_t wrong = k ? sptok_size(t) : -1;
        CHECK_EQ(sptok_decode(t, &wrong, 1, text, sizeof text, &len, &e), E_INVALID);
        CHECK(sptok_piece(t, wrong) == NULL);
    }
    CHECK_STR(sptok_piece(t, sptok_bos(t)), "<s>");
    CHECK_STR(sptok_piece(t, sptok_eos(t)), "</s>");
    CHECK_STR(sptok_piece(t, sptok_unk(t)), "<unk>");
    sptok_close(t);
}

TEST(sptok_without_the_dummy_space) {
    struct sptok *t = text_open(DIGITS_TOKENIZER);
    struct err e = {0};
    int32_t with[8], without[8];
    size_t n, m;
    CHECK_EQ(sptok_encode(t, "7]", 2, SPTOK_PREFIX, with, 8, &n, &e), 0);
    CHECK_EQ(sptok_encode(t, "7]", 2, 0, without, 8, &m, &e), 0);
    CHECK_EQ(n, m + 1);
    CHECK_STR(sptok_piece(t, with[0]), "\xe2\x96\x81");
    CHECK_MEM(with + 1, without, m * sizeof *without);
    sptok_close(t);
}

/* A megabyte is encoded in the time of n log n, one byte more is refused before any work. */
TEST(sptok_long_texts) {
    struct sptok *t = text_open("tests/golden/text/trained.model");
    struct err e = {0};
    size_t len = 1 << 20, n;
    char *text = mem_must(len + 1);
    int32_t *ids = mem_must((len + 1) * sizeof *ids);
    memset(text, 'a', len + 1);
    CHECK_EQ(sptok_encode(t, text, len, SPTOK_PREFIX, ids, len + 1, &n, &e), 0);
    CHECK(n > 1000);
    CHECK_EQ(sptok_encode(t, text, len + 1, SPTOK_PREFIX, ids, len + 1, &n, &e), E_TOO_BIG);
    mem_free(text);
    mem_free(ids);
    sptok_close(t);
}

TEST(sptok_unknown_text_without_bytes) {
    struct buf b;
    proto_special(&b, 0);
    proto_piece(&b, "\xe2\x96\x81", -1, PIECE_NORMAL);
    proto_piece(&b, "a", -2, PIECE_NORMAL);
    proto_specs(&b, 2, 0, 0);
    struct sptok *t;
    struct err e = {0};
    CHECK_EQ(sptok_parse(b.p, b.len, &t, &e), 0);
    int32_t ids[8];
    size_t n, len;
    char text[32];
    CHECK_EQ(sptok_encode(t, "aza", 3, SPTOK_PREFIX, ids, 8, &n, &e), 0);
    CHECK_EQ(n, 4u);
    CHECK_EQ(ids[2], sptok_unk(t));
    CHECK_EQ(sptok_decode(t, ids, n, text, sizeof text, &len, &e), 0);
    CHECK_STR(text, "a \xe2\x81\x87 a");
    sptok_close(t);
    buf_clear(&b);
}

/* An unused piece helps to join but is taken apart in the answer. */
TEST(sptok_unused_pieces_come_apart) {
    struct buf b;
    proto_special(&b, 0);
    const char *one[] = {"\xe2\x96\x81", "a", "b", "c"};
    for (size_t i = 0; i < ARRAY_LEN(one); i++)
        proto_piece(&b, one[i], -10, PIECE_NORMAL);
    proto_piece(&b, "ab", -1, PIECE_UNUSED);
    proto_piece(&b, "abc", -2, PIECE_NORMAL);
    proto_specs(&b, 2, 0, 0);
    struct sptok *t;
    struct err e = {0};
    CHECK_EQ(sptok_parse(b.p, b.len, &t, &e), 0);
    int32_t ids[8];
    size_t n;
    CHECK_EQ(sptok_encode(t, "abcab", 5, 0, ids, 8, &n, &e), 0);
    CHECK_EQ(n, 3u);
    CHECK_STR(sptok_piece(t, ids[0]), "abc");
    CHECK_STR(sptok_piece(t, ids[1]), "a");
    CHECK_STR(sptok_piece(t, ids[2]), "b");
    sptok_close(t);
    buf_clear(&b);
}

/* ---- files that are refused ---- */

/* Parses and wants this code and these words; takes the bytes. */
static void refused(struct buf *b, int code, const char *words) {
    struct sptok *t = (struct sptok *)(void *)b; /* anything but NULL */
    struct err e = {0};
    CHECK(!b->bad);
    CHECK_EQ(sptok_parse(b->p, b->len, &t, &e), code);
    CHECK(t == NULL);
    CHECK_HAS(e.text, words);
    buf_clear(b);
}

TEST(sptok_refuses_other_kinds) {
    struct buf b;
    static const struct {
        int type, collapse;
        const char *words;
    } kinds[] = {{1, 0, "BPE"}, {3, 0, "BPE"}, {4, 0, "BPE"}, {99, 0, "BPE"}, {2, 1, "collapsing"}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        proto_special(&b, 1);
        proto_specs(&b, kinds[i].type, 1, kinds[i].collapse);
        refused(&b, E_UNSUPPORTED, kinds[i].words);
    }
    proto_special(&b, 1); /* a normaliser with a map */
    proto_bytes(&b, 2, "\x18\x02", 2);
    proto_bytes(&b, 3, "\x12\x01x\x20\x00", 5);
    refused(&b, E_UNSUPPORTED, "normalizer");
    proto_special(&b, 1); /* no specs at all: protobuf's defaults are not ours */
    refused(&b, E_UNSUPPORTED, "BPE");
}

TEST(sptok_refuses_bad_pieces) {
    static const struct {
        const char *text;
        float score;
        int kind;
        const char *words;
    } bad[] = {
        {"", 0, PIECE_NORMAL, "empty"},
        {"x", NAN, PIECE_NORMAL, "score"},
        {"x", 0, 0, "unknown type"},
        {"x", 0, 7, "unknown type"},
        {"<0x4>", 0, PIECE_BYTE, "byte piece"},
        {"<0x4g>", 0, PIECE_BYTE, "byte piece"},
        {"<0xfF>", 0, PIECE_BYTE, "byte piece"},
        {"<0x41>", 0, PIECE_BYTE, "byte piece"},
    };
    struct buf b;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        proto_special(&b, 1);
        proto_piece(&b, bad[i].text, bad[i].score, bad[i].kind);
        proto_specs(&b, 2, 1, 0);
        refused(&b, E_FORMAT, bad[i].words);
    }
    proto_special(&b, 1);
    proto_piece(&b, "twice", -1, PIECE_NORMAL);
    proto_piece(&b, "twice", -2, PIECE_USER);
    proto_specs(&b, 2, 1, 0);
    refused(&b, E_FORMAT, "stands twice");
    proto_special(&b, 0);
    proto_specs(&b, 2, 1, 0);
    refused(&b, E_FORMAT, "without byte 0x00");
    buf_init(&b, 4096);
    proto_piece(&b, "a", -1, PIECE_NORMAL);
    proto_specs(&b, 2, 0, 0);
    refused(&b, E_FORMAT, "unknown text");
    char long_text[514];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[513] = '\0';
    proto_special(&b, 1);
    proto_piece(&b, long_text, 0, PIECE_NORMAL);
    refused(&b, E_TOO_BIG, "at most 512");
    proto_special(&b, 1);
    proto_bytes(&b, 1, "\x0a\x03x\0y", 5);
    refused(&b, E_FORMAT, "zero byte");
}

TEST(sptok_refuses_torn_files) {
    struct buf b;
    static const struct {
        const char *bytes;
        size_t n;
    } torn[] = {{"", 0},     {"\x0a", 1},     {"\x0a\x05", 2}, {"\x0a\x80", 2}, {"\x0b", 1},
                {"\x00", 1}, {"\x09\x01", 2}, {"\x0d\x01", 2}, {"text", 4}};
    for (size_t i = 0; i < ARRAY_LEN(torn); i++) {
        buf_init(&b, 64);
        buf_add(&b, torn[i].bytes, torn[i].n);
        refused(&b, E_FORMAT, "tokenizer");
    }
    size_t len;
    uint8_t *whole = text_read(DIGITS_TOKENIZER, &len);
    for (size_t cut = 0; cut < len; cut += 1 + cut / 16) { /* every beginning */
        struct sptok *t;
        struct err e = {0};
        CHECK(sptok_parse(whole, cut, &t, &e) != 0);
        CHECK(t == NULL && e.code);
    }
    mem_free(whole);
}

TEST(sptok_refuses_what_is_no_file) {
    struct sptok *t;
    struct err e = {0};
    CHECK_EQ(sptok_open("tests/golden/none.model", &t, &e), E_NOT_FOUND);
    CHECK_EQ(sptok_open("tests/golden", &t, &e), E_IO);
    CHECK_EQ(sptok_open("Makefile", &t, &e), E_FORMAT);
    CHECK_HAS(e.text, "Makefile");
}
