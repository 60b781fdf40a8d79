/* work.c - see work.h.
 *
 * Lines that were begun have numbers without gaps, their seq. Ordered, an answer waits in `held`
 * at its seq until all before it are written. There are more such places than lines on their way,
 * so that one long answer doesn't let the engine run empty.
 *
 * How many are on their way: enough to fill every pass, and not more, for each picture in a pass
 * costs a packing of its keys. That is the work of some whole pictures, as lines took until now.
 */
#include "batch/work.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch/text.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

/* Lines at first, and at least, of a device; the work that fills it, in whole pictures. */
enum { FIRST = 6, LEAST = 3, WORK_PICTURES = 3 };
enum { HELD = 1024, TURN_MS = 250, PAUSE_MS = 50, PATIENT_MS = 400, PAUSES_MAX = 100 };

struct work {
    const struct work_options *o;
    struct crew *crew;
    struct idset *ids;
    struct reader lines;
    int is_read;                /* to its end */
    uint64_t n_begun, n_placed; /* placed: ordered, written, up to this seq */
    struct held {
        struct buf text;
        int is_here;
        enum work_end end;
    } held[HELD];
    uint64_t held_bytes, sent_bytes;
    uint64_t n_back, rows; /* lines that came back, and the engine's rows that they took */
    struct crew_item *later, **later_end; /* there was no room for them */
    int is_through;                       /* another one was, since they were sent */
    int pauses;                           /* in a row */
    enum work_wish wish;
    char print[API_PRINT_BYTES]; /* of the base model */
};

/* ---- answers ---- */

static const char BAD_LINE[] = "invalid_line";

static int work_dump(const char *bytes, size_t n, void *ud) {
    return buf_add(ud, bytes, n) ? -1 : 0;
}

static int write_string(struct buf *b, const char *s) {
    json_t *v = text_json(s);
    int rc = v ? json_dump_callback(v, work_dump, b, JSON_ENCODE_ANY) : -1;
    json_decref(v);
    return rc ? E_NOMEM : 0;
}

/* Up to what is different of an answer and of a line that can't be asked. */
static int work_write_head(const struct work *b, uint64_t line, const char *custom_id,
                           const char *print, struct buf *to) {
    buf_init(to, RECORD_LINE_MAX);
    buf_printf(to, "{\"id\":\"%s-%llu\",\"custom_id\":", b->o->name, (unsigned long long)line);
    int rc = write_string(to, custom_id);
    buf_printf(to, ",\"fingerprint\":\"%s\",", print && *print ? print : b->print);
    return rc;
}

static int work_write_answer(const struct work *b, const struct crew_item *item, struct buf *to) {
    int rc = work_write_head(b, item->line, item->question.custom_id, item->print, to);
    buf_printf(to, "\"response\":{\"status_code\":%d,\"request_id\":\"%s-%llu\",\"body\":",
               item->status, b->o->name, (unsigned long long)item->line);
    (void)buf_add(to, item->reply.p, item->reply.len);
    (void)buf_str(to, "},\"error\":null}\n");
    return rc ? rc : to->bad;
}

static int write_fault(const struct work *b, uint64_t line, const char *custom_id, const char *code,
                       const char *why, struct buf *to) {
    int rc = work_write_head(b, line, custom_id, NULL, to);
    buf_printf(to, "\"response\":null,\"error\":{\"code\":\"%s\",\"message\":", code);
    if (rc == 0) rc = write_string(to, why);
    (void)buf_str(to, "}}\n");
    return rc ? rc : to->bad;
}

static int work_write(struct work *b, enum work_end end, const struct buf *text, struct err *e) {
    int rc = record_add(end == WORK_ANSWERED ? b->o->answers : b->o->errors, text, e);
    if (rc == 0) b->o->hooks.done(b->o->hooks.ud, end);
    return rc;
}

/* Takes the text. */
static int work_put(struct work *b, uint64_t seq, enum work_end end, struct buf *text,
                    struct err *e) {
    int rc = 0;
    if (!b->o->is_ordered) {
        rc = work_write(b, end, text, e);
        b->n_placed++;
        buf_clear(text);
        return rc;
    }
    b->held[seq % HELD] = (struct held){*text, 1, end};
    b->held_bytes += text->len;
    for (struct held *h; rc == 0 && (h = &b->held[b->n_placed % HELD])->is_here; b->n_placed++) {
        rc = work_write(b, h->end, &h->text, e);
        b->held_bytes -= h->text.len;
        buf_clear(&h->text);
        h->is_here = 0;
    }
    return rc;
}

