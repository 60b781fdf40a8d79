/* sums.c - see sums.h. A line is 64 hex digits, two blanks (or a blank and an asterisk) and a name.
 * Names of other folders are refused: only what lies beside the file counts. */
#include "engine/files/sums.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "engine/files/smallfile.h"
#include "kernels/base/hex.h"
#include "kernels/base/mem.h"

enum { FILE_BYTES = 64 << 10, SMALL_BYTES = 16 << 20, HEX = 64, SHA_BYTES = 32, STEP = 1 << 20 };

static int sums_path(char path[4096], const char *dir, const char *name, struct err *e) {
    int n = snprintf(path, 4096, "%s/%s", dir, name);
    return n > 0 && n < 4096 ? 0 : err_set(e, E_INVALID, "the folder's name is too long");
}

static int sums_parse_line(const char *line, size_t len, struct sums_line *out) {
    size_t name = HEX + 2;
    if (len <= name || len - name > SUMS_NAME_MAX || line[HEX] != ' ') return E_FORMAT;
    if (strspn(line, "0123456789abcdef") != HEX) return E_FORMAT;
    if (line[HEX + 1] != ' ' && line[HEX + 1] != '*') return E_FORMAT;
    for (size_t i = name; i < len; i++)
        if (line[i] <= ' ' || line[i] == '/' || line[i] == 0x7f) return E_FORMAT;
    memcpy(out->hex, line, HEX);
    out->hex[HEX] = '\0';
    memcpy(out->name, line + name, len - name);
    out->name[len - name] = '\0';
    return 0;
}

int sums_parse(const char *text, size_t len, struct sums *out, struct err *e) {
    *out = (struct sums){.is_there = 1};
    for (size_t at = 0, line = 1; at < len; line++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        if (n == 0 || out->n == SUMS_MAX || sums_parse_line(text + at, n, &out->at[out->n]))
            return err_set(e, E_FORMAT, "line %zu is none of sha256sum's, or one too many", line);
        out->n++;
        at += n + 1;
    }
    return 0;
}

int sums_read(const char *dir, struct sums *out, struct err *e) {
    char path[4096], *text = NULL;
    size_t len;
    struct err why = {0};
    *out = (struct sums){0};
    int rc = sums_path(path, dir, SUMS_FILE, e);
    if (rc) return rc;
    rc = smallfile_read(path, FILE_BYTES, &text, &len, &why);
    if (rc == E_NOT_FOUND) return 0;
    if (!rc) rc = sums_parse(text, len, out, &why);
    mem_free(text);
    return rc ? err_set(e, rc, "%s: %s", path, why.text) : 0;
}

/* The digest of all that can be read from f. 0 when OpenSSL can't, or reading fails. */
static int hash_stream(FILE *f, char *room, EVP_MD_CTX *c, unsigned char *sum) {
    size_t n;
    if (!EVP_DigestInit_ex(c, EVP_sha256(), NULL)) return 0;
    while ((n = fread(room, 1, STEP, f)) > 0)
        if (!EVP_DigestUpdate(c, room, n)) return 0;
    return !ferror(f) && EVP_DigestFinal_ex(c, sum, NULL);
}

int sums_add(struct sums *s, const char *path, const char *name, struct err *e) {
    must(s->n < SUMS_MAX && strlen(name) <= SUMS_NAME_MAX);
    unsigned char sum[EVP_MAX_MD_SIZE];
    FILE *f = fopen(path, "re");
    if (!f) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    char *room = mem_try(STEP);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int is_good = room && c && hash_stream(f, room, c, sum);
    EVP_MD_CTX_free(c);
    mem_free(room);
    (void)fclose(f);
    if (!is_good) return err_set(e, E_IO, "%s: its SHA-256 could not be taken", path);
    hex_write(sum, SHA_BYTES, s->at[s->n].hex);
    snprintf(s->at[s->n++].name, sizeof s->at[0].name, "%s", name);
    return 0;
}

size_t sums_write(const struct sums *s, char text[SUMS_TEXT]) {
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; i < s->n; i++)
        at += (size_t)snprintf(text + at, SUMS_TEXT - at, "%s  %s\n", s->at[i].hex, s->at[i].name);
    return at;
}

int sums_check(const struct sums *s, const char *name, const char *hex, struct err *e) {
    for (int i = 0; i < s->n; i++) {
        if (strcmp(s->at[i].name, name) != 0 || strcmp(s->at[i].hex, hex) == 0) continue;
        return err_set(e, E_FORMAT,
                       "%s is damaged, or of another edition: its SHA-256 is %.12s..., " SUMS_FILE
                       " beside it says %.12s...",
                       name, hex, s->at[i].hex);
    }
    return 0;
}

int sums_check_file(const struct sums *s, const char *dir, const char *name, struct err *e) {
    char path[4096], hex[2 * SHA_BYTES + 1], *text = NULL;
    unsigned char sum[EVP_MAX_MD_SIZE];
    size_t len;
    if (s->n == 0) return 0;
    int rc = sums_path(path, dir, name, e);
    if (!rc && (rc = smallfile_read(path, SMALL_BYTES, &text, &len, e))) err_in(e, "%s", path);
    if (!rc && !EVP_Digest(text, len, sum, NULL, EVP_sha256(), NULL))
        rc = err_set(e, E_INTERNAL, "no SHA-256");
    mem_free(text);
    if (rc) return rc;
    hex_write(sum, SHA_BYTES, hex);
    return sums_check(s, name, hex, e);
}
