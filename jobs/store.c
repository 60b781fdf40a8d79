/* store.c - see store.h. rows.h reads and writes the structs.
 *
 * 1. user_version is the version of the schema. An older database is changed step by step, each in
 *    a transaction of its own. One of a newer program is not touched.
 * 2. Everything that changes in one transaction belongs together: an event with the row of its job,
 *    and how far its file was read.
 */
#include "jobs/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/rows.h"
#include "kernels/base/mem.h"

enum { SCHEMA = 3, APPLICATION = 0x6c616d64, BUSY_MS = 5000, SQL_MAX = 16 << 10 };

/* ---- columns ---- */

#define FILE_(kind, field) COLUMN(kind, jobs_file, field, #field, "")
#define JOB(kind, field)   COLUMN(kind, store_job, job.field, #field, "")
#define HOW(kind, field)   COLUMN(kind, store_job, job.how.field, "how_" #field, "")
#define OWN(kind, field)   COLUMN(kind, store_job, field, #field, "")

static const struct column file_columns[] = {
    COLUMN(COLUMN_TEXT, jobs_file, id, "id", " UNIQUE NOT NULL"),
    FILE_(COLUMN_TEXT, name),
    FILE_(COLUMN_TEXT, purpose),
    FILE_(COLUMN_TEXT, sha256),
    FILE_(COLUMN_TEXT, owner),
    FILE_(COLUMN_WHOLE, bytes),
    FILE_(COLUMN_WHOLE, created),
    FILE_(COLUMN_INT, status),
};
static const struct column job_columns[] = {
    COLUMN(COLUMN_TEXT, store_job, job.id, "id", " UNIQUE NOT NULL"),
    JOB(COLUMN_TEXT, base),
    JOB(COLUMN_TEXT, name),
    JOB(COLUMN_TEXT, training_file),
    JOB(COLUMN_TEXT, validation_file),
    JOB(COLUMN_TEXT, suffix),
    JOB(COLUMN_TEXT, owner),
    JOB(COLUMN_INT, state),
    JOB(COLUMN_TEXT, phase),
    JOB(COLUMN_WHOLE, created),
    JOB(COLUMN_WHOLE, started),
    JOB(COLUMN_WHOLE, finished),
    JOB(COLUMN_WHOLE, seed),
    HOW(COLUMN_TEXT, recipe),
    HOW(COLUMN_REAL, epochs),
    HOW(COLUMN_WHOLE, steps),
    HOW(COLUMN_WHOLE, batch),
    HOW(COLUMN_REAL, multiplier),
    HOW(COLUMN_WHOLE, lora_r),
    HOW(COLUMN_REAL, lora_alpha),
    HOW(COLUMN_TEXT, lora_targets),
    HOW(COLUMN_TEXT, tasks),
    HOW(COLUMN_INT, vision),
    HOW(COLUMN_INT, pack),
    JOB(COLUMN_WHOLE, step),
    JOB(COLUMN_WHOLE, steps),
    JOB(COLUMN_REAL, loss),
    JOB(COLUMN_REAL, judged_before),
    JOB(COLUMN_REAL, judged),
    JOB(COLUMN_REAL, seconds),
    JOB(COLUMN_WHOLE, tokens),
    JOB(COLUMN_INT, attempts),
    JOB(COLUMN_TEXT, error_code),
    JOB(COLUMN_TEXT, error),
    JOB(COLUMN_TEXT, error_param),
    JOB(COLUMN_INT, want),
    OWN(COLUMN_WHOLE, events),
    OWN(COLUMN_WHOLE, tail_at),
    OWN(COLUMN_TEXT, last),
    OWN(COLUMN_WHOLE, begun),
    OWN(COLUMN_WHOLE, saved),
    OWN(COLUMN_INT, crashes),
    OWN(COLUMN_TEXT, failure),
    OWN(COLUMN_TEXT, reason),
    OWN(COLUMN_TEXT, once),
    OWN(COLUMN_TEXT, digest),
};
static const struct table files_table = {"files", ", report TEXT NOT NULL DEFAULT ''", file_columns,
                                         ARRAY_LEN(file_columns)};
static const struct table jobs_table = {"jobs", ", metadata TEXT NOT NULL DEFAULT ''", job_columns,
                                        ARRAY_LEN(job_columns)};

