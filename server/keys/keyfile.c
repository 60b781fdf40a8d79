/* keyfile.c - see keyfile.h. */
#include "server/keys/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/hex.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

/* ---- words ---- */

unsigned keyfile_scopes(const char *words, size_t len) {
    unsigned set = 0;
    for (const char *at = words, *end = words + len; at <= end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t n = (size_t)((comma ? comma : end) - at);
        unsigned one = 0;
        for (int s = API_ASK; s < API_SCOPES; s++)
            if (strlen(api_scope_words[s]) == n && memcmp(api_scope_words[s], at, n) == 0)
                one = API_SCOPE(s);
        if (!one) return 0;
        set |= one;
        at += n + 1;
    }
    return set;
}

void keyfile_scope_words(unsigned scopes, char out[64]) {
    size_t at = 0;
    out[0] = '\0';
    for (int s = API_ASK; s < API_SCOPES; s++)
        if (scopes & API_SCOPE(s))
            at += (size_t)snprintf(out + at, 64 - at, "%s%s", at ? "," : "", api_scope_words[s]);
}

int keyfile_id_is_legal(const char *id, size_t len) {
    static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < len; i++)
        if (!memchr(legal, id[i], sizeof(legal) - 1)) return 0;
    return len >= 4 && len <= KEY_ID_MAX;
}

int keyfile_name_is_legal(const char *name) {
    size_t n = strlen(name);
    return n >= 1 && n <= KEY_NAME_MAX && name[0] != ' ' && utf8_is_plain(name);
}

/* `n` digits -> a number of at most four digits; -1: they are none. */
static int keyfile_digits(const char *s, int n) {
    int v = 0;
    for (int i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = 10 * v + (s[i] - '0');
    }
    return v;
}

int keyfile_time(const char *text, size_t len, int64_t *out) {
    static const char form[] = "0000-00-00T00:00:00Z";
    *out = 0;
    if (len == 5 && memcmp(text, "never", 5) == 0) return 0;
    if (len != sizeof(form) - 1) return E_INVALID;
    for (size_t i = 0; i < len; i++)
        if (form[i] != '0' && form[i] != text[i]) return E_INVALID;
    int year = keyfile_digits(text, 4), month = keyfile_digits(text + 5, 2);
    int day = keyfile_digits(text + 8, 2), hour = keyfile_digits(text + 11, 2);
    int minute = keyfile_digits(text + 14, 2), second = keyfile_digits(text + 17, 2);
    if (year < 1971 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 59)
        return E_INVALID;
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    *out = (int64_t)timegm(&tm);
    return tm.tm_mday == day ? 0 : E_INVALID; /* there is no 31st of June */
}

void keyfile_time_text(int64_t t, char out[24]) {
    time_t at = (time_t)t;
    struct tm tm;
    if (!t || !gmtime_r(&at, &tm) || !strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm))
        snprintf(out, 24, "never");
}

int keyfile_digest(const char *secret, size_t len, uint8_t out[KEY_DIGEST_BYTES]) {
    uint8_t md[EVP_MAX_MD_SIZE];
    size_t n = 0;
    if (!EVP_Q_digest(NULL, "SHA256", NULL, secret, len, md, &n) || n != KEY_DIGEST_BYTES)
        return E_INTERNAL;
    memcpy(out, md, KEY_DIGEST_BYTES);
    return 0;
}

/* ---- a line ---- */

struct word {
    const char *at;
    size_t len;
};

/* The next word of a line, without the blanks around it. */
static struct word keyfile_word(const char **at, const char *end) {
    while (*at < end && **at == ' ')
        ++*at;
    struct word w = {*at, 0};
    while (*at < end && **at != ' ')
        ++*at;
    w.len = (size_t)(*at - w.at);
    return w;
}

