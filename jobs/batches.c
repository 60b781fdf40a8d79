/* batches.c - see batches.h.
 *
 * What changes a batch is a note to the keeper. Two change it: whoever cancels it, and the thread
 * that asks its lines. So each note reads the row anew, and says what holds in whichever state it
 * is then; the thread goes on with what it gets back.
 */
#include "jobs/batches.h"

#include <stdio.h>
#include <string.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/log.h"

const char *const jobs_batch_words[] = {"validating", "in_progress", "finalizing",
                                        "cancelling", "completed",   "failed",
                                        "expired",    "cancelled",   NULL};

int jobs_batch_is_over(enum jobs_batch_state s) { return s >= JOBS_BATCH_COMPLETED; }

void jobs_batch_path(const struct jobs *j, const char *id, const char *name,
                     char path[JOBS_PATH_MAX]) {
    int n = snprintf(path, JOBS_PATH_MAX, "%s/batches/%s%s%s", j->dir, id, *name ? "/" : "", name);
    must(n > 0 && n < JOBS_PATH_MAX);
}

/* A note for one batch: `b` is the row as it is when the note is done. */
struct batch_note {
    struct jobs_batch b;
    const struct jobs_batch_new *asked;
    const struct jobs_batch *with; /* what the thread knows of it */
    const char *owner, *text;
    struct jobs_outcome *how;
    int flag;
    const struct jobs_batch_file *output, *errors;
};

static int batch_read(struct jobs *j, struct batch_note *n, struct err *e) {
    int rc = store_batch_get(j->writer, n->b.id, &n->b, e);
    if (rc == 0 && n->owner && strcmp(n->b.owner, n->owner) != 0) rc = E_NOT_FOUND;
    return rc;
}

static int batches_ask(struct jobs *j, note_fn *act, struct batch_note *n, struct jobs_batch *b,
                       struct err *e) {
    n->b = *b;
    int rc = keeper_ask(j, act, n, e);
    if (rc == 0) *b = n->b;
    return rc;
}

/* What is known of the batch that is being asked is newer than its row. */
static void show(struct jobs *j, struct jobs_batch *b) {
    pthread_mutex_lock(&j->mu);
    const struct jobs_batch *now = &j->shown;
    if (strcmp(now->id, b->id) == 0 && !jobs_batch_is_over(b->state)) {
        b->completed = now->completed;
        b->failed = now->failed;
        memcpy(b->waits, now->waits, sizeof(b->waits));
    }
    pthread_mutex_unlock(&j->mu);
}

/* ---- creating ---- */

static int batch_check_file(struct store *s, const struct batch_note *n, struct err *e) {
    struct jobs_file f;
    int rc = store_file_get(s, n->b.input_file, &f, e);
    if (rc) return rc;
    if (!jobs_file_is_seen(&f, &n->asked->by)) return E_NOT_FOUND;
    if (strcmp(f.purpose, JOBS_BATCH_INPUT) == 0) return 0;
    return err_set(e, E_UNSUPPORTED,
                   "the file was uploaded with the purpose %s: upload it with purpose batch",
                   f.purpose);
}

/* E_NOT_FOUND: there was none with this Idempotency-Key. */
static int batch_find_old(struct store *s, struct batch_note *n, struct err *e) {
    const struct jobs_batch_new *a = n->asked;
    int is_same = 0;
    if (!a->once) return E_NOT_FOUND;
    n->how->param = "Idempotency-Key";
    if (!*a->once || strlen(a->once) > STORE_ONCE_MAX)
        return err_set(e, E_INVALID, "Idempotency-Key is too long, or empty");
    int rc = store_batch_once(s, a->owner, a->once, a->digest, &n->b, &is_same, e);
    if (rc == 0 && !is_same)
        return err_set(e, E_CANCELLED, "this Idempotency-Key came with another request before");
    n->how->is_old = rc == 0;
    n->how->param = NULL;
    return rc;
}

/* The files of its owner's batches, those with answers too, must leave room for more. */
static int batch_fits(struct jobs *j, const struct batch_note *n, struct err *e) {
    uint64_t most = j->opt.batch_bytes;
    int64_t has = 0;
    if (!most) return 0;
    int rc = store_batch_bytes(j->writer, n->b.owner, &has, e);
    if (rc || (uint64_t)has < most) return rc;
    return err_set(e, E_TOO_BIG,
                   "one caller's files of batches may have %llu MiB together, with their answers; "
                   "this one has %llu MiB: delete those that are not needed",
                   (unsigned long long)(most >> 20), (unsigned long long)has >> 20);
}

