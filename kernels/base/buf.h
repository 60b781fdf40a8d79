/* buf.h - a byte buffer that is born with a maximum.
 *
 * Growth that a client drives always has a cap: appending past `max` fails with E_TOO_BIG and
 * leaves the content as it was. A failed buffer stays failed (`bad`), so a writer may append a
 * hundred times and check once at the end. Thread: its owner's.
 */
#ifndef KERNELS_BASE_BUF_H
#define KERNELS_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct buf {
    uint8_t *p; /* len bytes, followed by a NUL that is not counted, once anything was appended */
    size_t len;
    size_t cap;
    size_t max;
    int bad; /* 0, or the first error: E_TOO_BIG, E_NOMEM */
};

void buf_init(struct buf *b, size_t max);
void buf_clear(struct buf *b);               /* frees the bytes; the buffer is empty and usable */
int buf_reserve(struct buf *b, size_t more); /* room for `more` further bytes */
int buf_add(struct buf *b, const void *bytes, size_t n);
int buf_str(struct buf *b, const char *s);
int buf_char(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint8_t *buf_take(struct buf *b, size_t *len); /* gives the bytes (mem_free); b is empty after */

#ifdef __cplusplus
}
#endif
#endif
