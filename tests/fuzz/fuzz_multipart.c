/* fuzz_multipart.c - server/http/form.c on a hostile body; the first byte says in which pieces. */
#include <stdint.h>

#include "tests/unit/server/http/form_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    if (len < 1 || len > 100000) return 0;
    struct form_rig r = {.max = 4096, .piece = (size_t)bytes[0] + 1};
    form_rig_run(&r, "multipart/form-data; boundary=bb", bytes + 1, len - 1);
    size_t total = 0;
    for (size_t i = 0; r.rc == 0 && i < r.n_fields; i++) {
        const struct api_field *f = &r.fields[i];
        total += strlen(f->name) + (f->content_type ? strlen(f->content_type) : 0) + f->len;
        for (size_t k = 0; k < f->len; k++) /* every byte can be read */
            total += f->data[k] == 0;
    }
    if (!r.is_over || r.n_fields > FORM_PARTS_MAX || total > 2 * r.max) abort();
    form_free(r.form);
    return 0;
}
