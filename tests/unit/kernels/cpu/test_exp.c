/* test_exp.c - exponentials of a line of scores, and those in SwiGLU: near what they should be, and
 * of the same bits whatever stands beside them. */
#include <math.h>

#include "kernels/base/err.h"
#include "kernels/cpu/isa.h"
#include "tests/check.h"

enum { LINE = 32, STEPS = 4000 };

static const struct cpu_isa *const isas[] = {
    &cpu_isa_portable,
#if defined(__x86_64__)
    &cpu_isa_avx2,
    &cpu_isa_avx512,
#endif
};

/* e^(score - 0), beside `other` at every second place. */
static float exp_beside(const struct cpu_isa *isa, float score, float other) {
    float line[LINE] = {0}, max;
    for (int i = 1; i < LINE; i++)
        line[i] = i % 2 ? score : other;
    (void)isa->exp_sum(LINE, line, &max);
    CHECK_EQ(max, 0);
    for (int i = 3; i < LINE; i += 2)
        CHECK_MEM(&line[i], &line[1], sizeof line[0]);
    return line[1];
}

TEST(exponentials_have_the_same_bits_beside_any_others) {
    static const float others[] = {0.0f, -85.0f, -88.0f, -104.0f, -1e9f, -INFINITY};
    for (size_t s = 0; s < ARRAY_LEN(isas); s++) {
        if (!isas[s]->is_here()) continue;
        for (int i = 0; i < STEPS; i++) {
            float score = -110.0f * (float)i / STEPS, got = exp_beside(isas[s], score, score);
            double want = exp(score);
            CHECK(fabs(got - want) <= 3e-7 * want + 1.5e-45 + (score < -103 ? 1.5e-45 : 0));
            for (size_t o = 0; o < ARRAY_LEN(others); o++) {
                float beside = exp_beside(isas[s], score, others[o]);
                CHECK_MEM(&beside, &got, sizeof got);
            }
        }
    }
}

/* silu(gate), beside `other` at every second place. */
static float silu_beside(const struct cpu_isa *isa, float gate, float other) {
    float gates[LINE], up[LINE], y[LINE];
    for (int i = 0; i < LINE; i++) {
        gates[i] = i % 2 ? gate : other;
        up[i] = 1;
    }
    isa->swiglu(LINE, gates, up, y);
    return y[1];
}

TEST(swiglu_has_the_same_bits_beside_any_others) {
    static const float others[] = {0.0f, 85.9f, -86.1f, 88.0f, -1e9f, INFINITY};
    for (size_t s = 0; s < ARRAY_LEN(isas); s++) {
        if (!isas[s]->is_here()) continue;
        for (int i = -STEPS; i <= STEPS; i++) {
            float gate = 110.0f * (float)i / STEPS, got = silu_beside(isas[s], gate, gate);
            double want = gate / (1 + exp(-(double)gate));
            if (gate > -86) CHECK(fabs(got - want) <= 1e-6 * fabs(want));
            for (size_t o = 0; o < ARRAY_LEN(others); o++) {
                float beside = silu_beside(isas[s], gate, others[o]);
                CHECK_MEM(&beside, &got, sizeof got);
            }
        }
    }
}
