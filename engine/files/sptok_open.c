/* sptok_open.c - a tokenizer.model file becomes pieces and a table of their texts.
 *
 * The file is a protobuf message (sentencepiece_model.proto): pieces (field 1: text 1, score 2,
 * type 3), trainer_spec (2: model_type 3, byte_fallback 35), normalizer_spec (3: name 1,
 * precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4, escape_whitespaces 5).
 * Nothing in it is trusted. Every length is checked against what is left, and every count has a
 * limit. The pieces are counted first, so that all texts lie in one block of known size.
 */
#include "engine/files/sptok_internal.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { FILE_MAX = 16 << 20, PIECES_MAX = 1 << 20 };

/* ---- protobuf ---- */

struct reader {
    const uint8_t *p, *end;
};

static int read_varint(struct reader *r, uint64_t *out) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end) return 0;
        uint8_t b = *r->p++;
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) {
            *out = v;
            return 1;
        }
    }
    return 0;
}

struct field {
    uint32_t number, wire;
    uint64_t value;      /* wire 0 and 5 */
    struct reader bytes; /* wire 2 */
};

/* 1: a field; 0: the end; -1: malformed. */
static int sptok_open_read_field(struct reader *r, struct field *f) {
    if (r->p == r->end) return 0;
    uint64_t key, n;
    if (!read_varint(r, &key) || key >> 3 == 0 || key >> 3 > 0x1fffffff) return -1;
    f->number = (uint32_t)(key >> 3);
    f->wire = (uint32_t)(key & 7);
    size_t left;
    switch (f->wire) {
    case 0: return read_varint(r, &f->value) ? 1 : -1;
    case 2:
        if (!read_varint(r, &n) || n > (uint64_t)(r->end - r->p)) return -1;
        f->bytes = (struct reader){r->p, r->p + n};
        r->p += n;
        return 1;
    case 1:
    case 5:
        left = f->wire == 1 ? 8 : 4;
        if ((size_t)(r->end - r->p) < left) return -1;
        f->value = 0;
        memcpy(&f->value, r->p, left);
        r->p += left;
        return 1;
    default: return -1;
    }
}

/* ---- the table of texts ---- */

static int is_joinable(uint8_t kind) {
    return kind == NORMAL || kind == USER_DEFINED || kind == UNUSED;
}

static int build_table(struct sptok *t, struct err *e) {
    uint32_t size = 16;
    while (size < 2u * (uint32_t)t->n)
        size *= 2;
    t->table = mem_try(size * sizeof *t->table);
    if (!t->table) return err_set(e, E_NOMEM, "tokenizer: out of memory");
    memset(t->table, 0xff, size * sizeof *t->table);
    t->mask = size - 1;
    for (int32_t id = 0; id < t->n; id++) {
        const struct sptok_piece *p = &t->pieces[id];
        if (!is_joinable(p->kind)) continue;
        if (sptok_find(t, p->text, p->len) >= 0)
            return err_set(e, E_FORMAT, "tokenizer: piece %d stands twice", (int)id);
        uint32_t at = sptok_hash(p->text, p->len) & t->mask;
        while (t->table[at] >= 0)
            at = (at + 1) & t->mask;
        t->table[at] = id;
    }
    return 0;
}

/* ---- opening ---- */