static int batch_put(struct jobs *j, const struct batch_note *n, struct err *e) {
    const struct jobs_batch_new *a = n->asked;
    int rc = store_batch_forget(j->writer, n->b.owner, JOBS_BATCH_OVER_MAX, e);
    if (rc == 0) rc = store_batch_add(j->writer, &n->b, n->text, e);
    if (rc == 0 && a->once) rc = store_batch_set_once(j->writer, n->b.id, a->once, a->digest, e);
    return rc;
}

static int add_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int64_t all = 0, own = 0;
    int rc = batch_find_old(j->writer, n, e);
    if (rc != E_NOT_FOUND) return rc;
    rc = batch_check_file(j->writer, n, e);
    if (rc == 0) rc = batch_fits(j, n, e);
    if (rc == 0) rc = store_batch_live(j->writer, NULL, &all, e);
    if (rc == 0) rc = store_batch_live(j->writer, n->b.owner, &own, e);
    if (rc) return rc;
    n->how->is_owner = own >= j->opt.owner_max;
    if (n->how->is_owner)
        return err_set(e, E_BUSY, "one caller may have %d batches that have not ended",
                       j->opt.owner_max);
    if (all >= j->opt.live_max)
        return err_set(e, E_BUSY, "%d batches wait or run, as many as may", j->opt.live_max);
    keeper_changed(j, JOBS_BATCHES);
    return batch_put(j, n, e);
}

int jobs_batch_create(struct jobs *j, const struct jobs_batch_new *asked, struct jobs_batch *out,
                      struct jobs_outcome *how, struct err *e) {
    struct batch_note n = {.asked = asked, .text = asked->metadata, .how = how};
    struct jobs_batch b = {.created = jobs_now()};
    *how = (struct jobs_outcome){0};
    b.expires = b.created + asked->window_s;
    snprintf(b.owner, sizeof(b.owner), "%s", asked->owner);
    snprintf(b.endpoint, sizeof(b.endpoint), "%s", asked->endpoint);
    snprintf(b.input_file, sizeof(b.input_file), "%s", asked->input_file);
    int rc = jobs_new_id("batch_", 12, b.id, e);
    if (rc == 0) rc = batches_ask(j, add_batch, &n, &b, e);
    if (rc == 0 && how->is_old) show(j, &b);
    if (rc == 0) *out = b;
    return rc;
}

/* ---- reading ---- */

void jobs_batch_show(struct jobs *j, const struct jobs_batch *b, uint64_t n, uint64_t n_failed) {
    pthread_mutex_lock(&j->mu);
    j->shown = b ? *b : (struct jobs_batch){.id = ""};
    j->stats.lines += n;
    j->stats.lines_failed += n_failed;
    pthread_mutex_unlock(&j->mu);
}

int jobs_batch_get(struct jobs *j, const char *id, const char *owner, struct jobs_batch *out,
                   struct err *e) {
    jobs_begin_read(j);
    int rc = jobs_end_read(j, store_batch_get(j->reader, id, out, e));
    if (rc == 0 && owner && strcmp(out->owner, owner) != 0) rc = E_NOT_FOUND;
    if (rc == 0) show(j, out);
    return rc;
}

int jobs_batch_list(struct jobs *j, const char *owner, const char *after, int max,
                    struct jobs_batch *out, int *n, int *more, struct err *e) {
    jobs_begin_read(j);
    int rc = jobs_end_read(j, store_batch_list(j->reader, owner, after, max, out, n, more, e));
    for (int i = 0; rc == 0 && i < *n; i++)
        show(j, &out[i]);
    return rc;
}

int jobs_batch_metadata(struct jobs *j, const char *id, struct buf *out, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_batch_metadata(j->reader, id, out, e));
}

int jobs_batch_errors(struct jobs *j, const char *id, struct buf *out, struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_batch_errors(j->reader, id, out, e));
}

