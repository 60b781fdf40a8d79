/* zip.c - see zip.h. The format is PKWARE's APPNOTE; what torch writes of it is told in
 * docs/model.md section 5.4.
 *
 * Invariants of an open one:
 *   1. The bytes of each member lie before the central directory, and are as many as its entry
 *      says.
 *   2. Sorted by place, each begins with its local header at or behind the end of the one before.
 *   3. Names are unique, relative, and have no `..`.
 */
#include "engine/import/zip.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"

enum {
    LOCAL = 0x04034b50,
    ENTRY = 0x02014b50,
    END = 0x06054b50,
    END64 = 0x06064b50,
    LOCATOR64 = 0x07064b50,
    LOCAL_BYTES = 30,
    ENTRY_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    COMMENT_MAX = 65535,
    CRC_STEP = 16, /* bytes at a time */
    EXTRA64 = 1,   /* the id of zip64's extra field */
    ENCRYPTED = 1
};

struct zip {
    const uint8_t *bytes;
    size_t len;
    struct zip_member *members; /* (n), by place */
    struct zip_member **sorted; /* (n), by name */
    size_t n;
    struct arena *arena;
    uint32_t crc[CRC_STEP][256]; /* of a byte with as many zero bytes behind it */
};

/* A number of n bytes, the lowest first. */
static uint64_t zip_number(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

int zip_may_be(const void *bytes, size_t len) {
    return len >= 4 && (zip_number(bytes, 4) == LOCAL || zip_number(bytes, 4) == END);
}

/* ---- the end of the file: where the directory is ---- */

struct directory {
    uint64_t at, bytes, n;
    uint64_t end; /* where the records behind it begin */
};

static int read_end64(const struct zip *z, uint64_t locator, struct directory *d, struct err *e) {
    const uint8_t *l = z->bytes + locator;
    uint64_t at = zip_number(l + 8, 8);
    if (locator < END64_BYTES || at > locator - END64_BYTES ||
        zip_number(z->bytes + at, 4) != END64)
        return err_set(e, E_FORMAT, "zip: its zip64 record isn't where it is said to be");
    const uint8_t *r = z->bytes + at;
    if (zip_number(l + 4, 4) || zip_number(r + 16, 4) || zip_number(r + 20, 4))
        return err_set(e, E_UNSUPPORTED, "zip: in several parts");
    *d = (struct directory){.n = zip_number(r + 32, 8),
                            .bytes = zip_number(r + 40, 8),
                            .at = zip_number(r + 48, 8),
                            .end = at};
    if (zip_number(r + 24, 8) != d->n) return err_set(e, E_UNSUPPORTED, "zip: in several parts");
    return 0;
}

static int find_directory(const struct zip *z, struct directory *d, struct err *e) {
    if (z->len < END_BYTES) return err_set(e, E_FORMAT, "zip: %zu bytes: truncated?", z->len);
    size_t least = z->len > END_BYTES + COMMENT_MAX ? z->len - END_BYTES - COMMENT_MAX : 0;
    size_t at = z->len - END_BYTES;
    /* The comment behind the record ends the file. */
    while (zip_number(z->bytes + at, 4) != END ||
           zip_number(z->bytes + at + 20, 2) != z->len - END_BYTES - at)
        if (at-- == least) return err_set(e, E_FORMAT, "zip: it has no directory: truncated?");
    const uint8_t *r = z->bytes + at;
    if (at >= LOCATOR64_BYTES && zip_number(r - LOCATOR64_BYTES, 4) == LOCATOR64)
        return read_end64(z, at - LOCATOR64_BYTES, d, e);
    if (zip_number(r + 4, 4) || zip_number(r + 8, 2) != zip_number(r + 10, 2))
        return err_set(e, E_UNSUPPORTED, "zip: in several parts");
    *d = (struct directory){.n = zip_number(r + 10, 2),
                            .bytes = zip_number(r + 12, 4),
                            .at = zip_number(r + 16, 4),
                            .end = at};
    return 0;
}

/* ---- one entry of the directory ---- */

struct entry {
    uint64_t packed, bytes, local;
    const uint8_t *extra;
    size_t n_extra;
};

/* The fields that are all ones stand in the extra field instead, in this order. */
static int widen_entry(struct entry *t, struct err *e) {
    uint64_t *const fields[] = {&t->bytes, &t->packed, &t->local};
    for (size_t at = 0; at + 4 <= t->n_extra;) {
        size_t id = zip_number(t->extra + at, 2), n = zip_number(t->extra + at + 2, 2);
        at += 4;
        if (n > t->n_extra - at) break;
        for (size_t i = 0, from = at; id == EXTRA64 && i < ARRAY_LEN(fields); i++) {
            if (*fields[i] != UINT32_MAX) continue;
            if (at + n - from < 8) return err_set(e, E_FORMAT, "zip: a zip64 field is too short");
            *fields[i] = zip_number(t->extra + from, 8);
            from += 8;
        }
        at += n;
    }
    return 0;
}

static int check_name(const char *name, size_t n, struct err *e) {
    int is_plain = n > 0 && n <= ZIP_NAME_MAX && name[0] != '/';
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == '\\' || name[i] == 0x7f) is_plain = 0;
        if (name[i] == '.' && i + 1 < n && name[i + 1] == '.') is_plain = 0;
    }
    return is_plain ? 0 : err_set(e, E_FORMAT, "zip: a member's name leads elsewhere");
}

