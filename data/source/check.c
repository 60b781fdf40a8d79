/* check.c - a line against its pictures: are they there, do boxes and masks fit? See internal.h.
 *
 * Of a picture no more is read than tells its size, and that once; `is_deep` decodes it. What is
 * told of a picture inside of a line is looked at each time.
 */
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "data/files.h"
#include "data/source/internal.h"
#include "data/source/url.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "media/coco.h"

enum {
    SLACK_PX = 1,
    SHA_BYTES = 32,
    STRETCH = 64 /* steps of a game */
};               /* so far a box may reach over the edge, for rounding */

struct checking {
    struct source *s;
    const struct source_line *at;
    const struct line *line;
    struct line_fault *why;
    struct source_key *key;
    int w, h; /* of the first picture, as the line sees it */
};

static int bad_picture(struct checking *c, const char *name, int code, const char *text) {
    if (code == E_NOMEM) return code;
    return line_bad(c->why, code == E_NOT_FOUND ? "no_such_picture" : "bad_picture", "image",
                    "%.80s%s%s", name, *name ? ": " : "", text);
}

/* ---- pictures in files ---- */

/* Size and turn out of the first bytes of the file, or of all when they don't tell both. */
static int read_head(const struct source *s, const struct store_file *f, struct head *out,
                     struct err *e) {
    struct buf bytes;
    struct err first = {0};
    buf_init(&bytes, FILE_PICTURE_MAX);
    int rc = store_read_head(s->store, f, SOURCE_HEAD, &bytes, e);
    if (rc == 0) rc = head_read(bytes.p, bytes.len, PICTURE_PIXELS_MAX, out, &first);
    int is_open = rc == E_FORMAT || (rc == 0 && out->may_turn);
    if (is_open && !e->code && f->size > SOURCE_HEAD) {
        bytes.len = 0;
        rc = store_read_head(s->store, f, FILE_PICTURE_MAX, &bytes, e);
        if (rc == 0) rc = head_read(bytes.p, bytes.len, PICTURE_PIXELS_MAX, out, e);
    } else if (first.code) {
        rc = err_set(e, first.code, "%s", first.text);
    }
    buf_clear(&bytes);
    return rc;
}

static int decode_whole(const struct source *s, const struct store_file *f, struct err *e) {
    struct buf bytes;
    uint8_t *rgb = NULL;
    int w, h;
    buf_init(&bytes, FILE_PICTURE_MAX);
    int rc = store_read_head(s->store, f, FILE_PICTURE_MAX, &bytes, e);
    if (rc == 0) rc = picture_decode(bytes.p, bytes.len, PICTURE_PIXELS_MAX, &rgb, &w, &h, e);
    mem_free(rgb);
    buf_clear(&bytes);
    return rc;
}

static int keep_picture(struct source *s, const char *key, const struct store_file *f,
                        const struct head *h, uint32_t *number) {
    int is_new;
    uint32_t i = table_add(s->names, key, strlen(key), &is_new);
    if (i == TABLE_NONE) return E_NOMEM;
    if (i >= s->cap_pictures) {
        uint32_t cap = s->cap_pictures ? 2 * s->cap_pictures : 256;
        struct source_picture *p =
            mem_try_resize(s->pictures, s->cap_pictures * sizeof(*p), cap * sizeof(*p));
        if (!p) return E_NOMEM;
        s->pictures = p;
        s->cap_pictures = cap;
    }
    s->pictures[i] = (struct source_picture){*f, *h};
    s->pictures[i].file.name = NULL;
    EVP_DigestUpdate(s->sha, key, strlen(key) + 1);
    EVP_DigestUpdate(s->sha, &f->size, sizeof(f->size));
    *number = i;
    return 0;
}

/* The picture's number; new ones are looked at. */
static int know_picture(struct checking *c, const char *name, uint32_t *number) {
    struct source *s = c->s;
    char key[640];
    struct store_file f;
    struct head h;
    struct err why = {0};
    *number = source_find_picture(s, c->at->file, name);
    if (*number != TABLE_NONE) return 0;
    if (!source_picture_key(s, c->at->file, name, key))
        return bad_picture(c, name, E_NOT_FOUND, "the name is too long");
    const char *full = strchr(key, '/') + 1;
    int rc = store_find(s->store, s->files[c->at->file].space, full, &f, &why);
    if (rc == 0 && f.size > FILE_PICTURE_MAX)
        rc = err_set(&why, E_TOO_BIG, "over %d MiB", FILE_PICTURE_MAX >> 20);
    if (rc == 0) rc = read_head(s, &f, &h, &why);
    if (rc == 0 && s->o.is_deep) rc = decode_whole(s, &f, &why);
    if (rc) return bad_picture(c, rc == E_NOT_FOUND ? "" : name, rc, why.text);
    return keep_picture(s, key, &f, &h, number);
}

