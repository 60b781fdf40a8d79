/* store_batches.c - the table of batches: see store.h. */
#include <stdio.h>
#include <string.h>

#include "jobs/rows.h"
#include "jobs/store.h"

#define OF(kind, field) COLUMN(kind, jobs_batch, field, #field, "")

static const struct column batch_columns[] = {
    COLUMN(COLUMN_TEXT, jobs_batch, id, "id", " UNIQUE NOT NULL"),
    OF(COLUMN_TEXT, owner),
    OF(COLUMN_TEXT, endpoint),
    OF(COLUMN_TEXT, input_file),
    OF(COLUMN_TEXT, output_file),
    OF(COLUMN_TEXT, error_file),
    OF(COLUMN_INT, state),
    OF(COLUMN_INT, becomes),
    OF(COLUMN_WHOLE, created),
    OF(COLUMN_WHOLE, expires),
    OF(COLUMN_WHOLE, in_progress),
    OF(COLUMN_WHOLE, finalizing),
    OF(COLUMN_WHOLE, ended),
    OF(COLUMN_WHOLE, cancelling),
    OF(COLUMN_WHOLE, total),
    OF(COLUMN_WHOLE, broken),
    OF(COLUMN_WHOLE, completed),
    OF(COLUMN_WHOLE, failed),
};
/* turn: the number of its last turn, as store_batch_next gave them. */
const struct table batches_table = {
    "batches",
    ", metadata TEXT NOT NULL DEFAULT '', errors TEXT NOT NULL DEFAULT '',"
    " turn INTEGER NOT NULL DEFAULT 0, once TEXT NOT NULL DEFAULT '',"
    " digest TEXT NOT NULL DEFAULT ''",
    batch_columns, ARRAY_LEN(batch_columns)};

#define LIVE "state < 4"
_Static_assert(JOBS_BATCH_COMPLETED == 4, "LIVE");
_Static_assert(sizeof(enum jobs_batch_state) == sizeof(int), "COLUMN_INT");

int store_batch_add(struct store *s, const struct jobs_batch *b, const char *metadata,
                    struct err *e) {
    sqlite3_stmt *st;
    int rc =
        row_put(s, &batches_table, "INSERT INTO batches(", "", ", metadata) VALUES(", b, &st, e);
    if (rc) return rc;
    sqlite3_bind_text(st, (int)batches_table.n + 1, metadata ? metadata : "", -1, SQLITE_TRANSIENT);
    return rows_run(s, st, e);
}

int store_batch_save(struct store *s, const struct jobs_batch *b, struct err *e) {
    sqlite3_stmt *st;
    int rc = row_put(s, &batches_table, "UPDATE batches SET ", " = ?", " WHERE id = ?", b, &st, e);
    if (rc) return rc;
    sqlite3_bind_text(st, (int)batches_table.n + 1, b->id, -1, SQLITE_TRANSIENT);
    return rows_run(s, st, e);
}

int store_batch_get(struct store *s, const char *id, struct jobs_batch *out, struct err *e) {
    out->waits[0] = '\0';
    return row_find(s, &batches_table, "WHERE id = ?", id, -1, out, NULL, e);
}

