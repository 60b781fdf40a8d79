/* base64.c - reading base64 by a table, one character at a time; writing by OpenSSL's block coder.
 */
#include "api/wire/base64.h"

#include <openssl/evp.h>
#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

enum { BLANK = 64, PAD, BAD };

static void fill_table(uint8_t value[256]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    memset(value, BAD, 256);
    for (uint8_t i = 0; i < 64; i++)
        value[(unsigned char)digits[i]] = i;
    value['-'] = 62; /* the alphabet for URLs */
    value['_'] = 63;
    value[' '] = value['\t'] = value['\r'] = value['\n'] = BLANK;
    value['='] = PAD;
}

struct base64 {
    uint8_t *out;
    size_t n, digits, last; /* bytes written; digits read; index of the last digit */
    uint32_t bits;          /* of the group of four that is being read */
};

static void base64_digit(struct base64 *b, unsigned v, size_t at) {
    b->bits = b->bits << 6 | v;
    b->last = at;
    if (++b->digits % 4) return;
    b->out[b->n++] = (uint8_t)(b->bits >> 16);
    b->out[b->n++] = (uint8_t)(b->bits >> 8);
    b->out[b->n++] = (uint8_t)b->bits;
}

/* The last one or two bytes, of a group that isn't full. 0, or E_FORMAT. */
static int base64_end(struct base64 *b, size_t pads) {
    size_t rest = b->digits % 4;
    if (rest == 1 || (pads && (rest == 0 || rest + pads != 4))) return E_FORMAT;
    if (rest == 2) {
        b->out[b->n++] = (uint8_t)(b->bits >> 4);
        return b->bits & 0x0f ? E_FORMAT : 0;
    }
    if (rest == 3) {
        b->out[b->n++] = (uint8_t)(b->bits >> 10);
        b->out[b->n++] = (uint8_t)(b->bits >> 2);
        return b->bits & 0x03 ? E_FORMAT : 0;
    }
    return 0;
}

int base64_decode(const char *text, size_t len, uint8_t **bytes, size_t *n, size_t *at) {
    uint8_t value[256];
    size_t pads = 0;
    int rc = 0;
    *bytes = NULL;
    *n = 0;
    *at = len;
    fill_table(value);
    struct base64 b = {.out = mem_try(len / 4 * 3 + 3)};
    if (!b.out) return E_NOMEM;
    for (size_t i = 0; i < len && rc == 0; i++) {
        unsigned v = value[(unsigned char)text[i]];
        if (v < BLANK && pads == 0)
            base64_digit(&b, v, i);
        else if (v == PAD)
            pads++;
        else if (v != BLANK)
            rc = E_FORMAT;
        if (rc) *at = i;
    }
    if (rc == 0) {
        rc = base64_end(&b, pads);
        if (rc) *at = b.last;
    }
    if (rc || b.n == 0) {
        mem_free(b.out);
        return rc;
    }
    *bytes = b.out;
    *n = b.n;
    return 0;
}

int base64_encode(struct buf *out, const uint8_t *bytes, size_t n) {
    unsigned char text[4 * 1024 + 1];
    for (size_t i = 0; i < n; i += 3 * 1024) {
        size_t piece = n - i < 3 * 1024 ? n - i : 3 * 1024;
        int len = EVP_EncodeBlock(text, bytes + i, (int)piece);
        buf_add(out, text, (size_t)len);
    }
    return out->bad;
}
