/* fuzz_plan.c - bytes as the plan of a run, which says what memory it takes. */
#include <stddef.h>
#include <stdint.h>

#include "jobs/state.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct plan p;
    char *text = mem_must(size + 1); /* its own bytes, so that a read beyond them is seen */
    for (size_t i = 0; i < size; i++)
        text[i] = (char)data[i];
    if (plan_read(text, size, &p) == 0) must(p.lacks <= p.takes);
    mem_free(text);
    return 0;
}
