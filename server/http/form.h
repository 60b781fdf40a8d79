/* form.h - a multipart/form-data body, gathered in memory while it arrives (multipart.h).
 *
 * The parts are copied, at most FORM_PARTS_MAX of them and `max` bytes in all. File names are
 * ignored. Thread: the HTTP loop's.
 */
#ifndef SERVER_HTTP_FORM_H
#define SERVER_HTTP_FORM_H

#include "api/api.h"

enum { FORM_PARTS_MAX = 32, FORM_NAME_MAX = 64 };

struct form;

/* Given to the caller even when it fails with E_FORMAT, for form_why; NULL: E_NOMEM. */
int form_new(const char *content_type, size_t max, struct form **out);
/* The next bytes of the body. E_FORMAT, E_TOO_BIG, E_UNSUPPORTED, E_NOMEM; the first error
 * stays. */
int form_feed(struct form *f, const char *bytes, size_t n);
/* The body has ended. The errors are the same; E_FORMAT also means that it was cut short. On
 * success the fields are valid until form_free. */
int form_end(struct form *f, const struct api_field **fields, size_t *n);
/* A sentence about the error, for the client. Static; NULL: the error says it all. */
const char *form_why(const struct form *f);
void form_free(struct form *f); /* NULL is legal */

#endif