/* What the tables don't say. */
static const char schema_rest[] =
    "CREATE UNIQUE INDEX jobs_once ON jobs(owner, once) WHERE once <> '';"
    "CREATE INDEX jobs_state ON jobs(state);"
    "CREATE INDEX files_sha256 ON files(sha256);"
    "CREATE INDEX files_status ON files(status);"
    "CREATE TABLE events(job INTEGER NOT NULL, seq INTEGER NOT NULL, created INTEGER NOT NULL,"
    " level TEXT NOT NULL, type TEXT NOT NULL, message TEXT NOT NULL, data TEXT NOT NULL,"
    " PRIMARY KEY(job, seq)) WITHOUT ROWID;";

/* Of the tables of batches. */
static const char schema_batches[] =
    "CREATE INDEX batches_owner ON batches(owner, state);"
    "CREATE INDEX batches_turns ON batches(owner, turn);"
    "CREATE INDEX batches_turn ON batches(turn);"
    "CREATE UNIQUE INDEX batches_once ON batches(owner, once) WHERE once <> '';";

/* What makes version 2 of version 1, and so on. */
static const struct upgrade {
    const struct table *table; /* that is new; NULL: none */
    const char *sql;
} upgrades[] = {
    {NULL, "ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;"
           "UPDATE jobs SET crashes = attempts;"},
    {&batches_table, schema_batches},
};
_Static_assert(ARRAY_LEN(upgrades) == SCHEMA - 1, "one for each version");

/* Of a job that has not ended. */
#define LIVE "state NOT IN (4, 5, 6)"
_Static_assert(JOBS_BATCH_COMPLETED == 4, "state < 4");
_Static_assert(JOBS_SUCCEEDED == 4 && JOBS_FAILED == 5 && JOBS_CANCELLED == 6, "LIVE");
_Static_assert(sizeof(enum jobs_state) == sizeof(int) && sizeof(enum jobs_want) == sizeof(int) &&
                   sizeof(enum jobs_file_status) == sizeof(int),
               "COLUMN_INT");

/* ---- open ---- */

static void store_write_table(const struct table *t, struct buf *sql) {
    static const char *const types[] = {"TEXT NOT NULL", "INTEGER NOT NULL", "INTEGER NOT NULL",
                                        "REAL"};
    buf_printf(sql, "CREATE TABLE %s(n INTEGER PRIMARY KEY AUTOINCREMENT", t->name);
    for (size_t i = 0; i < t->n; i++) {
        const struct column *c = &t->columns[i];
        buf_printf(sql, ", %s %s%s", c->name, *c->more ? "TEXT" : types[c->kind], c->more);
    }
    buf_printf(sql, "%s);", t->more);
}

/* Does what the text says, and clears it. */
static int run_schema(struct store *s, struct buf *sql, struct err *e) {
    int rc = sql->bad ? err_set(e, sql->bad, "no memory for the schema")
                      : rows_exec(s, (const char *)sql->p, e);
    buf_clear(sql);
    return rc;
}

static int create(struct store *s, struct err *e) {
    const struct table *const tables[] = {&files_table, &jobs_table, &batches_table};
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_str(&sql, "BEGIN IMMEDIATE;");
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        store_write_table(tables[t], &sql);
    buf_printf(&sql, "%s%sPRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;",
               schema_rest, schema_batches, APPLICATION, SCHEMA);
    return run_schema(s, &sql, e);
}

static int pragma(struct store *s, const char *sql, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, sql, "");
    return rc ? rc : rows_number(s, st, n, e);
}

static int is_whole(struct store *s, struct err *e) {
    sqlite3_stmt *st;
    char said[160] = "";
    int rc = rows_prepare(s, &st, e, "PRAGMA integrity_check(1)", "");
    if (rc) return rc;
    rc = rows_step(s, st, e);
    if (rc > 0) snprintf(said, sizeof(said), "%s", rows_text(st, 0));
    sqlite3_finalize(st);
    if (rc < 0) return rc;
    return strcmp(said, "ok") == 0 ? 0 : err_set(e, E_FORMAT, "%s", said);
}

static int store_upgrade(struct store *s, int64_t version, struct err *e) {
    struct buf sql;
    for (; version < SCHEMA; version++) {
        const struct upgrade *u = &upgrades[version - 1];
        buf_init(&sql, SQL_MAX);
        buf_str(&sql, "BEGIN IMMEDIATE;");
        if (u->table) store_write_table(u->table, &sql);
        buf_printf(&sql, "%s PRAGMA user_version = %d; COMMIT;", u->sql, (int)version + 1);
        int rc = run_schema(s, &sql, e);
        if (rc) store_rollback(s);
        if (rc) return rc;
    }
    return 0;
}

