/* base64.c - a strict wrapper around OpenSSL's fast block coder.
 *
 * TRAPS: EVP_DecodeBlock gives the padded length (48 for 46 real bytes), takes `=` in the middle,
 * and trims blanks and newlines on its own. So the alphabet, the padding and the unused bits are
 * checked here first, and what it returns is corrected by the padding (test_base64 has each case).
 */
#include "api/wire/base64.h"

#include <limits.h>
#include <openssl/evp.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

/* Value of a base64 digit, -1 when it is none. */
static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *text, size_t len, uint8_t **bytes, size_t *n, size_t *at) {
    *bytes = NULL;
    *n = 0;
    *at = len;
    if (len == 0) return 0;
    size_t pad = 0;
    while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < len - pad; i++) {
        if (digit(text[i]) < 0) {
            *at = i;
            return E_FORMAT;
        }
    }
    if (len % 4 || len > INT_MAX) return E_FORMAT;
    int unused = pad == 1 ? 0x03 : pad == 2 ? 0x0f : 0;
    if (digit(text[len - 1 - pad]) & unused) {
        *at = len - 1 - pad;
        return E_FORMAT;
    }
    uint8_t *out = mem_try(len / 4 * 3);
    if (!out) return E_NOMEM;
    int got = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
    must(got == (int)(len / 4 * 3));
    *bytes = out;
    *n = (size_t)got - pad;
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