int jobs_batch_others(struct jobs *j, const struct jobs_batch *b, int64_t *n, int64_t *n_ending,
                      struct err *e) {
    jobs_begin_read(j);
    return jobs_end_read(j, store_batch_others(j->reader, b, jobs_now(), n, n_ending, e));
}

int jobs_batch_input(struct jobs *j, const struct jobs_batch *b, char path[JOBS_PATH_MAX],
                     struct err *e) {
    struct jobs_file f;
    int rc = jobs_file_get(j, b->input_file, &f, e);
    if (rc == 0) jobs_file_path(j, &f, path);
    return rc;
}

/* ---- cancelling ---- */

static int cancel_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = batch_read(j, n, e);
    if (rc) return rc;
    if (n->b.state == JOBS_BATCH_CANCELLING || n->b.state == JOBS_BATCH_CANCELLED) return 0;
    if (n->b.state == JOBS_BATCH_FINALIZING || jobs_batch_is_over(n->b.state))
        return err_set(e, E_BUSY, "a batch that is %s can't be cancelled",
                       jobs_batch_words[n->b.state]);
    n->b.cancelling = jobs_now();
    int is_begun = n->b.state == JOBS_BATCH_IN_PROGRESS;
    if (!is_begun) n->b.ended = n->b.cancelling;
    n->b.state = is_begun ? JOBS_BATCH_CANCELLING : JOBS_BATCH_CANCELLED;
    keeper_changed(j, JOBS_BATCHES);
    return store_batch_save(j->writer, &n->b, e);
}

int jobs_batch_cancel(struct jobs *j, const char *id, const char *owner, struct jobs_batch *out,
                      struct err *e) {
    struct batch_note n = {.owner = owner};
    struct jobs_batch b = {.id = ""};
    snprintf(b.id, sizeof(b.id), "%s", id);
    int rc = batches_ask(j, cancel_batch, &n, &b, e);
    if (rc == 0) show(j, &b);
    if (rc == 0) *out = b;
    return rc;
}

/* ---- the thread that asks lines ---- */

static int take_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = store_batch_next(j->writer, jobs_now(), &n->b, e);
    return rc ? rc : store_batch_turn(j->writer, n->b.id, e);
}

/* The folder of the batch that was taken, for its answers. */
static int take_folder(struct jobs *j, struct jobs_batch *b, struct err *e) {
    char path[JOBS_PATH_MAX];
    struct err why = {0};
    jobs_batch_path(j, b->id, "", path);
    int rc = disk_folder(path, &why);
    if (rc && !j->has_no_folder)
        log_event(LOG_LEVEL_ERROR, "batch_waits", "id=%s for=disk: %s", b->id, why.text);
    j->has_no_folder = rc != 0;
    if (rc == 0) return 0;
    snprintf(b->waits, sizeof(b->waits), "disk");
    jobs_batch_show(j, b, 0, 0);
    return err_set(e, rc, "%s", why.text);
}

int jobs_batch_take(struct jobs *j, struct jobs_batch *out, struct err *e) {
    struct batch_note n = {.owner = NULL};
    struct jobs_batch b = {.id = ""};
    /* Most often there is none. That is no note's worth. */
    jobs_begin_read(j);
    int rc = jobs_end_read(j, store_batch_next(j->reader, jobs_now(), &b, e));
    if (rc == 0) rc = batches_ask(j, take_batch, &n, &b, e);
    if (rc) return rc;
    rc = take_folder(j, &b, e);
    *out = b;
    return rc;
}

static void batch_drop_folder(struct jobs *j, const struct jobs_batch *b) {
    char folder[JOBS_PATH_MAX];
    jobs_batch_path(j, b->id, "", folder);
    disk_remove(folder);
}

static int looked_at_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = batch_read(j, n, e);
    if (rc || n->b.state != JOBS_BATCH_VALIDATING) return rc;
    n->b.total = n->with->total;
    n->b.broken = n->b.failed = n->with->broken;
    n->b.state = n->flag ? JOBS_BATCH_IN_PROGRESS : JOBS_BATCH_FAILED;
    *(n->flag ? &n->b.in_progress : &n->b.ended) = jobs_now();
    rc = store_batch_save(j->writer, &n->b, e);
    return rc || !n->text ? rc : store_batch_set_errors(j->writer, n->b.id, n->text, e);
}

