/* fine_tuning_write.c - a job as JSON, and what all calls about jobs share.
 *
 * The shape is OpenAI's `fine_tuning.job`. Its hyperparameters are the effective ones. `paused` is
 * a status that OpenAI's clients have calls for but don't list. `trained_tokens` is null: what
 * lammd counts are questions, under "lammd". Thread: a worker, or whoever reads the stream.
 */
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "api/admin/fine_tuning.h"
#include "api/wire/json_write.h"
#include "kernels/base/hex.h"
#include "kernels/base/log.h"

/* ---- shared ---- */

int fine_tuning_enter(struct api_call *c) {
    return c->api->jobs ? 0 : problem_set(&c->problem, PROBLEM_NO_STATE, NULL, NULL);
}

const char *fine_tuning_owner(const struct api_call *c) {
    return c->in.caller ? c->in.caller->key : "";
}

int fine_tuning_record(struct api_call *c) {
    if (!c->in.record || c->in.record(c->in.record_ud) == 0) return 0;
    return problem_set(&c->problem, PROBLEM_AUDIT_UNAVAILABLE, NULL, NULL);
}

struct jobs_eyes fine_tuning_eyes(const struct api_call *c) {
    const struct api_caller *who = c->in.caller;
    if (!who) return (struct jobs_eyes){.trains = 1};
    return (struct jobs_eyes){.trains = (who->scopes & API_SCOPE(API_TRAIN)) != 0,
                              .owner = who->scopes & API_SCOPE(API_ADMIN) ? NULL : who->key};
}

int fine_tuning_refuse(struct api_call *c, int rc, const char *param, const struct err *e) {
    enum problem_code code = PROBLEM_INTERNAL_ERROR;
    switch (rc) {
    case E_NOT_FOUND: code = PROBLEM_JOB_NOT_FOUND; break;
    case E_BUSY: code = PROBLEM_WRONG_STATE; break;
    case E_INVALID:
    case E_FORMAT: code = PROBLEM_INVALID_PARAMETER; break;
    case E_TIMEOUT: code = PROBLEM_STATE_UNWRITABLE; break;
    case E_CANCELLED: code = PROBLEM_DRAINING; break;
    case E_IO: code = PROBLEM_STATE_UNWRITABLE; break;
    case E_NOMEM: code = PROBLEM_NO_MEMORY; break;
    default: break;
    }
    if (rc == E_IO)
        log_event(LOG_LEVEL_ERROR, "jobs", "not written, so nothing changes: %s", e->text);
    int is_told = rc == E_INVALID || rc == E_FORMAT || rc == E_BUSY || rc == E_TIMEOUT;
    if (is_told && e->text[0]) return problem_set(&c->problem, code, param, "%s", e->text);
    return problem_set(&c->problem, code, param, NULL);
}

int fine_tuning_digest(struct api_call *c, char digest[65]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(c->in.body, c->in.body_len, bytes, &n, EVP_sha256(), NULL) != 1 || n != 32)
        return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    hex_write(bytes, n, digest);
    return 0;
}

static const char *const page_known[] = {"after", "limit", NULL};
const struct input_wants fine_tuning_page = {.known = page_known};

int fine_tuning_read_page(struct input *in, struct fine_tuning_page *to) {
    *to = (struct fine_tuning_page){.limit = 20};
    int rc = input_text(in, "after", 80, &to->after);
    return rc ? rc : input_int(in, "limit", 1, JOBS_LIST_MAX, &to->limit);
}

int64_t fine_tuning_event_seq(const char *job, const char *event) {
    static const char head[] = "ftevent-";
    char *end;
    size_t n = strlen(job);
    if (strncmp(event, head, sizeof(head) - 1) != 0) return -1;
    event += sizeof(head) - 1;
    if (strncmp(event, job, n) != 0 || event[n] != '-' || strlen(event + n + 1) > 18) return -1;
    long long seq = strtoll(event + n + 1, &end, 10);
    return end == event + n + 1 || *end || seq < 0 ? -1 : seq;
}

/* ---- JSON ---- */

static void write_text(struct buf *b, const char *name, const char *text) {
    buf_printf(b, ",\"%s\":", name);
    if (*text)
        json_write_str(b, text);
    else
        buf_str(b, "null");
}

static void write_time(struct buf *b, const char *name, int64_t t) {
    buf_printf(b, t ? ",\"%s\":%" PRId64 : ",\"%s\":null", name, t);
}

static void fine_tuning_write_real(struct buf *b, const char *name, double v) {
    if (isfinite(v))
        buf_printf(b, ",\"%s\":%.6g", name, v);
    else
        buf_printf(b, ",\"%s\":null", name);
}

