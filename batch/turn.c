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

/* So long a turn is when others wait, from its first answer on, and if none comes; so long lines
 * may stay on their way when one of the others is to end; how often the state is looked at, and how
 * far it is told. */
enum { TURN_S = 30, FIRST_S = 120, LAND_S = 2, LOOK_MS = 1000, SHOW_MS = 200 };
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
    uint64_t until_ns; /* when others wait */
    uint64_t landing_ns, looked_ns, shown_ns;
    uint64_t n, n_failed; /* lines that were not shown yet */
    int64_t n_ending;     /* others that are to end, and couldn't before this turn */
    int is_answered;      /* a line was */
    enum work_wish wish;
    int is_late; /* its time is over */
    int is_lost; /* its questions are */
};

/* ---- what goes on meanwhile ---- */

static void turn_show(struct turn *t) {
    jobs_batch_show(t->o->jobs, &t->b, t->n, t->n_failed);
    t->n = t->n_failed = 0;
}

/* Is it time to look? Then: was it cancelled? */
static int turn_is_due(struct turn *t, uint64_t now) {
    struct jobs_batch row;
    if (t->wish == WORK_STOP || now - t->looked_ns < LOOK_MS * CLOCK_MS) return 0;
    t->looked_ns = now;
    int is_known = jobs_batch_get(t->o->jobs, t->b.id, NULL, &row, NULL) == 0;
    if (is_known && row.state != t->b.state) t->wish = WORK_STOP;
    return 1;
}

/* Late, or are others to be let in? One that is to end doesn't wait for the end of the turn, nor
 * long for lines that are on their way: these are asked again. */
static enum work_wish turn_look(struct turn *t, uint64_t now) {
    int64_t n = 0, n_ending = 0;
    if (t->wish == WORK_STOP || t->is_late) return t->wish;
    t->is_late = (int64_t)time(NULL) >= t->b.expires;
    if (t->is_late) return WORK_STOP;
    (void)jobs_batch_others(t->o->jobs, &t->b, &n, &n_ending, NULL);
    int is_urgent = n_ending > t->n_ending;
    if (t->wish == WORK_LAND)
        return is_urgent && now - t->landing_ns >= LAND_S * CLOCK_S ? WORK_STOP : WORK_LAND;
    if (!is_urgent && (n == 0 || now < t->until_ns)) return WORK_GO_ON;
    t->landing_ns = now;
    return WORK_LAND;
}

static enum work_wish turn_on_tick(void *ud) {
    struct turn *t = ud;
    uint64_t now = clock_ns();
    enum work_wish outer = t->o->wish(t->o->ud);
    if (now - t->shown_ns >= SHOW_MS * CLOCK_MS) {
        t->shown_ns = now;
        turn_show(t);
    }
    if (turn_is_due(t, now)) t->wish = turn_look(t, now);
    return outer > t->wish ? outer : t->wish;
}

static void turn_on_done(void *ud, enum work_end end) {
    struct turn *t = ud;
    t->b.waits[0] = '\0';
    t->b.completed += end == WORK_ANSWERED;
    t->b.failed += end == WORK_REFUSED; /* broken ones were counted before */
    t->n += end == WORK_ANSWERED;
    t->n_failed += end == WORK_REFUSED;
    if (t->is_answered || end == WORK_BROKEN) return;
    t->is_answered = 1;
    t->until_ns = clock_ns() + TURN_S * CLOCK_S;
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
    struct turn *t = ud;
    (void)turn_is_due(t, clock_ns());
    return t->wish != WORK_GO_ON || t->o->wish(t->o->ud) != WORK_GO_ON;
}

/* ---- looking at it ---- */

static int turn_open_questions(struct turn *t, struct err *e) {
    char path[JOBS_PATH_MAX];
    int rc = jobs_batch_input(t->o->jobs, &t->b, path, NULL);
    t->is_lost = rc == E_NOT_FOUND;
    if (t->is_lost) return 0;
    if (rc) return err_set(e, rc, "the row of %s: %s", t->b.input_file, err_word(rc));
    t->questions = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    t->is_lost = t->questions < 0 && errno == ENOENT;
    if (t->questions >= 0 || t->is_lost) return 0;
    return err_set(e, E_IO, "%s: %s", path, strerror(errno));
}

static int turn_validate(struct turn *t, struct err *e) {
    struct look look = {.is_good = 0};
    int rc = t->is_lost ? look_add_lost(&look.errors, e)
                        : look_at(t->questions, t->b.endpoint, turn_is_stopped, t, &look, e);
    if (rc == 0) {
        t->b.total = look.total;
        t->b.broken = look.broken;
        rc = jobs_batch_looked(t->o->jobs, &t->b, look.is_good,
                               look.errors.len ? (const char *)look.errors.p : NULL, e);
        t->n_failed += rc ? 0 : (uint64_t)look.broken; /* here once, not each time they are met */
        turn_show(t);
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
    t->until_ns = clock_ns() + FIRST_S * CLOCK_S;
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

/* Nothing of it is left to ask. What it has is on the disk before that is written down. */
static int turn_finalize(struct turn *t, struct err *e) {
    struct buf errors;
    buf_init(&errors, LOOK_BYTES_MAX);
    int is_expired = t->b.completed + t->b.failed < t->b.total;
    int rc = record_sync(&t->answers, e);
    if (rc == 0) rc = record_sync(&t->errors, e);
    if (rc == 0 && t->is_lost) rc = jobs_batch_errors(t->o->jobs, t->b.id, &errors, e);
    if (rc == 0 && t->is_lost) rc = look_add_lost(&errors, e);
    if (rc == 0)
        rc = jobs_batch_finalize(t->o->jobs, &t->b,
                                 t->is_lost   ? JOBS_BATCH_FAILED
                                 : is_expired ? JOBS_BATCH_EXPIRED
                                              : JOBS_BATCH_COMPLETED,
                                 errors.len ? (const char *)errors.p : NULL, e);
    buf_clear(&errors);
    return rc;
}

/* Its file is known to be good, or is lost. */
static int turn_go_on(struct turn *t, struct err *e) {
    int is_all = 0, rc = turn_open_records(t, e);
    turn_show(t);
    if (rc == 0 && t->b.state == JOBS_BATCH_IN_PROGRESS) {
        if (!t->is_lost) rc = turn_ask(t, &is_all, e);
        if (rc == 0)
            rc = is_all || t->is_lost ? turn_finalize(t, e) : jobs_batch_save(t->o->jobs, &t->b, e);
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
                     .looked_ns = clock_ns()};
    int64_t others;
    int is_asked = t.b.state == JOBS_BATCH_VALIDATING || t.b.state == JOBS_BATCH_IN_PROGRESS;
    (void)jobs_batch_others(o->jobs, batch, &others, &t.n_ending, NULL);
    int rc = is_asked ? turn_open_questions(&t, e) : 0;
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