static int read_piece(struct sptok *t, struct reader r, char **blob, struct err *e) {
    struct sptok_piece *p = &t->pieces[t->n];
    *p = (struct sptok_piece){.text = "", .kind = NORMAL};
    struct field f;
    int got;
    while ((got = sptok_open_read_field(&r, &f)) == 1) {
        if (f.number == 1 && f.wire == 2) {
            size_t n = (size_t)(f.bytes.end - f.bytes.p);
            if (n > SPTOK_PIECE_BYTES_MAX)
                return err_set(e, E_TOO_BIG, "tokenizer: piece %d has %zu bytes, at most %d", t->n,
                               n, SPTOK_PIECE_BYTES_MAX);
            memcpy(*blob, f.bytes.p, n);
            (*blob)[n] = '\0';
            p->text = *blob;
            p->len = (uint32_t)n;
            *blob += n + 1;
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0) {
            if (f.value < NORMAL || f.value > BYTE)
                return err_set(e, E_FORMAT, "tokenizer: piece %d is of unknown type", t->n);
            p->kind = (uint8_t)f.value;
        }
    }
    if (got < 0) return err_set(e, E_FORMAT, "tokenizer: piece %d is malformed", t->n);
    if (p->len == 0 || memchr(p->text, '\0', p->len))
        return err_set(e, E_FORMAT, "tokenizer: piece %d is empty or holds a zero byte", t->n);
    if (isnan(p->score)) return err_set(e, E_FORMAT, "tokenizer: piece %d has no score", t->n);
    return 0;
}

static int read_trainer(struct sptok *t, struct reader r, int *model_type) {
    struct field f;
    int got;
    while ((got = sptok_open_read_field(&r, &f)) == 1) {
        if (f.wire != 0) continue;
        if (f.number == 3) *model_type = f.value <= 4 ? (int)f.value : 0;
        if (f.number == 35) t->byte_fallback = f.value != 0;
    }
    return got;
}

/* 0, -1 malformed, or the number of a setting that we do not support. */
static int read_normalizer(struct sptok *t, struct reader r) {
    struct field f;
    int got, collapses = 1, escapes = 1, has_map = 0;
    while ((got = sptok_open_read_field(&r, &f)) == 1) {
        if (f.number == 2 && f.wire == 2) has_map = f.bytes.p != f.bytes.end;
        if (f.wire != 0) continue;
        if (f.number == 3) t->add_prefix = f.value != 0;
        if (f.number == 4) collapses = f.value != 0;
        if (f.number == 5) escapes = f.value != 0;
    }
    if (got < 0) return -1;
    return has_map ? 2 : collapses ? 4 : !escapes ? 5 : 0;
}

static int special_pieces(struct sptok *t, struct err *e) {
    t->bos = t->eos = t->unk = -1;
    memset(t->byte_id, 0xff, sizeof t->byte_id);
    for (int32_t id = 0; id < t->n; id++) {
        const struct sptok_piece *p = &t->pieces[id];
        if (p->kind == UNKNOWN) t->unk = id;
        if (p->kind == USER_DEFINED && p->len > t->user_bytes_max) t->user_bytes_max = p->len;
        if (p->kind == CONTROL && !strcmp(p->text, "<s>")) t->bos = id;
        if (p->kind == CONTROL && !strcmp(p->text, "</s>")) t->eos = id;
        if (p->kind != BYTE) continue;
        unsigned b;
        char canonical[8];
        if (p->len != 6 || sscanf(p->text, "<0x%2X>", &b) != 1) b = 256;
        if (b < 256) snprintf(canonical, sizeof canonical, "<0x%02X>", b);
        if (b > 255 || strcmp(canonical, p->text) || t->byte_id[b] >= 0)
            return err_set(e, E_FORMAT, "tokenizer: byte piece %d is malformed", (int)id);
        t->byte_id[b] = id;
    }
    if (t->unk < 0) return err_set(e, E_FORMAT, "tokenizer: no piece for unknown text");
    for (int b = 0; t->byte_fallback && b < 256; b++)
        if (t->byte_id[b] < 0)
            return err_set(e, E_FORMAT, "tokenizer: byte fallback without byte 0x%02X", b);
    return 0;
}

/* Pieces, and the bytes their texts need with a NUL each. */
static int count_pieces(struct reader r, size_t *n, size_t *bytes, struct err *e) {
    struct field f;
    int got;
    *n = *bytes = 0;
    while ((got = sptok_open_read_field(&r, &f)) == 1) {
        if (f.number != 1 || f.wire != 2) continue;
        if (++*n > PIECES_MAX)
            return err_set(e, E_TOO_BIG, "tokenizer: over %d pieces", PIECES_MAX);
        *bytes += (size_t)(f.bytes.end - f.bytes.p) + 1;
    }
    if (got < 0) return err_set(e, E_FORMAT, "tokenizer: not a SentencePiece model");
    if (*n == 0) return err_set(e, E_FORMAT, "tokenizer: no pieces");
    return 0;
}

