/* ask.c - what is asked of jobs: create, cancel, pause, resume.
 *
 * Creating makes the folder first, counts memory, and only then writes the row: so what is accepted
 * can run. A folder without a row is swept away at the next start. Everything that limits is looked
 * at twice, before the work and in the note: the second look decides.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/disk.h"
#include "jobs/state.h"

static const char name_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

/* ---- what is wrong with it ---- */

static int wrong(struct jobs_outcome *o, const char *param, struct err *e, int code,
                 const char *text) {
    o->param = param;
    return err_set(e, code, "%s", text);
}

static int is_list(const char *text) {
    return strspn(text, "abcdefghijklmnopqrstuvwxyz, ") == strlen(text);
}

static int check_how(const struct jobs_how *h, struct jobs_outcome *o, struct err *e) {
    if (!(h->epochs >= 0 && h->epochs <= 1000))
        return wrong(o, "n_epochs", e, E_INVALID, "n_epochs must be from 1 to 1000");
    if (h->batch < 0 || h->batch > 16384)
        return wrong(o, "batch_size", e, E_INVALID, "batch_size must be from 1 to 16384");
    if (!(h->multiplier >= 0 && h->multiplier <= 1000))
        return wrong(o, "learning_rate_multiplier", e, E_INVALID,
                     "learning_rate_multiplier must be above 0, and 1000 at most");
    if (h->steps < 0 || h->steps > 10000000)
        return wrong(o, "lammd.steps", e, E_INVALID, "steps must be from 1 to 10000000");
    if (h->lora_r < 0 || h->lora_r > 512)
        return wrong(o, "lammd.lora.r", e, E_INVALID, "r must be from 1 to 512");
    if (!(h->lora_alpha >= 0 && h->lora_alpha <= 1e6))
        return wrong(o, "lammd.lora.alpha", e, E_INVALID, "alpha must be above 0");
    if (!is_list(h->lora_targets))
        return wrong(o, "lammd.lora.targets", e, E_INVALID, "targets are names of matrices");
    if (!is_list(h->tasks))
        return wrong(o, "lammd.tasks", e, E_INVALID, "tasks are names of tasks");
    return 0;
}

static int check_new(const struct jobs *j, const struct jobs_new *n, struct jobs_outcome *o,
                     struct err *e) {
    const char *suffix = n->suffix ? n->suffix : "";
    size_t room = JOBS_NAME_BYTES - 1 - strlen("ft:::ftjob-") - strlen(j->base) - 12;
    if (room > JOBS_SUFFIX_MAX) room = JOBS_SUFFIX_MAX;
    if (strspn(suffix, name_letters) != strlen(suffix) || strlen(suffix) > room) {
        o->param = "suffix";
        return err_set(e, E_INVALID,
                       "suffix must have %zu characters at most, of letters, digits, dots, _ and -",
                       room);
    }
    if (n->seed > INT64_MAX)
        return wrong(o, "seed", e, E_INVALID, "seed must be a whole number from 0 on");
    if (n->once && (!*n->once || strlen(n->once) > STORE_ONCE_MAX))
        return wrong(o, "Idempotency-Key", e, E_INVALID, "Idempotency-Key is too long, or empty");
    if (n->metadata && strlen(n->metadata) > JOBS_METADATA_MAX)
        return wrong(o, "metadata", e, E_INVALID, "metadata is too large");
    return check_how(&n->how, o, e);
}

/* May this file be learnt from? */
static int check_file(struct store *s, const char *id, const char *param, struct jobs_outcome *o,
                      struct err *e) {
    struct jobs_file f;
    int rc = store_file_get(s, id, &f, e);
    if (rc == E_NOT_FOUND) return wrong(o, param, e, rc, "there is no such file");
    if (rc) return rc;
    if (strcmp(f.purpose, "fine-tune") != 0)
        return wrong(o, param, e, E_UNSUPPORTED, "the file was uploaded for another purpose");
    if (f.status == JOBS_FILE_ERROR)
        return wrong(o, param, e, E_UNSUPPORTED,
                     "the file was checked and has errors; GET /v1/files/{id} tells them");
    return 0;
}

/* ---- creating ---- */

struct creating {
    const struct jobs_new *new_;
    struct store_job job;
    struct jobs_outcome *how;
};

