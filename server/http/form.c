/* form.c - see form.h. The parser is libmicrohttpd's PostProcessor; the limits are ours.
 *
 * All bytes lie in one buffer that moves as it grows, so parts are kept as offsets and become
 * pointers at the end. Only the processor's destruction says whether the closing boundary was seen.
 * TRAPS: a part's first piece has `off` 0, but so has the second when the first was empty, as it is
 * when a packet ended right behind the part's header. So an empty part and a next one of the same
 * name are taken for one (test: form_pieces_of_any_size).
 */
#include "server/http/form.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/mem.h"

enum { PROCESSOR_BYTES = 8192, NAME_MAX_LEN = 64, TYPE_MAX_LEN = 128 };
static const size_t no_type = SIZE_MAX;

struct part {
    size_t name, type, data, len; /* offsets into `bytes`; type may be no_type */
};

struct form {
    struct MHD_PostProcessor *processor;
    struct buf bytes;
    struct part parts[FORM_PARTS_MAX];
    struct api_field fields[FORM_PARTS_MAX];
    size_t n;
    int rc;
};

static int fail(struct form *f, int rc) {
    if (f->rc == 0) f->rc = rc;
    return f->rc;
}

static int form_is_plain(const char *transfer_encoding) {
    static const char *const plain[] = {"binary", "8bit", "7bit"};
    if (!transfer_encoding) return 1;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (strcasecmp(transfer_encoding, plain[i]) == 0) return 1;
    }
    return 0;
}

static size_t keep_text(struct form *f, const char *text) {
    size_t at = f->bytes.len;
    int rc = buf_add(&f->bytes, text, strlen(text) + 1);
    if (rc) fail(f, rc);
    return at;
}

static int begin_part(struct form *f, const char *name, const char *type, const char *encoding) {
    if (f->n == FORM_PARTS_MAX) return fail(f, E_TOO_BIG);
    if (!name || strlen(name) > NAME_MAX_LEN || (type && strlen(type) > TYPE_MAX_LEN))
        return fail(f, E_FORMAT);
    if (!form_is_plain(encoding)) return fail(f, E_UNSUPPORTED);
    struct part *p = &f->parts[f->n++];
    p->name = keep_text(f, name);
    p->type = type ? keep_text(f, type) : no_type;
    p->data = f->bytes.len;
    return f->rc;
}

/* The last part is still empty and has this name. */
static int continues(const struct form *f, const char *name) {
    const struct part *last = f->n ? &f->parts[f->n - 1] : NULL;
    return last && last->len == 0 && name && strcmp(name, (char *)f->bytes.p + last->name) == 0;
}

static enum MHD_Result on_piece(void *ud, enum MHD_ValueKind kind, const char *name,
                                const char *filename, const char *type, const char *encoding,
                                const char *data, uint64_t off, size_t size) {
    (void)kind;
    (void)filename;
    struct form *f = ud;
    if (off == 0 && !continues(f, name) && begin_part(f, name, type, encoding)) return MHD_NO;
    if (f->n == 0) return fail(f, E_FORMAT), MHD_NO;
    int rc = buf_add(&f->bytes, data, size);
    if (rc) return fail(f, rc), MHD_NO;
    f->parts[f->n - 1].len += size;
    return MHD_YES;
}

struct form *form_new(struct MHD_Connection *conn, size_t max) {
    struct form *f = mem_try(sizeof(*f));
    if (!f) return NULL;
    buf_init(&f->bytes, max);
    f->processor = MHD_create_post_processor(conn, PROCESSOR_BYTES, on_piece, f);
    if (f->processor) return f;
    form_free(f);
    return NULL;
}

int form_feed(struct form *f, const char *bytes, size_t n) {
    if (f->rc == 0 && MHD_post_process(f->processor, bytes, n) != MHD_YES) fail(f, E_FORMAT);
    return f->rc;
}

int form_end(struct form *f, const struct api_field **fields, size_t *n) {
    struct MHD_PostProcessor *p = f->processor;
    f->processor = NULL;
    if (p && MHD_destroy_post_processor(p) != MHD_YES) fail(f, E_FORMAT);
    if (f->rc == 0 && f->n == 0) fail(f, E_FORMAT); /* it says nothing when no boundary ever came */
    if (f->rc) return f->rc;
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

void form_free(struct form *f) {
    if (!f) return;
    if (f->processor) (void)MHD_destroy_post_processor(f->processor);
    buf_clear(&f->bytes);
    mem_free(f);
}