/* ---- pictures in lines ---- */

static int know_inner(struct checking *c, const char *url, struct head *h, uint8_t *sum) {
    struct buf bytes;
    struct err why = {0};
    uint8_t *rgb = NULL;
    int w, ht, is_new;
    buf_init(&bytes, FILE_PICTURE_MAX);
    int rc = url_decode(url, &bytes);
    if (rc == 0) rc = head_read(bytes.p, bytes.len, PICTURE_PIXELS_MAX, h, &why);
    if (rc == 0 && c->s->o.is_deep)
        rc = picture_decode(bytes.p, bytes.len, PICTURE_PIXELS_MAX, &rgb, &w, &ht, &why);
    if (rc == 0 && !EVP_Digest(bytes.p, bytes.len, sum, NULL, EVP_sha256(), NULL)) rc = E_NOMEM;
    if (rc == 0 && table_add(c->s->inner, sum, SHA_BYTES, &is_new) == TABLE_NONE) rc = E_NOMEM;
    mem_free(rgb);
    buf_clear(&bytes);
    if (rc == 0 || rc == E_NOMEM) return rc;
    return bad_picture(c, "", rc, why.text);
}

/* Same pictures are of one unit, and so are some steps of a game in a row. */
static void check_unit(struct checking *c, const char *name, uint32_t number, const uint8_t *sum) {
    const unsigned games = 1u << SAMPLE_DRIVE | 1u << SAMPLE_SHOOT;
    uint64_t *unit = &c->key->unit;
    if (c->line->tasks & games)
        *unit = rng_u64(rng_u64(1, c->at->file), c->at->number / STRETCH);
    else if (!name)
        *unit = rng_u64(rng_u64(2, c->at->file), c->at->number);
    else if (url_is(name))
        memcpy(unit, sum, sizeof(*unit));
    else
        *unit = rng_u64(3, number);
}

/* Every picture of the line; the group's key is made of them. */
static int check_pictures(struct checking *c) {
    int is_shown = source_is_shown(c->s, c->line);
    buf_printf(&c->key->text, "%c", is_shown ? 's' : 'r');
    for (uint32_t k = 0; k < c->line->n_pictures; k++) {
        struct head h;
        const char *name = c->line->pictures[k];
        uint8_t sum[SHA_BYTES] = {0};
        uint32_t number = 0;
        int rc = url_is(name) ? know_inner(c, name, &h, sum) : know_picture(c, name, &number);
        if (rc) return rc;
        if (url_is(name)) {
            buf_add(&c->key->text, sum, sizeof(sum));
        } else {
            buf_printf(&c->key->text, "%u ", number);
            h = c->s->pictures[number].head;
        }
        if (k > 0) continue;
        check_unit(c, name, number, sum);
        int is_crossed = is_shown && h.orientation >= 5;
        c->w = is_crossed ? h.h : h.w;
        c->h = is_crossed ? h.w : h.h;
    }
    if (!c->line->n_pictures) check_unit(c, NULL, 0, NULL);
    /* A chat whose later questions bring pictures shares them with none; nor do texts alone. */
    if (c->line->n_turns && c->line->turns[0].n_pictures != c->line->n_pictures)
        buf_printf(&c->key->text, "line %u %llu", c->at->file, (unsigned long long)c->at->number);
    else if (!c->line->n_pictures)
        buf_printf(&c->key->text, "text %u %llu", c->at->file, (unsigned long long)c->at->number);
    return c->key->text.bad ? E_NOMEM : 0;
}

/* ---- boxes and masks ---- */

static int check_one_box(struct checking *c, const double b[4], const char *field) {
    if (b[0] >= -SLACK_PX && b[1] >= -SLACK_PX && b[2] <= c->w + SLACK_PX &&
        b[3] <= c->h + SLACK_PX && b[0] < c->w && b[1] < c->h && b[2] > 0 && b[3] > 0)
        return 0;
    return line_bad(c->why, "box_outside", field,
                    "[%g, %g, %g, %g] reaches over the picture, which is %d x %d%s", b[0], b[1],
                    b[2], b[3], c->w, c->h,
                    source_is_shown(c->s, c->line) ? " as it is shown" : " as it is stored");
}

