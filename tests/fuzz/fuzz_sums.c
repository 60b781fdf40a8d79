/* fuzz_sums.c - bytes as a SHA256SUMS. What is accepted has whole digests and plain names. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/files/sums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sums s;
    struct err e = {0};
    if (sums_parse((const char *)data, size, &s, &e)) {
        must(e.code && !strchr(e.text, '\n'));
        return 0;
    }
    must(s.n >= 0 && s.n <= SUMS_MAX);
    for (int i = 0; i < s.n; i++) {
        must(strlen(s.at[i].hex) == 64 && strspn(s.at[i].hex, "0123456789abcdef") == 64);
        must(s.at[i].name[0] && !strchr(s.at[i].name, '/'));
        must(sums_check(&s, s.at[i].name, "0", &e) == E_FORMAT);
    }
    return 0;
}
