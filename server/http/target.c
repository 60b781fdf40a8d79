/* target.c - see target.h. RFC 3986 section 2.1; `+` is a blank in the query, as in HTML forms. */
#include "server/http/target.h"

#include <string.h>

#include "kernels/base/mem.h"

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode n bytes at s in place and end them with a NUL. The new length, or -1. */
static long target_decode(char *s, size_t n, int is_query) {
    char *to = s;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(s[i + 1]) : -1;
            int low = high >= 0 ? hex(s[i + 2]) : -1;
            if (low < 0) return -1;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && is_query) {
            c = ' ';
        }
        if ((unsigned char)c < 0x20 || c == 0x7f) return -1;
        *to++ = c;
    }
    *to = '\0';
    return to - s;
}

/* One `name=value` of n bytes. */
static int target_read_field(struct target *t, char *s, size_t n) {
    if (n == 0) return 0;
    if (t->n_query == TARGET_FIELDS_MAX) return E_TOO_BIG;
    char *eq = memchr(s, '=', n);
    size_t name_len = eq ? (size_t)(eq - s) : n;
    char *value = eq ? eq + 1 : s + n;
    long len = target_decode(value, (size_t)(s + n - value), 1);
    if (len < 0 || target_decode(s, name_len, 1) < 0) return E_INVALID;
    t->query[t->n_query++] =
        (struct api_field){.name = s, .data = (const uint8_t *)value, .len = (size_t)len};
    return 0;
}

int target_read(struct target *t, const char *text) {
    *t = (struct target){0};
    size_t n = strlen(text), path_len = strcspn(text, "?");
    t->path = mem_try(n + 1);
    if (!t->path) return E_NOMEM;
    memcpy(t->path, text, n);
    int rc = 0;
    char *s = t->path + path_len;
    int more = *s;
    while (rc == 0 && more) { /* s is at the '?' or behind a field */
        size_t len = strcspn(s + 1, "&");
        more = s[1 + len];
        s[1 + len] = '\0';
        rc = target_read_field(t, s + 1, len);
        s += 1 + len;
    }
    if (path_len > 1 && text[path_len - 1] == '/') t->path[--path_len] = '\0';
    if (rc == 0 && target_decode(t->path, path_len, 0) < 0) rc = E_INVALID;
    if (rc) target_clear(t);
    return rc;
}

void target_clear(struct target *t) {
    mem_free(t->path);
    *t = (struct target){0};
}