/* Where the data of the entry lies: behind its local header. */
static int place_member(const struct zip *z, const struct directory *d, const struct entry *t,
                        struct zip_member *m, struct err *e) {
    if (t->local > d->at || d->at - t->local < LOCAL_BYTES)
        return err_set(e, E_FORMAT, "zip: %s begins behind the end: truncated?", m->name);
    const uint8_t *l = z->bytes + t->local;
    if (zip_number(l, 4) != LOCAL)
        return err_set(e, E_FORMAT, "zip: %s isn't where it is said to be", m->name);
    uint64_t head = LOCAL_BYTES + zip_number(l + 26, 2) + zip_number(l + 28, 2);
    if (head > d->at - t->local || t->bytes > d->at - t->local - head)
        return err_set(e, E_FORMAT, "zip: %s ends behind the end: truncated?", m->name);
    m->data = l + head;
    m->bytes = (size_t)t->bytes;
    return 0;
}

/* The entry at *at, which moves behind it. */
static int zip_read_entry(struct zip *z, const struct directory *d, size_t *at,
                          struct zip_member *m, struct err *e) {
    size_t left = (size_t)(d->at + d->bytes) - *at;
    const uint8_t *p = z->bytes + *at;
    if (left < ENTRY_BYTES || zip_number(p, 4) != ENTRY)
        return err_set(e, E_FORMAT, "zip: its directory is broken");
    size_t n_name = zip_number(p + 28, 2), n_extra = zip_number(p + 30, 2);
    size_t all = ENTRY_BYTES + n_name + n_extra + zip_number(p + 32, 2);
    if (all > left) return err_set(e, E_FORMAT, "zip: its directory is broken");
    *at += all;
    const char *name = (const char *)p + ENTRY_BYTES;
    int rc = check_name(name, n_name, e);
    if (rc) return rc;
    m->name = arena_strdup(z->arena, name, n_name);
    if (!m->name) return err_set(e, E_NOMEM, "no memory for the names of a zip");
    struct entry t = {.packed = zip_number(p + 20, 4),
                      .bytes = zip_number(p + 24, 4),
                      .local = zip_number(p + 42, 4),
                      .extra = p + ENTRY_BYTES + n_name,
                      .n_extra = n_extra};
    m->crc = (uint32_t)zip_number(p + 16, 4);
    if ((rc = widen_entry(&t, e))) return rc;
    if (zip_number(p + 8, 2) & ENCRYPTED)
        return err_set(e, E_UNSUPPORTED, "zip: %s is encrypted", m->name);
    if (zip_number(p + 10, 2) || t.packed != t.bytes)
        return err_set(e, E_UNSUPPORTED, "zip: %s is compressed, which torch.save doesn't do",
                       m->name);
    return place_member(z, d, &t, m, e);
}

/* ---- all of them ---- */

