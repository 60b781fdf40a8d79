/* look.c - see look.h. */
#include "batch/look.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "batch/idset.h"
#include "batch/question.h"
#include "batch/text.h"
#include "batch/work.h"

/* Bytes of lines between two questions whether it is to stop. */
enum { LOOK_STRIDE = 1 << 20 };

struct looking {
    const char *endpoint;
    struct idset *ids;
    struct look *out;
    json_t *data; /* the objects; NULL when memory ran short */
};

/* `line` 0: it is of the file as a whole. */
static void look_tell(struct looking *l, uint64_t line, const char *code, const char *why) {
    json_t *one = json_pack("{s:s,s:o,s:n,s:o}", "code", code, "message", text_json(why), "param",
                            "line", line ? json_integer((json_int_t)line) : json_null());
    if (one) (void)json_array_append_new(l->data, one);
}

static void look_refuse(struct looking *l, uint64_t line, const char *code, const char *why) {
    if (l->out->broken++ < LOOK_ERRORS_MAX) look_tell(l, line, code, why);
}

static void look_at_line(struct looking *l, const struct reader_line *one) {
    struct question q;
    struct err why = {0};
    char text[80];
    l->out->total++;
    int rc = question_read(one->text, one->text ? one->len : QUESTION_LINE_MAX + 1, l->endpoint, &q,
                           &why);
    struct idset_entry *entry = q.custom_id[0] ? idset_at(l->ids, q.custom_id) : NULL;
    if (entry && entry->line) {
        snprintf(text, sizeof(text), "custom_id is that of line %llu, too",
                 (unsigned long long)entry->line);
        look_refuse(l, one->number, "duplicate_custom_id", text);
    } else if (rc) {
        look_refuse(l, one->number, "invalid_line", why.text);
    }
    if (entry && !entry->line) entry->line = one->number;
    question_clear(&q);
}

static int look_through(struct looking *l, int fd, int (*is_stopped)(void *ud), void *ud,
                        struct err *e) {
    struct reader lines;
    struct reader_line one;
    uint64_t asked = 0;
    int rc = 0;
    reader_open(&lines, fd, QUESTION_LINE_MAX);
    while (rc == 0 && l->out->total <= LOOK_LINES_MAX && reader_next(&lines, &one)) {
        if (!work_is_blank(&one)) look_at_line(l, &one);
        if (lines.offset - asked < LOOK_STRIDE) continue;
        asked = lines.offset;
        if (is_stopped(ud)) rc = E_CANCELLED;
    }
    if (lines.error) rc = err_set(e, E_IO, "the questions: %s", strerror(lines.error));
    reader_close(&lines);
    return rc;
}

/* What is to be said of the file as a whole. */
static void look_judge(struct looking *l) {
    struct look *o = l->out;
    char text[120];
    if (o->broken > LOOK_ERRORS_MAX) {
        snprintf(text, sizeof(text), "%lld more lines can't be asked",
                 (long long)(o->broken - LOOK_ERRORS_MAX));
        look_tell(l, 0, "more_lines", text);
    }
    snprintf(text, sizeof(text), "a batch may have %d lines: make several of it", LOOK_LINES_MAX);
    if (o->total > LOOK_LINES_MAX) look_tell(l, 0, "too_many_lines", text);
    if (o->total == 0) look_tell(l, 0, "empty_file", "the file has no line that says anything");
    o->is_good = o->total <= LOOK_LINES_MAX && o->broken < o->total;
}

static int look_dump(const char *bytes, size_t n, void *ud) {
    return buf_add(ud, bytes, n) ? -1 : 0;
}

static int look_write(const json_t *data, struct buf *to, struct err *e) {
    (void)buf_str(to, "{\"object\":\"list\",\"data\":");
    int rc = json_dump_callback(data, look_dump, to, JSON_COMPACT);
    (void)buf_str(to, "}");
    if (rc == 0 && !to->bad) return 0;
    return err_set(e, E_NOMEM, "no memory for what is wrong with the file");
}

int look_at(int fd, const char *endpoint, int (*is_stopped)(void *ud), void *ud, struct look *out,
            struct err *e) {
    struct looking l = {endpoint, idset_new(), out, json_array()};
    *out = (struct look){.total = 0};
    buf_init(&out->errors, LOOK_BYTES_MAX);
    int rc = look_through(&l, fd, is_stopped, ud, e);
    if (rc == 0) look_judge(&l);
    if (rc == 0 && json_array_size(l.data)) rc = look_write(l.data, &out->errors, e);
    json_decref(l.data);
    idset_free(l.ids);
    return rc;
}

int look_add_lost(struct buf *errors, struct err *e) {
    json_t *before = errors->len ? json_loadb((const char *)errors->p, errors->len, 0, NULL) : NULL;
    json_t *data = json_object_get(before, "data");
    struct looking l = {.data = data ? json_incref(data) : json_array()};
    look_tell(&l, 0, "file_lost", "the file of questions is gone: what wasn't asked can't be");
    buf_clear(errors);
    buf_init(errors, LOOK_BYTES_MAX);
    int rc = look_write(l.data, errors, e);
    json_decref(l.data);
    json_decref(before);
    return rc;
}
