/* rows.c - see rows.h. */
#include "jobs/rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mem.h"

enum { SQL_MAX = 16 << 10 };

/* ---- statements ---- */

static int rows_bad(struct store *s, struct err *e) {
    return err_set(e, E_IO, "jobs.db: %s", sqlite3_errmsg(s->db));
}

int rows_prepare(struct store *s, sqlite3_stmt **out, struct err *e, const char *sql,
                 const char *kinds, ...) {
    va_list args;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, out, NULL);
    va_start(args, kinds);
    for (int i = 1; rc == SQLITE_OK && *kinds; i++, kinds++) {
        if (*kinds == 't')
            rc = sqlite3_bind_text(*out, i, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
        else if (*kinds == 'r')
            rc = sqlite3_bind_double(*out, i, va_arg(args, double));
        else
            rc = sqlite3_bind_int64(*out, i, va_arg(args, int64_t));
    }
    va_end(args);
    if (rc == SQLITE_OK) return 0;
    rc = rows_bad(s, e);
    sqlite3_finalize(*out);
    *out = NULL;
    return rc;
}

int rows_step(struct store *s, sqlite3_stmt *st, struct err *e) {
    int rc = sqlite3_step(st);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : rows_bad(s, e);
}

int rows_run(struct store *s, sqlite3_stmt *st, struct err *e) {
    int rc = rows_step(s, st, e);
    sqlite3_finalize(st);
    return rc > 0 ? 0 : rc;
}

int rows_exec(struct store *s, const char *sql, struct err *e) {
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : rows_bad(s, e);
}

const char *rows_text(sqlite3_stmt *st, int i) {
    const unsigned char *text = sqlite3_column_text(st, i);
    return text ? (const char *)text : "";
}

int rows_number(struct store *s, sqlite3_stmt *st, int64_t *n, struct err *e) {
    int rc = rows_step(s, st, e);
    if (rc > 0) *n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

/* ---- rows ---- */

void row_get(const struct table *t, sqlite3_stmt *st, int first, void *to) {
    for (size_t i = 0; i < t->n; i++) {
        const struct column *c = &t->columns[i];
        char *at = (char *)to + c->at;
        int from = first + (int)i;
        switch (c->kind) {
        case COLUMN_TEXT: snprintf(at, c->size, "%s", rows_text(st, from)); break;
        case COLUMN_WHOLE: *(int64_t *)(void *)at = sqlite3_column_int64(st, from); break;
        case COLUMN_INT: *(int *)(void *)at = sqlite3_column_int(st, from); break;
        case COLUMN_REAL:
            *(double *)(void *)at = sqlite3_column_type(st, from) == SQLITE_NULL
                                        ? NAN
                                        : sqlite3_column_double(st, from);
        }
    }
}

/* The struct's fields are the parameters 1 to t->n. */
static int row_bind(const struct table *t, sqlite3_stmt *st, const void *from) {
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < t->n; i++) {
        const struct column *c = &t->columns[i];
        const char *at = (const char *)from + c->at;
        int to = (int)i + 1;
        switch (c->kind) {
        case COLUMN_TEXT: rc = sqlite3_bind_text(st, to, at, -1, SQLITE_TRANSIENT); break;
        case COLUMN_WHOLE:
            rc = sqlite3_bind_int64(st, to, *(const int64_t *)(const void *)at);
            break;
        case COLUMN_INT: rc = sqlite3_bind_int(st, to, *(const int *)(const void *)at); break;
        case COLUMN_REAL:
            rc = sqlite3_bind_double(st, to, *(const double *)(const void *)at);
            break;
        }
    }
    return rc;
}

static void rows_names(const struct table *t, const char *behind, struct buf *sql) {
    for (size_t i = 0; i < t->n; i++)
        buf_printf(sql, "%s%s%s", i ? ", " : "", t->columns[i].name, behind);
}

int row_query(struct store *s, const struct table *t, const char *rest, sqlite3_stmt **st,
              struct err *e) {
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_str(&sql, "SELECT n, ");
    rows_names(t, "", &sql);
    buf_printf(&sql, " FROM %s %s", t->name, rest);
    int rc = sql.bad ? err_set(e, sql.bad, "no memory for a query")
                     : rows_prepare(s, st, e, (const char *)sql.p, "");
    buf_clear(&sql);
    return rc;
}

int row_put(struct store *s, const struct table *t, const char *head, const char *behind,
            const char *tail, const void *row, sqlite3_stmt **st, struct err *e) {
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_str(&sql, head);
    rows_names(t, behind, &sql);
    buf_str(&sql, tail);
    for (size_t i = 0; *behind == '\0' && i < t->n; i++)
        buf_str(&sql, i ? ", ?" : "?");
    if (*behind == '\0') buf_str(&sql, ", ?)");
    int rc = sql.bad ? err_set(e, sql.bad, "no memory for a query")
                     : rows_prepare(s, st, e, (const char *)sql.p, "");
    buf_clear(&sql);
    if (rc == 0 && row_bind(t, *st, row) != SQLITE_OK) {
        rc = rows_bad(s, e);
        sqlite3_finalize(*st);
    }
    return rc;
}

int row_find(struct store *s, const struct table *t, const char *rest, const char *text,
             int64_t number, void *out, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = row_query(s, t, rest, &st, e);
    if (rc) return rc;
    int at = 1;
    if (text) sqlite3_bind_text(st, at++, text, -1, SQLITE_TRANSIENT);
    if (number >= 0) sqlite3_bind_int64(st, at, number);
    rc = rows_step(s, st, e);
    if (rc > 0) {
        row_get(t, st, 1, out);
        if (n) *n = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    if (rc < 0) return rc;
    return rc ? 0 : E_NOT_FOUND;
}

int row_before(struct store *s, const struct table *t, const char *after, int64_t *n,
               struct err *e) {
    char sql[80];
    sqlite3_stmt *st;
    *n = after ? 0 : INT64_MAX;
    if (!after) return 0;
    snprintf(sql, sizeof(sql), "SELECT n FROM %s WHERE id = ?", t->name);
    int rc = rows_prepare(s, &st, e, sql, "t", after);
    if (rc == 0) rc = rows_number(s, st, n, e);
    if (rc == 0 && *n == 0) rc = err_set(e, E_NOT_FOUND, "after: there is no such id");
    return rc;
}

int row_text(struct store *s, const char *sql, const char *id, struct buf *out, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, sql, "t", id);
    if (rc) return rc;
    rc = rows_step(s, st, e);
    if (rc > 0 && buf_str(out, rows_text(st, 0))) rc = err_set(e, out->bad, "no memory for a text");
    sqlite3_finalize(st);
    if (rc < 0) return rc;
    return rc ? 0 : E_NOT_FOUND;
}
