/* text.c - see text.h. Thread: any; nothing here is mutable. */
#include "api/wire/text.h"

size_t text_char(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    if (n == 0) return 0;
    if (s[0] < 0x80) return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    size_t len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len > n) return 0;
    unsigned char lo = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char hi = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < lo || s[1] > hi) return 0;
    for (size_t i = 2; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    return len;
}

/* C0, DEL, and C1, which UTF-8 writes as c2 80 .. c2 9f. */
static int text_is_control(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    return n == 1 ? s[0] < ' ' || s[0] == 0x7f : n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
}

struct text_look text_look(const char *s, size_t len) {
    struct text_look look = {.control_at = len, .bad_at = len, .is_blank = 1};
    for (size_t i = 0; i < len;) {
        size_t n = text_char(s + i, len - i);
        if (n == 0) {
            look.bad_at = i;
            return look;
        }
        if (text_is_control(s + i, n) && look.control_at == len) look.control_at = i;
        if (s[i] != ' ') look.is_blank = 0;
        look.characters++;
        i += n;
    }
    return look;
}
