/* refs.c - see refs.h. */
#include "data/refs.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/files.h"
#include "kernels/base/mem.h"
#include "media/coco.h"
#include "media/picture.h"

/* ---- entries by id ---- */

struct entry {
    int64_t id;
    const json_t *o;
    size_t i;
};
struct index {
    struct entry *at;
    size_t n;
};

static int by_id(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int make_index(const json_t *root, const char *list, const char *file, struct index *x,
                      struct err *e) {
    const json_t *entries;
    int rc = annot_array(root, list, file, &entries, e);
    if (rc) return rc;
    x->n = json_array_size(entries);
    x->at = mem_must((x->n + 1) * sizeof(*x->at));
    for (size_t i = 0; i < x->n; i++) {
        const struct annot_at at = {file, list, i};
        x->at[i].o = json_array_get(entries, i);
        x->at[i].i = i;
        rc = annot_whole(x->at[i].o, "id", INT64_MIN, INT64_MAX, &at, &x->at[i].id, e);
        if (rc) return rc;
    }
    qsort(x->at, x->n, sizeof(*x->at), by_id);
    for (size_t i = 1; i < x->n; i++)
        if (x->at[i].id == x->at[i - 1].id)
            return err_set(e, E_FORMAT, "%s: %s has the id %lld twice", file, list,
                           (long long)x->at[i].id);
    return 0;
}

static const struct entry *refs_find(const struct index *x, int64_t id) {
    const struct entry key = {.id = id};
    return bsearch(&key, x->at, x->n, sizeof(key), by_id);
}

/* ---- the parts of a reference ---- */

static int read_size(const json_t *o, const struct annot_at *at, struct ref *r, struct err *e) {
    int64_t w, h;
    int rc = annot_whole(o, "width", 1, PICTURE_SIDE_MAX, at, &w, e);
    if (rc == 0) rc = annot_whole(o, "height", 1, PICTURE_SIDE_MAX, at, &h, e);
    if (rc) return rc;
    if (w * h > PICTURE_PIXELS_MAX)
        return annot_bad(at, e, "a picture of %lld x %lld is too large", (long long)w,
                         (long long)h);
    r->w = (int)w;
    r->h = (int)h;
    return 0;
}

static int read_box(const json_t *o, const struct annot_at *at, struct ref *r, struct err *e) {
    double b[4];
    int rc = annot_numbers(o, "bbox", 4, at, b, e);
    if (rc) return rc;
    if (b[2] < 0 || b[3] < 0) return annot_bad(at, e, "\"bbox\" has a negative side");
    memcpy(r->box, (double[4]){b[0], b[1], b[0] + b[2], b[1] + b[3]}, sizeof(r->box));
    return 0;
}

/* ---- RefCOCO ---- */

struct source {
    struct refs *out;
    const char *instances, *refs; /* names of the files */
    struct index images, annotations;
    uint32_t most;
};

/* What a ref says of all its sentences. */
static int read_thing(const struct source *s, const json_t *o, struct annot_at *at, struct ref *r,
                      struct err *e) {
    int64_t image_id, ann_id;
    int rc = annot_whole(o, "image_id", INT64_MIN, INT64_MAX, at, &image_id, e);
    if (rc == 0) rc = annot_whole(o, "ann_id", INT64_MIN, INT64_MAX, at, &ann_id, e);
    if (rc == 0) rc = annot_text(o, "split", 0, at, &r->split, e);
    if (rc) return rc;
    const struct entry *image = refs_find(&s->images, image_id),
                       *ann = refs_find(&s->annotations, ann_id);
    if (!image) return annot_bad(at, e, "no image %lld", (long long)image_id);
    if (!ann) return annot_bad(at, e, "no annotation %lld", (long long)ann_id);
    const struct annot_at at_image = {s->instances, "images", image->i};
    const struct annot_at at_ann = {s->instances, "annotations", ann->i};
    int64_t of;
    rc = annot_name(image->o, "file_name", &at_image, &r->file, e);
    if (rc == 0) rc = read_size(image->o, &at_image, r, e);
    if (rc == 0) rc = read_box(ann->o, &at_ann, r, e);
    if (rc == 0) rc = annot_whole(ann->o, "image_id", INT64_MIN, INT64_MAX, &at_ann, &of, e);
    if (rc == 0 && of != image_id)
        rc = annot_bad(at, e, "annotation %lld is of another image", (long long)ann_id);
    r->mask = json_object_get(ann->o, "segmentation");
    r->at = at_ann;
    return rc;
}

static int read_ref(struct source *s, const json_t *o, struct annot_at *at, struct err *e) {
    struct ref r = {0};
    int rc = read_thing(s, o, at, &r, e);
    const json_t *sentences = json_object_get(o, "sentences");
    if (rc == 0 && (!json_is_array(sentences) || !json_array_size(sentences)))
        rc = annot_bad(at, e, "\"sentences\" must be an array that is not empty");
    for (size_t k = 0; rc == 0 && k < json_array_size(sentences) && s->out->n < s->most; k++) {
        const json_t *one = json_array_get(sentences, k);
        rc = annot_text(one, "sent", 1, at, &r.sentence, e);
        if (rc == 0) rc = annot_text(one, "kind", 0, at, &r.kind, e);
        if (rc == 0) s->out->at[s->out->n++] = r;
    }
    return rc;
}

static int read_refs(struct source *s, const json_t *list, int64_t limit, struct err *e) {
    size_t n = 0, i;
    const json_t *o;
    json_array_foreach(list, i, o) n += json_array_size(json_object_get(o, "sentences"));
    if (limit && n > (size_t)limit) n = (size_t)limit;
    if (n > ANNOT_ITEMS_MAX)
        return err_set(e, E_TOO_BIG, "%s: over %d sentences", s->refs, ANNOT_ITEMS_MAX);
    s->most = (uint32_t)n;
    s->out->at = mem_must((n + 1) * sizeof(*s->out->at));
    int rc = 0;
    for (i = 0; rc == 0 && i < json_array_size(list) && (!limit || s->out->n < n); i++) {
        struct annot_at at = {s->refs, "refs", i};
        rc = read_ref(s, json_array_get(list, i), &at, e);
    }
    return rc;
}

static int read_coco(struct refs *r, int64_t limit, struct err *e) {
    struct source s = {.out = r, .instances = r->file[0], .refs = r->file[r->more ? 1 : 0]};
    const json_t *list, *holder = r->more ? r->more : r->root;
    int rc = make_index(r->root, "images", s.instances, &s.images, e);
    if (rc == 0) rc = make_index(r->root, "annotations", s.instances, &s.annotations, e);
    if (rc == 0) rc = annot_array(holder, json_is_array(holder) ? NULL : "refs", s.refs, &list, e);
    if (rc == 0) rc = read_refs(&s, list, limit, e);
    mem_free(s.images.at);
    mem_free(s.annotations.at);
    return rc;
}

/* ---- MiniGPT-v2's list ---- */

static int read_list(struct refs *r, int64_t limit, struct err *e) {
    const json_t *list;
    int rc = annot_array(r->root, NULL, r->file[0], &list, e);
    if (rc) return rc;
    size_t n = json_array_size(list);
    if (limit && n > (size_t)limit) n = (size_t)limit;
    r->at = mem_must((n + 1) * sizeof(*r->at));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const json_t *o = json_array_get(list, i);
        struct ref *at = &r->at[i];
        at->at = (struct annot_at){r->file[0], "", i};
        const char *name = json_object_get(o, "file_name") ? "file_name" : "img_id";
        const char *text = json_object_get(o, "sents") ? "sents" : "sentence";
        rc = annot_name(o, name, &at->at, &at->file, e);
        if (rc == 0) rc = annot_text(o, text, 1, &at->at, &at->sentence, e);
        if (rc == 0) rc = annot_text(o, "split", 0, &at->at, &at->split, e);
        if (rc == 0) rc = annot_text(o, "kind", 0, &at->at, &at->kind, e);
        if (rc == 0) rc = read_size(o, &at->at, at, e);
        if (rc == 0) rc = read_box(o, &at->at, at, e);
        at->mask = json_object_get(o, "segmentation");
        r->n++;
    }
    return rc;
}

