/* spool.c - see spool.h. The thread serves the uploads in turn, a piece of one at a time, so that
 * a large one doesn't hold up the others. It alone touches their files.
 *
 *     put      bytes that came; taken: bytes that the thread is done with; between them the ring
 *     settled  the file is whole on the disk
 *     dropped  the thread removes file and upload when it comes by
 */
#include "server/http/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/base/hex.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum { PIECE = 256 << 10, NAME_BYTES = 16 };

struct upload {
    struct spool *spool;
    upload_wake_fn *wake;
    void *ud;
    uint64_t length; /* that it will have; 0: not known */
    struct upload_file file;
    char path[UPLOAD_PATH_MAX];
    uint8_t *ring; /* (UPLOAD_RING) */
    /* the thread's */
    int fd; /* -1: not made yet */
    EVP_MD_CTX *sha;
    /* lock */
    uint64_t put, taken;
    int is_ended, is_settled, is_dropped, is_waited_for;
    size_t wanted; /* room that is waited for */
    int rc;
    struct upload *next;
};

struct spool {
    char folder[UPLOAD_PATH_MAX - 2 * NAME_BYTES - 2];
    uint64_t keep;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t news;
    struct upload *first; /* lock: whose turn it is */
    int is_closing;       /* lock */
};

/* ---- the disk ---- */

/* Bytes that may still be written. */
static uint64_t spool_free(const struct spool *s) {
    struct statvfs v;
    if (statvfs(s->folder, &v)) return 0;
    uint64_t n = (uint64_t)v.f_bavail * v.f_frsize;
    return n > s->keep ? n - s->keep : 0;
}

static int upload_fail(const struct upload *u, int number) {
    int is_full = number == ENOSPC || number == EDQUOT;
    log_event(LOG_LEVEL_ERROR, "upload", "%s: %s", u->path, strerror(number));
    return is_full ? E_BUSY : E_IO;
}

