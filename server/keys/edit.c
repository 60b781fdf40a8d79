/* edit.c - see edit.h. */
#include "server/keys/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/files/newfile.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

static const char head[] =
    "# Keys of lammd. `lammd keys` writes this file; SIGHUP makes it count.\n"
    "# ID DIGEST SCOPES EXPIRES NAME\n";

/* ---- one edit at a time ---- */

/* A descriptor that holds the lock of the file's folder; close lets go. < 0: none. */
static int edit_lock(const char *path, struct err *e) {
    char folder[NEWFILE_PATH_MAX + 1];
    if (strlen(path) > NEWFILE_PATH_MAX) return err_set(e, E_INVALID, "the path is too long");
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX) == 0) return fd;
    int rc = err_set(e, E_IO, "%s: %s", slash ? folder : ".", strerror(errno));
    if (fd >= 0) close(fd);
    return rc;
}

struct edit {
    struct buf text;
    struct key *keys;
    int n;
};

/* Load and check what there is. A missing file is an empty one. */
static int edit_begin(struct edit *d, const char *path, struct err *e) {
    struct err why = {0};
    int rc = keyfile_load(path, &d->text, &why);
    if (rc == E_NOT_FOUND) {
        buf_init(&d->text, KEYFILE_BYTES_MAX);
        rc = buf_str(&d->text, head);
    } else if (rc) {
        return err_set(e, rc, "%s: %s", path, why.text);
    }
    if (!rc) rc = keyfile_parse((const char *)d->text.p, d->text.len, &d->keys, &d->n, &why);
    return rc ? err_set(e, rc, "%s: %s", path, why.text) : 0;
}

static int edit_write(const struct edit *d, const char *path, struct err *e) {
    if (d->text.bad)
        return err_set(e, d->text.bad, "%s: the file has more than %d bytes", path,
                       KEYFILE_BYTES_MAX);
    mode_t before = umask(0077);
    int rc = newfile_write(path, d->text.p, d->text.len, e);
    (void)umask(before);
    return rc;
}

static void edit_end(struct edit *d, int lock) {
    mem_free(d->keys);
    buf_clear(&d->text);
    close(lock);
}

/* ---- the two edits ---- */

static int edit_make(struct key *k, char text[KEY_TEXT_BYTES], struct err *e) {
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* 32 that look different */
    uint8_t random[12 + KEY_SECRET_CHARS / 2];
    char secret[KEY_SECRET_CHARS + 1];
    if (RAND_bytes(random, sizeof(random)) != 1)
        return err_set(e, E_INTERNAL, "there are no random bytes");
    for (int i = 0; i < 12; i++)
        k->id[i] = letters[random[i] % 32];
    hex_write(random + 12, KEY_SECRET_CHARS / 2, secret);
    if (keyfile_digest(secret, KEY_SECRET_CHARS, k->digest))
        return err_set(e, E_INTERNAL, "SHA-256 failed");
    snprintf(text, KEY_TEXT_BYTES, KEY_PREFIX "%s_%s", k->id, secret);
    return 0;
}

static int edit_add(struct edit *d, const struct key *k, struct err *e) {
    if (d->n == KEYFILE_KEYS_MAX)
        return err_set(e, E_TOO_BIG, "there are %d keys already; revoke some", d->n);
    if (d->text.len && d->text.p[d->text.len - 1] != '\n') buf_char(&d->text, '\n');
    keyfile_line(k, &d->text);
    return 0;
}

int edit_new(const char *path, const char *name, unsigned scopes, int64_t expires,
             char text[KEY_TEXT_BYTES], struct err *e) {
    struct key k = {.scopes = scopes, .expires = expires};
    if (!keyfile_name_is_legal(name))
        return err_set(e, E_INVALID, "a name has 1 to %d bytes of text", KEY_NAME_MAX);
    snprintf(k.name, sizeof(k.name), "%s", name);
    int rc = edit_make(&k, text, e), lock = rc ? rc : edit_lock(path, e);
    if (lock < 0) return lock;
    struct edit d = {.n = 0};
    rc = edit_begin(&d, path, e);
    if (!rc) rc = edit_add(&d, &k, e);
    if (!rc) rc = edit_write(&d, path, e);
    edit_end(&d, lock);
    return rc;
}

/* Cut the n-th line, from 1, out of the text. */
static void edit_cut(struct buf *text, int line) {
    size_t at = 0;
    for (; line > 1; line--)
        at += (size_t)((uint8_t *)memchr(text->p + at, '\n', text->len - at) - (text->p + at)) + 1;
    const uint8_t *end = memchr(text->p + at, '\n', text->len - at);
    size_t n = end ? (size_t)(end - (text->p + at)) + 1 : text->len - at;
    memmove(text->p + at, text->p + at + n, text->len - at - n);
    text->len -= n;
}

int edit_revoke(const char *path, const char *id, struct err *e) {
    int lock = edit_lock(path, e);
    if (lock < 0) return lock;
    struct edit d = {.n = 0};
    int rc = edit_begin(&d, path, e), line = 0;
    for (int i = 0; i < d.n; i++)
        if (strcmp(d.keys[i].id, id) == 0) line = d.keys[i].line;
    if (!rc && !line)
        rc = err_set(e, E_NOT_FOUND, "%s has no key of this id; lammd keys list shows them", path);
    if (!rc) {
        edit_cut(&d.text, line);
        rc = edit_write(&d, path, e);
    }
    edit_end(&d, lock);
    return rc;
}
