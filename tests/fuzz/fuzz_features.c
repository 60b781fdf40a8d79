/* fuzz_features.c - bytes as a file of features. Of what is accepted every picture is found, and
 * has finite numbers at its corners and in its middle. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "data/features.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_map(const struct features *f, const struct features_map *m) {
    static const double at[] = {0, 0.5, 1};
    for (int i = 0; i < 9; i++) {
        float out[SAMPLE_FEATURES];
        features_at(f, m, at[i % 3], at[i / 3], out);
        for (int c = 0; c < SAMPLE_FEATURES; c++)
            must(isfinite(out[c]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct features f;
    struct features_map m;
    struct err e = {0};
    if (features_read(data, size, &f, &e)) {
        must(e.code == E_FORMAT && !f.at);
        return 0;
    }
    for (uint32_t i = 0; i < f.n; i++) {
        must(features_find(&f, data + 16 + 4 * SAMPLE_FEATURES + i * (size_t)36, &m));
        must(m.at >= (const int8_t *)data && m.w > 0 && m.h > 0);
        must((size_t)(m.at - (const int8_t *)data) + (size_t)m.w * (size_t)m.h * SAMPLE_FEATURES <=
             size);
        check_map(&f, &m);
    }
    features_close(&f);
    return 0;
}
