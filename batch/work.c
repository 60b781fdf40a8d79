/* work.c - see work.h.
 *
 * Lines that were begun have numbers without gaps, their seq. Ordered, an answer waits in `held`
 * at its seq until all before it are written. There are more such places than lines on their way,
 * so that one long answer doesn't let the engine run empty.
 *
 * How many are on their way: enough to fill every pass, and not more, for each picture in a pass
 * costs a packing of its keys. That is the work of some whole pictures, as lines took until now.
 */
#include "cli/batch/work.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/batch/crew.h"
#include "cli/batch/reader.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

/* Lines at first, and at least, of a device; the work that fills it, in whole pictures. */
enum { FIRST = 6, LEAST = 3, WORK_PICTURES = 3 };
enum { HELD = 1024, TURN_MS = 250, PAUSE_MS = 50, PAUSES_MAX = 100 };
static const uint64_t HELD_BYTES_MAX = 256 << 20;

struct work {
    const struct work_options *o;
    struct crew *crew;
    struct idset *ids;
    struct record *record;
    struct progress *progress;
    struct reader lines;
    int is_read;                /* to its end */
    uint64_t n_begun, n_placed; /* placed: ordered, written, up to this seq */
    struct held {
        struct buf text;
        int is_here;
    } held[HELD];
    uint64_t held_bytes;
    uint64_t rows_before, n_back; /* token rows of the engine at the start; lines that came back */
    struct crew_item *later, **later_end; /* there was no room for them */
    int pauses;                           /* in a row */
};

/* ---- answers ---- */

static int work_dump(const char *bytes, size_t n, void *ud) {
    return buf_add(ud, bytes, n) ? -1 : 0;
}

static int write_string(struct buf *b, const char *s) {
    json_t *v = json_string(s);
    int rc = v ? json_dump_callback(v, work_dump, b, JSON_ENCODE_ANY) : -1;
    json_decref(v);
    return rc ? E_NOMEM : 0;
}

/* Up to what is different of an answer and of a line that can't be asked. */
static int work_write_head(const struct work *b, uint64_t line, const char *custom_id,
                           struct buf *to) {
    buf_init(to, RECORD_LINE_MAX);
    buf_printf(to, "{\"id\":\"line-%llu\",\"custom_id\":", (unsigned long long)line);
    int rc = write_string(to, custom_id);
    buf_printf(to, ",\"fingerprint\":\"%s\",", b->o->print);
    return rc;
}

static int work_write_answer(const struct work *b, const struct crew_item *item, struct buf *to) {
    int rc = work_write_head(b, item->line, item->question.custom_id, to);
    buf_printf(to, "\"response\":{\"status_code\":%d,\"request_id\":\"line-%llu\",\"body\":",
               item->status, (unsigned long long)item->line);
    (void)buf_add(to, item->reply.p, item->reply.len);
    (void)buf_str(to, "},\"error\":null}\n");
    return rc ? rc : to->bad;
}

static int write_fault(const struct work *b, uint64_t line, const char *custom_id, const char *why,
                       struct buf *to) {
    int rc = work_write_head(b, line, custom_id, to);
    buf_str(to, "\"response\":null,\"error\":{\"code\":\"invalid_line\",\"message\":");
    if (rc == 0) rc = write_string(to, why);
    (void)buf_str(to, "}}\n");
    return rc ? rc : to->bad;
}

/* Takes the text. */
static int work_put(struct work *b, uint64_t seq, struct buf *text, struct err *e) {
    int rc = 0;
    if (!b->o->is_ordered) {
        rc = record_add(b->record, text, e);
        b->n_placed++;
        buf_clear(text);
        return rc;
    }
    b->held[seq % HELD] = (struct held){*text, 1};
    b->held_bytes += text->len;
    for (struct held *h; rc == 0 && (h = &b->held[b->n_placed % HELD])->is_here; b->n_placed++) {
        rc = record_add(b->record, &h->text, e);
        b->held_bytes -= h->text.len;
        buf_clear(&h->text);
        h->is_here = 0;
    }
    return rc;
}

/* ---- lines that come back ---- */

static int work_finish(struct work *b, struct crew_item *item, struct err *e) {
    struct buf text;
    int is_answer = item->status == 200;
    b->pauses = 0;
    b->n_back++;
    int rc = work_write_answer(b, item, &text);
    if (rc) {
        buf_clear(&text);
        return err_set(e, E_NOMEM, "no memory for the answer to line %llu",
                       (unsigned long long)item->line);
    }
    rc = work_put(b, item->seq, &text, e);
    b->progress->done++;
    b->progress->failed += !is_answer;
    if (!is_answer) progress_say(b->progress, item->line, item->problem);
    crew_give(b->crew, item);
    return rc;
}

/* Those for which there was no room are sent again: as soon as another one is through, or after a
 * pause when none is on its way. */
