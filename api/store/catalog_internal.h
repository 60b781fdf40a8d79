/* catalog_internal.h - what the files of the catalogue share: catalog.c has the table,
 * catalog_acts.c changes it, catalog_start.c loads what nobody waits for. Thread: as in
 * catalog.h. */
#ifndef API_STORE_CATALOG_INTERNAL_H
#define API_STORE_CATALOG_INTERNAL_H

#include <pthread.h>

#include "api/store/catalog.h"

enum { CATALOG_ENTRIES_MAX = 64, CATALOG_STACK_MAX = 64, CATALOG_OFFERS_MAX = 16 };

struct catalog_entry {
    char name[CATALOG_NAME_BYTES];
    struct eng_adapter *adapter; /* a reference; NULL: the start could not load it */
    char why[240];
};
struct catalog_level { /* of the stack */
    char name[CATALOG_NAME_BYTES];
    char digest[HISTORY_DIGEST_BYTES]; /* "": the base */
};
struct catalog_wish {
    char name[CATALOG_NAME_BYTES], by[HISTORY_KEY_BYTES];
};

struct catalog {
    char *folder;    /* NULL: no state, the base alone */
    struct eng *eng; /* NULL: not yet */
    pthread_mutex_t acts;
    struct history *history; /* lock: acts */
    pthread_mutex_t mu;      /* guards what follows */
    struct catalog_entry entries[CATALOG_ENTRIES_MAX];
    int n;
    struct catalog_level stack[CATALOG_STACK_MAX];
    int depth;
    struct history_line lines[CATALOG_LINES_MAX]; /* the newest, a ring */
    uint64_t n_lines;                             /* of all */
    struct catalog_counts counts;
    /* offers */
    pthread_cond_t offered;
    struct catalog_wish wishes[CATALOG_OFFERS_MAX];
    int n_wishes, is_closing, has_thread;
    pthread_t thread;
};

/* ---- with mu ---- */
struct catalog_entry *catalog_find(struct catalog *c, const char *name); /* NULL */
/* The entry of that name, made where there is none. */
struct catalog_entry *catalog_find_or_add(struct catalog *c, const char *name);
void catalog_drop(struct catalog *c, struct catalog_entry *it); /* its adapter is the caller's */
/* The entry that is the default; NULL: the base. */
struct catalog_entry *catalog_default(struct catalog *c);
/* What a line tells, to the table. */
void catalog_apply(struct catalog *c, const struct history_line *line);

/* ---- without a lock ---- */
/* FOLDER/NAME; E_TOO_BIG. */
int catalog_path(const struct catalog *c, const char *name, char path[4096]);
const char *catalog_base(const struct catalog *c); /* its name; "" before there is an engine */
/* Load, wait for it and enter it. */
enum problem_code catalog_load_now(struct catalog *c, const char *name, const char *by,
                                   struct err *e);
void catalog_stop_offers(struct catalog *c);
void catalog_start_offers(struct catalog *c);

#endif