static int keyfile_hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int keyfile_read_digest(struct word w, uint8_t out[KEY_DIGEST_BYTES]) {
    if (w.len != (size_t)2 * KEY_DIGEST_BYTES) return E_FORMAT;
    for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
        int high = keyfile_hex_digit(w.at[2 * i]), low = keyfile_hex_digit(w.at[2 * i + 1]);
        if (high < 0 || low < 0) return E_FORMAT;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

/* NULL, or what is wrong. */
static const char *read_key(const char *at, const char *end, struct key *k) {
    struct word id = keyfile_word(&at, end), digest = keyfile_word(&at, end);
    struct word scopes = keyfile_word(&at, end), expires = keyfile_word(&at, end);
    while (at < end && *at == ' ')
        at++;
    size_t name = (size_t)(end - at);
    if (!expires.len) return "a key has five fields: ID DIGEST SCOPES EXPIRES NAME";
    if (!keyfile_id_is_legal(id.at, id.len)) return "ID must be 4 to 16 small letters and digits";
    if (keyfile_read_digest(digest, k->digest))
        return "DIGEST must be the 64 hex digits of a SHA-256";
    if (!(k->scopes = keyfile_scopes(scopes.at, scopes.len)))
        return "SCOPES must be some of ask, metrics, train, promote, admin, with commas between";
    if (keyfile_time(expires.at, expires.len, &k->expires))
        return "EXPIRES must be never, or a time such as 2027-01-31T00:00:00Z";
    memcpy(k->id, id.at, id.len);
    if (name <= KEY_NAME_MAX) memcpy(k->name, at, name);
    if (name > KEY_NAME_MAX || strlen(k->name) != name || !keyfile_name_is_legal(k->name))
        return "NAME must be 1 to 64 bytes of text";
    return NULL;
}

void keyfile_line(const struct key *k, struct buf *to) {
    char digest[2 * KEY_DIGEST_BYTES + 1], scopes[64], expires[24];
    hex_write(k->digest, KEY_DIGEST_BYTES, digest);
    keyfile_scope_words(k->scopes, scopes);
    keyfile_time_text(k->expires, expires);
    buf_printf(to, "%s %s %s %s %s\n", k->id, digest, scopes, expires, k->name);
}

/* ---- the file ---- */

static int keyfile_parse_line(const char *at, const char *end, struct key *keys, int *n, int line,
                              struct err *e) {
    if (at == end || *at == '#') return 0;
    if (*n == KEYFILE_KEYS_MAX)
        return err_set(e, E_TOO_BIG, "line %d: there are more than %d keys", line,
                       KEYFILE_KEYS_MAX);
    struct key *k = &keys[*n];
    *k = (struct key){.line = line};
    const char *why = read_key(at, end, k);
    if (why) return err_set(e, E_FORMAT, "line %d: %s", line, why);
    for (int i = 0; i < *n; i++)
        if (strcmp(keys[i].id, k->id) == 0)
            return err_set(e, E_FORMAT, "line %d: the ID is that of line %d", line, keys[i].line);
    ++*n;
    return 0;
}

int keyfile_parse(const char *text, size_t len, struct key **keys, int *n, struct err *e) {
    *keys = NULL;
    *n = 0;
    if (len > KEYFILE_BYTES_MAX)
        return err_set(e, E_TOO_BIG, "the file has more than %d bytes", KEYFILE_BYTES_MAX);
    struct key *all = mem_try(KEYFILE_KEYS_MAX * sizeof(*all));
    if (!all) return err_set(e, E_NOMEM, "no memory for the keys");
    int rc = 0, line = 1;
    for (const char *at = text, *last = text + len; at < last && !rc; line++) {
        const char *end = memchr(at, '\n', (size_t)(last - at));
        if (!end) end = last;
        rc = keyfile_parse_line(at, end, all, n, line, e);
        at = end + 1;
    }
    if (rc) {
        mem_free(all);
        *n = 0;
        return rc;
    }
    *keys = all;
    return 0;
}

static int load_from(int fd, struct buf *text, struct err *e) {
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode))
        return err_set(e, E_INVALID, "it is not a regular file");
    if (s.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(e, E_INVALID, "others may write it: chmod go-w takes that away");
    char piece[8192];
    ssize_t n;
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        if (buf_add(text, piece, (size_t)n))
            return err_set(e, text->bad, "the file has more than %d bytes", KEYFILE_BYTES_MAX);
    return n < 0 ? err_set(e, E_IO, "%s", strerror(errno)) : 0;
}

int keyfile_load(const char *path, struct buf *text, struct err *e) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_set(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", strerror(errno));
    buf_init(text, KEYFILE_BYTES_MAX);
    int rc = load_from(fd, text, e);
    close(fd);
    if (rc) buf_clear(text);
    return rc;
}
