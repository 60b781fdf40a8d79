/* catalog.h - names -> adapters, and which of them answers when none is named.
 *
 * "lammd", and no name at all, is the default: the adapter that was promoted last, or the base. The
 * base's own name is always the base, an adapter's own name is it. Whoever asks takes a reference
 * once, and ends on what it began with, whatever is loaded, unloaded or promoted meanwhile.
 *
 *     FOLDER/NAME/         an adapter, as `lammd train` or peft wrote it; gate.json (verdict.h)
 *     FOLDER/history.jsonl what was done (history.h); read at the start: what was loaded then is
 *                          loaded again, and the default is what it was
 *
 * Defaults stand on a stack: promote puts one on it, rollback takes one off, below is the base. An
 * entry of the stack is a name with a digest. While its top isn't loaded, or its folder holds
 * something else by now, what was the default stays it, and after a start the base.
 *
 * Replicas may share a folder. Then FOLDER/history/ is a ledger (ledger.h) instead of the file, and
 * each replica follows it: once a second it looks for what others did, and loads what they loaded.
 * An act first catches up, and its line counts only if nobody else's came in between. What a
 * replica can't load it doesn't serve: it says why, and what it serves instead.
 *
 * Threads: any. Two locks: `acts` is held by who changes something, as long as the disk takes; `mu`
 * guards the table for moments, and is the inner one. So nobody who asks waits for a disk.
 */
#ifndef API_STORE_CATALOG_H
#define API_STORE_CATALOG_H

#include "api/api.h"
#include "api/store/history.h"
#include "api/store/verdict.h"

enum { CATALOG_NAME_BYTES = HISTORY_NAME_BYTES, CATALOG_ROWS_MAX = 1000, CATALOG_LINES_MAX = 256 };

struct catalog;
/* Reads the history and loads nothing. `folder`: adapters, and those of this server's own runs, and
 * their history; NULL: there is none. `shared`: the folder that replicas share; then what is in
 * `folder` is copied there when it is loaded; NULL: none is shared. Both are made where they are
 * missing. Both NULL: there is the base alone. E_IO, E_FORMAT, E_INVALID. */
int catalog_open(const char *folder, const char *shared, struct catalog **out, struct err *e);
/* The engine is there: loads what was loaded. Takes as long as that takes. Once, before the first
 * pick. What can't be loaded is logged. E_INVALID: the shared folder is that of another model;
 * E_IO, E_FORMAT. */
int catalog_begin(struct catalog *c, struct eng *eng, struct err *e);
void catalog_close(struct catalog *c); /* before eng_close; NULL is legal */
int catalog_has_folder(const struct catalog *c);

/* May an adapter be called so? 1 to 95 of A-Z a-z 0-9 . _ : -, the first neither . nor -; not
 * lammd, history or rollback, which mean something else, and not the base's name. */
int catalog_is_name(const struct catalog *c, const char *name);

/* What answers. */
struct catalog_model {
    struct eng_adapter *adapter; /* a reference; NULL: the base */
    char name[CATALOG_NAME_BYTES];
};
/* `model` NULL: none was named. E_NOT_FOUND. */
int catalog_pick(struct catalog *c, const char *model, struct catalog_model *out);
void catalog_put(struct catalog_model *m); /* of a zeroed one, too */
/* "lammd, lamm-mini, NAME, ..." as far as there is room. */
void catalog_names(struct catalog *c, char *to, size_t cap);

/* ---- looking ---- */
struct catalog_row {
    struct catalog_model model; /* adapter NULL: it is not loaded. To be put */
    int is_default;
    char why[240]; /* it is not loaded; "": nobody tried */
};
/* Up to max, in order of names; returns how many. The loaded ones alone: at most
 * ENG_ADAPTERS_MAX. */
int catalog_loaded(struct catalog *c, struct catalog_row *rows, int max);
/* And those that the start could not load, and what else is in the folder: CATALOG_ROWS_MAX. */
int catalog_all(struct catalog *c, struct catalog_row *rows, int max);
int catalog_row(struct catalog *c, const char *name, struct catalog_row *out); /* E_NOT_FOUND */
/* Its gate.json: see verdict_read. */
int catalog_verdict(struct catalog *c, const char *name, struct verdict *out, struct err *e);
/* The newest lines of the history, newest first; how many. */
int catalog_history(struct catalog *c, struct history_line *out, int max);
struct catalog_counts {
    uint64_t promoted, forced, refused, rolled_back; /* since the start */
    int loaded, missing; /* now: missing are those that could not be loaded, or not yet */
};
void catalog_counts(struct catalog *c, struct catalog_counts *out);
/* What answers by default, and what should. */
struct catalog_standing {
    int is_shared;
    int is_behind;                     /* another one should answer: `wanted` */
    char wanted[CATALOG_NAME_BYTES];   /* the name that the history says; the base's, too */
    char why[240];                     /* it doesn't yet; "": it is on its way */
    char name[CATALOG_NAME_BYTES];     /* of what answers */
    char served[HISTORY_DIGEST_BYTES]; /* and its digest */
    uint64_t lines;                    /* of the history that were read */
    double age_s;                      /* since it was read last; 0: it is nobody else's */
};
void catalog_standing(struct catalog *c, struct catalog_standing *out);

/* ---- changing: each returns PROBLEM_NONE when it is done; `by` is a key's id or a place. An
 * error's text is for the client; there may be none ---- */

/* Opens the folder and begins to fill a slot: eng_adapter_load, whose `wake` it is. */
enum problem_code catalog_load(struct catalog *c, const char *name,
                               void (*wake)(void *ud, struct eng_adapter *adapter), void *ud,
                               struct eng_adapter **out, struct err *e);
/* It is loaded, or failed: from now on `name` means it. The adapter is given, also on an error.
 * *is_new 0: the same content was loaded already. */
enum problem_code catalog_enter(struct catalog *c, const char *name, struct eng_adapter *adapter,
                                const char *by, int *is_new, struct err *e);
enum problem_code catalog_unload(struct catalog *c, const char *name, const char *by,
                                 struct err *e);
/* *gate: what decided against it, if anything did; verdict_clear. *is_new 0: it is the default
 * already. */
enum problem_code catalog_promote(struct catalog *c, const char *name, int is_forced,
                                  const char *by, struct verdict *gate, int *is_new, struct err *e);
/* The name that rollback would make the default; *is_loaded: it can. PROBLEM_NOTHING_BEFORE. */
enum problem_code catalog_before(struct catalog *c, char name[CATALOG_NAME_BYTES], int *is_loaded);
enum problem_code catalog_rollback(struct catalog *c, const char *by, struct err *e);

/* Load it soon, if a slot is free, on a thread of the catalogue's own: the log says how it went.
 * Returns at once. */
void catalog_offer(struct catalog *c, const char *name, const char *by);

#endif