/* ---- files ---- */

static int is_there(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISREG(s.st_mode);
}

/* Folder's file `name` -> to; 1 when it is there. */
static int in_folder(const char *folder, const char *name, char to[2048]) {
    int n = snprintf(to, 2048, "%s/%s", folder, name);
    return n > 0 && n < 2048 && is_there(to);
}

/* Which files: file[0], and file[1] when the sentences lie apart. */
static int find_files(const char *path, struct refs *r, struct err *e) {
    int n = snprintf(r->file[0], sizeof(r->file[0]), "%s", path);
    r->file[1][0] = '\0';
    if (n < 0 || (size_t)n >= sizeof(r->file[0]))
        return err_set(e, E_INVALID, "the path is too long");
    if (!file_is_folder(path) || in_folder(path, "annotations.json", r->file[0])) return 0;
    if (in_folder(path, "instances.json", r->file[0]) && in_folder(path, "refs.json", r->file[1]))
        return 0;
    return err_set(e, E_NOT_FOUND, "%s: neither annotations.json nor instances.json with refs.json",
                   path);
}

int refs_open(const char *path, int64_t limit, struct refs *out, struct err *e) {
    memset(out, 0, sizeof(*out));
    int rc = find_files(path, out, e);
    if (rc == 0) rc = annot_open(out->file[0], &out->root, e);
    if (rc == 0 && out->file[1][0]) rc = annot_open(out->file[1], &out->more, e);
    if (rc == 0)
        rc = json_is_array(out->root) ? read_list(out, limit, e) : read_coco(out, limit, e);
    if (rc == 0 && !out->n) rc = err_set(e, E_FORMAT, "%s: no sentence", out->file[0]);
    return rc;
}

