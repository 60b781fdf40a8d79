/* history.c - see history.h. One write(2) carries a line; where it or the sync fails, the file is
 * cut back to what it was. */
#include "api/store/history.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/jsonscan.h"
#include "kernels/base/mem.h"

enum { LINE_MARKS = 16 };

const char *const history_words[] = {"load", "unload", "promote", "rollback", NULL};

struct history {
    int fd;
    off_t end; /* of the last whole line */
};

/* ---- one line ---- */

/* The string `name` of o, copied; at most cap - 1 plain characters. */
static int history_take_text(const json_t *o, const char *name, char *to, size_t cap,
                             struct err *e) {
    const json_t *v = json_object_get(o, name);
    const char *s = json_string_value(v);
    if (!s || json_string_length(v) >= cap || strlen(s) != json_string_length(v))
        return err_set(e, E_FORMAT, "%s must be a string of at most %zu bytes", name, cap - 1);
    memcpy(to, s, strlen(s) + 1);
    return 0;
}

static int take_event(const json_t *o, enum history_event *out, struct err *e) {
    char word[16];
    int rc = history_take_text(o, "event", word, sizeof(word), e);
    for (int i = 0; !rc && history_words[i]; i++) {
        if (strcmp(word, history_words[i]) != 0) continue;
        *out = (enum history_event)i;
        return 0;
    }
    return rc ? rc : err_set(e, E_FORMAT, "event is none of load, unload, promote, rollback");
}

static int take_line(const json_t *o, struct history_line *out, struct err *e) {
    const json_t *forced = json_object_get(o, "forced");
    size_t known = forced ? 6 : 5;
    int rc = history_take_text(o, "time", out->time, sizeof(out->time), e);
    if (!rc) rc = take_event(o, &out->event, e);
    if (!rc) rc = history_take_text(o, "name", out->name, sizeof(out->name), e);
    if (!rc) rc = history_take_text(o, "digest", out->digest, sizeof(out->digest), e);
    if (!rc) rc = history_take_text(o, "key", out->key, sizeof(out->key), e);
    if (!rc && forced && !json_is_boolean(forced))
        rc = err_set(e, E_FORMAT, "forced must be true or false");
    if (!rc && json_object_size(o) != known) rc = err_set(e, E_FORMAT, "there is an unknown field");
    out->is_forced = json_is_true(forced);
    return rc;
}

int history_parse(const char *text, size_t len, struct history_line *out, struct err *e) {
    *out = (struct history_line){.event = HISTORY_LOAD};
    if (jsonscan_bound(text, len, 1, LINE_MARKS, NULL))
        return err_set(e, E_FORMAT, "it is no line of a history");
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    int rc =
        json_is_object(o) ? take_line(o, out, e) : err_set(e, E_FORMAT, "it is no JSON object");
    json_decref(o);
    return rc;
}

static void stamp(char to[24]) {
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(to, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Names and keys need no escapes, but a base's may. */
int history_print(struct history_line *l, char text[HISTORY_LINE_BYTES], struct err *e) {
    stamp(l->time);
    json_t *o = json_pack("{ssssssssss}", "time", l->time, "event", history_words[l->event], "name",
                          l->name, "digest", l->digest, "key", l->key);
    if (o && l->is_forced) json_object_set_new(o, "forced", json_true());
    size_t n = o ? json_dumpb(o, text, HISTORY_LINE_BYTES - 1, JSON_COMPACT) : 0;
    json_decref(o);
    if (n == 0 || n >= HISTORY_LINE_BYTES) return err_set(e, E_NOMEM, "no memory for a line");
    text[n] = '\n';
    return (int)n + 1;
}

/* ---- the file ---- */

/* Lines of `f` -> each; h->end is behind the last whole one. */
static int tell_lines(struct history *h, FILE *f,
                      void (*each)(void *ud, const struct history_line *line), void *ud,
                      struct err *e) {
    char text[HISTORY_LINE_BYTES + 2];
    struct history_line line;
    for (unsigned n = 1; fgets(text, sizeof(text), f); n++) {
        size_t len = strlen(text);
        int is_whole = len > 0 && text[len - 1] == '\n';
        if (!is_whole && feof(f)) return 0; /* cut short */
        int rc = is_whole ? history_parse(text, len - 1, &line, e)
                          : err_set(e, E_FORMAT, "it is too long");
        if (rc) {
            (void)err_in(e, "line %u", n);
            return rc;
        }
        h->end += (off_t)len;
        each(ud, &line);
    }
    return ferror(f) ? err_set(e, E_IO, "%s", strerror(errno)) : 0;
}

static int history_read(struct history *h, void (*each)(void *ud, const struct history_line *line),
                        void *ud, struct err *e) {
    int copy = dup(h->fd);
    FILE *f = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (!f) {
        if (copy >= 0) close(copy);
        return err_set(e, E_IO, "%s", strerror(errno));
    }
    int rc = tell_lines(h, f, each, ud, e);
    fclose(f);
    if (!rc && ftruncate(h->fd, h->end)) rc = err_set(e, E_IO, "%s", strerror(errno));
    return rc;
}

int history_open(const char *path, void (*each)(void *ud, const struct history_line *line),
                 void *ud, struct history **out, struct err *e) {
    *out = NULL;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat s;
    if (fd < 0) {
        err_set(e, E_IO, "%s: %s", path, strerror(errno));
        return E_IO;
    }
    struct history *h = mem_must(sizeof(*h));
    h->fd = fd;
    int rc = fstat(fd, &s) || !S_ISREG(s.st_mode) ? err_set(e, E_FORMAT, "it is not a regular file")
                                                  : history_read(h, each, ud, e);
    if (rc) {
        (void)err_in(e, "%s", path);
        history_close(h);
        return rc;
    }
    *out = h;
    return 0;
}

void history_close(struct history *h) {
    if (!h) return;
    close(h->fd);
    mem_free(h);
}

int history_add(struct history *h, struct history_line *line, struct err *e) {
    char text[HISTORY_LINE_BYTES];
    int n = history_print(line, text, e);
    if (n < 0) return n;
    ssize_t put = write(h->fd, text, (size_t)n);
    if (put == n && fdatasync(h->fd) == 0) {
        h->end += n;
        return 0;
    }
    int why = put >= 0 && put < n ? ENOSPC : errno;
    if (ftruncate(h->fd, h->end)) why = errno;
    return err_set(e, E_IO, "%s", strerror(why));
}
