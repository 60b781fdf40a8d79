/* from_coco.c - COCO's files as lines: see internal.h.
 *
 * instances  for each picture and category: a mask of all of its things, a box when there is but
 *            one; and for each picture all boxes by category (detection)
 * panoptic   the same from segments of a PNG; stuff has masks alone refs       for each sentence
 * of RefCOCO's, or of MiniGPT-v2's list: refer, identify and, when there
 *            is one, mask
 *
 * Crowds have neither a count nor single outlines: a category that has a crowd in a picture is left
 * out of it, and so is a mask whose outlines are longer than a line may be. Boxes are cut at the
 * picture's edges, orientation is the stored one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/annot.h"
#include "data/files.h"
#include "data/refs.h"
#include "data/source/internal.h"
#include "kernels/base/mem.h"
#include "kernels/base/str.h"

enum { WHAT_MAX = 60000 /* bytes of a mask's JSON */, CATEGORY_MAX = 80 };

/* ---- tables of COCO: images and categories by id ---- */

struct coco_entry {
    int64_t id;
    size_t i; /* in the file */
    const json_t *o;
};
struct coco_list {
    struct coco_entry *at;
    size_t n;
};

static int coco_by_id(const void *a, const void *b) {
    int64_t x = ((const struct coco_entry *)a)->id, y = ((const struct coco_entry *)b)->id;
    return (x > y) - (x < y);
}

/* The same, and those of one id as they stand in the file. */
static int coco_in_order(const void *a, const void *b) {
    size_t x = ((const struct coco_entry *)a)->i, y = ((const struct coco_entry *)b)->i;
    int order = coco_by_id(a, b);
    return order ? order : (x > y) - (x < y);
}

/* `root`'s list, sorted by the whole number `key` of each entry. */
static int coco_sort(const json_t *root, const char *list, const char *key, const char *file,
                     struct coco_list *out, struct err *e) {
    const json_t *entries;
    int rc = annot_array(root, list, file, &entries, e);
    if (rc) return rc;
    out->n = json_array_size(entries);
    out->at = mem_must((out->n + 1) * sizeof(*out->at));
    for (size_t i = 0; rc == 0 && i < out->n; i++) {
        const struct annot_at at = {file, list, i};
        out->at[i].o = json_array_get(entries, i);
        out->at[i].i = i;
        rc = annot_whole(out->at[i].o, key, INT64_MIN, INT64_MAX, &at, &out->at[i].id, e);
    }
    if (rc == 0) qsort(out->at, out->n, sizeof(*out->at), coco_in_order);
    return rc;
}

static const json_t *coco_find(const struct coco_list *l, int64_t id) {
    const struct coco_entry key = {.id = id};
    const struct coco_entry *at = bsearch(&key, l->at, l->n, sizeof(key), coco_by_id);
    return at ? at->o : NULL;
}

struct coco {
    struct source_file *out;
    const char *file;
    struct coco_list images, categories, annotations;
};

/* "wall-other-merged" -> "wall", "floor-wood" -> "floor wood". */
static int category_name(const struct coco *c, int64_t id, char to[CATEGORY_MAX], struct err *e) {
    const json_t *o = coco_find(&c->categories, id);
    const char *name = json_string_value(json_object_get(o, "name"));
    if (!name) return err_set(e, E_FORMAT, "%s: no category %lld", c->file, (long long)id);
    snprintf(to, CATEGORY_MAX, "%s", name);
    static const char *const ends[] = {"-merged", "-other", "-stuff"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (has_suffix(to, ends[i])) to[strlen(to) - strlen(ends[i])] = '\0';
    for (char *p = to; *p; p++)
        if (*p == '-') *p = ' ';
    return 0;
}

/* ---- things of a picture ---- */

struct thing {
    int64_t category;
    size_t i;        /* among those of the picture */
    const json_t *o; /* annotation or segment */
};

static int thing_order(const void *a, const void *b) {
    const struct thing *x = a, *y = b;
    if (x->category != y->category) return x->category < y->category ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

/* COCO's [x, y, w, h], cut at the edges -> [x1, y1, x2, y2]; NULL when nothing is left. */
static json_t *coco_box(const json_t *o, double w, double h) {
    const json_t *b = json_object_get(o, "bbox");
    double v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = json_number_value(json_array_get(b, i));
    double x2 = v[0] + v[2] < w ? v[0] + v[2] : w, y2 = v[1] + v[3] < h ? v[1] + v[3] : h;
    double x1 = v[0] > 0 ? v[0] : 0, y1 = v[1] > 0 ? v[1] : 0;
    return x1 < x2 && y1 < y2 ? json_pack("[ffff]", x1, y1, x2, y2) : NULL;
}

/* Polygons of all of them together, or one's run lengths; NULL: they can't be one mask. */
static json_t *join_masks(const struct thing *t, size_t n) {
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_object_get(t[i].o, "segmentation");
        if (n == 1 && json_is_object(m)) {
            json_decref(all);
            return json_deep_copy(m);
        }
        if (!json_is_array(m)) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, (json_t *)m);
    }
    if (json_array_size(all)) return all;
    json_decref(all);
    return NULL;
}

