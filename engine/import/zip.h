/* zip.h - the members of a zip that torch.save wrote: stored, one after the other.
 *
 * Sizes come from the central directory, since torch's local headers leave them at 0. Zip64 is
 * read. Refused are members that are compressed or encrypted, that overlap, that end behind the
 * directory, that are there twice, and names that lead elsewhere. Limits come before allocations.
 *
 *     zip_open(bytes, len, &z, &e);
 *     const struct zip_member *m = zip_find(z, "archive/data.pkl");
 *     zip_check(z, m, &e);                        // reads all of it: is it what was stored?
 *
 * The bytes are borrowed until zip_close. Thread: its owner's.
 */
#ifndef ENGINE_IMPORT_ZIP_H
#define ENGINE_IMPORT_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum {
    ZIP_MEMBERS_MAX = 200000,
    ZIP_DIRECTORY_MAX = 64 << 20, /* bytes */
    ZIP_NAME_MAX = 511
};

struct zip_member {
    const char *name;
    const uint8_t *data;
    size_t bytes;
    uint32_t crc;
    int is_checked;
};

struct zip;

/* Does a file begin so? */
int zip_may_be(const void *bytes, size_t len);
/* E_FORMAT, E_UNSUPPORTED, E_TOO_BIG, E_NOMEM. */
int zip_open(const void *bytes, size_t len, struct zip **out, struct err *e);
void zip_close(struct zip *z); /* NULL is legal */

size_t zip_count(const struct zip *z);
struct zip_member *zip_at(const struct zip *z, size_t i);           /* as they lie in the file */
struct zip_member *zip_find(const struct zip *z, const char *name); /* NULL: there is none */
/* Holds a member against its CRC-32, the first time. E_FORMAT: it is damaged. */
int zip_check(struct zip *z, struct zip_member *m, struct err *e);

#endif
