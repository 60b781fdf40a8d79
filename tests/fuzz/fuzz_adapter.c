/* fuzz_adapter.c - bytes as an adapter's two texts, adapter_config.json and lammd.json. What is
 * accepted is within its bounds, and what is printed of it is read again as the same. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/files/adapter.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_config(const uint8_t *data, size_t size) {
    struct peft_config c, back;
    struct err e = {0};
    char *text = NULL;
    size_t len;
    if (peft_parse_config(data, size, &c, &e)) {
        must(e.code && !strchr(e.text, '\n'));
        return;
    }
    must(c.r >= 1 && c.r <= PEFT_RANK_MAX && c.alpha > 0 && isfinite(peft_scale(&c)));
    must(c.dropout >= 0 && c.dropout <= 1 && c.places < 1u << PEFT_PLACES);
    if (!c.places) return; /* a pattern isn't kept */
    must(!peft_print_config(&c, &text, &len, &e));
    must(!peft_parse_config(text, len, &back, &e));
    must(back.r == c.r && back.is_rslora == c.is_rslora && back.places == c.places);
    must(fabs(back.alpha - c.alpha) <= 1e-6 * c.alpha && !strcmp(back.base, c.base));
    mem_free(text);
}

static void try_card(const uint8_t *data, size_t size) {
    struct adapter_card c, back;
    struct err e = {0};
    char *text = NULL;
    size_t len;
    if (adapter_parse_card((const char *)data, size, &c, &e)) {
        must(e.code && !strchr(e.text, '\n'));
        return;
    }
    must(!adapter_print_card(&c, &text, &len, &e) && !adapter_parse_card(text, len, &back, &e));
    must(!strcmp(back.base, c.base) && !strcmp(back.data, c.data) && back.seed == c.seed);
    must(!strcmp(back.program, c.program) && back.steps == c.steps);
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_config(data, size);
    try_card(data, size);
    return 0;
}
