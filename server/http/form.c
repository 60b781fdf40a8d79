/* form.c - see form.h. What stays in memory lies in one buffer that moves as it grows. So parts are
 * kept as offsets, and become pointers at the end.
 */
#include "server/http/form.h"

#include <string.h>

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "server/http/multipart.h"

static const size_t none = SIZE_MAX;

struct part {
    size_t name, type, data, len; /* offsets into `bytes`; type may be `none` */
};

struct form {
    struct multipart reader;
    struct buf bytes;
    struct part parts[FORM_PARTS_MAX];
    struct api_field fields[FORM_PARTS_MAX];
    size_t n, n_fed, max;
    struct form_disk disk; /* no spool: there is none */
    struct upload *upload; /* NULL: none came */
    int is_in_file;        /* the part at hand is the file */
    size_t file_name, file_type;
    struct api_file file;
    const char *why; /* what the reader can't know */
};

static int form_refuse(struct form *f, int rc, const char *why) {
    f->why = why;
    return rc;
}

static const char *disk_why(int rc) {
    return rc == E_BUSY ? "there is no room for the file on the server's disk; delete files that "
                          "are not needed, or come back later"
                        : NULL;
}

/* A copy among the bytes: where it begins; `none` of NULL. */
static size_t form_keep(struct form *f, const char *text) {
    size_t at = f->bytes.len;
    if (!text) return none;
    buf_add(&f->bytes, text, strlen(text) + 1);
    return at;
}

static int form_begin_file(struct form *f, const struct multipart_part *from) {
    if (f->upload) return form_refuse(f, E_FORMAT, "the form has two files; send one");
    f->is_in_file = 1;
    f->file_name = form_keep(f, from->file_name);
    f->file_type = form_keep(f, from->type);
    int rc = upload_begin(f->disk.spool, f->disk.length, f->disk.wake, f->disk.ud, &f->upload);
    return rc ? form_refuse(f, rc, disk_why(rc)) : f->bytes.bad;
}

static int form_begin(void *ud, const struct multipart_part *from) {
    _Static_assert(FORM_PARTS_MAX == 32 && FORM_NAME_MAX == 64, "the texts say so");
    struct form *f = ud;
    if (f->n == FORM_PARTS_MAX) return form_refuse(f, E_TOO_BIG, "the form has over 32 parts");
    if (strlen(from->name) > FORM_NAME_MAX)
        return form_refuse(f, E_FORMAT, "the name of a part has over 64 bytes");
    if (f->disk.spool && strcmp(from->name, "file") == 0) return form_begin_file(f, from);
    struct part *p = &f->parts[f->n++];
    p->name = form_keep(f, from->name);
    p->type = form_keep(f, from->type);
    p->data = f->bytes.len;
    return f->bytes.bad;
}

static int form_data(void *ud, const char *bytes, size_t n) {
    struct form *f = ud;
    if (f->is_in_file) {
        int rc = upload_put(f->upload, bytes, n);
        return rc ? form_refuse(f, rc, disk_why(rc)) : 0;
    }
    f->parts[f->n - 1].len += n;
    return buf_add(&f->bytes, bytes, n);
}

static int form_end_part(void *ud) {
    struct form *f = ud;
    f->is_in_file = 0;
    return 0;
}

static const struct multipart_sink gather = {form_begin, form_data, form_end_part};

int form_new(const char *content_type, size_t max, const struct form_disk *disk,
             struct form **out) {
    struct form *f = *out = mem_try(sizeof(*f));
    if (!f) return E_NOMEM;
    f->max = max;
    if (disk) f->disk = *disk;
    buf_init(&f->bytes, disk ? FORM_BESIDE_MAX : max);
    return multipart_open(&f->reader, content_type, &gather, f);
}

int form_feed(struct form *f, const char *bytes, size_t n) {
    f->n_fed += n; /* what stands around the parts counts, too */
    if (f->n_fed > f->max) return E_TOO_BIG;
    return multipart_feed(&f->reader, bytes, n);
}

int form_has_room(struct form *f, size_t n) {
    /* The reader may have held some bytes, which come in front of these. */
    return !f->upload || upload_has_room(f->upload, n + sizeof(f->reader.held));
}

/* NULL of `none`. */
static const char *form_kept(const struct form *f, size_t at) {
    return at == none ? NULL : (const char *)f->bytes.p + at;
}

static void form_tell_file(struct form *f) {
    const struct upload_file *u = upload_file(f->upload);
    f->file = (struct api_file){.path = u->path,
                                .sha256 = u->sha256,
                                .bytes = u->bytes,
                                .name = form_kept(f, f->file_name),
                                .content_type = form_kept(f, f->file_type)};
}

int form_end(struct form *f, const struct api_field **fields, size_t *n) {
    int rc = f->n_fed > f->max ? E_TOO_BIG : multipart_end(&f->reader);
    if (rc) return rc;
    int settled = f->upload ? upload_end(f->upload) : 1;
    if (settled < 0) return form_refuse(f, settled, disk_why(settled));
    if (!settled) return 1;
    for (size_t i = 0; i < f->n; i++) {
        const struct part *at = &f->parts[i];
        f->fields[i] = (struct api_field){.name = form_kept(f, at->name),
                                          .content_type = form_kept(f, at->type),
                                          .data = f->bytes.p + at->data,
                                          .len = at->len};
    }
    if (f->upload) form_tell_file(f);
    *fields = f->fields;
    *n = f->n;
    return 0;
}

const struct api_file *form_file(const struct form *f) { return f->upload ? &f->file : NULL; }

size_t form_held(const struct form *f) { return f->bytes.cap + (f->upload ? UPLOAD_RING : 0); }

const char *form_why(const struct form *f) { return f->why ? f->why : multipart_why(&f->reader); }

void form_free(struct form *f) {
    if (!f) return;
    upload_drop(f->upload);
    buf_clear(&f->bytes);
    mem_free(f);
}
