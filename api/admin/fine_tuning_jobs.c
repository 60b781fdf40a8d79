/* fine_tuning_jobs.c - looking at jobs, and cancel, pause, resume.
 *
 * Jobs belong to the server: whoever has the scope train sees all of them, and may end any. What
 * counts by owner is only how many one key may have at once. Thread: a worker.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/admin/fine_tuning.h"
#include "api/wire/json_write.h"
#include "kernels/base/mem.h"

static int answer_job(struct api_call *c, const struct jobs_job *job) {
    fine_tuning_write(c, job, &c->body);
    buf_char(&c->body, '\n');
    return call_answer(c, 200, "application/json");
}

/* ---- one ---- */

static int fine_tuning_get(struct api_call *c) {
    struct jobs_job job;
    struct err e = {0};
    int rc = jobs_get(c->api->jobs, c->in.arg, &job, &e);
    if (rc == 0) return answer_job(c, &job);
    (void)fine_tuning_refuse(c, rc, NULL, &e);
    return call_fail(c);
}

typedef int change_fn(struct jobs *j, const char *id, struct jobs_job *out, struct err *e);

static int fine_tuning_change(struct api_call *c, change_fn *change) {
    struct jobs_job job;
    struct err e = {0};
    int rc = change(c->api->jobs, c->in.arg, &job, &e);
    if (rc == 0) return answer_job(c, &job);
    (void)fine_tuning_refuse(c, rc, NULL, &e);
    return call_fail(c);
}

static int fine_tuning_cancel(struct api_call *c) { return fine_tuning_change(c, jobs_cancel); }
static int fine_tuning_pause(struct api_call *c) { return fine_tuning_change(c, jobs_pause); }
static int fine_tuning_resume(struct api_call *c) { return fine_tuning_change(c, jobs_resume); }

/* ---- checkpoints ---- */

enum { CHECKPOINT_ID_BYTES = JOBS_ID_BYTES + 32 };

static void checkpoint_id(const struct jobs_job *job, const struct jobs_checkpoint *at,
                          char id[CHECKPOINT_ID_BYTES]) {
    snprintf(id, CHECKPOINT_ID_BYTES, "ftckpt-%s-%" PRId64, job->id, at->step);
}

static void write_checkpoint(const struct jobs_checkpoint *at, const struct jobs_job *job,
                             struct buf *b) {
    char id[CHECKPOINT_ID_BYTES];
    checkpoint_id(job, at, id);
    buf_printf(b,
               "{\"object\":\"fine_tuning.job.checkpoint\",\"id\":\"%s\",\"created_at\":%" PRId64
               ",\"fine_tuning_job_id\":",
               id, at->created);
    json_write_str(b, job->id);
    buf_str(b, ",\"fine_tuned_model_checkpoint\":");
    json_write_str(b, job->name);
    buf_printf(b, ",\"step_number\":%" PRId64 ",\"metrics\":{\"step\":%" PRId64, at->step,
               at->step);
    if (isfinite(at->judged)) buf_printf(b, ",\"valid_loss\":%.6g", at->judged);
    buf_printf(b, "},\"bytes\":%" PRIu64 "}", at->bytes);
}

/* Which of them comes first: that behind the one with this id; -1: there is none with it. */
static int checkpoints_begin(const struct jobs_job *job, const struct jobs_checkpoint *all, int n,
                             const char *after) {
    char id[CHECKPOINT_ID_BYTES];
    if (!after) return 0;
    for (int i = 0; i < n; i++) {
        checkpoint_id(job, &all[i], id);
        if (strcmp(id, after) == 0) return i + 1;
    }
    return -1;
}

static void write_checkpoints(struct api_call *c, const struct jobs_job *job,
                              const struct jobs_checkpoint *all, int n, int has_more) {
    struct buf *b = &c->body;
    char first[CHECKPOINT_ID_BYTES], last[CHECKPOINT_ID_BYTES];
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        write_checkpoint(&all[i], job, b);
    }
    buf_printf(b, "],\"has_more\":%s", has_more ? "true" : "false");
    if (n) {
        checkpoint_id(job, &all[0], first);
        checkpoint_id(job, &all[n - 1], last);
        buf_printf(b, ",\"first_id\":\"%s\",\"last_id\":\"%s\"}\n", first, last);
    } else {
        buf_str(b, ",\"first_id\":null,\"last_id\":null}\n");
    }
}

static int fine_tuning_checkpoints(struct api_call *c) {
    const struct fine_tuning_page *page = c->state;
    struct jobs_checkpoint all[JOBS_CHECKPOINTS_MAX];
    struct jobs_job job;
    struct err e = {0};
    int n = 0, rc = jobs_get(c->api->jobs, c->in.arg, &job, &e);
    if (rc == 0) rc = jobs_checkpoints(c->api->jobs, c->in.arg, all, &n, &e);
    if (rc) {
        (void)fine_tuning_refuse(c, rc, NULL, &e);
        return call_fail(c);
    }
    int from = checkpoints_begin(&job, all, n, page->after);
    if (from < 0) {
        problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "after",
                    "after must be the id of a checkpoint that this job keeps");
        return call_fail(c);
    }
    int count = n - from < page->limit ? n - from : page->limit;
    write_checkpoints(c, &job, all + from, count, from + count < n);
    return call_answer(c, 200, "application/json");
}

/* ---- all ---- */

static int fine_tuning_page_of(struct api_call *c, struct input *in) {
    return fine_tuning_read_page(in, c->state);
}

static int fine_tuning_jobs_list(struct api_call *c) {
    const struct fine_tuning_page *page = c->state;
    struct jobs_job *jobs = mem_try(JOBS_LIST_MAX * sizeof(*jobs));
    struct err e = {0};
    int n = 0, more = 0;
    if (!jobs) return call_fail_as(c, PROBLEM_NO_MEMORY);
    int rc = jobs_list(c->api->jobs, page->after, page->limit, jobs, &n, &more, &e);
    if (rc) {
        mem_free(jobs);
        (void)fine_tuning_refuse(c, rc, rc == E_NOT_FOUND ? "after" : NULL, &e);
        return call_fail(c);
    }
    buf_str(&c->body, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(&c->body, ',');
        fine_tuning_write(c, &jobs[i], &c->body);
    }
    mem_free(jobs);
    buf_printf(&c->body, "],\"has_more\":%s}\n", more ? "true" : "false");
    return call_answer(c, 200, "application/json");
}

const struct endpoint fine_tuning_list_endpoint = {.wants = &fine_tuning_page,
                                                   .media = &media_json,
                                                   .state_size = sizeof(struct fine_tuning_page),
                                                   .enter = fine_tuning_enter,
                                                   .read = fine_tuning_page_of,
                                                   .answer = fine_tuning_jobs_list};
#define ONE(fn) \
    { .media = &media_json, .enter = fine_tuning_enter, .answer = fn }
const struct endpoint fine_tuning_get_endpoint = ONE(fine_tuning_get);
const struct endpoint fine_tuning_cancel_endpoint = ONE(fine_tuning_cancel);
const struct endpoint fine_tuning_pause_endpoint = ONE(fine_tuning_pause);
const struct endpoint fine_tuning_resume_endpoint = ONE(fine_tuning_resume);
const struct endpoint fine_tuning_checkpoints_endpoint = {.wants = &fine_tuning_page,
                                                          .media = &media_json,
                                                          .state_size =
                                                              sizeof(struct fine_tuning_page),
                                                          .enter = fine_tuning_enter,
                                                          .read = fine_tuning_page_of,
                                                          .answer = fine_tuning_checkpoints};
