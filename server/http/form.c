/* form.c - see form.h. All bytes lie in one buffer that moves as it grows. So parts are kept as
 * offsets, and become pointers at the end.
 */
#include "server/http/form.h"

#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "server/http/multipart.h"

static const size_t no_type = SIZE_MAX;

struct part {
    size_t name, type, data, len; /* offsets into `bytes`; type may be no_type */
};

struct form {
    struct multipart reader;
    struct buf bytes;
    struct part parts[FORM_PARTS_MAX];
    struct api_field fields[FORM_PARTS_MAX];
    size_t n, n_fed, max;
    const char *why; /* what the reader can't know */
};

static int form_refuse(struct form *f, int rc, const char *why) {
    f->why = why;
    return rc;
}

static int form_begin(void *ud, const struct multipart_part *from) {
    _Static_assert(FORM_PARTS_MAX == 32 && FORM_NAME_MAX == 64, "the texts say so");
    struct form *f = ud;
    if (f->n == FORM_PARTS_MAX) return form_refuse(f, E_TOO_BIG, "the form has over 32 parts");
    if (strlen(from->name) > FORM_NAME_MAX)
        return form_refuse(f, E_FORMAT, "the name of a part has over 64 bytes");
    struct part *p = &f->parts[f->n++];
    p->name = f->bytes.len;
    buf_add(&f->bytes, from->name, strlen(from->name) + 1);
    p->type = from->type ? f->bytes.len : no_type;
    if (from->type) buf_add(&f->bytes, from->type, strlen(from->type) + 1);
    p->data = f->bytes.len;
    return f->bytes.bad;
}

static int form_data(void *ud, const char *bytes, size_t n) {
    struct form *f = ud;
    f->parts[f->n - 1].len += n;
    return buf_add(&f->bytes, bytes, n);
}

static int form_end_part(void *ud) {
    (void)ud;
    return 0;
}

static const struct multipart_sink gather = {form_begin, form_data, form_end_part};

int form_new(const char *content_type, size_t max, struct form **out) {
    struct form *f = *out = mem_try(sizeof(*f));
    if (!f) return E_NOMEM;
    f->max = max;
    buf_init(&f->bytes, max);
    return multipart_open(&f->reader, content_type, &gather, f);
}

int form_feed(struct form *f, const char *bytes, size_t n) {
    f->n_fed += n; /* what stands around the parts counts, too */
    if (f->n_fed > f->max) return E_TOO_BIG;
    return multipart_feed(&f->reader, bytes, n);
}

int form_end(struct form *f, const struct api_field **fields, size_t *n) {
    int rc = f->n_fed > f->max ? E_TOO_BIG : multipart_end(&f->reader);
    if (rc) return rc;
    for (size_t i = 0; i < f->n; i++) {
        const struct part *at = &f->parts[i];
        const char *base = (const char *)f->bytes.p;
        f->fields[i] =
            (struct api_field){.name = base + at->name,
                               .content_type = at->type == no_type ? NULL : base + at->type,
                               .data = f->bytes.p + at->data,
                               .len = at->len};
    }
    *fields = f->fields;
    *n = f->n;
    return 0;
}

const char *form_why(const struct form *f) { return f->why ? f->why : multipart_why(&f->reader); }

void form_free(struct form *f) {
    if (!f) return;
    buf_clear(&f->bytes);
    mem_free(f);
}