/* ---- lines that come back ---- */

static int work_finish(struct work *b, struct crew_item *item, struct err *e) {
    struct buf text;
    enum work_end end = item->status == 200 ? WORK_ANSWERED : WORK_REFUSED;
    b->pauses = 0;
    b->is_through = 1;
    b->n_back++;
    b->rows += item->rows;
    int rc = work_write_answer(b, item, &text);
    if (rc) {
        buf_clear(&text);
        return err_set(e, E_NOMEM, "no memory for the answer to line %llu",
                       (unsigned long long)item->line);
    }
    if (end != WORK_ANSWERED) b->o->hooks.failed(b->o->hooks.ud, item->line, item->problem);
    rc = work_put(b, item->seq, end, &text, e);
    b->sent_bytes -= item->question.body.len;
    crew_give(b->crew, item);
    return rc;
}

/* Those for which there was no room are sent again: as soon as another one is through, or after a
 * pause when none is on its way. */
static int work_retry(struct work *b, struct err *e) {
    if (!b->later) return 0;
    if (crew_sent(b->crew) == 0) {
        if (b->pauses++ >= PAUSES_MAX && !b->o->is_patient)
            return err_set(e, E_BUSY, "line %llu is not taken: %s",
                           (unsigned long long)b->later->line, b->later->problem);
        long ms = b->o->is_patient ? PATIENT_MS : PAUSE_MS;
        nanosleep(&(struct timespec){0, ms * 1000000L}, NULL);
    } else if (!b->is_through) {
        return 0;
    }
    b->is_through = 0;
    struct crew_item *first = b->later, *next;
    b->later = NULL;
    b->later_end = &b->later;
    for (; first; first = next) {
        next = first->next;
        crew_send(b->crew, first);
    }
    return 0;
}

static int work_collect(struct work *b, struct err *e) {
    struct crew_item *item = crew_next(b->crew, TURN_MS * CLOCK_MS);
    int rc = 0;
    for (; rc == 0 && item; item = rc ? NULL : crew_next(b->crew, 0)) {
        if (!item->is_busy) {
            rc = work_finish(b, item, e);
            continue;
        }
        item->next = NULL;
        *b->later_end = item;
        b->later_end = &item->next;
    }
    return rc;
}

/* ---- lines that go out ---- */

int work_is_blank(const struct reader_line *one) {
    size_t n = one->len < 64 ? one->len : 64;
    return one->text && (n == 0 || strspn(one->text, " \t\r") >= n);
}

/* A line of this part that says something. */
static int work_is_ours(const struct work_options *o, const struct reader_line *one) {
    return (one->number - 1) % o->parts == o->part && !work_is_blank(one);
}

static int work_refuse(struct work *b, uint64_t line, const char *custom_id, const char *code,
                       const char *why, struct err *e) {
    struct buf text;
    b->o->hooks.failed(b->o->hooks.ud, line, why);
    if (!*custom_id) { /* it is said again when the batch goes on */
        b->o->hooks.done(b->o->hooks.ud, WORK_BROKEN);
        return 0;
    }
    if (write_fault(b, line, custom_id, code, why, &text)) {
        buf_clear(&text);
        return err_set(e, E_NOMEM, "no memory for a line");
    }
    return work_put(b, b->n_begun++, WORK_BROKEN, &text, e);
}

/* Is it done already, or the second of its name? 1: there is nothing to ask. */
static int is_met(struct work *b, uint64_t line, const char *id) {
    struct idset_entry *entry = idset_at(b->ids, id);
    struct err why = {0};
    if (entry->line) {
        err_set(&why, E_FORMAT, "custom_id is that of line %llu, too",
                (unsigned long long)entry->line);
        (void)work_refuse(b, line, "", BAD_LINE, why.text, NULL);
        return 1;
    }
    entry->line = line;
    return entry->is_done;
}

