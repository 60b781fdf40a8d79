/* turn.c - see turn.h.
 *
 * The files in the batch's folder, output.jsonl and errors.jsonl, are what is done. What their
 * lines count as is worked out from them alone, at the beginning of each turn.
 */
#include "batch/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "batch/idset.h"
#include "batch/look.h"
#include "kernels/base/clock.h"
#include "kernels/base/hex.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

/* So long a turn is when others wait; how often the state is looked at, and how far it is told. */
enum { TURN_S = 30, LOOK_MS = 1000, SHOW_MS = 200 };
/* One thread decodes: it takes time from whoever is asked something meanwhile. */
enum {
    TURN_THREADS = 1,
    TURN_NICENESS = 10,
    TURN_HELD_MAX = 32 << 20,
    TURN_SENT_MAX = 16 << 20,
    TURN_ROOM = 1 << 20
};

static const char OUTPUT[] = "output.jsonl", ERRORS[] = "errors.jsonl";

struct turn {
    const struct turn_options *o;
    struct jobs_batch b;
    int questions; /* the file, open */
    struct idset *done;
    struct record answers, errors;
    uint64_t begun_ns, looked_ns, shown_ns;
    uint64_t n, n_failed; /* lines that were not shown yet */
    enum work_wish wish;
    int is_late; /* its time is over */
};

/* ---- what goes on meanwhile ---- */

static void turn_show(struct turn *t) {
    jobs_batch_show(t->o->jobs, &t->b, t->n, t->n_failed);
    t->n = t->n_failed = 0;
}

/* Cancelled, late, or has others waiting long enough? */
static enum work_wish turn_look(struct turn *t) {
    struct jobs_batch now;
    int64_t others = 0;
    if (jobs_batch_get(t->o->jobs, t->b.id, NULL, &now, NULL)) return t->wish;
    if (now.state != t->b.state) return WORK_STOP;
    t->is_late = (int64_t)time(NULL) >= t->b.expires;
    if (t->is_late) return WORK_STOP;
    if (clock_ns() - t->begun_ns < TURN_S * CLOCK_S) return WORK_GO_ON;
    (void)jobs_batch_others(t->o->jobs, &t->b, &others, NULL);
    return others ? WORK_LAND : WORK_GO_ON;
}

static enum work_wish turn_on_tick(void *ud) {
    struct turn *t = ud;
    uint64_t now = clock_ns();
    enum work_wish outer = t->o->wish(t->o->ud);
    if (now - t->shown_ns >= SHOW_MS * CLOCK_MS) {
        t->shown_ns = now;
        turn_show(t);
    }
    if (!t->is_late && t->wish == WORK_GO_ON && now - t->looked_ns >= LOOK_MS * CLOCK_MS) {
        t->looked_ns = now;
        t->wish = turn_look(t);
    }
    return outer > t->wish ? outer : t->wish;
}

static void turn_on_done(void *ud, enum work_end end) {
    struct turn *t = ud;
    t->b.waits[0] = '\0';
    t->b.completed += end == WORK_ANSWERED;
    t->b.failed += end == WORK_REFUSED; /* broken ones were counted before */
    t->n += end == WORK_ANSWERED;
    t->n_failed += end != WORK_ANSWERED;
}

static void turn_on_expired(void *ud, enum work_end end) {
    (void)ud;
    (void)end;
}

static void turn_on_failed(void *ud, uint64_t line, const char *why) {
    (void)ud;
    (void)line;
    (void)why;
}

static int turn_is_stopped(void *ud) {
    const struct turn *t = ud;
    return t->o->wish(t->o->ud) != WORK_GO_ON;
}

/* ---- looking at it ---- */

static int turn_open_questions(struct turn *t, struct err *e) {
    char path[JOBS_PATH_MAX];
    int rc = jobs_batch_input(t->o->jobs, &t->b, path, e);
    if (rc) return rc;
    t->questions = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return t->questions < 0 ? err_set(e, E_IO, "%s: %s", path, strerror(errno)) : 0;
}