static int upload_make(struct upload *u) {
    u->fd = open(u->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return u->fd < 0 ? upload_fail(u, errno) : 0;
}

static int upload_write(struct upload *u, const uint8_t *p, size_t n) {
    int rc = u->fd < 0 ? upload_make(u) : 0;
    if (rc) return rc;
    if (!EVP_DigestUpdate(u->sha, p, n)) return E_IO;
    if (spool_free(u->spool) < n) return E_BUSY;
    while (n) {
        ssize_t got = write(u->fd, p, n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return upload_fail(u, errno);
        p += got;
        n -= (size_t)got;
    }
    return 0;
}

static int upload_settle(struct upload *u) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    int rc = u->fd < 0 ? upload_make(u) : 0;
    if (rc) return rc;
    if (!EVP_DigestFinal_ex(u->sha, sum, NULL)) return E_IO;
    if (fsync(u->fd)) return upload_fail(u, errno);
    hex_write(sum, 32, u->file.sha256);
    return 0;
}

static void upload_free(struct upload *u) {
    if (u->fd >= 0) {
        (void)unlink(u->path); /* it may have been moved */
        close(u->fd);
    }
    EVP_MD_CTX_free(u->sha);
    mem_free(u->ring);
    mem_free(u);
}

/* ---- the thread ---- */

static int upload_has_work(const struct upload *u) {
    return u->is_dropped || u->put > u->taken || (u->is_ended && !u->is_settled);
}

static void spool_add(struct spool *s, struct upload *u) {
    struct upload **at = &s->first;
    while (*at)
        at = &(*at)->next;
    u->next = NULL;
    *at = u;
}

static void spool_take_out(struct spool *s, struct upload *u) {
    struct upload **at = &s->first;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
}

/* With the lock: the next upload that has work; its turn is the last then. NULL: none. */
static struct upload *spool_next(struct spool *s) {
    struct upload *u = s->first;
    while (u && !upload_has_work(u))
        u = u->next;
    if (u) {
        spool_take_out(s, u);
        spool_add(s, u);
    }
    return u;
}

/* With the lock. */
static void upload_tell(struct upload *u) {
    int is_due =
        u->is_ended ? u->is_settled || u->rc : UPLOAD_RING - (u->put - u->taken) >= u->wanted;
    if (!u->is_waited_for || !is_due) return;
    u->is_waited_for = 0;
    u->wake(u->ud);
}

/* With the lock, which it leaves meanwhile: a piece of the upload, or its end. */
static void spool_serve(struct spool *s, struct upload *u) {
    size_t at = (size_t)(u->taken % UPLOAD_RING), n = (size_t)(u->put - u->taken);
    if (n > UPLOAD_RING - at) n = UPLOAD_RING - at;
    if (n > PIECE) n = PIECE;
    int rc = u->rc, is_last = n == 0;
    pthread_mutex_unlock(&s->mu);
    if (!rc) rc = is_last ? upload_settle(u) : upload_write(u, u->ring + at, n);
    pthread_mutex_lock(&s->mu);
    u->taken += n;
    u->rc = rc;
    u->is_settled = is_last;
}

static void *spool_run(void *ud) {
    struct spool *s = ud;
    pthread_mutex_lock(&s->mu);
    for (;;) {
        struct upload *u = spool_next(s);
        if (!u && s->is_closing) break;
        if (!u) {
            pthread_cond_wait(&s->news, &s->mu);
        } else if (u->is_dropped) {
            spool_take_out(s, u);
            pthread_mutex_unlock(&s->mu);
            upload_free(u);
            pthread_mutex_lock(&s->mu);
        } else {
            spool_serve(s, u);
            if (!u->is_dropped) upload_tell(u);
        }
    }
    pthread_mutex_unlock(&s->mu);
    return NULL;
}

/* ---- uploads ---- */

static struct upload *upload_new(struct spool *s) {
    uint8_t name[NAME_BYTES];
    char hex[2 * NAME_BYTES + 1];
    struct upload *u = mem_try(sizeof(*u));
    if (!u) return NULL;
    u->spool = s;
    u->fd = -1;
    u->file.path = u->path;
    u->sha = EVP_MD_CTX_new();
    u->ring = mem_try(UPLOAD_RING);
    if (!u->sha || !u->ring || !EVP_DigestInit_ex(u->sha, EVP_sha256(), NULL) ||
        getrandom(name, sizeof(name), 0) != sizeof(name)) {
        upload_free(u);
        return NULL;
    }
    hex_write(name, sizeof(name), hex);
    snprintf(u->path, sizeof(u->path), "%s/%s", s->folder, hex);
    return u;
}

int upload_begin(struct spool *s, uint64_t length, upload_wake_fn *wake, void *ud,
                 struct upload **out) {
    struct upload *u = upload_new(s);
    uint64_t promised = length; /* and not yet on the disk */
    if (!u) return E_NOMEM;
    u->length = length;
    u->wake = wake;
    u->ud = ud;
    pthread_mutex_lock(&s->mu);
    for (const struct upload *at = s->first; at; at = at->next)
        if (at->length > at->taken) promised += at->length - at->taken;
    int rc = promised > spool_free(s) || spool_free(s) == 0 ? E_BUSY : 0;
    if (rc == 0) spool_add(s, u);
    pthread_mutex_unlock(&s->mu);
    if (rc)
        upload_free(u);
    else
        *out = u;
    return rc;
}

/* With the lock: the answer, and whether a wake has to follow. */
static int upload_wait(struct upload *u, int is_fine, size_t wanted) {
    u->is_waited_for = !is_fine;
    u->wanted = wanted;
    return is_fine;
}

int upload_has_room(struct upload *u, size_t n) {
    must(n <= UPLOAD_RING);
    pthread_mutex_lock(&u->spool->mu);
    int has = UPLOAD_RING - (u->put - u->taken) >= n;
    /* Half of the ring, so that the two don't wait for each other's every piece. */
    has = upload_wait(u, has, n > UPLOAD_RING / 2 ? n : UPLOAD_RING / 2);
    pthread_mutex_unlock(&u->spool->mu);
    return has;
}

int upload_put(struct upload *u, const void *bytes, size_t n) {
    struct spool *s = u->spool;
    size_t at = (size_t)(u->put % UPLOAD_RING), first = n; /* `put` is the caller's to write */
    if (first > UPLOAD_RING - at) first = UPLOAD_RING - at;
    memcpy(u->ring + at, bytes, first);
    memcpy(u->ring, (const uint8_t *)bytes + first, n - first);
    pthread_mutex_lock(&s->mu);
    must(UPLOAD_RING - (u->put - u->taken) >= n);
    u->put += n;
    int rc = u->rc;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

int upload_end(struct upload *u) {
    struct spool *s = u->spool;
    pthread_mutex_lock(&s->mu);
    u->is_ended = 1;
    u->file.bytes = u->put;
    int rc = u->rc ? u->rc : upload_wait(u, u->is_settled, 0);
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

const struct upload_file *upload_file(const struct upload *u) { return &u->file; }

void upload_drop(struct upload *u) {
    if (!u) return;
    struct spool *s = u->spool;
    pthread_mutex_lock(&s->mu);
    u->is_dropped = 1;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->mu);
}

/* ---- the folder ---- */

/* Remove what an earlier process left: plain files alone. */
static int spool_empty(const char *folder, struct err *e) {
    DIR *d = opendir(folder);
    if (!d) return err_set(e, E_IO, "%s: %s", folder, strerror(errno));
    int rc = 0;
    for (const struct dirent *at; rc == 0 && (at = readdir(d));) {
        if (at->d_name[0] == '.') continue;
        if (unlinkat(dirfd(d), at->d_name, 0))
            rc = err_set(e, E_IO, "%s/%s: %s", folder, at->d_name, strerror(errno));
    }
    closedir(d);
    return rc;
}

int spool_open(const char *folder, uint64_t keep, struct spool **out, struct err *e) {
    struct spool *s = mem_must(sizeof(*s));
    int n = snprintf(s->folder, sizeof(s->folder), "%s", folder), rc = 0;
    s->keep = keep;
    if (n < 0 || (size_t)n >= sizeof(s->folder)) rc = err_set(e, E_INVALID, "the path is too long");
    if (!rc && mkdir(folder, 0700) && errno != EEXIST)
        rc = err_set(e, E_IO, "%s: %s", folder, strerror(errno));
    if (!rc) rc = spool_empty(folder, e);
    if (rc) {
        mem_free(s);
        return rc;
    }
    pthread_mutex_init(&s->mu, NULL);
    pthread_cond_init(&s->news, NULL);
    must(pthread_create(&s->thread, NULL, spool_run, s) == 0);
    *out = s;
    return 0;
}

void spool_close(struct spool *s) {
    if (!s) return;
    pthread_mutex_lock(&s->mu);
    s->is_closing = 1;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->mu);
    pthread_join(s->thread, NULL);
    must(!s->first);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}