/* 1: it is there already; 0: it is not; or an error. */
static int find_old(struct store *s, const struct jobs_new *n, struct store_job *out,
                    struct jobs_outcome *o, struct err *e) {
    if (!n->once) return 0;
    int rc = store_job_once(s, n->owner, n->once, out, e);
    if (rc == E_NOT_FOUND) return 0;
    if (rc) return rc;
    o->is_old = strcmp(out->digest, n->digest) == 0;
    return o->is_old ? 1
                     : wrong(o, "Idempotency-Key", e, E_CANCELLED,
                             "this Idempotency-Key came with another request before");
}

/* The same on both connections: whether it may be. */
static int may_create(struct jobs *j, struct store *s, struct creating *c, struct err *e) {
    const struct jobs_new *n = c->new_;
    int64_t all = 0, own = 0;
    int rc = find_old(s, n, &c->job, c->how, e);
    if (rc == 0) rc = check_file(s, n->training_file, "training_file", c->how, e);
    if (rc == 0 && n->validation_file)
        rc = check_file(s, n->validation_file, "validation_file", c->how, e);
    if (rc == 0) rc = store_job_live(s, NULL, &all, e);
    if (rc == 0) rc = store_job_live(s, n->owner, &own, e);
    if (rc) return rc;
    if (all >= j->opt.live_max)
        return err_set(e, E_BUSY, "%d jobs wait or run, as many as may", j->opt.live_max);
    c->how->is_owner = own >= j->opt.owner_max;
    if (c->how->is_owner)
        return err_set(e, E_BUSY, "one caller may have %d jobs that have not ended",
                       j->opt.owner_max);
    return 0;
}

static int add_job(struct jobs *j, void *args, struct err *e) {
    struct creating *c = args;
    struct store_job mine = c->job;
    int rc = may_create(j, j->writer, c, e);
    if (rc) return rc > 0 ? 0 : rc; /* an old one is in c->job */
    c->job = mine;
    rc = store_job_add(j->writer, &c->job, c->new_->metadata, e);
    if (rc == 0)
        rc = keeper_say(j, &c->job, "info", e, "Created fine-tuning job: %s", c->job.job.id);
    if (rc == 0) rc = store_job_save(j->writer, &c->job, e);
    return rc;
}

static void ask_fill(const struct jobs *j, const struct jobs_new *n, struct store_job *to) {
    struct jobs_job *job = &to->job;
    job->state = JOBS_VALIDATING;
    job->created = jobs_now();
    job->seed = n->seed;
    job->how = n->how;
    if (!job->how.recipe[0]) snprintf(job->how.recipe, sizeof(job->how.recipe), "own");
    job->loss = job->judged = job->judged_before = NAN;
    snprintf(job->base, sizeof(job->base), "%s", j->base);
    snprintf(job->training_file, sizeof(job->training_file), "%s", n->training_file);
    snprintf(job->validation_file, sizeof(job->validation_file), "%s",
             n->validation_file ? n->validation_file : "");
    snprintf(job->suffix, sizeof(job->suffix), "%s", n->suffix ? n->suffix : "");
    snprintf(job->owner, sizeof(job->owner), "%s", n->owner);
    snprintf(to->once, sizeof(to->once), "%s", n->once ? n->once : "");
    snprintf(to->digest, sizeof(to->digest), "%s", n->digest ? n->digest : "");
}

/* The pictures of a file that was checked; 0: it was not yet. */
static int64_t ask_pictures(struct jobs *j, const char *file) {
    struct buf report;
    int64_t n = 0;
    buf_init(&report, JOBS_REPORT_MAX + 1);
    if (jobs_file_report(j, file, &report, NULL) == 0 && report.len)
        n = make_count((const char *)report.p, report.len);
    buf_clear(&report);
    return n;
}

/* Folder, recipe and memory. How long it takes is known now where the files were checked before;
 * otherwise run.c fills it in. */
static int ask_prepare(struct jobs *j, struct creating *c, struct err *e) {
    int64_t pictures = ask_pictures(j, c->job.job.training_file);
    int rc = make_folder(j, &c->job, pictures, &c->job.job.how, &c->how->param, e);
    return rc ? rc : plan_check(j, c->job.job.id, e);
}

int jobs_create(struct jobs *j, const struct jobs_new *asked, struct jobs_job *out,
                struct jobs_outcome *how, struct err *e) {
    struct creating c = {.new_ = asked, .how = how};
    char folder[JOBS_PATH_MAX];
    *how = (struct jobs_outcome){0};
    int rc = check_new(j, asked, how, e);
    if (rc) return rc;
    pthread_mutex_lock(&j->read_mu);
    rc = may_create(j, j->reader, &c, e);
    pthread_mutex_unlock(&j->read_mu);
    if (rc > 0) *out = c.job.job;
    if (rc) return rc > 0 ? 0 : rc;
    c.job = (struct store_job){0};
    ask_fill(j, asked, &c.job);
    rc = jobs_new_id("ftjob-", 6, c.job.job.id, e);
    if (rc) return rc;
    jobs_run_path(j, c.job.job.id, "", folder);
    rc = ask_prepare(j, &c, e);
    if (rc == 0) rc = keeper_ask(j, add_job, &c, e);
    if (rc || how->is_old) disk_remove(folder);
    if (rc == 0) *out = c.job.job;
    return rc;
}

