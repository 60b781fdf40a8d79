/* sptok.c - SentencePiece BPE.
 *
 * Opening. The file is a protobuf message (sentencepiece_model.proto): pieces (field 1: text 1, score 2,
 * type 3), trainer_spec (2: model_type 3, byte_fallback 35), normalizer_spec (3: name 1,
 * precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4, escape_whitespaces 5).
 * Nothing in it is trusted: every length is checked against what is left, every count has a limit.
 *
 * Encoding. Text becomes a list of characters; as long as two neighbours spell a piece, the pair
 * with the highest score is joined, the leftmost first on a tie. A heap holds the candidates, so
 * a text of n characters takes O(n log n). What is left and is no piece becomes bytes.
 *
 * Invariants: (1) immutable after opening; (2) symbols are runs of one buffer, so a candidate is a
 * sub-string and needs no copy; (3) the table of texts holds what may be joined or matched, i.e.
 * normal, user-defined and unused pieces, not control or byte pieces, so "<s>" in a text is text.
 */
#include "engine/files/sptok.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/mem.h"

enum { FILE_MAX = 16 << 20, PIECES_MAX = 1 << 20, PIECE_BYTES_MAX = 512, TEXT_MAX = 1 << 20 };
enum kind { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static const char space_mark[] = "\xe2\x96\x81";  /* U+2581 */
static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

struct piece {
    const char *text; /* NUL-terminated, in blob */
    uint32_t len;
    float score;
    uint8_t kind;
};
struct sptok {
    struct piece *pieces;
    int n;
    char *blob;
    int32_t *table; /* hash -> id, -1 free; power of two */
    uint32_t mask;
    int32_t byte_id[256];
    int32_t bos, eos, unk;
    int has_user_pieces, add_prefix, byte_fallback;
};

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
static int read_field(struct reader *r, struct field *f) {
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

static uint32_t hash_text(const char *s, size_t n) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

static int32_t find_text(const struct sptok *t, const char *s, size_t n) {
    for (uint32_t at = hash_text(s, n) & t->mask;; at = (at + 1) & t->mask) {
        int32_t id = t->table[at];
        if (id < 0) return -1;
        if (t->pieces[id].len == n && !memcmp(t->pieces[id].text, s, n)) return id;
    }
}

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
        const struct piece *p = &t->pieces[id];
        if (!is_joinable(p->kind)) continue;
        if (find_text(t, p->text, p->len) >= 0)
            return err_set(e, E_FORMAT, "tokenizer: piece %d stands twice", (int)id);
        uint32_t at = hash_text(p->text, p->len) & t->mask;
        while (t->table[at] >= 0)
            at = (at + 1) & t->mask;
        t->table[at] = id;
    }
    return 0;
}

/* ---- opening ---- */

