/* catalog_internal.h - what the files of the catalogue share: catalog.c has the table,
 * catalog_acts.c changes it, catalog_follow.c takes over what other replicas changed,
 * catalog_start.c loads what nobody waits for. Thread: as in catalog.h. */
#ifndef API_STORE_CATALOG_INTERNAL_H
#define API_STORE_CATALOG_INTERNAL_H

#include <pthread.h>

#include "api/store/catalog.h"
#include "api/store/ledger.h"

enum { CATALOG_ENTRIES_MAX = 64, CATALOG_STACK_MAX = 64, CATALOG_OFFERS_MAX = 16 };

struct catalog_entry {
    char name[CATALOG_NAME_BYTES];
    char digest[HISTORY_DIGEST_BYTES]; /* of what the history says that it is */
    struct eng_adapter *adapter;       /* a reference; NULL: it could not be loaded, or not yet */
    char why[240];
    /* with a ledger, while `adapter` isn't what `digest` says */
    uint64_t due_ns; /* when it is tried again */
    unsigned tries;
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
    char *home;      /* where adapters of own runs come, if not there; NULL: there are none */
    struct eng *eng; /* NULL: not yet */
    pthread_mutex_t acts;
    struct history *history; /* lock: acts. NULL: there is a ledger, or no folder */
    struct ledger *ledger;   /* lock: acts. NULL: the folder isn't shared */
    pthread_mutex_t mu;      /* guards what follows */
    struct catalog_entry entries[CATALOG_ENTRIES_MAX];
    int n;
    struct catalog_level stack[CATALOG_STACK_MAX];
    int depth;
    uint64_t n_defaults; /* how often the top has changed */
    /* what answers by default: a reference; NULL: the base. It isn't the top of the stack while
     * that isn't loaded */
    struct eng_adapter *served;
    char served_name[CATALOG_NAME_BYTES];
    uint64_t looked_ns;                           /* when the ledger was read last */
    int is_blind;                                 /* it couldn't be read, which was logged */
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
/* What a line tells, to stack and history. */
void catalog_apply(struct catalog *c, const struct history_line *line);
/* The top of the stack; NULL: the base. */
const struct catalog_level *catalog_top(const struct catalog *c);
/* Is what the history says loaded? */
int catalog_is_current(const struct catalog_entry *it);
/* What answers by default is the top of the stack from now on, if that is loaded, and stays what it
 * is otherwise. Returns a reference that the caller puts. */
struct eng_adapter *catalog_settle(struct catalog *c);
/* Does something else answer than the top of the stack? */
int catalog_is_off(const struct catalog *c);

/* ---- without a lock ---- */
/* FOLDER/NAME; E_TOO_BIG. */
int catalog_path(const struct catalog *c, const char *name, char path[4096]);
const char *catalog_base(const struct catalog *c); /* its name; "" before there is an engine */
/* catalog_settle, its reference put. */
void catalog_settle_now(struct catalog *c);
/* What the engine says of a folder, without where that is. */
void catalog_hide_path(const char *path, const char *name, char *text, size_t cap);
/* With a ledger: FOLDER/NAME is a copy of HOME/NAME from now on, if there is none and HOME has it.
 * It appears whole. E_NOT_FOUND: neither has it. E_IO, E_FORMAT. */
int catalog_bring(const struct catalog *c, const char *name, struct err *e);
/* With acts, and a ledger: what others did, to the table. E_IO, E_FORMAT: it couldn't be read, and
 * the log says so, once. */
int catalog_catch_up(struct catalog *c);
/* With a ledger: catches up, and loads one adapter that others have loaded. 1: there is more. */
int catalog_follow(struct catalog *c);
/* *out: loaded, a reference; or failed, NULL. Waits for it. */
enum problem_code catalog_load_wait(struct catalog *c, const char *name, struct eng_adapter **out,
                                    struct err *e);
/* Loads what the history says is loaded, and writes no line. */
void catalog_load_again(struct catalog *c, const char *name);
/* Load, wait for it and enter it. */
enum problem_code catalog_load_now(struct catalog *c, const char *name, const char *by,
                                   struct err *e);
void catalog_stop_offers(struct catalog *c);
void catalog_start_offers(struct catalog *c);

#endif
