/* line_parts.c - boxes, masks, phrases, answers and actions of a line: see line.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/source/line.h"
#include "data/source/tar.h"

int line_box(const struct line_reading *r, const json_t *v, const char *name, double box[4]) {
    int is_fine = json_array_size(v) == 4;
    for (size_t i = 0; is_fine && i < 4; i++) {
        const json_t *x = json_array_get(v, i);
        box[i] = json_number_value(x);
        is_fine = json_is_number(x) && isfinite(box[i]);
    }
    if (!is_fine) return line_bad(r->why, "wrong_type", name, "must be [x1, y1, x2, y2] in pixels");
    if (box[0] < box[2] && box[1] < box[3]) return 0;
    return line_bad(r->why, "out_of_range", name, "x1 must be below x2, and y1 below y2");
}

static int line_boxes(const struct line_reading *r, const json_t *v, const char *name,
                      const double (**out)[4]) {
    size_t n = json_array_size(v);
    double(*boxes)[4] = line_take(r, n, sizeof(*boxes));
    int rc = boxes ? 0 : E_NOMEM;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = line_box(r, json_array_get(v, i), name, boxes[i]);
    *out = (const double(*)[4])boxes;
    return rc;
}

int line_read_about(const struct line_reading *r, const json_t *v) {
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > LINE_BOXES_MAX)
        return line_bad(r->why, "wrong_type", "about", "must be a list of up to %d boxes",
                        LINE_BOXES_MAX);
    if (r->line->n_pictures > 1)
        return line_bad(r->why, "too_many_pictures", "about", "only of one picture can boxes tell");
    r->line->n_about = (uint32_t)n;
    return line_boxes(r, v, "about", &r->line->about);
}

/* ---- masks ---- */

static int read_ids(const struct line_reading *r, const json_t *v) {
    struct line_mask *m = &r->line->mask;
    size_t n = json_array_size(v);
    if (n < 1 || n > LINE_IDS_MAX)
        return line_bad(r->why, "wrong_type", "mask.ids", "must be 1 to %d numbers", LINE_IDS_MAX);
    uint32_t *ids = line_take(r, n, sizeof(*ids));
    if (!ids) return E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(v, i);
        json_int_t id = json_integer_value(x);
        if (!json_is_integer(x) || id < 0 || id > 0xffffff)
            return line_bad(r->why, "out_of_range", "mask.ids", "must be numbers of 0 .. 16777215");
        ids[i] = (uint32_t)id;
    }
    m->ids = ids;
    m->n_ids = (uint32_t)n;
    m->kind = LINE_MASK_IDS;
    return 0;
}

/* {"file": "a.png", "ids": [7]} or COCO's run lengths. */
static int read_mask_object(const struct line_reading *r, const json_t *v) {
    const json_t *file = json_object_get(v, "file"), *ids = json_object_get(v, "ids");
    if (!file && json_object_get(v, "counts") && json_object_size(v) == 2) {
        r->line->mask = (struct line_mask){.kind = LINE_MASK_COCO, .coco = v};
        return 0;
    }
    const char *name = json_string_value(file);
    if (!name || json_object_size(v) != (ids ? 2 : 1))
        return line_bad(r->why, "wrong_type", "mask", "must have size and counts, or file and ids");
    struct err why = {0};
    if (strncmp(name, "./", 2) == 0) name += 2;
    if (tar_name_check(name, &why))
        return line_bad(r->why, "no_such_picture", "mask.file", "%s", why.text);
    r->line->mask = (struct line_mask){.kind = LINE_MASK_FILE, .file = name};
    return ids ? read_ids(r, ids) : 0;
}

static int read_mask_polygons(const struct line_reading *r, const json_t *v) {
    size_t n = json_array_size(v);
    if (!n) return line_bad(r->why, "wrong_type", "mask", "has no polygon");
    for (size_t i = 0; i < n; i++) {
        const json_t *p = json_array_get(v, i);
        size_t k = 0, len = json_array_size(p);
        while (k < len && json_is_number(json_array_get(p, k)))
            k++;
        if (len < 6 || len % 2 || k < len)
            return line_bad(r->why, "wrong_type", "mask",
                            "a polygon must be [x, y, x, y, x, y, ...] of at least three corners");
    }
    r->line->mask = (struct line_mask){.kind = LINE_MASK_COCO, .coco = v};
    return 0;
}

