/* form_rig.h - a multipart body goes through server/http/form.c in pieces of one size. For the unit
 * tests and the fuzz target.
 */
#ifndef TESTS_UNIT_SERVER_HTTP_FORM_RIG_H
#define TESTS_UNIT_SERVER_HTTP_FORM_RIG_H

#include <stdlib.h>
#include <string.h>

#include "kernels/base/mem.h"
#include "server/http/form.h"

struct form_rig {
    size_t max, piece; /* of the form; bytes fed at once */
    struct form *form;
    const struct api_field *fields;
    size_t n_fields;
    int rc;
};

/* Feed `body`; afterwards r->rc and r->fields tell. form_free(r->form) by the caller. Each piece
 * lies in memory of its own, so that reading past it is found. */
static void form_rig_run(struct form_rig *r, const char *type, const void *body, size_t len) {
    const char *from = body;
    r->rc = form_new(type, r->max, NULL, &r->form);
    while (r->rc == 0 && len) {
        size_t n = len < r->piece ? len : r->piece;
        char *copy = malloc(n);
        if (!copy) abort();
        memcpy(copy, from, n);
        r->rc = form_feed(r->form, copy, n);
        free(copy);
        from += n;
        len -= n;
    }
    if (r->rc == 0) r->rc = form_end(r->form, &r->fields, &r->n_fields);
}

#endif
