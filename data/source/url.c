/* url.c - see url.h. The alphabet of RFC 4648, section 4; no blanks, padded, unused bits zero. */
#include "data/source/url.h"

#include <string.h>

static const char *const heads[] = {"data:image/png;base64,", "data:image/jpeg;base64,",
                                    "data:image/jpg;base64,"};

int url_is(const char *text) { return strncmp(text, "data:", 5) == 0; }

static const char *url_body(const char *text) {
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (strncmp(text, heads[i], strlen(heads[i])) == 0) return text + strlen(heads[i]);
    return NULL;
}

static int url_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int url_check(const char *text, struct err *e) {
    const char *body = url_body(text);
    if (!body)
        return err_set(e, E_FORMAT, "a picture must be data:image/png;base64, or image/jpeg");
    size_t n = strlen(body), pad = 0;
    while (pad < 2 && pad < n && body[n - 1 - pad] == '=')
        pad++;
    int is_fine = n > 0 && n % 4 == 0;
    for (size_t i = 0; is_fine && i < n - pad; i++)
        is_fine = url_digit(body[i]) >= 0;
    if (is_fine && pad) is_fine = !(url_digit(body[n - 1 - pad]) & (pad == 1 ? 0x03 : 0x0f));
    return is_fine ? 0 : err_set(e, E_FORMAT, "the data URL isn't base64");
}

int url_decode(const char *text, struct buf *out) {
    const char *body = url_body(text);
    must(body != NULL);
    int rc = buf_reserve(out, strlen(body) / 4 * 3);
    for (; rc == 0 && *body; body += 4) {
        uint32_t v = 0;
        int n = body[2] == '=' ? 1 : body[3] == '=' ? 2 : 3;
        for (int i = 0; i < 4; i++)
            v = v << 6 | (uint32_t)(body[i] == '=' ? 0 : url_digit(body[i]));
        const uint8_t three[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        rc = buf_add(out, three, (size_t)n);
    }
    return rc;
}
