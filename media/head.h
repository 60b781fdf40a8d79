/* head.h - what a picture's first bytes tell: its format, its size, how it wants to be turned, and
 * whether it can be decoded row by row.
 *
 * EXIF's orientation says how the rows and columns of a picture lie in what people see (CIPA
 * DC-008, tag 0x0112): 1 as stored, 2 mirrored, 3 upside down, 4 both, 5 to 8 the same with rows
 * and columns exchanged. A JPEG has it in APP1, a PNG in an eXIf chunk before its pixels or behind
 * them, a WebP in its EXIF chunk. Whoever decodes gets the picture as stored; this is for those who
 * want it as shown. Thread: any.
 */
#ifndef MEDIA_HEAD_H
#define MEDIA_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum head_kind { HEAD_PNG, HEAD_JPEG, HEAD_WEBP };

struct head {
    int w, h;        /* as stored */
    int orientation; /* 1 .. 8; 1 when nothing is told */
    int may_turn;    /* it is a PNG's, and could be told behind these bytes: all were not there */
    enum head_kind kind;
    int is_costly; /* decoding it takes more than rows that come one by one, each from its bytes:
                      it is held whole (progressive, interlaced, lossless or transparent WebP), or
                      has 16 bits a colour */
};

/* The first bytes of a PNG, JPEG or WebP, as many as reach its size. Nothing is decoded. E_FORMAT
 * (damaged, or too few bytes), E_UNSUPPORTED (another format, which the text names, or a kind of
 * these that isn't decoded), E_TOO_BIG. */
int head_read(const uint8_t *bytes, size_t len, uint64_t pixels_max, struct head *out,
              struct err *e);

/* Of a JPEG: index of the next marker's code at or behind `i`, or len. Other bytes before it are
 * passed over, as decoders do. */
size_t head_next_marker(const uint8_t *b, size_t len, size_t i);

/* The orientation in an EXIF block, that is what follows "Exif\0\0"; 1 when it tells none. */
int head_exif(const uint8_t *bytes, size_t len);

/* n-byte pixels (h, w, n) as stored -> out as shown: (h, w, n), or (w, h, n) when `orientation` is
 * 5 or more. out doesn't overlap. */
void head_turn(const uint8_t *pixels, int w, int h, int n, int orientation, uint8_t *out);

#endif
