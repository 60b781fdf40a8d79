/* files.c - see files.h. */
#include "data/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "media/picture.h"

int file_read(const char *path, struct buf *out, struct err *e) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int rc = 0;
    char piece[16384];
    size_t n;
    while (rc == 0 && (n = fread(piece, 1, sizeof(piece), f)) > 0) {
        rc = buf_add(out, piece, n);
        if (rc) err_set(e, rc, "%s: larger than %zu MiB", path, out->max >> 20);
    }
    if (rc == 0 && ferror(f)) rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
    if (f != stdin) fclose(f);
    return rc;
}

static int write_all(FILE *f, const void *bytes, size_t len) {
    int is_short = fwrite(bytes, 1, len, f) != len;
    return fflush(f) || is_short;
}

int file_write(const char *path, const void *bytes, size_t len, struct err *e) {
    if (strcmp(path, "-") == 0)
        return write_all(stdout, bytes, len)
                   ? err_set(e, E_IO, "standard output: %s", strerror(errno))
                   : 0;
    char temp[4200];
    int n = snprintf(temp, sizeof(temp), "%s.%ld.tmp", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof(temp)) return err_set(e, E_INVALID, "the path is too long");
    FILE *f = fopen(temp, "wb");
    if (!f) return err_set(e, E_IO, "%s: %s", path, strerror(errno));
    int failed = write_all(f, bytes, len);
    if (fclose(f)) failed = 1;
    if (!failed && rename(temp, path) == 0) return 0;
    err_set(e, E_IO, "%s: %s", path, strerror(errno));
    unlink(temp);
    return E_IO;
}

int file_is_folder(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

int file_picture(const char *path, uint8_t **rgb, int *w, int *h, struct err *e) {
    struct buf bytes;
    buf_init(&bytes, FILE_PICTURE_MAX);
    int rc = file_read(path, &bytes, e);
    if (rc == 0) {
        rc = picture_decode(bytes.p, bytes.len, PICTURE_PIXELS_MAX, rgb, w, h, e);
        if (rc) err_in(e, "%s", path);
    }
    buf_clear(&bytes);
    return rc;
}

int file_write_png(const char *path, const uint8_t *rgb, int w, int h, struct err *e) {
    struct buf png;
    buf_init(&png, FILE_PICTURE_MAX);
    int rc = picture_png(rgb, w, h, &png);
    rc = rc ? err_set(e, rc, "%s: no memory for a PNG", path) : file_write(path, png.p, png.len, e);
    buf_clear(&png);
    return rc;
}