void refs_close(struct refs *r) {
    mem_free(r->at);
    json_decref(r->root);
    json_decref(r->more);
    memset(r, 0, sizeof(*r));
}

int refs_check_size(const struct ref *r, int w, int h, struct err *e) {
    if (w == r->w && h == r->h) return 0;
    return annot_bad(&r->at, e, "%s is %d x %d, not %d x %d as the file says", r->file, w, h, r->w,
                     r->h);
}

/* ---- masks ---- */

static int add_polygon(const struct ref *r, const json_t *p, uint8_t *bits, uint8_t *scratch,
                       struct err *e) {
    size_t n = json_array_size(p);
    if (!json_is_array(p) || n < 6 || n % 2)
        return annot_bad(&r->at, e, "a polygon must be an array of at least three corners x, y");
    double *xy = mem_must(n * sizeof(*xy));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!json_is_number(json_array_get(p, i)))
            rc = annot_bad(&r->at, e, "a polygon must have numbers only");
        xy[i] = json_number_value(json_array_get(p, i));
    }
    struct err why = {0};
    if (rc == 0 && coco_add_polygon(xy, n / 2, r->w, r->h, bits, scratch, &why))
        rc = annot_bad(&r->at, e, "%s", why.text);
    mem_free(xy);
    return rc;
}

static int read_polygons(const struct ref *r, uint8_t *bits, struct err *e) {
    uint8_t *scratch = mem_try((size_t)r->w * (size_t)r->h);
    int rc = scratch ? 0 : err_set(e, E_NOMEM, "no memory for a mask");
    const json_t *p;
    size_t i;
    json_array_foreach(r->mask, i, p) {
        if (rc == 0) rc = add_polygon(r, p, bits, scratch, e);
    }
    mem_free(scratch);
    return rc;
}

static int read_counts(const struct ref *r, const json_t *counts, uint32_t *runs, size_t cap,
                       size_t *n, struct err *e) {
    const char *text = json_string_value(counts);
    if (text) return coco_counts(text, runs, cap, n, e);
    for (*n = 0; *n < json_array_size(counts); (*n)++) {
        const json_t *v = json_array_get(counts, *n);
        if (!json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) > (json_int_t)r->w * r->h)
            return err_set(e, E_FORMAT, "run lengths must be whole numbers within the picture");
        runs[*n] = (uint32_t)json_integer_value(v);
    }
    return 0;
}

static int read_rle(const struct ref *r, uint8_t *bits, struct err *e) {
    double size[2];
    const json_t *counts = json_object_get(r->mask, "counts");
    int rc = annot_numbers(r->mask, "size", 2, &r->at, size, e);
    if (rc) return rc;
    if (size[0] != r->h || size[1] != r->w)
        return annot_bad(&r->at, e, "the mask's size is not [%d, %d]", r->h, r->w);
    if (!json_is_string(counts) && !json_is_array(counts))
        return annot_bad(&r->at, e, "\"counts\" must be a text or an array");
    size_t cap = json_is_string(counts) ? json_string_length(counts) : json_array_size(counts), n;
    uint32_t *runs = mem_must((cap + 1) * sizeof(*runs));
    struct err why = {0};
    rc = read_counts(r, counts, runs, cap, &n, &why);
    if (rc == 0) rc = coco_from_counts(runs, n, r->w, r->h, bits, &why);
    mem_free(runs);
    return rc ? annot_bad(&r->at, e, "%s", why.text) : 0;
}

int refs_mask(const struct ref *r, uint8_t **bits, struct err *e) {
    *bits = NULL;
    int is_rle = json_is_object(r->mask);
    if (!is_rle && (!json_is_array(r->mask) || !json_array_size(r->mask)))
        return annot_bad(&r->at, e, "\"segmentation\" must be polygons or run lengths");
    uint8_t *b = mem_try((size_t)r->w * (size_t)r->h);
    if (!b) return err_set(e, E_NOMEM, "no memory for a mask");
    int rc = is_rle ? read_rle(r, b, e) : read_polygons(r, b, e);
    if (rc)
        mem_free(b);
    else
        *bits = b;
    return rc;
}