static int read_piece(struct sptok *t, struct reader r, char **blob, struct err *e) {
    struct piece *p = &t->pieces[t->n];
    *p = (struct piece){.text = "", .kind = NORMAL};
    struct field f;
    int got;
    while ((got = read_field(&r, &f)) == 1) {
        if (f.number == 1 && f.wire == 2) {
            size_t n = (size_t)(f.bytes.end - f.bytes.p);
            if (n > PIECE_BYTES_MAX)
                return err_set(e, E_TOO_BIG, "tokenizer: piece %d has %zu bytes, at most %d", t->n,
                               n, PIECE_BYTES_MAX);
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
    while ((got = read_field(&r, &f)) == 1) {
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
    while ((got = read_field(&r, &f)) == 1) {
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
        const struct piece *p = &t->pieces[id];
        if (p->kind == UNKNOWN) t->unk = id;
        if (p->kind == USER_DEFINED) t->has_user_pieces = 1;
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
    while ((got = read_field(&r, &f)) == 1) {
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
    while (!rc && read_field(&r, &f) == 1) {
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

int sptok_size(const struct sptok *t) { return t->n; }
int32_t sptok_bos(const struct sptok *t) { return t->bos; }
int32_t sptok_eos(const struct sptok *t) { return t->eos; }
int32_t sptok_unk(const struct sptok *t) { return t->unk; }
const char *sptok_piece(const struct sptok *t, int32_t id) {
    return id >= 0 && id < t->n ? t->pieces[id].text : NULL;
}

/* ---- encoding ---- */

struct symbol {
    uint32_t start, len; /* run of the text; len 0: joined to the one before */
    int32_t prev, next;
    int frozen; /* a user-defined piece: never joined */
};
struct candidate {
    float score;
    int32_t left, right;
    uint32_t len; /* of both together, to notice that one has changed since */
};
struct encoder {
    const struct sptok *t;
    char *text; /* with space marks */
    uint32_t len;
    struct symbol *symbols;
    int32_t n;
    struct candidate *heap;
    int32_t n_heap; /* at most 2 * n ever */
};

/* Length of the UTF-8 character at s, 0 when it is none (as SentencePiece judges it). */
static size_t utf8_length(const uint8_t *s, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* Spaces become marks, invalid bytes U+FFFD; `text` has room for 3 bytes for each and a mark. */
static void normalize(struct encoder *x, const char *in, size_t len, int prefix) {
    char *to = x->text;
    if (prefix && len) {
        memcpy(to, space_mark, 3);
        to += 3;
    }
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length((const uint8_t *)in + i, len - i);
        if (n == 0 || in[i] == ' ') {
            memcpy(to, n == 0 ? replacement : space_mark, 3);
            to += 3;
            i++;
        } else {
            memcpy(to, in + i, n);
            to += n;
            i += n;
        }
    }
    x->len = (uint32_t)(to - x->text);
}

/* The longest user-defined piece that the text has at `at`, or 0. */
static uint32_t match_user_piece(const struct encoder *x, uint32_t at) {
    uint32_t most = x->len - at;
    for (uint32_t n = most < PIECE_BYTES_MAX ? most : PIECE_BYTES_MAX; n > 0; n--) {
        int32_t id = find_text(x->t, x->text + at, n);
        if (id >= 0 && x->t->pieces[id].kind == USER_DEFINED) return n;
    }
    return 0;
}

static void split(struct encoder *x) {
    for (uint32_t at = 0; at < x->len;) {
        struct symbol *s = &x->symbols[x->n];
        uint32_t n = x->t->has_user_pieces ? match_user_piece(x, at) : 0;
        s->frozen = n > 0;
        if (!n) n = (uint32_t)utf8_length((const uint8_t *)x->text + at, x->len - at);
        s->start = at;
        s->len = n;
        s->prev = x->n - 1;
        s->next = at + n < x->len ? x->n + 1 : -1;
        x->n++;
        at += n;
    }
}

static int is_before(const struct candidate *a, const struct candidate *b) {
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void heap_push(struct encoder *x, struct candidate c) {
    int32_t i = x->n_heap++;
    for (int32_t up; i > 0 && is_before(&c, &x->heap[up = (i - 1) / 2]); i = up)
        x->heap[i] = x->heap[up];
    x->heap[i] = c;
}

static struct candidate heap_pop(struct encoder *x) {
    struct candidate top = x->heap[0], c = x->heap[--x->n_heap];
    int32_t i = 0;
    for (int32_t down; (down = 2 * i + 1) < x->n_heap; i = down) {
        if (down + 1 < x->n_heap && is_before(&x->heap[down + 1], &x->heap[down])) down++;
        if (!is_before(&x->heap[down], &c)) break;
        x->heap[i] = x->heap[down];
    }
    x->heap[i] = c;
    return top;
}

static void consider(struct encoder *x, int32_t left, int32_t right) {
    if (left < 0 || right < 0 || x->symbols[left].frozen || x->symbols[right].frozen) return;
    uint32_t n = x->symbols[left].len + x->symbols[right].len;
    if (n > PIECE_BYTES_MAX) return;
    int32_t id = find_text(x->t, x->text + x->symbols[left].start, n);
    if (id >= 0) heap_push(x, (struct candidate){x->t->pieces[id].score, left, right, n});
}

static void join(struct encoder *x) {
    for (int32_t i = 1; i < x->n; i++)
        consider(x, i - 1, i);
    while (x->n_heap) {
        struct candidate c = heap_pop(x);
        struct symbol *l = &x->symbols[c.left], *r = &x->symbols[c.right];
        if (!l->len || !r->len || l->len + r->len != c.len) continue;
        l->len = c.len;
        r->len = 0;
        l->next = r->next;
        if (r->next >= 0) x->symbols[r->next].prev = c.left;
        consider(x, l->prev, c.left);
        consider(x, c.left, l->next);
    }
}

struct ids {
    int32_t *to;
    size_t cap, n;
};
static void put_id(struct ids *o, int32_t id) {
    if (o->n < o->cap) o->to[o->n] = id;
    o->n++;
}

/* Ids of one run. An unused piece is taken apart again the way it was joined: by the pair of pieces
 * of which the better one had come first, which the score order makes the first that spells it. */
static void emit(const struct encoder *x, uint32_t start, uint32_t len, struct ids *o) {
    const struct sptok *t = x->t;
    const char *s = x->text + start;
    int32_t id = find_text(t, s, len);
    if (id >= 0 && t->pieces[id].kind != UNUSED) {
        put_id(o, id);
        return;
    }
    if (id >= 0) {
        uint32_t best = 0;
        float best_score = 0;
        for (uint32_t cut = 1; cut < len; cut++) {
            int32_t a = find_text(t, s, cut), b = find_text(t, s + cut, len - cut);
            if (a < 0 || b < 0) continue;
            float worse = fminf(t->pieces[a].score, t->pieces[b].score);
            if (best && worse <= best_score) continue;
            best = cut;
            best_score = worse;
        }
        if (best) {
            emit(x, start, best, o);
            emit(x, start + best, len - best, o);
            return;
        }
    }
    if (!t->byte_fallback) {
        put_id(o, t->unk);
        return;
    }
    for (uint32_t i = 0; i < len; i++)
        put_id(o, t->byte_id[(uint8_t)s[i]]);
}

int sptok_encode(const struct sptok *t, const char *text, size_t len, int flags, int32_t *ids,
                 size_t cap, size_t *n, struct err *e) {
    *n = 0;
    if (len > TEXT_MAX)
        return err_set(e, E_TOO_BIG, "text of %zu bytes, at most %d", len, TEXT_MAX);
    if (len == 0) return 0;
    struct encoder x = {.t = t};
    size_t chars = len + 1;
    x.text = mem_try(3 * chars);
    x.symbols = mem_try(chars * sizeof *x.symbols);
    x.heap = mem_try(3 * chars * sizeof *x.heap); /* n - 1 at first, two for each of n - 1 joins */
    struct ids o = {ids, cap, 0};
    int rc = 0;
    if (!x.text || !x.symbols || !x.heap) {
        rc = err_set(e, E_NOMEM, "text of %zu bytes: out of memory", len);
        goto out;
    }
    normalize(&x, text, len, (flags & SPTOK_PREFIX) && t->add_prefix);
    split(&x);
    join(&x);
    for (int32_t i = 0; i >= 0; i = x.symbols[i].next)
        emit(&x, x.symbols[i].start, x.symbols[i].len, &o);
    *n = o.n;
    if (o.n > cap) rc = err_set(e, E_TOO_BIG, "text needs %zu tokens, room for %zu", o.n, cap);
out:
    mem_free(x.text);
    mem_free(x.symbols);
    mem_free(x.heap);
    return rc;
}

/* ---- decoding ---- */

struct writer {
    char *to;
    size_t cap, len; /* len may pass cap: it is what is needed */
};

static void put_bytes(struct writer *w, const char *s, size_t n) {
    if (w->len + n <= w->cap) memcpy(w->to + w->len, s, n);
    w->len += n;
}

static void put_piece(struct writer *w, const struct piece *p, int strip) {
    const char *s = p->text, *end = s + p->len;
    if (strip && p->len >= 3 && !memcmp(s, space_mark, 3)) s += 3;
    while (s < end) {
        int is_mark = end - s >= 3 && !memcmp(s, space_mark, 3);
        put_bytes(w, is_mark ? " " : s, 1);
        s += is_mark ? 3 : 1;
    }
}

/* A run of byte pieces: characters as far as they are UTF-8, U+FFFD for each other byte. */
static size_t put_byte_run(const struct sptok *t, struct writer *w, const int32_t *ids, size_t n) {
    size_t run = 0;
    while (run < n && t->pieces[ids[run]].kind == BYTE)
        run++;
    for (size_t i = 0; i < run;) {
        uint8_t c[4];
        size_t have = 0;
        for (; have < 4 && i + have < run; have++) {
            unsigned b = 0;
            sscanf(t->pieces[ids[i + have]].text, "<0x%2X>", &b);
            c[have] = (uint8_t)b;
        }
        size_t len = utf8_length(c, have);
        put_bytes(w, len ? (const char *)c : replacement, len ? len : 3);
        i += len ? len : 1;
    }
    return run;
}

int sptok_decode(const struct sptok *t, const int32_t *ids, size_t n, char *text, size_t cap,
                 size_t *len, struct err *e) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->n)
            return err_set(e, E_INVALID, "token id %d is outside the vocabulary", (int)ids[i]);
    struct writer w = {text, cap ? cap - 1 : 0, 0};
    for (size_t i = 0; i < n;) {
        const struct piece *p = &t->pieces[ids[i]];
        if (p->kind == BYTE) {
            i += put_byte_run(t, &w, ids + i, n - i);
            continue;
        }
        if (p->kind == UNKNOWN)
            put_bytes(&w, " \xe2\x81\x87 ", 5);
        else if (p->kind != CONTROL)
            put_piece(&w, p, t->add_prefix && w.len == 0);
        i++;
    }
    if (w.len + 1 > cap) return err_set(e, E_TOO_BIG, "text needs %zu bytes", w.len + 1);
    text[w.len] = '\0';
    *len = w.len;
    return 0;
}
