/* sptok.c - SentencePiece BPE: encoding and decoding.
 *
 * Encoding. Text becomes a list of characters. As long as two neighbours spell a piece, the pair
 * with the highest score is joined, the leftmost first on a tie. A heap holds the candidates, so a
 * text of n characters takes O(n log n). A symbol that is no piece in the end becomes bytes.
 * Symbols are substrings of one buffer, so a candidate needs no copy.
 */
#include "engine/files/sptok_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { TEXT_MAX = 1 << 20 };

static const char space_mark[] = "\xe2\x96\x81";  /* U+2581 */
static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

int sptok_size(const struct sptok *t) { return t->n; }
int32_t sptok_bos(const struct sptok *t) { return t->bos; }
int32_t sptok_eos(const struct sptok *t) { return t->eos; }
int32_t sptok_unk(const struct sptok *t) { return t->unk; }
const char *sptok_piece(const struct sptok *t, int32_t id) {
    return id >= 0 && id < t->n ? t->pieces[id].text : NULL;
}

/* ---- encoding ---- */

struct symbol {
    uint32_t start, len; /* in the text; len 0: joined to the one before */
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

/* Spaces become marks, invalid bytes U+FFFD. `text` has room for 3 bytes each, and a mark. */
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

/* Length of the longest user-defined piece that the text has at `at`, or 0. */
static uint32_t match_user_piece(const struct encoder *x, uint32_t at) {
    const char *s = x->text + at;
    uint32_t left = x->len - at, most = x->t->user_bytes_max, best = 0, h = SPTOK_HASH;
    if (left < most) most = left;
    for (uint32_t n = 1; n <= most; n++) {
        h = sptok_hash_more(h, s[n - 1]);
        int32_t id = sptok_find_hashed(x->t, h, s, n);
        if (id >= 0 && x->t->pieces[id].kind == USER_DEFINED) best = n;
    }
    return best;
}

static void sptok_split(struct encoder *x) {
    for (uint32_t at = 0; at < x->len;) {
        struct symbol *s = &x->symbols[x->n];
        uint32_t n = match_user_piece(x, at);
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
    if (n > SPTOK_PIECE_BYTES_MAX) return;
    int32_t id = sptok_find(x->t, x->text + x->symbols[left].start, n);
    if (id >= 0) heap_push(x, (struct candidate){x->t->pieces[id].score, left, right, n});
}

static void sptok_join(struct encoder *x) {
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
static void sptok_put_id(struct ids *o, int32_t id) {
    if (o->n < o->cap) o->to[o->n] = id;
    o->n++;
}

/* Ids of one symbol. An unused piece is taken apart again the way it was joined: into the first
 * pair, by score, that spells it. */
static void emit(const struct encoder *x, uint32_t start, uint32_t len, struct ids *o) {
    const struct sptok *t = x->t;
    const char *s = x->text + start;
    int32_t id = sptok_find(t, s, len);
    if (id >= 0 && t->pieces[id].kind != UNUSED) {
        sptok_put_id(o, id);
        return;
    }
    if (id >= 0) {
        uint32_t best = 0;
        float best_score = 0;
        for (uint32_t cut = 1; cut < len; cut++) {
            int32_t a = sptok_find(t, s, cut), b = sptok_find(t, s + cut, len - cut);
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
        sptok_put_id(o, t->unk);
        return;
    }
    for (uint32_t i = 0; i < len; i++)
        sptok_put_id(o, t->byte_id[(uint8_t)s[i]]);
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
    sptok_split(&x);
    sptok_join(&x);
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
    size_t cap, len; /* len may exceed cap: it is what is needed */
};

static void put_bytes(struct writer *w, const char *s, size_t n) {
    if (w->len + n <= w->cap) memcpy(w->to + w->len, s, n);
    w->len += n;
}

static int has_mark(const struct sptok_piece *p) {
    return p->len >= 3 && !memcmp(p->text, space_mark, 3);
}

static void put_piece(struct writer *w, const struct sptok_piece *p, int strip) {
    const char *s = p->text, *end = s + p->len;
    if (strip) s += 3;
    while (s < end) {
        int is_mark = end - s >= 3 && !memcmp(s, space_mark, 3);
        put_bytes(w, is_mark ? " " : s, 1);
        s += is_mark ? 3 : 1;
    }
}

int sptok_byte(const struct sptok *t, int32_t id) {
    unsigned b = 0;
    if (id < 0 || id >= t->n || t->pieces[id].kind != BYTE) return -1;
    sscanf(t->pieces[id].text, "<0x%2X>", &b);
    return (int)b;
}

size_t sptok_longest(const struct sptok *t) {
    size_t most = 0;
    for (int i = 0; i < t->n; i++)
        if (t->pieces[i].len > most) most = t->pieces[i].len;
    return most;
}

/* Byte pieces in a row: characters as far as they are UTF-8, U+FFFD for each other byte. */
static size_t put_byte_pieces(const struct sptok *t, struct writer *w, const int32_t *ids,
                              size_t n) {
    size_t bytes = 0;
    while (bytes < n && t->pieces[ids[bytes]].kind == BYTE)
        bytes++;
    for (size_t i = 0; i < bytes;) {
        uint8_t c[4];
        size_t have = 0;
        for (; have < 4 && i + have < bytes; have++) {
            c[have] = (uint8_t)sptok_byte(t, ids[i + have]);
        }
        size_t len = utf8_length(c, have);
        put_bytes(w, len ? (const char *)c : replacement, len ? len : 3);
        i += len ? len : 1;
    }
    return bytes;
}

int sptok_decode(const struct sptok *t, const int32_t *ids, size_t n, char *text, size_t cap,
                 size_t *len, struct err *e) {
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->n)
            return err_set(e, E_INVALID, "token id %d is outside the vocabulary", (int)ids[i]);
    struct writer w = {text, cap ? cap - 1 : 0, 0};
    int may_strip = t->add_prefix; /* once, of what comes first */
    for (size_t i = 0; i < n;) {
        const struct sptok_piece *p = &t->pieces[ids[i]];
        if (p->kind == BYTE) {
            i += put_byte_pieces(t, &w, ids + i, n - i);
            continue;
        }
        if (p->kind == UNKNOWN) {
            put_bytes(&w, " \xe2\x81\x87 ", 5);
        } else if (p->kind != CONTROL) {
            int strip = may_strip && w.len == 0 && has_mark(p);
            put_piece(&w, p, strip);
            if (strip) may_strip = 0;
        }
        i++;
    }
    if (w.len + 1 > cap) return err_set(e, E_TOO_BIG, "text needs %zu bytes", w.len + 1);
    text[w.len] = '\0';
    *len = w.len;
    return 0;
}