int store_batch_list(struct store *s, const char *owner, const char *after, int max,
                     struct jobs_batch *out, int *n, int *more, struct err *e) {
    int64_t before;
    sqlite3_stmt *st;
    int rc = row_before(s, &batches_table, after, &before, e);
    if (rc == 0)
        rc = row_query(s, &batches_table,
                       "WHERE n < ?1 AND (?2 IS NULL OR owner = ?2) ORDER BY n DESC LIMIT ?3", &st,
                       e);
    if (rc) return rc;
    sqlite3_bind_int64(st, 1, before);
    sqlite3_bind_text(st, 2, owner, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(st, 3, max + 1);
    for (*n = 0; (rc = rows_step(s, st, e)) > 0 && *n < max; (*n)++) {
        row_get(&batches_table, st, 1, &out[*n]);
        out[*n].waits[0] = '\0';
    }
    *more = rc > 0;
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

/* Those that are to end, which is soon done, come first. But where the last turn was one's that
 * still isn't over, they come behind the others: so one that can't end keeps nobody out. */
#define MUST_END "(state = 3 OR expires <= ?1)"
_Static_assert(JOBS_BATCH_CANCELLING == 3, "MUST_END");

int store_batch_next(struct store *s, int64_t now, struct jobs_batch *out, struct err *e) {
    out->waits[0] = '\0';
    return row_find(s, &batches_table,
                    "WHERE " LIVE " ORDER BY " MUST_END
                    " <> EXISTS(SELECT 1 FROM batches last WHERE " LIVE " AND " MUST_END
                    "  AND turn > 0 AND turn = (SELECT max(turn) FROM batches)) DESC,"
                    " CASE WHEN " MUST_END " THEN turn ELSE"
                    "  (SELECT max(b.turn) FROM batches b WHERE b.owner = batches.owner"
                    "   AND NOT (" LIVE " AND " MUST_END ")) END, n"
                    " LIMIT 1",
                    NULL, now, out, NULL, e);
}

int store_batch_turn(struct store *s, const char *id, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "UPDATE batches SET turn = 1 + (SELECT max(turn) FROM batches)"
                          " WHERE id = ?",
                          "t", id);
    return rc ? rc : rows_run(s, st, e);
}

int store_batch_set_errors(struct store *s, const char *id, const char *errors, struct err *e) {
    sqlite3_stmt *st;
    int rc =
        rows_prepare(s, &st, e, "UPDATE batches SET errors = ? WHERE id = ?", "tt", errors, id);
    return rc ? rc : rows_run(s, st, e);
}

int store_batch_metadata(struct store *s, const char *id, struct buf *out, struct err *e) {
    return row_text(s, "SELECT metadata FROM batches WHERE id = ?", id, out, e);
}

int store_batch_errors(struct store *s, const char *id, struct buf *out, struct err *e) {
    return row_text(s, "SELECT errors FROM batches WHERE id = ?", id, out, e);
}

int store_batch_set_once(struct store *s, const char *id, const char *once, const char *digest,
                         struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "UPDATE batches SET once = ?, digest = ? WHERE id = ?", "ttt",
                          once, digest, id);
    return rc ? rc : rows_run(s, st, e);
}

int store_batch_once(struct store *s, const char *owner, const char *once, const char *digest,
                     struct jobs_batch *out, int *is_same, struct err *e) {
    sqlite3_stmt *st;
    char id[JOBS_ID_BYTES];
    int rc = rows_prepare(s, &st, e,
                          "SELECT id, digest FROM batches WHERE owner = ? AND once = ?"
                          " AND once <> ''",
                          "tt", owner, once);
    if (rc) return rc;
    rc = rows_step(s, st, e);
    if (rc > 0) {
        snprintf(id, sizeof(id), "%s", rows_text(st, 0));
        *is_same = strcmp(rows_text(st, 1), digest) == 0;
    }
    sqlite3_finalize(st);
    if (rc <= 0) return rc ? rc : E_NOT_FOUND;
    return store_batch_get(s, id, out, e);
}

int store_batch_forget(struct store *s, const char *owner, int keep, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "DELETE FROM batches WHERE owner = ?1 AND NOT (" LIVE ") AND n <="
                          " (SELECT n FROM batches WHERE owner = ?1 AND NOT (" LIVE ")"
                          " ORDER BY n DESC LIMIT 1 OFFSET ?2)",
                          "ti", owner, (int64_t)keep);
    return rc ? rc : rows_run(s, st, e);
}

int store_batch_live(struct store *s, const char *owner, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(
        s, &st, e, "SELECT count(*) FROM batches WHERE " LIVE " AND (?1 IS NULL OR owner = ?1)",
        "t", owner);
    return rc ? rc : rows_number(s, st, n, e);
}

int store_batch_others(struct store *s, const struct jobs_batch *b, int64_t now, int64_t *n,
                       int64_t *n_ending, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT count(*), sum(" MUST_END ") FROM batches WHERE " LIVE
                          " AND id <> ?2 AND (owner <> ?3 OR " MUST_END ")",
                          "itt", now, b->id, b->owner);
    if (rc) return rc;
    if ((rc = rows_step(s, st, e)) > 0) {
        *n = sqlite3_column_int64(st, 0);
        *n_ending = sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

int store_batch_counts(struct store *s, uint64_t counts[JOBS_BATCH_STATES], struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "SELECT state, count(*) FROM batches GROUP BY state", "");
    if (rc) return rc;
    memset(counts, 0, JOBS_BATCH_STATES * sizeof(*counts));
    while ((rc = rows_step(s, st, e)) > 0) {
        int state = sqlite3_column_int(st, 0);
        if (state >= 0 && state < JOBS_BATCH_STATES)
            counts[state] = (uint64_t)sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc;
}

int store_batch_bytes(struct store *s, const char *owner, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT coalesce(sum(max(bytes, ?)), 0) FROM files WHERE owner = ?"
                          " AND purpose IN ('" JOBS_BATCH_INPUT "', '" JOBS_BATCH_OUTPUT "')",
                          "it", (int64_t)JOBS_BATCH_FILE_MIN, owner);
    return rc ? rc : rows_number(s, st, n, e);
}