int jobs_batch_looked(struct jobs *j, struct jobs_batch *b, int is_good, const char *errors,
                      struct err *e) {
    struct batch_note n = {.with = b, .flag = is_good, .text = errors};
    int rc = batches_ask(j, looked_at_batch, &n, b, e);
    if (rc == 0 && jobs_batch_is_over(b->state)) batch_drop_folder(j, b);
    return rc;
}

static int save_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = batch_read(j, n, e);
    if (rc) return rc;
    n->b.completed = n->with->completed;
    n->b.failed = n->with->failed;
    return store_batch_save(j->writer, &n->b, e);
}

int jobs_batch_save(struct jobs *j, struct jobs_batch *b, struct err *e) {
    struct batch_note n = {.with = b};
    return batches_ask(j, save_batch, &n, b, e);
}

static int finalize_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = batch_read(j, n, e);
    if (rc || n->b.state != JOBS_BATCH_IN_PROGRESS) return rc;
    n->b.completed = n->with->completed;
    n->b.failed = n->with->failed;
    n->b.state = JOBS_BATCH_FINALIZING;
    n->b.becomes = (enum jobs_batch_state)n->flag;
    n->b.finalizing = jobs_now();
    rc = store_batch_save(j->writer, &n->b, e);
    return rc || !n->text ? rc : store_batch_set_errors(j->writer, n->b.id, n->text, e);
}

int jobs_batch_finalize(struct jobs *j, struct jobs_batch *b, enum jobs_batch_state becomes,
                        const char *errors, struct err *e) {
    struct batch_note n = {.with = b, .flag = (int)becomes, .text = errors};
    return batches_ask(j, finalize_batch, &n, b, e);
}

/* What is in the batch's folder becomes a file, of which `to` is the id. */
static int batch_keep(struct jobs *j, const struct jobs_batch *b,
                      const struct jobs_batch_file *file, const char *what, char to[JOBS_ID_BYTES],
                      struct err *e) {
    struct jobs_file f = {.bytes = file->bytes,
                          .created = jobs_now(),
                          .status = JOBS_FILE_PROCESSED,
                          .purpose = JOBS_BATCH_OUTPUT};
    char from[JOBS_PATH_MAX], kept[JOBS_PATH_MAX];
    if (!file->name) return 0;
    snprintf(f.sha256, sizeof(f.sha256), "%s", file->sha256);
    snprintf(f.owner, sizeof(f.owner), "%s", b->owner);
    snprintf(f.name, sizeof(f.name), "%s_%s.jsonl", b->id, what);
    jobs_batch_path(j, b->id, file->name, from);
    jobs_file_path(j, &f, kept);
    int rc = jobs_new_id("file-", 12, f.id, e);
    if (rc == 0) rc = disk_link(from, kept, e);
    if (rc == 0) rc = store_file_add(j->writer, &f, e);
    if (rc == 0) memcpy(to, f.id, JOBS_ID_BYTES);
    return rc;
}

/* A link that was made, but not written down, is swept away at the next start. */
static int end_batch(struct jobs *j, void *args, struct err *e) {
    struct batch_note *n = args;
    int rc = batch_read(j, n, e);
    if (rc || jobs_batch_is_over(n->b.state)) return rc;
    n->b.completed = n->with->completed;
    n->b.failed = n->with->failed;
    rc = batch_keep(j, &n->b, n->output, "output", n->b.output_file, e);
    if (rc == 0) rc = batch_keep(j, &n->b, n->errors, "error", n->b.error_file, e);
    if (rc) return rc;
    n->b.state = n->b.state == JOBS_BATCH_CANCELLING ? JOBS_BATCH_CANCELLED
                                                     : (enum jobs_batch_state)n->b.becomes;
    must(jobs_batch_is_over(n->b.state));
    n->b.ended = jobs_now();
    return store_batch_save(j->writer, &n->b, e);
}

int jobs_batch_end(struct jobs *j, struct jobs_batch *b, const struct jobs_batch_file *output,
                   const struct jobs_batch_file *errors, struct err *e) {
    struct batch_note n = {.with = b, .output = output, .errors = errors};
    int rc = batches_ask(j, end_batch, &n, b, e);
    if (rc == 0) batch_drop_folder(j, b);
    return rc;
}
