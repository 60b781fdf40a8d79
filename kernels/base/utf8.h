/* utf8.h - is this UTF-8? Strict: no overlong forms, no surrogates. Thread: any. */
#ifndef KERNELS_BASE_UTF8_H
#define KERNELS_BASE_UTF8_H

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the character that `s`, NUL-ended, begins with: 1 .. 4; 0: it is none. */
int utf8_length(const char *s);
/* Is all of it UTF-8 without control characters (C0, DEL, C1)? */
int utf8_is_plain(const char *s);
/* Bytes of `s`, `max` at most, that end behind a character: what "%.*s" may print of it. */
int utf8_cut(const char *s, int max);

#ifdef __cplusplus
}
#endif
#endif
