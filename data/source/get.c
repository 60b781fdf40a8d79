/* get.c - lines, pictures and masks of a source that is open: see internal.h. Thread: any. */
#include <stdio.h>
#include <string.h>

#include <openssl/sha.h>

#include "data/files.h"
#include "data/refs.h"
#include "data/source/internal.h"
#include "data/source/url.h"
#include "kernels/base/mem.h"

void source_get_where(const struct source *s, uint32_t i, char *to, size_t size) {
    const struct source_line *at = &s->lines[i];
    snprintf(to, size, "%s: line %llu", s->files[at->file].name, (unsigned long long)at->number);
}

int source_get_line(const struct source *s, uint32_t i, struct line *out, struct err *e) {
    const struct source_line *at = &s->lines[i];
    const struct source_file *f = &s->files[at->file];
    struct line_fault why;
    char *text = NULL, where[600];
    int rc = 0;
    memset(out, 0, sizeof(*out));
    source_get_where(s, i, where, sizeof(where));
    if (!f->is_made) {
        text = mem_try(at->len + 1);
        if (!text) return err_set(e, E_NOMEM, "%s: no memory", where);
        rc = store_read(s->store, &f->file, at->at, text, at->len, e);
    }
    const char *from = f->is_made ? (const char *)f->made.p + at->at : text;
    if (rc == 0) rc = line_read(from, at->len, NULL, out, &why);
    if (rc == E_FORMAT)
        err_set(e, rc, "%s: %s: %s (it was fine when the run began)", where, why.field, why.reason);
    if (rc) err_set(e, rc, "%s: no memory", where);
    mem_free(text);
    return rc;
}

int source_is_shown(const struct source *s, const struct line *l) {
    if (l->orient == LINE_ORIENT_OF_SOURCE) return !s->o.is_stored;
    return l->orient == LINE_ORIENT_SHOWN;
}

int source_picture_key(const struct source *s, uint32_t file, const char *name, char to[640]) {
    int n = snprintf(to, 640, "%d/%s%s", s->files[file].space, s->files[file].prefix, name);
    return n > 0 && n < 640 ? n : 0;
}

uint32_t source_find_picture(const struct source *s, uint32_t file, const char *name) {
    char key[640];
    int n = source_picture_key(s, file, name, key);
    return n ? table_find(s->names, key, (size_t)n) : TABLE_NONE;
}

int source_get_file(const struct source *s, uint32_t file, const char *name, struct buf *out,
                    struct err *e) {
    char full[640];
    struct store_file f;
    int n = snprintf(full, sizeof(full), "%s%s", s->files[file].prefix, name);
    if (n < 0 || (size_t)n >= sizeof(full)) return err_set(e, E_INVALID, "the name is too long");
    int rc = store_find(s->store, s->files[file].space, full, &f, e);
    return rc ? rc : store_read_head(s->store, &f, out->max, out, e);
}

/* ---- pictures ---- */

/* As stored -> as shown. */
static int source_turn(struct picture *p, int orientation, struct err *e) {
    if (orientation == 1) return 0;
    uint8_t *rgb = mem_try((size_t)p->w * (size_t)p->h * 3);
    if (!rgb) return err_set(e, E_NOMEM, "no memory for the picture's pixels");
    head_turn(p->rgb, p->w, p->h, 3, orientation, rgb);
    mem_free(p->rgb);
    *p = orientation < 5 ? (struct picture){rgb, p->w, p->h} : (struct picture){rgb, p->h, p->w};
    return 0;
}

int source_get_picture(const struct source *s, const struct source_line *at, const struct line *l,
                       uint32_t k, struct picture *out, uint8_t *digest, struct err *e) {
    struct buf bytes;
    struct head head = {.orientation = 1};
    struct picture p = {NULL, 0, 0};
    const char *name = l->pictures[k];
    int rc;
    buf_init(&bytes, FILE_PICTURE_MAX);
    if (url_is(name))
        rc = url_check(name, e) ? E_FORMAT : url_decode(name, &bytes);
    else
        rc = source_get_file(s, at->file, name, &bytes, e);
    if (rc == 0 && source_is_shown(s, l))
        rc = head_read(bytes.p, bytes.len, PICTURE_PIXELS_MAX, &head, e);
    if (rc == 0) rc = picture_decode(bytes.p, bytes.len, PICTURE_PIXELS_MAX, &p.rgb, &p.w, &p.h, e);
    if (rc == 0 && digest) SHA256(bytes.p, bytes.len, digest);
    buf_clear(&bytes);
    if (rc == 0) rc = source_turn(&p, head.orientation, e);
    if (rc) {
        mem_free(p.rgb);
        err_set(e, rc, "no memory for the picture");
        return err_in(e, "%.100s", url_is(name) ? "the picture inside" : name), rc;
    }
    *out = p;
    return 0;
}

/* ---- masks ---- */

static int is_meant(const struct line_mask *m, const uint8_t *rgb) {
    uint32_t id = rgb[0] | (uint32_t)rgb[1] << 8 | (uint32_t)rgb[2] << 16;
    if (m->kind == LINE_MASK_FILE) return id != 0;
    for (uint32_t k = 0; k < m->n_ids; k++)
        if (m->ids[k] == id) return 1;
    return 0;
}

static int source_get_png(const struct source *s, const struct source_line *at,
                          const struct line *l, int w, int h, uint8_t **bits, struct err *e) {
    struct buf bytes;
    uint8_t *rgb = NULL;
    int mw = 0, mh = 0;
    buf_init(&bytes, FILE_PICTURE_MAX);
    int rc = source_get_file(s, at->file, l->mask.file, &bytes, e);
    if (rc == 0) rc = picture_decode(bytes.p, bytes.len, PICTURE_PIXELS_MAX, &rgb, &mw, &mh, e);
    buf_clear(&bytes);
    if (rc == 0 && (mw != w || mh != h))
        rc = err_set(e, E_FORMAT, "the mask is %d x %d, its picture %d x %d", mw, mh, w, h);
    uint8_t *b = rc == 0 ? mem_try((size_t)w * (size_t)h) : NULL;
    if (rc == 0 && !b) rc = err_set(e, E_NOMEM, "no memory for a mask");
    for (size_t p = 0; rc == 0 && p < (size_t)w * (size_t)h; p++)
        b[p] = (uint8_t)is_meant(&l->mask, rgb + 3 * p);
    mem_free(rgb);
    if (rc) return err_in(e, "%.100s", l->mask.file), rc;
    *bits = b;
    return 0;
}

int source_get_mask(const struct source *s, const struct source_line *at, const struct line *l,
                    int w, int h, uint8_t **bits, struct err *e) {
    if (l->mask.kind != LINE_MASK_COCO) return source_get_png(s, at, l, w, h, bits, e);
    const struct ref r = {
        .w = w, .h = h, .mask = l->mask.coco, .at = {s->files[at->file].name, "line ", at->number}};
    return refs_mask(&r, bits, e);
}
