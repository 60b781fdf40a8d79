/* text.h - text that came from outside: is it UTF-8, is it plain, how long is it? Thread: any. */
#ifndef API_WIRE_TEXT_H
#define API_WIRE_TEXT_H

#include <stddef.h>

/* Bytes of the UTF-8 character at s (Unicode 15, table 3-7), at most n; 0 when it is none. */
size_t text_char(const char *s, size_t n);

struct text_look {
    size_t characters;
    size_t control_at; /* byte index of the first control character (C0, DEL, C1); or its length */
    size_t bad_at;     /* of the first byte that is no UTF-8; or its length */
    int is_blank;      /* nothing but spaces */
};
struct text_look text_look(const char *s, size_t len);

#endif
