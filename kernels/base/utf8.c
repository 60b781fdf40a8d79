/* utf8.c - see utf8.h. */
#include "kernels/base/utf8.h"

#include <string.h>

int utf8_length(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    int is_long = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    int is_none = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return is_long || is_none ? 0 : n;
}

int utf8_is_plain(const char *text) {
    for (const char *s = text; *s;) {
        unsigned char c = (unsigned char)s[0];
        int n = utf8_length(s);
        if (n == 0 || c < 0x20 || c == 0x7f) return 0;
        if (c == 0xc2 && (unsigned char)s[1] < 0xa0) return 0;
        s += n;
    }
    return 1;
}

int utf8_cut(const char *s, int max) {
    int n = (int)strnlen(s, (size_t)max);
    while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
        n--;
    return n;
}
