/* accept.c - Accept (RFC 9110 section 12.5.1): which of the types we can make does a client like
 * most? Thread: any; nothing here is mutable. */
#include "api/wire/accept.h"

#include <string.h>

/* `0.5` -> 500; anything odd counts as 0. */
static int read_quality(const char *s, const char *end) {
    if (s == end || (*s != '0' && *s != '1')) return 0;
    int q = *s == '1' ? 1000 : 0, scale = 100;
    if (q || ++s == end || *s++ != '.') return q;
    for (; s < end && scale && *s >= '0' && *s <= '9'; s++, scale /= 10)
        q += (*s - '0') * scale;
    return q;
}

/* One range `type/sub;q=0.5` from s to end: how exactly it names `type` (0: not at all, 1: any, 2:
 * any of the kind, 3: itself), and its quality in thousandths. */
static int range_fits(const char *s, const char *end, const char *type, int *q) {
    const char *semi = memchr(s, ';', (size_t)(end - s));
    const char *stop = semi ? semi : end;
    while (stop > s && (stop[-1] == ' ' || stop[-1] == '\t'))
        stop--;
    *q = 1000;
    while (semi) {
        const char *p = semi + 1;
        p += strspn(p, " \t");
        if (end - p >= 2 && (*p == 'q' || *p == 'Q') && p[1] == '=') *q = read_quality(p + 2, end);
        semi = memchr(semi + 1, ';', (size_t)(end - semi - 1));
    }
    size_t n = (size_t)(stop - s), kind = (size_t)(strchr(type, '/') - type) + 1;
    if (n == strlen(type) && strncasecmp(s, type, n) == 0) return 3;
    if (n == kind + 1 && strncasecmp(s, type, kind) == 0 && s[kind] == '*') return 2;
    return n == 3 && memcmp(s, "*/*", 3) == 0;
}

int accept_pick(const char *accept, const char *const *types) {
    if (!accept || !*accept) return 0;
    int best = -1, best_q = 0, best_fit = 0;
    for (int i = 0; types[i]; i++) {
        int q = 0, fit = 0;
        for (const char *s = accept; *s;) {
            s += strspn(s, " \t,");
            const char *end = s + strcspn(s, ",");
            int this_q, this_fit = range_fits(s, end, types[i], &this_q);
            if (this_fit > fit) {
                fit = this_fit;
                q = this_q;
            }
            s = end;
        }
        if (q > best_q || (q == best_q && q > 0 && fit > best_fit)) {
            best = i;
            best_q = q;
            best_fit = fit;
        }
    }
    return best;
}
