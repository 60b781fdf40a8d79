/* static.h - the web page and openapi.yaml, embedded into the program.
 *
 * The Makefile generates the table from webui/ and openapi.yaml, the path being what a client asks
 * for: "/" (webui/index.html), "/ui/app.js", "/openapi.yaml". The bytes live as long as the
 * program.
 */
#ifndef API_STATIC_H
#define API_STATIC_H

#include <stddef.h>
#include <stdint.h>

struct api_static {
    const char *path; /* NULL ends the table */
    const uint8_t *bytes;
    size_t len;
};

extern const struct api_static api_static_table[];

#endif
