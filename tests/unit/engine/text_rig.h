/* text_rig.h - small tokenizer models written field by field, and the golden files of text. */
#ifndef TESTS_UNIT_ENGINE_TEXT_RIG_H
#define TESTS_UNIT_ENGINE_TEXT_RIG_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/sptok.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

#define MINI_TOKENIZER   "models/lamm-mini/tokenizer.model"
#define DIGITS_TOKENIZER "tests/golden/tiny-digits/tokenizer.model"

enum { PIECE_NORMAL = 1, PIECE_UNKNOWN, PIECE_CONTROL, PIECE_USER, PIECE_UNUSED, PIECE_BYTE };

static inline uint32_t text_fnv(const void *bytes, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)bytes)[i]) * 16777619u;
    return h;
}

/* A whole file; *len bytes, mem_free. */
static inline uint8_t *text_read(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) test_failed(__FILE__, __LINE__, "%s can't be opened", path);
    struct buf b;
    buf_init(&b, 16 << 20);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(&b, part, n);
    fclose(f);
    CHECK(!b.bad);
    return buf_take(&b, len);
}

static inline struct sptok *text_open(const char *path) {
    struct sptok *t;
    struct err e = {0};
    if (sptok_open(path, &t, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return t;
}

/* ---- protobuf, written ---- */

static inline void proto_varint(struct buf *b, uint64_t v) {
    for (; v > 127; v >>= 7)
        buf_char(b, (char)(v | 128));
    buf_char(b, (char)v);
}
static inline void proto_int(struct buf *b, int field, uint64_t v) {
    proto_varint(b, (uint64_t)field << 3);
    proto_varint(b, v);
}
static inline void proto_bytes(struct buf *b, int field, const void *bytes, size_t n) {
    proto_varint(b, (uint64_t)field << 3 | 2);
    proto_varint(b, n);
    buf_add(b, bytes, n);
}
static inline void proto_float(struct buf *b, int field, float v) {
    proto_varint(b, (uint64_t)field << 3 | 5);
    buf_add(b, &v, sizeof v);
}

static inline void proto_piece(struct buf *b, const char *text, float score, int kind) {
    struct buf p;
    buf_init(&p, 1 << 16);
    proto_bytes(&p, 1, text, strlen(text));
    proto_float(&p, 2, score);
    proto_int(&p, 3, (uint64_t)kind);
    proto_bytes(b, 1, p.p, p.len);
    buf_clear(&p);
}
/* The two specs behind the pieces; `type` 2 is BPE, `collapse` is what we refuse. */
static inline void proto_specs(struct buf *b, int type, int byte_fallback, int collapse) {
    struct buf s;
    buf_init(&s, 1 << 16);
    proto_int(&s, 3, (uint64_t)type);
    proto_int(&s, 35, (uint64_t)byte_fallback);
    proto_bytes(b, 2, s.p, s.len);
    buf_clear(&s);
    proto_bytes(&s, 1, "identity", 8);
    proto_int(&s, 3, 1);
    proto_int(&s, 4, (uint64_t)collapse);
    proto_int(&s, 5, 1);
    proto_bytes(b, 3, s.p, s.len);
    buf_clear(&s);
}
/* <unk>, <s>, </s> and, if asked, the 256 bytes. */
static inline void proto_special(struct buf *b, int with_bytes) {
    buf_init(b, 1 << 20);
    proto_piece(b, "<unk>", 0, PIECE_UNKNOWN);
    proto_piece(b, "<s>", 0, PIECE_CONTROL);
    proto_piece(b, "</s>", 0, PIECE_CONTROL);
    for (int i = 0; with_bytes && i < 256; i++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", i);
        proto_piece(b, text, 0, PIECE_BYTE);
    }
}

#endif
