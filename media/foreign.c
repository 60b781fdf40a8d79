/* foreign.c - see foreign.h. A format is known by its first bytes. Those that are built of ISO's
 * boxes (ISO/IEC 14496-12) begin with a list of brands: the main one, a version, and others that
 * the file is fit for, too.
 */
#include "media/foreign.h"

#include <string.h>

#include "kernels/base/err.h"

static const struct {
    const char *bytes;
    size_t len;
    const char *name;
} beginnings[] = {
    {"GIF8", 4, "a GIF"},
    {"BM", 2, "a BMP picture"},
    {"II*\0", 4, "a TIFF picture"},
    {"MM\0*", 4, "a TIFF picture"},
    {"II+\0", 4, "a TIFF picture"},
    {"MM\0+", 4, "a TIFF picture"},
    {"\xff\x0a", 2, "a JPEG XL picture"},
    {"\0\0\0\x0cJXL \r\n\x87\n", 12, "a JPEG XL picture"},
    {"\0\0\0\x0cjP  \r\n\x87\n", 12, "a JPEG 2000 picture"},
    {"\xff\x4f\xff\x51", 4, "a JPEG 2000 picture"},
    {"\0\0\1\0", 4, "an icon (ICO)"},
    {"8BPS", 4, "a Photoshop file"},
    {"%PDF", 4, "a PDF"},
    {"<svg", 4, "an SVG drawing"},
};

static int has_brand(const uint8_t *bytes, size_t end, const char *brand) {
    for (size_t at = 8; at + 4 <= end; at += at == 8 ? 8 : 4) {
        if (memcmp(bytes + at, brand, 4) == 0) return 1;
    }
    return 0;
}

static const char *boxes_name(const uint8_t *bytes, size_t len) {
    static const char *const heic[] = {"heic", "heix", "heim", "heis",
                                       "hevc", "hevx", "mif1", "msf1"};
    size_t box = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    size_t end = box < len ? box : len;
    if (has_brand(bytes, end, "avif") || has_brand(bytes, end, "avis")) return "an AVIF picture";
    for (size_t i = 0; i < ARRAY_LEN(heic); i++) {
        if (has_brand(bytes, end, heic[i])) return "a HEIC picture";
    }
    return "a film, or a picture of another kind (ISO's boxes)";
}

const char *foreign_name(const uint8_t *bytes, size_t len) {
    if (len >= 12 && memcmp(bytes + 4, "ftyp", 4) == 0) return boxes_name(bytes, len);
    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++) {
        if (len >= beginnings[i].len && memcmp(bytes, beginnings[i].bytes, beginnings[i].len) == 0)
            return beginnings[i].name;
    }
    return NULL;
}