static int turn_validate(struct turn *t, struct err *e) {
    struct look look;
    int rc = look_at(t->questions, t->b.endpoint, turn_is_stopped, t, &look, e);
    if (rc == 0) {
        t->b.total = look.total;
        t->b.broken = look.broken;
        rc = jobs_batch_looked(t->o->jobs, &t->b, look.is_good,
                               look.errors.len ? (const char *)look.errors.p : NULL, e);
    }
    buf_clear(&look.errors);
    return rc;
}

/* ---- asking ---- */

static int turn_open_records(struct turn *t, struct err *e) {
    static const char *const names[] = {OUTPUT, ERRORS};
    struct record *const records[] = {&t->answers, &t->errors};
    /* As long as something has to stay free it is looked at. */
    const struct record_how how = {.mends = 1, .keep = t->o->keep ? t->o->keep : 1};
    char path[JOBS_PATH_MAX];
    int rc = 0;
    t->done = idset_new();
    for (int i = 0; rc == 0 && i < 2; i++) {
        jobs_batch_path(t->o->jobs, t->b.id, names[i], path);
        rc = record_open(path, t->questions, &how, t->done, records[i], e);
        records[i]->path = names[i];
    }
    t->b.completed = (int64_t)t->answers.lines;
    t->b.failed = t->b.broken + (int64_t)t->errors.asked;
    return rc;
}

static int turn_work(struct turn *t, int is_late, int *is_all, struct err *e) {
    struct api_caller caller = {.peer = "batches", .scopes = API_SCOPE(API_ASK)};
    snprintf(caller.key, sizeof(caller.key), "%s", t->b.owner);
    const struct work_options o = {
        .eng = t->o->eng,
        .questions = t->questions,
        .path = "the questions",
        .endpoint = t->b.endpoint,
        .name = t->b.id,
        .parts = 1,
        .is_ordered = 1,
        .threads = TURN_THREADS,
        .places = WORK_PLACES_OF_A_DEVICE * eng_devices(t->o->eng),
        .held_max = TURN_HELD_MAX,
        .sent_max = TURN_SENT_MAX,
        .batch = {.created = t->b.created, .is_background = 1},
        .caller = &caller,
        .visit = t->o->visit,
        .niceness = TURN_NICENESS,
        .is_patient = 1,
        .code = "batch_expired",
        .refusal = is_late ? "the batch's time was over before this line was asked" : NULL,
        .answers = &t->answers,
        .errors = &t->errors,
        .hooks = {t, turn_on_failed, is_late ? turn_on_expired : turn_on_done, turn_on_tick}};
    return work_run(&o, t->o->api, t->done, is_all, e);
}

static void turn_close_records(struct turn *t) {
    record_close(&t->answers);
    record_close(&t->errors);
    idset_free(t->done);
    t->done = NULL;
}

/* What isn't done of a batch that is in progress. *is_all: nothing is left. What comes after its
 * time goes through its lines anew. */
static int turn_ask(struct turn *t, int *is_all, struct err *e) {
    t->is_late = (int64_t)time(NULL) >= t->b.expires;
    int rc = record_has_room(&t->answers, TURN_ROOM, e); /* before anything is asked in vain */
    if (rc == 0 && !t->is_late) rc = turn_work(t, 0, is_all, e);
    turn_show(t);
    if (rc || *is_all || !t->is_late) return rc;
    t->wish = WORK_GO_ON;
    turn_close_records(t);
    rc = turn_open_records(t, e);
    return rc ? rc : turn_work(t, 1, is_all, e);
}

/* ---- its end ---- */

/* SHA-256 of what the record has, which is on the disk then. `out` names nothing where it has no
 * line. */
