/* fuzz_multipart.c - server/http/form.c on a hostile body. The first byte says in which pieces; the
 * second whether the boundary is `bb` or what stands before the first line break is the header. */
#include <stdint.h>

#include "tests/unit/server/http/form_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_fields(const struct form_rig *r) {
    size_t total = 0;
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct api_field *f = &r->fields[i];
        total += strlen(f->name) + (f->content_type ? strlen(f->content_type) : 0) + f->len;
        for (size_t k = 0; k < f->len; k++) /* every byte can be read */
            total += f->data[k] == 0;
    }
    if (r->n_fields > FORM_PARTS_MAX || total > 2 * r->max) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    char type[200] = "multipart/form-data; boundary=bb";
    if (len < 2 || len > 100000) return 0;
    size_t piece = (size_t)bytes[0] + 1, skip = 1;
    const uint8_t *end = memchr(bytes + 1, '\n', len - 1);
    if (bytes[1] == 'm' && end && end - bytes < 180) {
        memcpy(type, bytes + 1, (size_t)(end - bytes) - 1);
        type[end - bytes - 1] = '\0';
        skip = (size_t)(end - bytes) + 1;
    }
    struct form_rig r = {.max = 4096, .piece = piece};
    struct form_rig whole = {.max = 4096, .piece = len};
    form_rig_run(&r, type, bytes + skip, len - skip);
    form_rig_run(&whole, type, bytes + skip, len - skip);
    if (r.rc == 0) check_fields(&r);
    /* The pieces change nothing. */
    if (r.rc != whole.rc || r.n_fields != whole.n_fields) abort();
    for (size_t i = 0; i < r.n_fields; i++) {
        const struct api_field *a = &r.fields[i], *b = &whole.fields[i];
        if (a->len != b->len || memcmp(a->data, b->data, a->len) || strcmp(a->name, b->name))
            abort();
    }
    form_free(r.form);
    form_free(whole.form);
    return 0;
}