/* "q, v" -> ["q","v"]; null for nothing. */
static void write_list(struct buf *b, const char *name, const char *list) {
    buf_printf(b, ",\"%s\":", name);
    if (!*list) {
        buf_str(b, "null");
        return;
    }
    const char *before = "[";
    for (const char *at = list; *(at += strspn(at, " ,"));) {
        size_t n = strcspn(at, " ,");
        buf_str(b, before);
        json_write_text(b, at, n);
        at += n;
        before = ",";
    }
    buf_str(b, "]");
}

/* OpenAI's epochs are whole; how many they are exactly is told under "lammd". */
static void write_hyperparameters(struct buf *b, const struct jobs_how *h) {
    buf_str(b, "{\"n_epochs\":");
    if (h->epochs > 0)
        buf_printf(b, "%.0f", ceil(h->epochs - 1e-9));
    else
        buf_str(b, "\"auto\"");
    buf_printf(b, ",\"batch_size\":%" PRId64 ",\"learning_rate_multiplier\":%.6g}", h->batch,
               h->multiplier);
}

static void write_error(struct buf *b, const struct jobs_job *job) {
    buf_str(b, ",\"error\":");
    if (!job->error_code[0]) {
        buf_str(b, "null");
        return;
    }
    buf_str(b, "{\"code\":");
    json_write_str(b, job->error_code);
    buf_str(b, ",\"message\":");
    json_write_str(b, job->error);
    write_text(b, "param", job->error_param);
    buf_char(b, '}');
}

void fine_tuning_write_how(const struct jobs_how *h, struct buf *b) {
    buf_str(b, "\"recipe\":");
    json_write_str(b, h->recipe);
    write_list(b, "tasks", h->tasks);
    if (h->lora_r) {
        buf_printf(b, ",\"lora\":{\"r\":%" PRId64 ",\"alpha\":%.6g", h->lora_r, h->lora_alpha);
        write_list(b, "targets", h->lora_targets);
        buf_char(b, '}');
    }
    buf_printf(b, ",\"vision\":%s,\"pack\":%s", h->vision > 0 ? "true" : "false",
               h->pack > 0 ? "true" : "false");
}

static void write_own(struct buf *b, const struct jobs_job *job) {
    static const char *const wants[] = {"", "pause", "cancel"};
    const struct jobs_how *h = &job->how;
    int is_wanted = !jobs_is_over(job->state) && job->state != JOBS_PAUSED;
    buf_str(b, ",\"lammd\":{");
    fine_tuning_write_how(h, b);
    write_time(b, "steps", job->steps ? job->steps : h->steps);
    fine_tuning_write_real(b, "epochs", h->epochs > 0 ? h->epochs : NAN);
    buf_printf(b, ",\"step\":%" PRId64 ",\"questions\":%" PRId64, job->step, job->tokens);
    write_text(b, "phase", job->phase);
    write_text(b, "wanted", is_wanted ? wants[job->want] : "");
    fine_tuning_write_real(b, "train_loss", job->loss);
    fine_tuning_write_real(b, "valid_loss_before", job->judged_before);
    fine_tuning_write_real(b, "valid_loss", job->judged);
    fine_tuning_write_real(b, "seconds", job->seconds);
    buf_printf(b, ",\"attempts\":%d}", job->attempts);
}

void fine_tuning_write(struct api_call *c, const struct jobs_job *job, struct buf *b) {
    buf_str(b, "{\"object\":\"fine_tuning.job\",\"id\":");
    json_write_str(b, job->id);
    write_time(b, "created_at", job->created);
    write_time(b, "started_at", job->started);
    write_time(b, "finished_at", job->finished);
    write_time(b, "estimated_finish", jobs_finish(c->api->jobs, job));
    write_text(b, "status", jobs_state_words[job->state]);
    write_text(b, "model", job->base);
    write_text(b, "fine_tuned_model", job->name);
    write_text(b, "training_file", job->training_file);
    write_text(b, "validation_file", job->validation_file);
    write_text(b, "user_provided_suffix", job->suffix);
    buf_printf(b, ",\"seed\":%" PRIu64 ",\"hyperparameters\":", job->seed);
    write_hyperparameters(b, &job->how);
    buf_str(b, ",\"method\":{\"type\":\"supervised\",\"supervised\":{\"hyperparameters\":");
    write_hyperparameters(b, &job->how);
    buf_str(b, "}},\"organization_id\":\"lammd\",\"result_files\":[],\"integrations\":[],"
               "\"trained_tokens\":null");
    write_error(b, job);
    write_own(b, job);
    buf_str(b, ",\"metadata\":");
    size_t before = b->len;
    (void)jobs_metadata(c->api->jobs, job->id, b, NULL);
    if (b->len == before) buf_str(b, "null");
    buf_char(b, '}');
}