static int work_retry(struct work *b, struct err *e) {
    if (!b->later) return 0;
    if (crew_sent(b->crew) == 0) {
        if (b->pauses++ == PAUSES_MAX)
            return err_set(e, E_BUSY, "line %llu is not taken: %s",
                           (unsigned long long)b->later->line, b->later->problem);
        nanosleep(&(struct timespec){0, PAUSE_MS * 1000000L}, NULL);
    }
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

static int work_is_blank(const char *text, size_t len) { return strspn(text, " \t\r") >= len; }

/* A line of this part that says something. */
static int work_is_ours(const struct work_options *o, const struct reader_line *one) {
    return (one->number - 1) % o->parts == o->part &&
           !(one->text &&
             (one->len == 0 || work_is_blank(one->text, one->len < 64 ? one->len : 64)));
}

static int work_refuse(struct work *b, uint64_t line, const char *custom_id, const struct err *why,
                       struct err *e) {
    struct buf text;
    b->progress->failed++;
    b->progress->done++;
    progress_say(b->progress, line, why->text);
    if (!*custom_id) return 0; /* it is said again when the batch goes on */
    if (write_fault(b, line, custom_id, why->text, &text)) {
        buf_clear(&text);
        return err_set(e, E_NOMEM, "no memory for a line");
    }
    return work_put(b, b->n_begun++, &text, e);
}

/* Is it done already, or the second of its name? 1: there is nothing to ask. */
static int is_met(struct work *b, uint64_t line, const char *id) {
    struct idset_entry *entry = idset_at(b->ids, id);
    struct err why = {0};
    if (entry->line) {
        err_set(&why, E_FORMAT, "custom_id is that of line %llu, too",
                (unsigned long long)entry->line);
        (void)work_refuse(b, line, "", &why, NULL);
        return 1;
    }
    entry->line = line;
    return entry->is_done;
}

static int work_begin(struct work *b, struct crew_item *item, const struct reader_line *one,
                      struct err *e) {
    struct err why = {0};
    struct question *q = &item->question;
    int rc = question_read(one->text, one->text ? one->len : QUESTION_LINE_MAX + 1, q, &why),
        out = 0;
    if (q->custom_id[0] ? is_met(b, one->number, q->custom_id) : 0)
        rc = 1;
    else if (rc)
        out = work_refuse(b, one->number, q->custom_id, &why, e);
    if (rc) {
        crew_give(b->crew, item);
        return out;
    }
    item->line = one->number;
    item->seq = b->n_begun++;
    item->batch.created = b->o->created;
    crew_send(b->crew, item);
    return 0;
}

/* Lines that should be on their way now. */
static int work_places(const struct work *b) {
    int devices = eng_devices(b->o->eng);
    struct eng_stats s;
    if (b->n_back < FIRST) return FIRST * devices;
    eng_stats(b->o->eng, &s);
    uint64_t each = (s.rows - b->rows_before) / b->n_back + 1;
    uint64_t n = WORK_PICTURES * eng_picture_cost(b->o->eng) / each * (uint64_t)devices;
    int least = LEAST * devices, most = b->o->places;
    return n < (uint64_t)least ? least : n > (uint64_t)most ? most : (int)n;
}

static int work_feed(struct work *b, struct err *e) {
    struct reader_line one;
    struct crew_item *item;
    int places = work_places(b);
    while (!b->is_read && !b->later && crew_sent(b->crew) < places &&
           b->n_begun - b->n_placed < HELD && b->held_bytes < HELD_BYTES_MAX &&
           (item = crew_take(b->crew)) != NULL) {
        b->is_read = !reader_next(&b->lines, &one);
        int rc = 0;
        if (b->is_read || !work_is_ours(b->o, &one))
            crew_give(b->crew, item);
        else
            rc = work_begin(b, item, &one, e);
        if (rc) return rc;
        progress_tick(b->progress);
    }
    if (!b->lines.error) return 0;
    return err_set(e, E_IO, "%s: %s", b->o->path, strerror(b->lines.error));
}

static int work_loop(struct work *b, struct err *e) {
    int rc = 0;
    while (rc == 0) {
        rc = work_feed(b, e);
        if (rc == 0 && b->is_read && !b->later && crew_sent(b->crew) == 0) break;
        if (rc == 0 && crew_sent(b->crew)) rc = work_collect(b, e);
        if (rc == 0) rc = work_retry(b, e);
        progress_tick(b->progress);
    }
    return rc;
}

int work_run(const struct work_options *o, struct api *api, struct idset *done, struct record *j,
             struct progress *p, struct err *e) {
    struct work *b = mem_must(sizeof(*b));
    *b = (struct work){.o = o, .ids = done, .record = j, .progress = p};
    b->later_end = &b->later;
    int rc =
        lseek(o->questions, 0, SEEK_SET) ? err_set(e, E_IO, "%s can't be read twice", o->path) : 0;
    reader_open(&b->lines, o->questions, QUESTION_LINE_MAX);
    if (rc == 0 && !(b->crew = crew_open(api, o->places, o->threads, e))) rc = E_NOMEM;
    if (rc == 0) rc = work_loop(b, e);
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
