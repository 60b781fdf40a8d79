/* ini.h - files of people's settings, read strictly: recipes have sections, lammd.conf has none.
 *
 *     # what follows a # at the start of a line, or behind a blank, is a comment
 *     [stage learn]          a section: its kind, and for some a name
 *     steps = 200            a key and its value: one line, blanks around it are not part of it
 *
 *     rc = ini_parse("own.ini", text, len, &ini, &e);
 *     // own.ini:12: "steps" stands here a second time; the first is in line 9
 *
 * What the sections and keys mean is known to the caller. Texts are UTF-8 without control
 * characters; they belong to the ini. Thread: its owner's.
 */
#ifndef DATA_INI_H
#define DATA_INI_H

#include <stddef.h>

#include "kernels/base/err.h"

enum {
    INI_BYTES_MAX = 1 << 20,
    INI_LINE_MAX = 4096,
    INI_ENTRIES_MAX = 4096, /* of all sections together */
    INI_SECTIONS_MAX = 256,
    INI_NAME_MAX = 63 /* bytes of a section's name, and of a key */
};

struct ini_entry {
    const char *key, *value; /* `value` may be empty */
    int line;                /* from 1 */
};
struct ini_section {
    const char *kind, *name; /* name "": it has none */
    int line;
    const struct ini_entry *at; /* (n) */
    int n;
};
struct ini {
    const char *file; /* borrowed, for errors */
    char *text;
    struct ini_entry *entries;
    struct ini_section *at; /* (n) */
    int n;
};

/* Text of `file` (a name for errors) -> sections. E_FORMAT (file, line, reason), E_TOO_BIG,
 * E_NOMEM; ini_close after success only. */
int ini_parse(const char *file, const char *text, size_t len, struct ini *out, struct err *e);
/* The same for a file without sections: all keys are in one, of kind "". A key may stand there
 * several times: whoever knows what keys mean judges that. */
int ini_parse_flat(const char *file, const char *text, size_t len, struct ini *out, struct err *e);
void ini_close(struct ini *i); /* all zero is legal */
/* "FILE:LINE: text"; returns E_FORMAT. */
int ini_bad(const struct ini *i, int line, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
