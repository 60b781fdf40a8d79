/* fuzz_framing.c - the framing reader: what passes it must pass again as it is, and cuts must not
 * matter. The first byte of the input says where it is cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/http/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct buf relayed(const uint8_t *bytes, size_t n, size_t cut) {
    struct framing f = {0};
    struct buf out;
    buf_init(&out, 2 * n + 1024);
    if (cut > n) cut = n;
    if (framing_feed(&f, bytes, cut, &out) || framing_feed(&f, bytes + cut, n - cut, &out)) abort();
    return out;
}

static void must_be_same(const struct buf *a, const struct buf *b) {
    if (a->len != b->len || (a->len && memcmp(a->p, b->p, a->len) != 0)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    if (len == 0) return 0;
    size_t cut = bytes[0];
    bytes++;
    len--;
    struct buf whole = relayed(bytes, len, 0), parts = relayed(bytes, len, cut);
    must_be_same(&whole, &parts);
    struct buf again = relayed(whole.p, whole.len, 0);
    if (again.len > whole.len) abort(); /* it holds the last few bytes back */
    whole.len = again.len;
    must_be_same(&whole, &again);
    buf_clear(&again);
    buf_clear(&parts);
    buf_clear(&whole);
    return 0;
}
