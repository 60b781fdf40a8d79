/* audit.c - see audit.h. One write(2) carries a line. A disk that fills up in the middle of one has
 * the torn piece cut off again, so that the file stays lines of JSON.
 */
#include "server/keys/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { LINE_MAX_BYTES = 1024 };

struct audit {
    char *path;
    pthread_mutex_t mu; /* guards the two below */
    int fd;
    int is_failing; /* the last line could not be written: said once */
};

static int audit_open_file(const char *path, struct err *e) {
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat s;
    if (fd < 0) return err_set(e, E_IO, "%s", strerror(errno));
    if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) return fd;
    close(fd);
    return err_set(e, E_INVALID, "it is not a regular file");
}

int audit_open(const char *path, struct audit **out, struct err *e) {
    *out = NULL;
    int fd = audit_open_file(path, e);
    if (fd < 0) {
        (void)err_in(e, "audit file %s", path);
        return fd;
    }
    struct audit *a = mem_must(sizeof(*a));
    size_t len = strlen(path) + 1;
    a->path = mem_must(len);
    memcpy(a->path, path, len);
    a->fd = fd;
    pthread_mutex_init(&a->mu, NULL);
    *out = a;
    return 0;
}

void audit_close(struct audit *a) {
    if (!a) return;
    close(a->fd);
    pthread_mutex_destroy(&a->mu);
    mem_free(a->path);
    mem_free(a);
}

int audit_reopen(struct audit *a, struct err *e) {
    int fd = audit_open_file(a->path, e);
    if (fd < 0) {
        (void)err_in(e, "the audit file");
        return fd;
    }
    pthread_mutex_lock(&a->mu);
    int old = a->fd;
    a->fd = fd;
    pthread_mutex_unlock(&a->mu);
    close(old);
    return 0;
}

static int audit_text(const struct audit_line *l, char text[LINE_MAX_BYTES]) {
    struct timespec now;
    struct tm tm;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(text, LINE_MAX_BYTES,
                     "{\"time\":\"%s.%03ldZ\",\"event\":\"%s\",\"key\":\"%s\",\"route\":\"%s %s\","
                     "\"result\":\"%s\",\"request\":\"%s\",\"peer\":\"%s\"}\n",
                     when, now.tv_nsec / 1000000, l->event, l->key, l->method, l->path, l->result,
                     l->request, l->peer);
    must(n > 0 && n < LINE_MAX_BYTES); /* all of it has bounds */
    return n;
}

/* With the lock: 0, or -1 with errno. */
static int audit_append(struct audit *a, const char *text, size_t n) {
    struct stat before;
    ssize_t put = fstat(a->fd, &before) ? -1 : write(a->fd, text, n);
    if (put == (ssize_t)n) return 0;
    if (put > 0) errno = ftruncate(a->fd, before.st_size) ? errno : ENOSPC;
    return -1;
}

int audit_write(struct audit *a, const struct audit_line *line) {
    char text[LINE_MAX_BYTES];
    size_t n = (size_t)audit_text(line, text);
    pthread_mutex_lock(&a->mu);
    int rc = audit_append(a, text, n), why = errno;
    int is_news = (rc != 0) != a->is_failing;
    a->is_failing = rc != 0;
    pthread_mutex_unlock(&a->mu);
    if (rc && is_news)
        log_event(LOG_LEVEL_ERROR, "audit",
                  "%s can't be written: %s; admin calls are refused until it can", a->path,
                  strerror(why));
    if (!rc && is_news) log_event(LOG_LEVEL_WARN, "audit", "%s is written again", a->path);
    return rc ? E_IO : 0;
}