static int turn_sum(struct record *j, const char *name, char sha256[65],
                    struct jobs_batch_file *out, struct err *e) {
    enum { PIECE = 1 << 16 };
    unsigned char sum[EVP_MAX_MD_SIZE];
    *out = (struct jobs_batch_file){.bytes = j->bytes};
    if (!j->bytes) return 0;
    int rc = record_sync(j, e);
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    uint8_t *piece = mem_must(PIECE);
    int is_fine = sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1;
    ssize_t n = 0;
    for (uint64_t at = 0; rc == 0 && is_fine && at < j->bytes; at += (uint64_t)n) {
        n = pread(j->fd, piece, PIECE, (off_t)at);
        if (n <= 0) rc = err_set(e, E_IO, "%s: %s", name, n ? strerror(errno) : "it is too short");
        is_fine = rc || EVP_DigestUpdate(sha, piece, (size_t)n) == 1;
    }
    if (rc == 0 && (!is_fine || EVP_DigestFinal_ex(sha, sum, NULL) != 1))
        rc = err_set(e, E_NOMEM, "no memory for a digest");
    if (rc == 0) hex_write(sum, 32, sha256);
    out->name = name;
    out->sha256 = sha256;
    EVP_MD_CTX_free(sha);
    mem_free(piece);
    return rc;
}

static void turn_log(const struct turn *t) {
    log_event(LOG_LEVEL_INFO, "batch",
              "id=%s state=%s lines=%lld completed=%lld failed=%lld key=%s", t->b.id,
              jobs_batch_words[t->b.state], (long long)t->b.total, (long long)t->b.completed,
              (long long)t->b.failed, *t->b.owner ? t->b.owner : "-");
}

static int turn_finish(struct turn *t, struct err *e) {
    struct jobs_batch_file output, errors;
    char sums[2][65];
    int rc = turn_sum(&t->answers, OUTPUT, sums[0], &output, e);
    if (rc == 0) rc = turn_sum(&t->errors, ERRORS, sums[1], &errors, e);
    if (rc == 0) rc = jobs_batch_end(t->o->jobs, &t->b, &output, &errors, e);
    if (rc == 0) turn_log(t);
    return rc;
}

/* Its file is known to be good. */
static int turn_go_on(struct turn *t, struct err *e) {
    int is_all = 0, rc = turn_open_records(t, e);
    turn_show(t);
    if (rc == 0 && t->b.state == JOBS_BATCH_IN_PROGRESS) {
        rc = turn_ask(t, &is_all, e);
        if (rc == 0 && is_all) {
            int is_expired = t->b.completed + t->b.failed < t->b.total;
            rc = jobs_batch_finalize(t->o->jobs, &t->b,
                                     is_expired ? JOBS_BATCH_EXPIRED : JOBS_BATCH_COMPLETED, e);
        } else if (rc == 0) {
            rc = jobs_batch_save(t->o->jobs, &t->b, e);
        }
    }
    int is_ending = t->b.state == JOBS_BATCH_FINALIZING || t->b.state == JOBS_BATCH_CANCELLING;
    if (rc == 0 && is_ending) rc = turn_finish(t, e);
    return rc;
}

int turn_take(const struct turn_options *o, const struct jobs_batch *batch, struct err *e) {
    struct turn t = {.o = o,
                     .b = *batch,
                     .questions = -1,
                     .answers = {.fd = -1},
                     .errors = {.fd = -1},
                     .begun_ns = clock_ns()};
    t.looked_ns = t.begun_ns;
    int rc = turn_open_questions(&t, e);
    if (rc == 0 && t.b.state == JOBS_BATCH_VALIDATING) {
        rc = turn_validate(&t, e);
        if (rc == 0) turn_log(&t);
    }
    if (rc == 0 && !jobs_batch_is_over(t.b.state)) rc = turn_go_on(&t, e);
    if (rc) turn_show(&t);
    turn_close_records(&t);
    if (t.questions >= 0) close(t.questions);
    return rc == E_CANCELLED ? 0 : rc;
}
