/* json_write.c - see json_write.h. */
#include "api/wire/json_write.h"

#include <string.h>

#include "api/wire/base64.h"
#include "api/wire/text.h"

int json_write_text(struct buf *out, const char *s, size_t len) {
    buf_char(out, '"');
    for (size_t i = 0, n; i < len; i += n ? n : 1) {
        n = text_char(s + i, len - i);
        unsigned char c = (unsigned char)s[i];
        if (n == 0)
            buf_str(out, "\\ufffd");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_add(out, s + i, n);
    }
    return buf_char(out, '"');
}

int json_write_str(struct buf *out, const char *s) { return json_write_text(out, s, strlen(s)); }

int json_write_png(struct buf *out, const uint8_t *png, size_t len) {
    buf_str(out, "\"data:image/png;base64,");
    base64_encode(out, png, len);
    return buf_char(out, '"');
}