static int store_check(struct store *s, struct err *e) {
    int64_t version = 0, application = 0;
    int rc = pragma(s, "PRAGMA user_version", &version, e);
    if (rc == 0) rc = pragma(s, "PRAGMA application_id", &application, e);
    if (rc) return rc;
    if (version == 0 && application == 0) return create(s, e);
    if (application != APPLICATION) return err_set(e, E_FORMAT, "it is not a database of lammd");
    if (version < 1 || version > SCHEMA)
        return err_set(e, E_FORMAT, "it has version %lld, and this lammd knows %d",
                       (long long)version, SCHEMA);
    rc = is_whole(s, e);
    return rc ? rc : store_upgrade(s, version, e);
}

int store_open(const char *path, int is_writer, struct store **out, struct err *e) {
    struct store *s = mem_must(sizeof(*s));
    int flags = is_writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    int rc = 0;
    *out = NULL;
    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        rc = err_set(e, E_IO, "%s: %s", path, s->db ? sqlite3_errmsg(s->db) : "no memory");
    if (rc == 0) sqlite3_busy_timeout(s->db, BUSY_MS);
    if (rc == 0 && is_writer)
        rc = rows_exec(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;", e);
    if (rc == 0 && is_writer) rc = store_check(s, e);
    if (rc) {
        store_close(s);
        if (e && e->code == E_FORMAT) (void)err_in(e, "%s", path);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s) {
    if (!s) return;
    sqlite3_close_v2(s->db);
    mem_free(s);
}

int store_begin(struct store *s, struct err *e) { return rows_exec(s, "BEGIN IMMEDIATE", e); }

int store_commit(struct store *s, struct err *e) {
    int rc = rows_exec(s, "COMMIT", e);
    if (rc) store_rollback(s);
    return rc;
}

void store_rollback(struct store *s) {
    if (!sqlite3_get_autocommit(s->db)) sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- files ---- */

int store_file_add(struct store *s, const struct jobs_file *f, struct err *e) {
    sqlite3_stmt *st;
    int rc = row_put(s, &files_table, "INSERT INTO files(", "", ", report) VALUES(", f, &st, e);
    if (rc) return rc;
    sqlite3_bind_text(st, (int)files_table.n + 1, "", -1, SQLITE_STATIC);
    return rows_run(s, st, e);
}

int store_file_get(struct store *s, const char *id, struct jobs_file *out, struct err *e) {
    return row_find(s, &files_table, "WHERE id = ?", id, -1, out, NULL, e);
}

int store_file_report(struct store *s, const char *id, struct buf *out, struct err *e) {
    return row_text(s, "SELECT report FROM files WHERE id = ?", id, out, e);
}

/* As jobs_file_is_seen. */
#define IS_BATCH "purpose IN ('" JOBS_BATCH_INPUT "', '" JOBS_BATCH_OUTPUT "')"
#define SEEN                                            \
    "(?2 = '' OR purpose = ?2) AND CASE WHEN " IS_BATCH \
    " THEN ?5 IS NULL OR owner = ?5 ELSE ?4 END "

int store_file_list(struct store *s, const struct jobs_file_page *page, struct jobs_file *out,
                    int *n, int *more, struct err *e) {
    static const char newest[] = "WHERE n < ?1 AND " SEEN "ORDER BY n DESC LIMIT ?3",
                      oldest[] = "WHERE n > ?1 AND " SEEN "ORDER BY n LIMIT ?3";
    int64_t from;
    sqlite3_stmt *st;
    int rc = row_before(s, &files_table, page->after, &from, e);
    if (page->is_oldest_first && !page->after) from = 0;
    if (rc == 0) rc = row_query(s, &files_table, page->is_oldest_first ? oldest : newest, &st, e);
    if (rc) return rc;
    sqlite3_bind_int64(st, 1, from);
    sqlite3_bind_text(st, 2, page->purpose ? page->purpose : "", -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(st, 3, page->max + 1);
    sqlite3_bind_int(st, 4, page->by.trains);
    sqlite3_bind_text(st, 5, page->by.owner, -1, SQLITE_TRANSIENT); /* NULL is NULL */
    for (*n = 0; (rc = rows_step(s, st, e)) > 0 && *n < page->max; (*n)++)
        row_get(&files_table, st, 1, &out[*n]);
    *more = rc > 0;
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

int store_file_checked(struct store *s, const char *id, enum jobs_file_status status,
                       const char *report, size_t len, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "UPDATE files SET status = ?, report = ? WHERE id = ?", "i",
                          (int64_t)status);
    if (rc) return rc;
    sqlite3_bind_text(st, 2, report, (int)len, SQLITE_TRANSIENT);
    sqlite3_bind_text(st, 3, id, -1, SQLITE_TRANSIENT);
    return rows_run(s, st, e);
}

int store_file_delete(struct store *s, const char *id, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "DELETE FROM files WHERE id = ?", "t", id);
    if (rc == 0) rc = rows_run(s, st, e);
    return rc ? rc : sqlite3_changes(s->db) ? 0 : E_NOT_FOUND;
}

int store_file_unchecked(struct store *s, struct jobs_file *out, struct err *e) {
    return row_find(s, &files_table, "WHERE status = ? ORDER BY n LIMIT 1", NULL,
                    JOBS_FILE_UPLOADED, out, NULL, e);
}

int store_file_shares(struct store *s, const char *sha256, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "SELECT count(*) FROM files WHERE sha256 = ?", "t", sha256);
    return rc ? rc : rows_number(s, st, n, e);
}

int store_file_users(struct store *s, const char *id, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT (SELECT count(*) FROM jobs WHERE " LIVE
                          " AND (training_file = ?1 OR validation_file = ?1))"
                          " + (SELECT count(*) FROM batches WHERE state < 4 AND input_file = ?1)",
                          "t", id);
    return rc ? rc : rows_number(s, st, n, e);
}

int store_file_count(struct store *s, int64_t *n, struct err *e) {
    return pragma(s, "SELECT count(*) FROM files", n, e);
}

/* ---- jobs ---- */

int store_job_add(struct store *s, struct store_job *j, const char *metadata, struct err *e) {
    sqlite3_stmt *st;
    int rc = row_put(s, &jobs_table, "INSERT INTO jobs(", "", ", metadata) VALUES(", j, &st, e);
    if (rc) return rc;
    sqlite3_bind_text(st, (int)jobs_table.n + 1, metadata ? metadata : "", -1, SQLITE_TRANSIENT);
    rc = rows_run(s, st, e);
    if (rc == 0) j->n = sqlite3_last_insert_rowid(s->db);
    return rc;
}

int store_job_save(struct store *s, const struct store_job *j, struct err *e) {
    sqlite3_stmt *st;
    int rc = row_put(s, &jobs_table, "UPDATE jobs SET ", " = ?", " WHERE n = ?", j, &st, e);
    if (rc) return rc;
    sqlite3_bind_int64(st, (int)jobs_table.n + 1, j->n);
    return rows_run(s, st, e);
}

int store_job_get(struct store *s, const char *id, struct store_job *out, struct err *e) {
    return row_find(s, &jobs_table, "WHERE id = ?", id, -1, out, &out->n, e);
}

int store_job_once(struct store *s, const char *owner, const char *once, struct store_job *out,
                   struct err *e) {
    char both[JOBS_OWNER_BYTES + STORE_ONCE_MAX + 2];
    snprintf(both, sizeof(both), "%s/%s", owner, once);
    return row_find(s, &jobs_table, "WHERE owner || '/' || once = ? AND once <> ''", both, -1, out,
                    &out->n, e);
}

int store_job_metadata(struct store *s, const char *id, struct buf *out, struct err *e) {
    return row_text(s, "SELECT metadata FROM jobs WHERE id = ?", id, out, e);
}

int store_job_list(struct store *s, const char *after, int max, struct jobs_job *out, int *n,
                   int *more, struct err *e) {
    int64_t before;
    sqlite3_stmt *st;
    struct store_job row;
    int rc = row_before(s, &jobs_table, after, &before, e);
    if (rc == 0) rc = row_query(s, &jobs_table, "WHERE n < ?1 ORDER BY n DESC LIMIT ?2", &st, e);
    if (rc) return rc;
    sqlite3_bind_int64(st, 1, before);
    sqlite3_bind_int(st, 2, max + 1);
    for (*n = 0; (rc = rows_step(s, st, e)) > 0 && *n < max; (*n)++) {
        row_get(&jobs_table, st, 1, &row);
        out[*n] = row.job;
    }
    *more = rc > 0;
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

int store_job_next(struct store *s, enum jobs_state state, int64_t after, struct store_job *out,
                   struct err *e) {
    char rest[64];
    snprintf(rest, sizeof(rest), "WHERE state = %d AND n > ? ORDER BY n LIMIT 1", (int)state);
    return row_find(s, &jobs_table, rest, NULL, after, out, &out->n, e);
}

int store_job_counts(struct store *s, uint64_t counts[JOBS_STATES], struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e, "SELECT state, count(*) FROM jobs GROUP BY state", "");
    if (rc) return rc;
    memset(counts, 0, JOBS_STATES * sizeof(*counts));
    while ((rc = rows_step(s, st, e)) > 0) {
        int state = sqlite3_column_int(st, 0);
        if (state >= 0 && state < JOBS_STATES)
            counts[state] = (uint64_t)sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc;
}

int store_job_live(struct store *s, const char *owner, int64_t *n, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT count(*) FROM jobs WHERE " LIVE " AND (?1 IS NULL OR owner = ?1)",
                          "t", owner);
    return rc ? rc : rows_number(s, st, n, e);
}

/* Found from behind: little comes after it. */
#define EXPORTED                                                                   \
    "(SELECT created FROM events WHERE job = jobs.n AND message = 'Phase: export'" \
    " ORDER BY seq DESC LIMIT 1)"

int store_job_pace(struct store *s, const struct jobs_job *like, struct store_pace *out,
                   struct err *e) {
    sqlite3_stmt *st;
    const struct jobs_how *h = &like->how;
    int rc = rows_prepare(
        s, &st, e,
        "SELECT seconds / step, finished - " EXPORTED " FROM jobs"
        " WHERE state = 4 AND step > 0 AND seconds > 0 AND base = ?"
        " AND how_recipe = ? AND how_batch = ? AND how_vision = ? AND how_pack = ?"
        " ORDER BY n DESC LIMIT 1",
        "ttiii", like->base, h->recipe, h->batch, (int64_t)h->vision, (int64_t)h->pack);
    if (rc) return rc;
    rc = rows_step(s, st, e);
    if (rc > 0)
        *out = (struct store_pace){sqlite3_column_double(st, 0), sqlite3_column_double(st, 1)};
    sqlite3_finalize(st);
    if (rc < 0) return rc;
    return rc ? 0 : E_NOT_FOUND;
}

int store_job_exported(struct store *s, const char *id, int64_t *when, struct err *e) {
    sqlite3_stmt *st;
    *when = 0;
    int rc = rows_prepare(s, &st, e, "SELECT " EXPORTED " FROM jobs WHERE id = ?", "t", id);
    return rc ? rc : rows_number(s, st, when, e);
}

/* ---- events ---- */

int store_event_add(struct store *s, struct store_job *j, const struct jobs_event *event,
                    struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "INSERT INTO events(job, seq, created, level, type, message, data)"
                          " VALUES(?, ?, ?, ?, ?, ?, ?)",
                          "iiitttt", j->n, j->events + 1, event->created, event->level, event->type,
                          event->message, event->data ? event->data : "");
    if (rc == 0) rc = rows_run(s, st, e);
    if (rc == 0) j->events++;
    return rc;
}

int store_events(struct store *s, const char *id, int64_t after, int max, jobs_event_fn *fn,
                 void *ud, int *more, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT seq, created, level, type, message, data FROM events"
                          " WHERE job = (SELECT n FROM jobs WHERE id = ?) AND seq > ?"
                          " ORDER BY seq LIMIT ?",
                          "tii", id, after, (int64_t)max + 1);
    if (rc) return rc;
    int n = 0, stop = 0;
    while (!stop && (rc = rows_step(s, st, e)) > 0 && n < max) {
        const struct jobs_event event = {.seq = sqlite3_column_int64(st, 0),
                                         .created = sqlite3_column_int64(st, 1),
                                         .level = rows_text(st, 2),
                                         .type = rows_text(st, 3),
                                         .message = rows_text(st, 4),
                                         .data = rows_text(st, 5)};
        stop = fn(ud, &event);
        n++;
    }
    *more = rc > 0;
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

int store_judged(struct store *s, const char *id, int64_t at, double *loss, struct err *e) {
    sqlite3_stmt *st;
    int rc = rows_prepare(s, &st, e,
                          "SELECT json_extract(data, '$.valid_loss') FROM events"
                          " WHERE job = (SELECT n FROM jobs WHERE id = ?) AND type = 'metrics'"
                          " AND json_extract(data, '$.step') = ? AND data LIKE '%valid_loss%'"
                          " ORDER BY seq DESC LIMIT 1",
                          "ti", id, at);
    if (rc) return rc;
    rc = rows_step(s, st, e);
    if (rc > 0 && sqlite3_column_type(st, 0) != SQLITE_NULL) *loss = sqlite3_column_double(st, 0);
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}
