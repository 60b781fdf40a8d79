/* ledger.h - the history that replicas share: a folder, on a file system that all of them see.
 *
 *     FOLDER/00000001.json  a line of the history (history.h): the first, the second, and so on.
 *                           Never changed, never removed
 *     FOLDER/newest         the number of the newest line; a hint, that looking is cheap
 *     FOLDER/model.json     the base model of all who share it
 *
 * A line is made under another name, synced, and gets its number by link(2), which succeeds for one
 * of all who want that number. So lines are whole or not there, and two replicas that act at once
 * come one after the other: the second is told so, and has added nothing. Nobody holds a lock, so
 * who is killed leaves none behind. What link and rename do is promised by NFS, too; file systems
 * without hard links are refused.
 *
 * A hint may be missing or behind, when whoever had to write it was killed. Then the next look
 * through the whole folder, which comes every LEDGER_WHOLE_LOOK looks, finds the line and mends it.
 *
 * Thread: one at a time.
 */
#ifndef API_STORE_LEDGER_H
#define API_STORE_LEDGER_H

#include <stdint.h>

#include "api/store/history.h"

enum { LEDGER_WHOLE_LOOK = 15, LEDGER_LINES_MAX = 99999999 };

struct ledger;
/* Makes the folder where it is missing; tells nothing yet. E_IO; E_INVALID: too long a path. */
int ledger_open(const char *folder, struct ledger **out, struct err *e);
void ledger_close(struct ledger *l); /* NULL is legal */
/* The folder is that of one base model: of the first who claims it. E_INVALID: it is another's;
 * E_IO, E_FORMAT. `sha256`: the digest of the base, 64 digits. */
int ledger_claim(struct ledger *l, const char *model, const char *sha256, struct err *e);
/* Tells the lines that were not told yet, oldest first. E_IO, E_FORMAT: the next line can't be
 * read; those before it were told, and the next call begins with it. */
int ledger_follow(struct ledger *l, void (*each)(void *ud, const struct history_line *line),
                  void *ud, struct err *e);
/* Adds a line of now behind the last one that was told. 0: it is on the disk, and counts as told.
 * E_BUSY: somebody else's line stands there by now: follow, and think again. E_IO: it is not
 * there. */
int ledger_add(struct ledger *l, struct history_line *line, struct err *e);
uint64_t ledger_lines(const struct ledger *l); /* that were told */

#endif