static json_t *join_ids(const struct thing *t, size_t n, const char *png) {
    json_t *ids = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(ids, json_object_get(t[i].o, "id"));
    return json_pack("{s:s, s:o}", "file", png, "ids", ids);
}

struct coco_picture {
    const char *name, *png; /* png NULL: of instances */
    double w, h;
};

/* The mask line of one category; it is a place of `refer`, too, when there is one box. */
static int add_category(const struct coco *c, const struct coco_picture *p, const struct thing *t,
                        size_t n, const char *name, json_t *phrases, struct err *e) {
    json_t *boxes = json_array(), *mask = p->png ? join_ids(t, n, p->png) : join_masks(t, n);
    for (size_t i = 0; i < n; i++) {
        json_t *b = coco_box(t[i].o, p->w, p->h);
        if (b) json_array_append_new(boxes, b);
    }
    const json_t *category = coco_find(&c->categories, t->category);
    const json_t *thing = json_object_get(category, "isthing");
    int is_thing = !json_is_integer(thing) || json_integer_value(thing) != 0;
    size_t size = mask ? json_dumpb(mask, NULL, 0, JSON_COMPACT) : 0;
    int has_mask = mask && size && size <= WHAT_MAX;
    int has_box = is_thing && n == 1 && json_array_size(boxes) == 1;
    json_t *tasks = json_array();
    if (has_mask) json_array_append_new(tasks, json_string("mask"));
    if (has_box) json_array_append_new(tasks, json_string("refer"));
    json_t *line = json_pack("{s:O, s:s, s:s, s:s}", "task", tasks, "image", p->name, "sentence",
                             name, "orient", "stored");
    if (has_mask) json_object_set(line, "mask", mask);
    if (has_box) json_object_set(line, "box", json_array_get(boxes, 0));
    int is_any = has_mask || has_box, is_found = is_thing && json_array_size(boxes) > 0 &&
                                                 json_array_size(boxes) <= LINE_BOXES_MAX &&
                                                 json_array_size(phrases) < LINE_PHRASES_MAX;
    if (is_found)
        json_array_append_new(phrases, json_pack("{s:s, s:O}", "phrase", name, "boxes", boxes));
    json_decref(tasks);
    json_decref(boxes);
    json_decref(mask);
    if (is_any) return source_make_line(c->out, line, e);
    json_decref(line);
    return 0;
}

static int is_crowd(const struct thing *t, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (json_integer_value(json_object_get(t[i].o, "iscrowd"))) return 1;
    return 0;
}

/* The lines of a picture's things (n), which get sorted. */
static int add_picture(const struct coco *c, const struct coco_picture *p, struct thing *t,
                       size_t n, struct err *e) {
    json_t *phrases = json_array();
    int rc = 0;
    if (n) qsort(t, n, sizeof(*t), thing_order);
    for (size_t i = 0, k; rc == 0 && i < n; i = k) {
        char name[CATEGORY_MAX];
        for (k = i + 1; k < n && t[k].category == t[i].category;)
            k++;
        if (is_crowd(t + i, k - i)) continue;
        rc = category_name(c, t[i].category, name, e);
        if (rc == 0) rc = add_category(c, p, t + i, k - i, name, phrases, e);
    }
    if (rc == 0 && json_array_size(phrases))
        rc = source_make_line(c->out,
                              json_pack("{s:s, s:s, s:O, s:s}", "task", "detection", "image",
                                        p->name, "phrases", phrases, "orient", "stored"),
                              e);
    json_decref(phrases);
    return rc;
}

