/* form.h - a multipart/form-data body, gathered in memory while it arrives (multipart.h).
 *
 * The parts are copied, at most FORM_PARTS_MAX of them and `max` bytes in all. Where the form has a
 * disk, the part named `file` goes there instead (spool.h), and FORM_BESIDE_MAX bytes of others
 * stay in memory. Thread: the HTTP loop's; form_free: any.
 */
#ifndef SERVER_HTTP_FORM_H
#define SERVER_HTTP_FORM_H

#include "api/api.h"
#include "server/http/spool.h"

enum { FORM_PARTS_MAX = 32, FORM_NAME_MAX = 64, FORM_BESIDE_MAX = 64 << 10 };

struct form_disk {
    struct spool *spool;
    uint64_t length; /* of the whole body; 0: not known */
    upload_wake_fn *wake;
    void *ud;
};

struct form;

/* Given to the caller even when it fails with E_FORMAT, for form_why; NULL: E_NOMEM. `disk` NULL:
 * all of it stays in memory. */
int form_new(const char *content_type, size_t max, const struct form_disk *disk, struct form **out);
/* Can it take n more bytes now? 0: the disk is behind; `wake` will be called. */
int form_has_room(struct form *f, size_t n);
/* The next bytes of the body. E_FORMAT, E_TOO_BIG, E_UNSUPPORTED, E_NOMEM; of the disk, E_BUSY (it
 * is full) and E_IO. The first error stays. */
int form_feed(struct form *f, const char *bytes, size_t n);
/* The body has ended. The errors are the same; E_FORMAT also means that it was cut short. 1: its
 * file is not on the disk yet; again after the wake. On success the fields are valid until
 * form_free. */
int form_end(struct form *f, const struct api_field **fields, size_t *n);
/* Its file, which is none of the fields; NULL: there is none. Valid with them. */
const struct api_file *form_file(const struct form *f);
size_t form_held(const struct form *f); /* bytes of memory, about */
/* A sentence about the error, for the client. Static; NULL: the error says it all. */
const char *form_why(const struct form *f);
/* And the file, where nobody has moved it away. NULL is legal. */
void form_free(struct form *f);

#endif
