/* jobs_follow.c - `lammd jobs events`: the event stream of a job, line by line.
 *
 * A stream that ends before its job does, because the server was started again or because it lasted
 * long enough, is asked for again behind the last event that came. A server that can't be reached
 * is tried for TRIES times a second each: it may be starting. Thread: main's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/jobs.h"
#include "kernels/base/buf.h"

enum { TRIES = 60, BAR = 24, LINE_MAX_BYTES = 256 << 10 };

struct follow {
    struct buf line; /* that is not whole yet */
    char event[24], last_id[80];
    int is_terminal, is_over, is_open; /* is_open: the cursor stands behind a bar */
    char status[24];
    double seconds; /* of the steps that were seen */
    int64_t steps;  /* how many these were */
    int64_t at, of;
    struct err e;
};

/* ---- showing ---- */

static void say_left(double seconds, char to[24]) {
    long t = (long)(seconds + 0.5);
    if (t >= 3600)
        snprintf(to, 24, "%ldh%02ldm", t / 3600, t / 60 % 60);
    else if (t >= 60)
        snprintf(to, 24, "%ldm%02lds", t / 60, t % 60);
    else
        snprintf(to, 24, "%lds", t);
}

static void show_bar(struct follow *f, double loss) {
    char bar[BAR + 1], left[24];
    int full = f->of > 0 ? (int)(BAR * f->at / f->of) : 0;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR] = '\0';
    say_left(f->steps ? f->seconds / (double)f->steps * (double)(f->of - f->at) : 0, left);
    fprintf(stderr, "\r\033[K[%s] %" PRId64 "/%" PRId64 "  loss %.4f  %s left", bar, f->at, f->of,
            loss, left);
    f->is_open = 1;
}

static void close_bar(struct follow *f) {
    if (f->is_open) fputs("\r\033[K", stderr);
    f->is_open = 0;
}

static void show_event(struct follow *f, const json_t *o) {
    const json_t *data = json_object_get(o, "data"), *loss = json_object_get(data, "train_loss");
    const char *id = jobs_text(o, "id");
    if (*id) snprintf(f->last_id, sizeof(f->last_id), "%s", id);
    if (loss) {
        f->at = json_integer_value(json_object_get(data, "step"));
        f->of = json_integer_value(json_object_get(data, "total_steps"));
        f->seconds += json_number_value(json_object_get(data, "seconds"));
        f->steps++;
    }
    if (loss && f->is_terminal) {
        show_bar(f, json_number_value(loss));
        return;
    }
    char when[24] = "";
    time_t t = (time_t)json_integer_value(json_object_get(o, "created_at"));
    struct tm tm;
    if (gmtime_r(&t, &tm)) strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    close_bar(f);
    printf("%s  %s%s\n", when, strcmp(jobs_text(o, "level"), "info") == 0 ? "" : "! ",
           jobs_text(o, "message"));
    fflush(stdout);
}

/* ---- the stream ---- */

static void jobs_follow_data(struct follow *f, const char *text, size_t len) {
    json_t *o = jobs_parse(text, len);
    if (strcmp(f->event, "end") == 0) {
        f->is_over = 1;
        snprintf(f->status, sizeof(f->status), "%s", jobs_text(o, "status"));
    } else if (strcmp(f->event, "error") == 0) {
        (void)err_set(&f->e, E_IO, "the server ended the stream: %s", jobs_text(o, "detail"));
    } else if (o) {
        show_event(f, o);
    }
    json_decref(o);
}

static void jobs_follow_line(struct follow *f) {
    const char *line = f->line.len ? (const char *)f->line.p : "";
    if (strncmp(line, "event: ", 7) == 0)
        snprintf(f->event, sizeof(f->event), "%s", line + 7);
    else if (strncmp(line, "data: ", 6) == 0)
        jobs_follow_data(f, line + 6, f->line.len - 6);
    f->line.len = 0;
}

static int on_bytes(void *ud, const void *bytes, size_t n) {
    struct follow *f = ud;
    const char *p = bytes;
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\n')
            jobs_follow_line(f);
        else if (buf_char(&f->line, p[i]))
            (void)err_set(&f->e, E_TOO_BIG, "the server sends a line that is too long");
    return f->e.code || f->is_over;
}

/* One stream, from behind the last event on. */
static int follow_once(const struct config *cfg, const char *path, struct follow *f,
                       struct err *e) {
    struct http_client c;
    struct http_reply r;
    char header[120];
    snprintf(header, sizeof(header), "Last-Event-ID: %s", f->last_id);
    const struct http_request q = {.method = "GET",
                                   .path = path,
                                   .accept = "text/event-stream",
                                   .header = f->last_id[0] ? header : NULL,
                                   .take = on_bytes,
                                   .ud = f};
    int rc = http_client_open(&c, cfg->url, cfg->admin_socket, cfg->key_file, e);
    if (rc) return rc;
    f->line.len = 0;
    rc = http_client_ask(&c, &q, &r, e);
    if (rc == 0) rc = http_client_check(&r, e);
    if (rc == 0 && f->e.code) rc = err_set(e, f->e.code, "%s", f->e.text);
    int is_starting = rc && r.status == 503;
    http_client_drop(&r);
    return is_starting ? E_BUSY : rc;
}

static int follow_stream(const struct config *cfg, const char *path, struct follow *f,
                         struct err *e) {
    for (int tries = 0; !f->is_over;) {
        char before[sizeof(f->last_id)];
        struct err mine = {0};
        snprintf(before, sizeof(before), "%s", f->last_id);
        int rc = follow_once(cfg, path, f, &mine);
        if (f->is_over) return 0;
        if (strcmp(before, f->last_id) != 0) tries = 0;
        int may_try = rc == 0 || rc == E_IO || rc == E_TIMEOUT || rc == E_BUSY;
        if (!may_try || (rc && ++tries > TRIES)) return err_set(e, rc, "%s", mine.text);
        sleep(1);
    }
    return 0;
}

/* What is there now, page by page. */
static int follow_pages(const struct config *cfg, const char *id, struct follow *f, struct err *e) {
    for (;;) {
        char behind[160], path[300];
        json_t *page, *row;
        size_t i;
        snprintf(behind, sizeof(behind), "/events?limit=100%s%s", f->last_id[0] ? "&after=" : "",
                 f->last_id);
        int rc = jobs_url(id, behind, path, e);
        const struct http_request q = {.method = "GET", .path = path};
        if (rc || !(page = jobs_ask(cfg, &q, e))) return rc ? rc : e->code;
        json_array_foreach(json_object_get(page, "data"), i, row) show_event(f, row);
        int is_more = json_is_true(json_object_get(page, "has_more")) && i > 0;
        json_decref(page);
        if (!is_more) return 0;
    }
}

int jobs_follow(const struct config *cfg, const char *id, char status[24], struct err *e) {
    char path[300];
    struct follow f = {.is_terminal = cfg->is_followed && isatty(STDERR_FILENO)};
    buf_init(&f.line, LINE_MAX_BYTES);
    int rc = jobs_url(id, "/events", path, e);
    if (rc == 0)
        rc = cfg->is_followed ? follow_stream(cfg, path, &f, e) : follow_pages(cfg, id, &f, e);
    close_bar(&f);
    buf_clear(&f.line);
    snprintf(status, 24, "%s", f.status);
    return rc;
}