static int coco_picture(const struct coco *c, int64_t id, struct coco_picture *p, struct err *e) {
    const json_t *o = coco_find(&c->images, id);
    if (!o) return err_set(e, E_FORMAT, "%s: no image %lld", c->file, (long long)id);
    const struct annot_at at = {c->file, "images", 0};
    p->w = json_number_value(json_object_get(o, "width"));
    p->h = json_number_value(json_object_get(o, "height"));
    p->png = NULL;
    return annot_name(o, "file_name", &at, &p->name, e);
}

/* ---- instances, panoptic ---- */

static int add_instances(const struct coco *c, struct err *e) {
    const struct coco_list *l = &c->annotations;
    struct thing *t = mem_must((l->n + 1) * sizeof(*t));
    int rc = 0;
    for (size_t i = 0, k; rc == 0 && i < l->n; i = k) {
        struct coco_picture p;
        for (k = i; rc == 0 && k < l->n && l->at[k].id == l->at[i].id; k++) {
            const struct annot_at at = {c->file, "annotations", k};
            t[k - i].o = l->at[k].o;
            t[k - i].i = k;
            rc = annot_whole(l->at[k].o, "category_id", INT64_MIN, INT64_MAX, &at,
                             &t[k - i].category, e);
        }
        if (rc == 0) rc = coco_picture(c, l->at[i].id, &p, e);
        if (rc == 0) rc = add_picture(c, &p, t, k - i, e);
    }
    mem_free(t);
    return rc;
}

static int add_panoptic(const struct coco *c, struct err *e) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->annotations.n; i++) {
        const json_t *o = c->annotations.at[i].o, *list;
        const struct annot_at at = {c->file, "annotations", i};
        struct coco_picture p;
        rc = annot_array(o, "segments_info", c->file, &list, e);
        if (rc == 0) rc = coco_picture(c, c->annotations.at[i].id, &p, e);
        if (rc == 0) rc = annot_name(o, "file_name", &at, &p.png, e);
        size_t n = rc == 0 ? json_array_size(list) : 0;
        struct thing *t = mem_must((n + 1) * sizeof(*t));
        for (size_t k = 0; rc == 0 && k < n; k++) {
            t[k].o = json_array_get(list, k);
            t[k].i = k;
            rc = annot_whole(t[k].o, "category_id", INT64_MIN, INT64_MAX, &at, &t[k].category, e);
        }
        if (rc == 0) rc = add_picture(c, &p, t, n, e);
        mem_free(t);
    }
    return rc;
}

static int is_panoptic(const json_t *root) {
    const json_t *first = json_array_get(json_object_get(root, "annotations"), 0);
    return json_is_array(json_object_get(first, "segments_info"));
}

static int add_things(struct source *s, const char *file, const json_t *root, struct err *e) {
    struct coco c = {.out = source_make(s, file, e), .file = file};
    int rc = c.out ? 0 : E_TOO_BIG;
    if (rc == 0) rc = coco_sort(root, "images", "id", file, &c.images, e);
    if (rc == 0) rc = coco_sort(root, "categories", "id", file, &c.categories, e);
    if (rc == 0) rc = coco_sort(root, "annotations", "image_id", file, &c.annotations, e);
    if (rc == 0) rc = is_panoptic(root) ? add_panoptic(&c, e) : add_instances(&c, e);
    mem_free(c.images.at);
    mem_free(c.categories.at);
    mem_free(c.annotations.at);
    return rc;
}

/* ---- refs ---- */

/* The name as the folder has it: MiniGPT-v2's lists leave the ending out. */
static void ref_name(const struct source *s, const char *name, char to[300]) {
    static const char *const ends[] = {"", ".jpg", ".jpeg", ".png"};
    struct store_file f;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(to, 300, "%s%s", name, ends[i]);
        if (store_find(s->store, STORE_ANY, to, &f, NULL) == 0) return;
    }
    snprintf(to, 300, "%s", name);
}