static int work_begin(struct work *b, struct crew_item *item, const struct reader_line *one,
                      struct err *e) {
    struct err why = {0};
    struct question *q = &item->question;
    int rc = question_read(one->text, one->text ? one->len : QUESTION_LINE_MAX + 1, b->o->endpoint,
                           q, &why),
        out = 0;
    if (q->custom_id[0] ? is_met(b, one->number, q->custom_id) : 0)
        rc = 1;
    else if (rc)
        out = work_refuse(b, one->number, q->custom_id, BAD_LINE, why.text, e);
    else if (b->o->refusal)
        out = work_refuse(b, one->number, q->custom_id, b->o->code, b->o->refusal, e);
    if (rc || b->o->refusal) {
        crew_give(b->crew, item);
        return out;
    }
    item->line = one->number;
    item->seq = b->n_begun++;
    item->batch = b->o->batch;
    b->sent_bytes += q->body.len;
    crew_send(b->crew, item);
    return 0;
}

/* Lines that should be on their way now. */
static int work_places(const struct work *b) {
    int devices = eng_devices(b->o->eng);
    if (b->n_back < FIRST) return FIRST * devices;
    uint64_t each = b->rows / b->n_back + 1;
    uint64_t n = WORK_PICTURES * eng_picture_cost(b->o->eng) / each * (uint64_t)devices;
    int least = LEAST * devices, most = b->o->places;
    return n < (uint64_t)least ? least : n > (uint64_t)most ? most : (int)n;
}

static int work_feed(struct work *b, struct err *e) {
    struct reader_line one;
    struct crew_item *item;
    int places = work_places(b);
    while (!b->is_read && !b->later && crew_sent(b->crew) < places &&
           b->n_begun - b->n_placed < HELD && b->held_bytes < b->o->held_max &&
           b->sent_bytes < b->o->sent_max && b->wish == WORK_GO_ON &&
           (item = crew_take(b->crew)) != NULL) {
        b->is_read = !reader_next(&b->lines, &one);
        int rc = 0;
        if (b->is_read || !work_is_ours(b->o, &one))
            crew_give(b->crew, item);
        else
            rc = work_begin(b, item, &one, e);
        if (rc) return rc;
        b->wish = b->o->hooks.tick(b->o->hooks.ud);
    }
    if (!b->lines.error) return 0;
    return err_set(e, E_IO, "%s: %s", b->o->path, strerror(b->lines.error));
}

static int work_loop(struct work *b, struct err *e) {
    int rc = 0;
    while (rc == 0) {
        b->wish = b->o->hooks.tick(b->o->hooks.ud);
        rc = work_feed(b, e);
        int is_flying = crew_sent(b->crew) > 0;
        if (rc || (!is_flying && !b->later && b->is_read)) break;
        if (b->wish == WORK_STOP || (b->wish == WORK_LAND && !is_flying)) break;
        if (is_flying) rc = work_collect(b, e);
        if (rc == 0 && b->wish == WORK_GO_ON) rc = work_retry(b, e);
    }
    return rc;
}

int work_run(const struct work_options *o, struct api *api, struct idset *done, int *is_all,
             struct err *e) {
    struct work *b = mem_must(sizeof(*b));
    const struct crew_options crew = {o->places, o->threads, o->name,
                                      o->caller, o->visit,   o->niceness};
    *b = (struct work){.o = o, .ids = done};
    snprintf(b->print, sizeof(b->print), "fp_%.12s", eng_info(o->eng)->digest);
    b->later_end = &b->later;
    int rc =
        lseek(o->questions, 0, SEEK_SET) ? err_set(e, E_IO, "%s can't be read twice", o->path) : 0;
    reader_open(&b->lines, o->questions, QUESTION_LINE_MAX);
    if (rc == 0 && !(b->crew = crew_open(api, &crew, e))) rc = E_NOMEM;
    if (rc == 0) rc = work_loop(b, e);
    *is_all = rc == 0 && b->is_read && !b->later && crew_sent(b->crew) == 0;
    crew_close(b->crew);
    for (int i = 0; i < HELD; i++)
        buf_clear(&b->held[i].text);
    reader_close(&b->lines);
    mem_free(b);
    return rc;
}

int work_count(const struct work_options *o, uint64_t *n, struct err *e) {
    struct reader l;
    struct reader_line one;
    *n = 0;
    reader_open(&l, o->questions, QUESTION_LINE_MAX);
    while (reader_next(&l, &one))
        *n += (uint64_t)work_is_ours(o, &one);
    int rc = l.error ? err_set(e, E_IO, "%s: %s", o->path, strerror(l.error)) : 0;
    reader_close(&l);
    return rc;
}
