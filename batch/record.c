/* record.c - see record.h. */
#include "batch/record.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "batch/reader.h"
#include "kernels/base/jsonscan.h"

enum { ANSWER_DEPTH_MAX = 32, ANSWER_MARKS_MAX = 16 << 20 };

static int copy(char *to, size_t size, const json_t *v) {
    const char *s = json_string_value(v);
    if (!s || !*s || strlen(s) >= size) return E_FORMAT;
    memcpy(to, s, strlen(s) + 1);
    return 0;
}

int record_read_line(const char *text, size_t len, struct record_line *out) {
    *out = (struct record_line){.is_answer = 0};
    if (jsonscan_bound(text, len, ANSWER_DEPTH_MAX, ANSWER_MARKS_MAX, NULL)) return E_FORMAT;
    json_t *root = json_loadb(text, len, 0, NULL);
    const json_t *response = json_object_get(root, "response");
    int rc = copy(out->custom_id, sizeof(out->custom_id), json_object_get(root, "custom_id"));
    if (rc == 0) rc = copy(out->print, sizeof(out->print), json_object_get(root, "fingerprint"));
    if (rc == 0 && !response) rc = E_FORMAT;
    out->is_asked = json_is_object(response);
    out->is_answer = json_integer_value(json_object_get(response, "status_code")) == 200;
    json_decref(root);
    return rc;
}

static int record_take(struct record *j, const struct reader_line *one, const char *print,
                       struct idset *done, struct err *e) {
    struct record_line line;
    if (!one->text || record_read_line(one->text, one->len, &line))
        return err_set(e, E_FORMAT,
                       "%s: line %llu is no answer of a batch: name another file, or remove the "
                       "line",
                       j->path, (unsigned long long)one->number);
    if (print && strcmp(line.print, print) != 0)
        return err_set(e, E_INVALID,
                       "%s: line %llu was answered by another model (%s, and this is %s): take "
                       "that model, or another file",
                       j->path, (unsigned long long)one->number, line.print, print);
    struct idset_entry *entry = idset_at(done, line.custom_id);
    if (entry->is_done)
        return err_set(e, E_FORMAT, "%s: line %llu has a custom_id that an earlier line has",
                       j->path, (unsigned long long)one->number);
    entry->is_done = 1;
    j->lines++;
    j->failed += !line.is_answer;
    j->asked += !line.is_answer && line.is_asked;
    return 0;
}

static int record_resume(struct record *j, const struct record_how *how, struct idset *done,
                         struct err *e) {
    struct reader l;
    struct reader_line one;
    int rc = 0;
    reader_open(&l, j->fd, RECORD_LINE_MAX);
    while (rc == 0 && reader_next(&l, &one) && !one.is_torn) {
        struct err why = {0};
        rc = record_take(j, &one, how->print, done, &why);
        if (rc == E_FORMAT && how->mends) break;
        if (rc) (void)err_set(e, rc, "%s", why.text);
        j->bytes = l.offset;
    }
    if (how->mends) rc = 0;
    if (l.error) rc = err_set(e, E_IO, "%s: %s", j->path, strerror(l.error));
    reader_close(&l);
    if (rc == 0 && ftruncate(j->fd, (off_t)j->bytes))
        rc = err_set(e, E_IO, "%s: %s", j->path, strerror(errno));
    return rc;
}

int record_open(const char *path, int questions, const struct record_how *how, struct idset *done,
                struct record *j, struct err *e) {
    struct stat s, in;
    *j = (struct record){.path = path, .keep = how->keep};
    j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0 || fstat(j->fd, &s)) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return err_set(e, E_INVALID,
                       "%s: the answers go to a file, which is read when a batch "
                       "goes on",
                       path);
    if (fstat(questions, &in) == 0 && in.st_dev == s.st_dev && in.st_ino == s.st_ino)
        return err_set(e, E_INVALID, "%s: questions and answers are the same file", path);
    if (flock(j->fd, LOCK_EX | LOCK_NB))
        return err_set(e, errno == EWOULDBLOCK ? E_BUSY : E_IO, "%s: %s", path,
                       errno == EWOULDBLOCK ? "another lammd batch writes it" : strerror(errno));
    return record_resume(j, how, done, e);
}

int record_has_room(const struct record *j, size_t len, struct err *e) {
    struct statvfs s;
    if (!j->keep || fstatvfs(j->fd, &s) || (uint64_t)s.f_bavail * s.f_frsize >= j->keep + len)
        return 0;
    return err_set(e, E_IO, "%s: %llu MiB of the disk are to stay free", j->path,
                   (unsigned long long)(j->keep >> 20));
}

int record_add(struct record *j, const struct buf *line, struct err *e) {
    int rc = record_has_room(j, line->len, e);
    if (rc) return rc;
    for (size_t at = 0; at < line->len;) {
        ssize_t n = write(j->fd, line->p + at, line->len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int why = n < 0 ? errno : ENOSPC;
            (void)!ftruncate(j->fd, (off_t)j->bytes);
            return err_set(e, E_IO, "%s: %s", j->path, strerror(why));
        }
        at += (size_t)n;
    }
    j->bytes += line->len;
    j->lines++;
    return 0;
}

int record_sync(struct record *j, struct err *e) {
    return fdatasync(j->fd) ? err_set(e, E_IO, "%s: %s", j->path, strerror(errno)) : 0;
}

void record_close(struct record *j) {
    if (j->fd >= 0) close(j->fd);
    j->fd = -1;
}