static int zip_by_place(const void *pa, const void *pb) {
    const struct zip_member *a = pa, *b = pb;
    if (a->data != b->data) return a->data < b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

static int zip_by_name(const void *pa, const void *pb) {
    const struct zip_member *const *a = pa, *const *b = pb;
    return strcmp((*a)->name, (*b)->name);
}

/* Invariants 2 and 3. */
static int zip_check_all(struct zip *z, struct err *e) {
    qsort(z->members, z->n, sizeof *z->members, zip_by_place);
    for (size_t i = 0; i < z->n; i++)
        z->sorted[i] = &z->members[i];
    qsort(z->sorted, z->n, sizeof(struct zip_member *), zip_by_name);
    for (size_t i = 1; i < z->n; i++) {
        const struct zip_member *a = &z->members[i - 1], *b = &z->members[i];
        if (b->data - a->data < (ptrdiff_t)(a->bytes + LOCAL_BYTES))
            return err_set(e, E_FORMAT, "zip: %s overlaps %s", b->name, a->name);
        if (!strcmp(z->sorted[i - 1]->name, z->sorted[i]->name))
            return err_set(e, E_FORMAT, "zip: %s is there twice", z->sorted[i]->name);
    }
    return 0;
}

static int read_directory(struct zip *z, struct err *e) {
    struct directory d = {0};
    int rc = find_directory(z, &d, e);
    if (rc) return rc;
    if (d.at > d.end || d.bytes > d.end - d.at)
        return err_set(e, E_FORMAT, "zip: its directory lies outside: truncated?");
    if (d.bytes > ZIP_DIRECTORY_MAX || d.n > ZIP_MEMBERS_MAX)
        return err_set(e, E_TOO_BIG, "zip: more than %d members", ZIP_MEMBERS_MAX);
    if (d.n > d.bytes / ENTRY_BYTES) return err_set(e, E_FORMAT, "zip: its directory is broken");
    size_t n = (size_t)d.n;
    z->arena =
        arena_new((size_t)d.bytes + n * (sizeof *z->members + sizeof *z->sorted + 48) + 4096);
    if (z->arena) z->members = arena_take(z->arena, (n + 1) * sizeof *z->members);
    if (z->members) z->sorted = arena_take(z->arena, (n + 1) * sizeof(struct zip_member *));
    if (!z->sorted) return err_set(e, E_NOMEM, "no memory for the %zu members of a zip", n);
    for (size_t at = (size_t)d.at; z->n < n && !rc; z->n++)
        rc = zip_read_entry(z, &d, &at, &z->members[z->n], e);
    return rc ? rc : zip_check_all(z, e);
}

static void make_crc(uint32_t crc[CRC_STEP][256]) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ c >> 1 : c >> 1;
        crc[0][i] = c;
    }
    for (int k = 1; k < CRC_STEP; k++)
        for (int i = 0; i < 256; i++)
            crc[k][i] = crc[k - 1][i] >> 8 ^ crc[0][crc[k - 1][i] & 255];
}

int zip_open(const void *bytes, size_t len, struct zip **out, struct err *e) {
    *out = NULL;
    struct zip *z = mem_try(sizeof *z);
    if (!z) return err_set(e, E_NOMEM, "no memory for a zip");
    z->bytes = bytes;
    z->len = len;
    int rc = read_directory(z, e);
    if (rc) {
        zip_close(z);
        return rc;
    }
    make_crc(z->crc);
    *out = z;
    return 0;
}

void zip_close(struct zip *z) {
    if (!z) return;
    arena_free(z->arena);
    mem_free(z);
}

size_t zip_count(const struct zip *z) { return z->n; }
struct zip_member *zip_at(const struct zip *z, size_t i) {
    return &z->members[i];
}

struct zip_member *zip_find(const struct zip *z, const char *name) {
    struct zip_member key = {.name = name}, *at = &key, **found;
    found = bsearch(&at, z->sorted, z->n, sizeof(struct zip_member *), zip_by_name);
    return found ? *found : NULL;
}

/* What four bytes bring to the sum; t: behind the last of them. */
static uint32_t crc_word(const uint32_t t[4][256], uint32_t v) {
    return t[3][v & 255] ^ t[2][v >> 8 & 255] ^ t[1][v >> 16 & 255] ^ t[0][v >> 24];
}

/* Sixteen bytes at a time. Hosts are little-endian, as the files' numbers are. */
static uint32_t crc_of(const uint32_t t[CRC_STEP][256], const uint8_t *p, size_t n) {
    uint32_t c = UINT32_MAX, v[CRC_STEP / 4];
    for (; n >= CRC_STEP; p += CRC_STEP, n -= CRC_STEP) {
        memcpy(v, p, CRC_STEP);
        c = crc_word(t + 12, v[0] ^ c) ^ crc_word(t + 8, v[1]) ^ crc_word(t + 4, v[2]) ^
            crc_word(t, v[3]);
    }
    while (n--)
        c = t[0][(c ^ *p++) & 255] ^ c >> 8;
    return ~c;
}

int zip_check(struct zip *z, struct zip_member *m, struct err *e) {
    if (m->is_checked) return 0;
    if (crc_of((const uint32_t(*)[256])z->crc, m->data, m->bytes) != m->crc)
        return err_set(e, E_FORMAT,
                       "zip: %s is damaged: its CRC-32 is another one. (Or torch.save wrote none: "
                       "then save it again with set_crc32_options(True))",
                       m->name);
    m->is_checked = 1;
    return 0;
}
