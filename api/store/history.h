/* history.h - what was loaded and what was the default, when, and by whose key: a file of lines.
 *
 *     {"time":"2026-01-31T12:00:00Z","event":"promote","name":"N","digest":"D","key":"K"}
 *
 * `"forced":true` stands behind the key where it holds. A line is written and synced before what it
 * tells is done. Only whole lines count: one that a crash cut short is taken off when the file is
 * opened, for what it tells was never done. One process has the file; what several replicas share
 * is a ledger (ledger.h), of the same lines. Thread: one at a time.
 */
#ifndef API_STORE_HISTORY_H
#define API_STORE_HISTORY_H

#include <stddef.h>

#include "kernels/base/err.h"

enum history_event { HISTORY_LOAD, HISTORY_UNLOAD, HISTORY_PROMOTE, HISTORY_ROLLBACK };
extern const char *const history_words[]; /* "load", ...; NULL at the end */

enum { HISTORY_NAME_BYTES = 96, HISTORY_DIGEST_BYTES = 65, HISTORY_KEY_BYTES = 48 };

struct history_line {
    char time[24]; /* 2026-01-31T12:00:00Z */
    enum history_event event;
    char name[HISTORY_NAME_BYTES];     /* of a rollback: what became the default */
    char digest[HISTORY_DIGEST_BYTES]; /* of its content; "": the base */
    char key[HISTORY_KEY_BYTES];       /* who did it: id of a key, or a place; "": the server */
    int is_forced;                     /* promoted against the gate */
};

struct history;
/* Opens the file, makes it (0600) where it is missing, and tells its lines, oldest first. E_IO;
 * E_FORMAT: a line that history_add never wrote, by number. */
int history_open(const char *path, void (*each)(void *ud, const struct history_line *line),
                 void *ud, struct history **out, struct err *e);
void history_close(struct history *h); /* NULL is legal */
/* Adds a line of now; `line`'s time is filled in. 0: it is on the disk. E_IO: it is not there, not
 * even a part. */
int history_add(struct history *h, struct history_line *line, struct err *e);

/* Lines alone, for history.c and ledger.c. */
enum { HISTORY_LINE_BYTES = 1024 }; /* of a line, its end included, at most */
/* `line` as of now, its end included, and its time filled in; how many bytes. E_NOMEM. */
int history_print(struct history_line *line, char text[HISTORY_LINE_BYTES], struct err *e);
/* One line without its end, as the file has it: strict. E_FORMAT. */
int history_parse(const char *text, size_t len, struct history_line *out, struct err *e);

#endif