static json_t *ref_line(const struct source *s, const struct ref *r) {
    char name[300];
    const double *b = r->box;
    double x1 = b[0] > 0 ? b[0] : 0, y1 = b[1] > 0 ? b[1] : 0;
    double x2 = b[2] < r->w ? b[2] : r->w, y2 = b[3] < r->h ? b[3] : r->h;
    int has_box = x1 < x2 && y1 < y2;
    ref_name(s, r->file, name);
    json_t *tasks = json_array();
    if (r->mask) json_array_append_new(tasks, json_string("mask"));
    if (has_box) json_array_append_new(tasks, json_string("refer"));
    if (has_box) json_array_append_new(tasks, json_string("identify"));
    json_t *line = json_pack("{s:o, s:s, s:s, s:s}", "task", tasks, "image", name, "sentence",
                             r->sentence, "orient", "stored");
    if (r->mask) json_object_set(line, "mask", (json_t *)r->mask);
    if (has_box) json_object_set_new(line, "box", json_pack("[ffff]", x1, y1, x2, y2));
    return line;
}

static int add_refs(struct source *s, const char *path, struct err *e) {
    struct refs r;
    int rc = refs_open(path, 0, &r, e);
    struct source_file *f = rc == 0 ? source_make(s, path, e) : NULL;
    if (rc == 0 && !f) rc = E_TOO_BIG;
    for (uint32_t i = 0; rc == 0 && i < r.n; i++) {
        const char *split = r.at[i].split;
        if (s->o.split && (!split || strcmp(split, s->o.split) != 0)) continue;
        rc = source_make_line(f, ref_line(s, &r.at[i]), e);
    }
    refs_close(&r);
    return rc;
}

/* ---- the file ---- */

/* Pictures lie in --pictures, or in images/ beside the file, or beside it. COCO's panoptic.json has
 * its PNGs in panoptic/. */
static int open_store(struct source *s, const char *path, struct err *e) {
    char folder[4096], masks[4096];
    int n = snprintf(folder, sizeof(folder), "%s", path);
    int m = snprintf(masks, sizeof(masks), "%s", s->o.masks ? s->o.masks : path);
    if (n < 0 || m < 0 || n + 8 >= (int)sizeof(folder) || m >= (int)sizeof(masks))
        return err_set(e, E_INVALID, "the path is too long");
    if (!s->o.masks && has_suffix(masks, ".json")) masks[m - 5] = '\0';
    if (!file_is_folder(folder)) {
        char *slash = strrchr(folder, '/');
        if (slash)
            slash[slash == folder] = '\0';
        else
            memcpy(folder, ".", 2);
    }
    size_t len = strlen(folder);
    snprintf(folder + len, sizeof(folder) - len, "/images");
    if (!file_is_folder(folder)) folder[len] = '\0';
    if (s->o.pictures && !file_is_folder(s->o.pictures))
        return err_set(e, E_NOT_FOUND, "%s: no such folder of pictures", s->o.pictures);
    s->store =
        store_new(s->o.pictures ? s->o.pictures : folder, file_is_folder(masks) ? masks : NULL);
    return 0;
}

/* A folder's file: annotations.json, or refs.json beside instances.json, or that alone. */
static int find_coco(const char *path, char file[4096], int *is_apart, struct err *e) {
    static const char *const names[] = {"annotations.json", "refs.json", "instances.json"};
    *is_apart = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int n = snprintf(file, 4096, "%s%s%s", path, file_is_folder(path) ? "/" : "",
                         file_is_folder(path) ? names[i] : "");
        if (n < 0 || n >= 4096) return err_set(e, E_INVALID, "the path is too long");
        *is_apart = file_is_folder(path) && i == 1;
        if (access(file, F_OK) == 0) return 0;
    }
    return err_set(e, E_NOT_FOUND, "%s: no such file", path);
}

int source_from_coco(struct source *s, const char *path, struct err *e) {
    json_t *root = NULL;
    char file[4096];
    int is_apart, rc = open_store(s, path, e);
    if (rc == 0) rc = find_coco(path, file, &is_apart, e);
    if (rc == 0 && is_apart) return add_refs(s, path, e);
    if (rc == 0) rc = annot_open(file, &root, e);
    int is_refs = json_is_array(root) || json_object_get(root, "refs");
    if (rc == 0 && !is_refs) rc = add_things(s, file, root, e);
    json_decref(root);
    return rc || !is_refs ? rc : add_refs(s, path, e);
}