/* ---- changing ---- */

struct changing {
    char id[JOBS_ID_BYTES];
    struct jobs_job job;
};

static int change_begin(struct jobs *j, struct changing *c, struct store_job *job, struct err *e) {
    return store_job_get(j->writer, c->id, job, e);
}

static int change_end(struct jobs *j, struct changing *c, struct store_job *job, struct err *e) {
    int rc = store_job_save(j->writer, job, e);
    if (rc == 0) c->job = job->job;
    return rc;
}

static int ask_refuse(const struct store_job *job, const char *what, struct err *e) {
    return err_set(e, E_BUSY, "a job that is %s can't be %s", jobs_state_words[job->job.state],
                   what);
}

static int do_cancel(struct jobs *j, void *args, struct err *e) {
    struct changing *c = args;
    struct store_job job;
    int rc = change_begin(j, c, &job, e);
    if (rc) return rc;
    if (job.job.state == JOBS_CANCELLED || job.job.want == JOBS_CANCEL)
        return change_end(j, c, &job, e);
    if (jobs_is_over(job.job.state)) return ask_refuse(&job, "cancelled", e);
    job.job.want = JOBS_CANCEL;
    rc = job.job.state == JOBS_RUNNING
             ? keeper_say(j, &job, "info", e, "The job is being cancelled")
             : settle_as(j, &job, JOBS_CANCELLED, "", "", "", e);
    return rc ? rc : change_end(j, c, &job, e);
}

static int do_pause(struct jobs *j, void *args, struct err *e) {
    struct changing *c = args;
    struct store_job job;
    int rc = change_begin(j, c, &job, e);
    if (rc) return rc;
    int is_new = job.job.want != JOBS_PAUSE && job.job.state != JOBS_PAUSED;
    if (jobs_is_over(job.job.state) || job.job.want == JOBS_CANCEL)
        return ask_refuse(&job, "paused", e);
    if (!is_new) return change_end(j, c, &job, e);
    job.job.want = JOBS_PAUSE;
    if (job.job.state == JOBS_QUEUED) job.job.state = JOBS_PAUSED;
    rc = keeper_say(j, &job, "info", e, "The job is being paused");
    return rc ? rc : change_end(j, c, &job, e);
}

/* What was paused before its files were checked has them checked first. */
static int do_resume(struct jobs *j, void *args, struct err *e) {
    struct changing *c = args;
    struct store_job job;
    int rc = change_begin(j, c, &job, e);
    if (rc) return rc;
    if (jobs_is_over(job.job.state) || job.job.want == JOBS_CANCEL)
        return ask_refuse(&job, "resumed", e);
    if (job.job.want == JOBS_RUN && job.job.state != JOBS_PAUSED) return change_end(j, c, &job, e);
    job.job.want = JOBS_RUN;
    job.job.attempts = job.crashes = 0;
    job.job.error_code[0] = job.job.error[0] = job.job.error_param[0] = '\0';
    if (job.job.state == JOBS_PAUSED) job.job.state = JOBS_QUEUED;
    rc = keeper_say(j, &job, "info", e, "The job was resumed");
    return rc ? rc : change_end(j, c, &job, e);
}

static int ask_change(struct jobs *j, const char *id, note_fn *act, struct jobs_job *out,
                      struct err *e) {
    struct changing c;
    snprintf(c.id, sizeof(c.id), "%s", id);
    int rc = keeper_ask(j, act, &c, e);
    if (rc == 0) *out = c.job;
    return rc;
}

int jobs_cancel(struct jobs *j, const char *id, struct jobs_job *out, struct err *e) {
    int rc = ask_change(j, id, do_cancel, out, e);
    if (rc == 0) checkpoints_drop(j, id, out->state);
    return rc;
}
int jobs_pause(struct jobs *j, const char *id, struct jobs_job *out, struct err *e) {
    return ask_change(j, id, do_pause, out, e);
}
int jobs_resume(struct jobs *j, const char *id, struct jobs_job *out, struct err *e) {
    return ask_change(j, id, do_resume, out, e);
}
