/* journal.c - see journal.h. A line is written by one call, so that a killed run leaves at most one
 * that is cut; the next run takes that one away. A line that the disk has no room for is taken back
 * at once: the next one must not stand behind its half. */
#include "cli/train/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/buf.h"

enum { LINE_MAX_ = 16 << 10 };

static int journal_bad(const char *path, struct err *e) {
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

static int write_line(int fd, const char *path, const struct buf *line, struct err *e) {
    if (line->bad) return err_set(e, line->bad, "%s: a line of over %d bytes", path, LINE_MAX_);
    off_t begin = lseek(fd, 0, SEEK_END);
    for (size_t at = 0; at < line->len;) {
        ssize_t n = write(fd, line->p + at, line->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int rc = journal_bad(path, e);
            if (begin >= 0) (void)!ftruncate(fd, begin);
            return rc;
        }
        at += (size_t)n;
    }
    return 0;
}

static int journal_write_head(struct journal *j, struct err *e) {
    struct buf line;
    buf_init(&line, LINE_MAX_);
    buf_str(&line, "step,stage,kind,loss,rate,norm,talks,tokens,seconds,skipped,box,hold");
    for (int t = 0; t < SAMPLE_TASKS; t++)
        buf_printf(&line, ",%s", sample_task_words[t]);
    for (int i = 0; i < TRAIN_DENSE; i++)
        buf_printf(&line, ",dense_%s", train_dense_words[i]);
    buf_char(&line, '\n');
    int rc = write_line(j->csv, j->csv_path, &line, e);
    j->csv_bytes = line.len;
    buf_clear(&line);
    return rc;
}

static int open_csv(struct journal *j, uint64_t bytes, struct err *e) {
    struct stat s;
    j->csv = open(j->csv_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->csv < 0 || fstat(j->csv, &s)) return journal_bad(j->csv_path, e);
    if ((uint64_t)s.st_size < bytes)
        return err_set(e, E_FORMAT, "%s: it is shorter than the checkpoint says; put it back",
                       j->csv_path);
    if (ftruncate(j->csv, (off_t)bytes)) return journal_bad(j->csv_path, e);
    j->csv_bytes = bytes;
    return bytes ? 0 : journal_write_head(j, e);
}

/* A last line that was cut goes away. */
int journal_open_events(const struct folder *f, struct journal *j, struct err *e) {
    struct stat s;
    char tail[LINE_MAX_];
    folder_file(f, "events.jsonl", j->events_path);
    j->events = open(j->events_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->events < 0 || fstat(j->events, &s)) return journal_bad(j->events_path, e);
    off_t from = s.st_size > LINE_MAX_ ? s.st_size - LINE_MAX_ : 0;
    ssize_t n = pread(j->events, tail, sizeof(tail), from);
    if (n < 0) return journal_bad(j->events_path, e);
    const char *end = n ? memrchr(tail, '\n', (size_t)n) : NULL;
    off_t whole = end ? from + (end - tail) + 1 : 0;
    if (whole < s.st_size && ftruncate(j->events, whole)) return journal_bad(j->events_path, e);
    return 0;
}

int journal_open(const struct folder *f, uint64_t csv_bytes, struct journal *j, struct err *e) {
    j->csv = j->events = -1;
    folder_file(f, "losses.csv", j->csv_path);
    int rc = open_csv(j, csv_bytes, e);
    if (rc == 0) rc = journal_open_events(f, j, e);
    if (rc) journal_close(j);
    return rc;
}

void journal_close(struct journal *j) {
    if (j->csv >= 0) close(j->csv);
    if (j->events >= 0) close(j->events);
    j->csv = j->events = -1;
}

/* A number of JSON; what is not finite is null. */
static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static int event_of(struct journal *j, const struct journal_row *r, struct err *e) {
    json_t *o = json_object(), *tasks = json_object();
    json_object_set_new(o, "stage", json_string(r->stage));
    json_object_set_new(o, "step", json_integer((json_int_t)r->step));
    json_object_set_new(o, "loss", number(losses_mean(r->losses)));
    for (int t = 0; t < SAMPLE_TASKS; t++)
        if (r->losses->weight[t] > 0)
            json_object_set_new(tasks, sample_task_words[t], number(losses_of(r->losses, t)));
    json_object_set_new(o, "tasks", tasks);
    double weight = losses_weight(r->losses);
    if (r->losses->box != 0) json_object_set_new(o, "box", number(r->losses->box / weight));
    if (r->losses->hold != 0) json_object_set_new(o, "hold", number(r->losses->hold / weight));
    for (int i = 0; i < TRAIN_DENSE; i++) {
        char name[32];
        snprintf(name, sizeof(name), "dense_%s", train_dense_words[i]);
        if (r->losses->dense[i] != 0)
            json_object_set_new(o, name, number(r->losses->dense[i] / weight));
    }
    if (!r->is_judgement) {
        json_object_set_new(o, "rate", number(r->rate));
        json_object_set_new(o, "norm", number(r->norm));
        json_object_set_new(o, "talks", json_integer((json_int_t)r->talks));
        json_object_set_new(o, "seconds", number(r->seconds));
        if (r->is_skipped) json_object_set_new(o, "skipped", json_true());
    }
    return journal_event(j, r->is_judgement ? "judge" : "step", o, e);
}

/* A loss that is of all tasks together; nothing where there is none. */
static void add_part(struct buf *line, const struct losses *l, double sum) {
    buf_char(line, ',');
    if (sum != 0 && losses_any(l)) buf_printf(line, "%.6g", sum / losses_weight(l));
}

int journal_add(struct journal *j, const struct journal_row *r, struct err *e) {
    struct buf line;
    buf_init(&line, LINE_MAX_);
    buf_printf(&line, "%" PRIu64 ",%s,%s,%.6g", r->step, r->stage,
               r->is_judgement ? "judge" : "learn", losses_mean(r->losses));
    if (r->is_judgement)
        buf_str(&line, ",,,,,,");
    else
        buf_printf(&line, ",%.6g,%.6g,%" PRIu64 ",%" PRIu64 ",%.4f,%d", r->rate, r->norm, r->talks,
                   r->tokens, r->seconds, r->is_skipped);
    add_part(&line, r->losses, r->losses->box);
    add_part(&line, r->losses, r->losses->hold);
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        buf_char(&line, ',');
        if (r->losses->weight[t] > 0) buf_printf(&line, "%.6g", losses_of(r->losses, t));
    }
    for (int i = 0; i < TRAIN_DENSE; i++)
        add_part(&line, r->losses, r->losses->dense[i]);
    (void)buf_char(&line, '\n');
    int rc = write_line(j->csv, j->csv_path, &line, e);
    j->csv_bytes += line.len;
    buf_clear(&line);
    return rc ? rc : event_of(j, r, e);
}

int journal_event(struct journal *j, const char *event, json_t *fields, struct err *e) {
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_t *o = json_object();
    json_object_set_new(o, "event", json_string(event));
    json_object_set_new(o, "time", json_string(when));
    json_object_update(o, fields);
    json_decref(fields);
    struct buf line;
    buf_init(&line, LINE_MAX_);
    size_t n = json_dumpb(o, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (n && buf_reserve(&line, n + 1) == 0) {
        (void)json_dumpb(o, (char *)line.p, n, JSON_COMPACT | JSON_REAL_PRECISION(9));
        line.len = n;
        (void)buf_char(&line, '\n');
    }
    json_decref(o);
    int rc = write_line(j->events, j->events_path, &line, e);
    buf_clear(&line);
    return rc;
}

int journal_sync(struct journal *j, struct err *e) {
    return fsync(j->csv) ? journal_bad(j->csv_path, e) : 0;
}
