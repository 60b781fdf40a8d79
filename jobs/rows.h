/* rows.h - structs as rows of a database, by a table of their columns.
 *
 * A column has a name, a kind, and where it lies in the struct. So the columns stand in one place,
 * for the schema, for SELECT, INSERT and UPDATE. NaN is NULL. Each table has a number `n`, its key,
 * before its columns. Errors are E_IO with the database's words, or E_NOMEM. Thread: the store's.
 */
#ifndef JOBS_ROWS_H
#define JOBS_ROWS_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/err.h"

struct store {
    sqlite3 *db;
};

enum column_kind { COLUMN_TEXT, COLUMN_WHOLE, COLUMN_INT, COLUMN_REAL };
struct column {
    const char *name;
    enum column_kind kind;
    size_t at, size;
    const char *more; /* of its definition */
};
struct table {
    const char *name, *more; /* more columns, which are not in the struct */
    const struct column *columns;
    size_t n;
};

#define COLUMN(kind, type, field, name, more) \
    { name, kind, offsetof(struct type, field), sizeof(((struct type *)0)->field), more }

extern const struct table batches_table; /* store_batches.c */

/* ---- statements ---- */

/* `kinds`: of each ? one of t (text), i (int64_t), r (double). The caller finalizes *out. */
int rows_prepare(struct store *s, sqlite3_stmt **out, struct err *e, const char *sql,
                 const char *kinds, ...);
/* The next row: 1, 0 behind the last, or an error. */
int rows_step(struct store *s, sqlite3_stmt *st, struct err *e);
/* Steps once, and finalizes. */
int rows_run(struct store *s, sqlite3_stmt *st, struct err *e);
int rows_exec(struct store *s, const char *sql, struct err *e);
/* Never NULL. Valid until the next step. */
const char *rows_text(sqlite3_stmt *st, int i);
/* The one number of a query that is prepared, which is finalized. *n stays where there is none. */
int rows_number(struct store *s, sqlite3_stmt *st, int64_t *n, struct err *e);

/* ---- rows ---- */

/* Columns from `first` on of the statement -> the struct. */
void row_get(const struct table *t, sqlite3_stmt *st, int first, void *to);
/* "SELECT n, id, ... FROM jobs REST" */
int row_query(struct store *s, const struct table *t, const char *rest, sqlite3_stmt **st,
              struct err *e);
/* Adds or changes a row. `behind`: of each column's name; "": it is added. `tail`: of the
 * statement, behind the columns. The caller binds what follows them, and runs it. */
int row_put(struct store *s, const struct table *t, const char *head, const char *behind,
            const char *tail, const void *row, sqlite3_stmt **st, struct err *e);
/* The one row that a query with a text and a number finds; either may be left out (NULL, below 0).
 * E_NOT_FOUND. */
int row_find(struct store *s, const struct table *t, const char *rest, const char *text,
             int64_t number, void *out, int64_t *n, struct err *e);
/* A text of the row with that id -> out. E_NOT_FOUND: there is no such row. */
int row_text(struct store *s, const char *sql, const char *id, struct buf *out, struct err *e);
/* The number of a row, of which those behind it are older. NULL: of one above all. */
int row_before(struct store *s, const struct table *t, const char *after, int64_t *n,
               struct err *e);

#endif
