/* foreign.h - the names of formats that aren't decoded here, so that a refusal can say what came.
 * Thread: any. */
#ifndef MEDIA_FOREIGN_H
#define MEDIA_FOREIGN_H

#include <stddef.h>
#include <stdint.h>

/* "a GIF", "a HEIC picture", ...; NULL: not known. Static. */
const char *foreign_name(const uint8_t *bytes, size_t len);

#endif