static int check_boxes(struct checking *c) {
    const unsigned boxed = 1u << SAMPLE_REFER | 1u << SAMPLE_IDENTIFY;
    const struct line *l = c->line;
    int rc = l->tasks & boxed ? check_one_box(c, l->box, "box") : 0;
    for (uint32_t i = 0; rc == 0 && i < l->n_about; i++)
        rc = check_one_box(c, l->about[i], "about");
    for (uint32_t i = 0; rc == 0 && i < l->n_phrases; i++) {
        char field[32];
        snprintf(field, sizeof(field), "phrases[%u]", i);
        for (uint32_t k = 0; rc == 0 && k < l->phrases[i].n_boxes; k++)
            rc = check_one_box(c, l->phrases[i].boxes[k], field);
    }
    return rc;
}

/* Run lengths must cover the picture. Polygons were looked at when they were read. */
static int check_runs(struct checking *c) {
    const json_t *size = json_object_get(c->line->mask.coco, "size");
    const json_t *counts = json_object_get(c->line->mask.coco, "counts");
    if (json_array_size(size) != 2 || json_integer_value(json_array_get(size, 0)) != c->h ||
        json_integer_value(json_array_get(size, 1)) != c->w)
        return line_bad(c->why, "mask_size", "mask.size", "must be [height, width], [%d, %d]", c->h,
                        c->w);
    size_t n = json_is_string(counts) ? json_string_length(counts) : json_array_size(counts);
    if (!json_is_string(counts) && !json_is_array(counts))
        return line_bad(c->why, "wrong_type", "mask.counts", "must be a text or a list");
    uint32_t *runs = mem_try((n + 1) * sizeof(*runs));
    if (!runs) return E_NOMEM;
    uint64_t sum = 0;
    int is_bad = 0;
    if (json_is_string(counts))
        is_bad = coco_counts(json_string_value(counts), runs, n, &n, NULL) != 0;
    for (size_t i = 0; !is_bad && i < n; i++) {
        json_int_t v = json_is_string(counts) ? (json_int_t)runs[i]
                                              : json_integer_value(json_array_get(counts, i));
        if (json_is_array(counts) && !json_is_integer(json_array_get(counts, i))) is_bad = 1;
        if (v < 0 || v > (json_int_t)c->w * c->h) is_bad = 1;
        if (!is_bad) sum += (uint64_t)v;
    }
    mem_free(runs);
    if (!is_bad && sum == (uint64_t)c->w * (uint64_t)c->h) return 0;
    return line_bad(c->why, "bad_mask", "mask.counts", "%s",
                    is_bad ? "are no run lengths of COCO" : "don't sum to the picture's pixels");
}

static int check_mask_file(struct checking *c) {
    struct store_file f;
    struct head h = {.orientation = 1};
    struct err why = {0};
    char full[640];
    uint8_t magic[8] = {0};
    const struct source_file *from = &c->s->files[c->at->file];
    snprintf(full, sizeof(full), "%s%s", from->prefix, c->line->mask.file);
    int rc = store_find(c->s->store, from->space, full, &f, &why);
    if (rc == 0) rc = read_head(c->s, &f, &h, &why);
    if (rc == E_NOMEM) return rc;
    if (rc)
        return line_bad(c->why, rc == E_NOT_FOUND ? "no_such_picture" : "bad_mask", "mask",
                        "%.60s%s%s", rc == E_NOT_FOUND ? "" : full, rc == E_NOT_FOUND ? "" : ": ",
                        why.text);
    rc = store_read(c->s->store, &f, 0, magic, sizeof(magic), &why);
    if (rc || !picture_png_is(magic, sizeof(magic)))
        return line_bad(c->why, "bad_mask", "mask", "%.80s must be a PNG", full);
    if (h.w == c->w && h.h == c->h) return 0;
    return line_bad(c->why, "mask_size", "mask", "%.60s is %d x %d, its picture %d x %d", full, h.w,
                    h.h, c->w, c->h);
}

static int check_mask(struct checking *c) {
    const struct line_mask *m = &c->line->mask;
    struct err why = {0};
    uint8_t *bits = NULL;
    int rc = 0;
    if (m->kind == LINE_MASK_NONE) return 0;
    if (m->kind != LINE_MASK_COCO)
        rc = check_mask_file(c);
    else if (json_is_object(m->coco))
        rc = check_runs(c);
    if (rc || !c->s->o.is_deep) return rc;
    rc = source_get_mask(c->s, c->at, c->line, c->w, c->h, &bits, &why);
    mem_free(bits);
    return rc && rc != E_NOMEM ? line_bad(c->why, "bad_mask", "mask", "%s", why.text) : rc;
}

int source_check_line(struct source *s, const struct source_line *at, const struct line *l,
                      struct line_fault *why, struct source_key *key) {
    struct checking c = {.s = s, .at = at, .line = l, .why = why, .key = key};
    int rc = check_pictures(&c);
    if (rc == 0) rc = check_boxes(&c);
    return rc ? rc : check_mask(&c);
}