int line_read_mask(const struct line_reading *r, const json_t *v) {
    if (json_is_array(v)) return read_mask_polygons(r, v);
    if (json_is_object(v)) return read_mask_object(r, v);
    const char *name = json_string_value(v);
    if (!name)
        return line_bad(r->why, "wrong_type", "mask",
                        "must be a PNG's name, run lengths, or polygons");
    struct err why = {0};
    if (strncmp(name, "./", 2) == 0) name += 2;
    if (tar_name_check(name, &why))
        return line_bad(r->why, "no_such_picture", "mask", "%s", why.text);
    r->line->mask = (struct line_mask){.kind = LINE_MASK_FILE, .file = name};
    return 0;
}

/* ---- phrases ---- */

/* What stands around phrases in an answer can't stand in them. */
static int check_marks(const struct line_reading *r, const char *text, const char *name) {
    static const char *const marks[] = {"<p>", "</p>", "<delim>", "{<"};
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strstr(text, marks[i]))
            return line_bad(r->why, "bad_text", name,
                            "has %s, which stands around phrases in "
                            "answers: leave it out",
                            marks[i]);
    return 0;
}

static int read_boxes(const struct line_reading *r, const json_t *v, const char *name,
                      struct line_phrase *p) {
    size_t n = json_array_size(v);
    if (n < 1 || n > LINE_BOXES_MAX)
        return line_bad(r->why, "wrong_type", name, "boxes must be a list of 1 to %d boxes",
                        LINE_BOXES_MAX);
    p->n_boxes = (uint32_t)n;
    return line_boxes(r, v, name, &p->boxes);
}

static int read_phrase(const struct line_reading *r, const json_t *v, const char *name,
                       const char **rest, struct line_phrase *p) {
    if (!json_is_object(v) || json_object_size(v) != 2)
        return line_bad(r->why, "wrong_type", name, "must be {\"phrase\": ..., \"boxes\": [...]}");
    int rc = line_text(r, json_object_get(v, "phrase"), name, 0, &p->text);
    if (rc == 0) rc = check_marks(r, p->text, name);
    if (rc == 0) rc = read_boxes(r, json_object_get(v, "boxes"), name, p);
    if (rc || !*rest) return rc;
    const char *at = strstr(*rest, p->text);
    if (!at)
        return line_bad(r->why, "phrase_not_found", name,
                        "\"%.60s\" isn't in the caption, or not behind the phrase before it",
                        p->text);
    p->at = (size_t)(at - r->line->caption);
    *rest = at + strlen(p->text);
    return 0;
}

int line_read_phrases(const struct line_reading *r, const json_t *v) {
    size_t n = json_array_size(v);
    if (n < 1 || n > LINE_PHRASES_MAX)
        return line_bad(r->why, "wrong_type", "phrases", "must be a list of 1 to %d phrases",
                        LINE_PHRASES_MAX);
    const char *rest = r->line->caption;
    struct line_phrase *p = line_take(r, n, sizeof(*p));
    int rc = p ? 0 : E_NOMEM;
    if (rc == 0 && rest) rc = check_marks(r, rest, "caption");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "phrases[%zu]", i);
        rc = read_phrase(r, json_array_get(v, i), name, &rest, &p[i]);
    }
    r->line->phrases = p;
    r->line->n_phrases = (uint32_t)n;
    return rc;
}

/* ---- answers and actions ---- */

int line_read_answers(const struct line_reading *r, const json_t *v) {
    int is_list = json_is_array(v);
    size_t n = is_list ? json_array_size(v) : 1;
    if (n < 1 || n > LINE_ANSWERS_MAX)
        return line_bad(r->why, "wrong_type", "answer", "must be a text, or a list of 1 to %d",
                        LINE_ANSWERS_MAX);
    const char **answers = line_take(r, n, sizeof(*answers));
    int rc = answers ? 0 : E_NOMEM;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = line_text(r, is_list ? json_array_get(v, i) : v, "answer", 0, &answers[i]);
    r->line->answers = answers;
    r->line->n_answers = (uint32_t)n;
    return rc;
}

int line_read_action(const struct line_reading *r, const json_t *game, const json_t *action) {
    const struct rounds_rules *rules = NULL;
    enum rounds_game which;
    if (json_is_string(game)) rules = rounds_find(json_string_value(game), &which);
    if (!rules)
        return line_bad(r->why, "out_of_range", "game", "must be car_racing or space_invaders");
    if (rounds_read_action(rules, action, r->line->action))
        return line_bad(r->why, "bad_action", "action", "must be %s of 0 .. %d",
                        rules->values > 1 ? "three whole numbers" : "a whole number", rules->most);
    if (r->line->n_pictures != (uint32_t)rules->frames)
        return line_bad(r->why, "bad_action", "images", "%s needs %d frames, the oldest first",
                        rules->name, rules->frames);
    r->line->tasks |= 1u << (which == ROUNDS_CAR_RACING ? SAMPLE_DRIVE : SAMPLE_SHOOT);
    return 0;
}