static int read_model(struct sptok *t, struct reader r, struct err *e) {
    char *blob = t->blob;
    int model_type = 1, unsupported = 4, rc = 0; /* absent fields: unigram, collapsing */
    struct field f;
    while (!rc && sptok_open_read_field(&r, &f) == 1) {
        if (f.wire != 2) continue;
        if (f.number == 1) {
            rc = read_piece(t, f.bytes, &blob, e);
            t->n++;
        } else if (f.number == 2) {
            if (read_trainer(t, f.bytes, &model_type) < 0)
                rc = err_set(e, E_FORMAT, "tokenizer: trainer_spec is malformed");
        } else if (f.number == 3) {
            unsupported = read_normalizer(t, f.bytes);
            if (unsupported < 0)
                rc = err_set(e, E_FORMAT, "tokenizer: normalizer_spec is malformed");
        }
    }
    if (rc) return rc;
    if (model_type != 2)
        return err_set(e, E_UNSUPPORTED, "tokenizer: only BPE models are supported");
    if (unsupported)
        return err_set(e, E_UNSUPPORTED, "tokenizer: %s is not supported",
                       unsupported == 2   ? "a normalizer other than identity"
                       : unsupported == 4 ? "collapsing of spaces"
                                          : "unescaped space");
    return 0;
}

int sptok_parse(const void *bytes, size_t len, struct sptok **out, struct err *e) {
    *out = NULL;
    if (len > FILE_MAX) return err_set(e, E_TOO_BIG, "tokenizer: over %d bytes", FILE_MAX);
    struct reader r = {bytes, (const uint8_t *)bytes + len};
    size_t n, text_bytes;
    int rc = count_pieces(r, &n, &text_bytes, e);
    if (rc) return rc;
    struct sptok *t = mem_try(sizeof *t);
    if (t) t->pieces = mem_try(n * sizeof *t->pieces);
    if (t) t->blob = mem_try(text_bytes + n);
    if (!t || !t->pieces || !t->blob) {
        rc = err_set(e, E_NOMEM, "tokenizer: out of memory");
        goto out;
    }
    t->add_prefix = 1;
    rc = read_model(t, r, e);
    if (!rc) rc = special_pieces(t, e);
    if (!rc) rc = build_table(t, e);
out:
    if (rc)
        sptok_close(t);
    else
        *out = t;
    return rc;
}

int sptok_open(const char *path, struct sptok **out, struct err *e) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    struct stat st;
    if (fd < 0) return err_set(e, E_NOT_FOUND, "%s: can't be opened", path);
    uint8_t *bytes = NULL;
    size_t len = 0;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        rc = err_set(e, E_IO, "%s: not a regular file", path);
    } else if (st.st_size > FILE_MAX) {
        rc = err_set(e, E_TOO_BIG, "%s: over %d bytes", path, FILE_MAX);
    } else if (!(bytes = mem_try((size_t)st.st_size + 1))) {
        rc = err_set(e, E_NOMEM, "%s: out of memory", path);
    }
    while (!rc && len < (size_t)st.st_size) {
        ssize_t got = read(fd, bytes + len, (size_t)st.st_size - len);
        if (got <= 0)
            rc = err_set(e, E_IO, "%s: can't be read", path);
        else
            len += (size_t)got;
    }
    if (!rc && (rc = sptok_parse(bytes, len, out, e))) err_in(e, "%s", path);
    mem_free(bytes);
    close(fd);
    return rc;
}

void sptok_close(struct sptok *t) {
    if (!t) return;
    mem_free(t->pieces);
    mem_free(t->blob);
    mem_free(t->table);
    mem_free(t);
}
