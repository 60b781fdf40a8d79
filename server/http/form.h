/* form.h - a multipart/form-data body, taken apart while it arrives.
 *
 * The parts are copied, at most FORM_PARTS_MAX of them and `max` bytes in all. File names are
 * ignored. A body that ends before its closing boundary is refused. Thread: the HTTP loop's.
 */
#ifndef SERVER_HTTP_FORM_H
#define SERVER_HTTP_FORM_H

#include "api/api.h"

enum { FORM_PARTS_MAX = 32 };

struct MHD_Connection;
struct form;

/* NULL when the connection's Content-Type has no boundary, or without memory. */
struct form *form_new(struct MHD_Connection *conn, size_t max);
/* The next bytes of the body. E_FORMAT, E_TOO_BIG, E_UNSUPPORTED (a part's transfer encoding),
 * E_NOMEM; the first error stays. */
int form_feed(struct form *f, const char *bytes, size_t n);
/* The body has ended. The errors are the same; E_FORMAT also means that it was cut short. On
 * success the fields are valid until form_free. */
int form_end(struct form *f, const struct api_field **fields, size_t *n);
void form_free(struct form *f); /* NULL is legal */

#endif
