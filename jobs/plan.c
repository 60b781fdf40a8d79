/* plan.c - does a run fit into memory? `lammd train --plan --json` counts what it takes.
 *
 * What there is, it finds out as well: what this file tells it, or what the card has free. Beside
 * that a run at work is over when the next one's turn comes, so what it was counted to take is free
 * then: runs/ID/plan.json says how much. Thread: any, one for each job.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/jsonscan.h"

enum { PLAN_MS = 30000, END_MS = 1000, PLAN_BYTES_MAX = 64 << 10, DEPTH_MAX = 8, MARKS_MAX = 4000 };

/* ---- what it said ---- */

/* Bytes; `none` where there is no such number. */
static uint64_t plan_bytes(const json_t *o, const char *name, uint64_t none) {
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v)
                                                            : none;
}

int plan_read(const char *text, size_t len, struct plan *out) {
    json_t *o = NULL, *stage;
    size_t i;
    if (len <= PLAN_BYTES_MAX && jsonscan_bound(text, len, DEPTH_MAX, MARKS_MAX, NULL) == 0)
        o = json_loadb(text, len, 0, NULL);
    const json_t *stages = json_object_get(o, "stages");
    const char *said = json_string_value(json_object_get(o, "text"));
    int rc = json_is_array(stages) ? 0 : E_FORMAT;
    *out = (struct plan){.takes = 0};
    if (rc == 0) snprintf(out->text, sizeof(out->text), "%s", said ? said : "");
    json_array_foreach(stages, i, stage) {
        uint64_t takes = plan_bytes(json_object_get(stage, "memory"), "together", 0);
        uint64_t have = plan_bytes(stage, "available", UINT64_MAX);
        if (takes > out->takes) out->takes = takes;
        if (takes > have && takes - have > out->lacks) out->lacks = takes - have;
    }
    json_decref(o);
    return rc;
}

static int plan_of(struct jobs *j, const char *id, struct plan *out) {
    char path[JOBS_PATH_MAX];
    struct buf text;
    buf_init(&text, PLAN_BYTES_MAX);
    jobs_run_path(j, id, "plan.json", path);
    int rc = disk_read(path, &text, NULL);
    if (rc == 0) rc = plan_read(text.len ? (const char *)text.p : "", text.len, out);
    buf_clear(&text);
    return rc;
}

/* ---- what there is ---- */

static uint64_t memory_mib(const struct jobs *j) {
    if (j->opt.memory_mib) return j->opt.memory_mib;
    if (strncmp(j->device, "cuda", 4) == 0) return 0; /* the plan asks the card */
    struct cgroup group;
    char text[4096] = "";
    uint64_t free_bytes = UINT64_MAX;
    cgroup_read(NULL, NULL, &group);
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof(text) - 1);
        close(fd);
        const char *at = strstr(text, "MemAvailable:");
        if (at) free_bytes = strtoull(at + 13, NULL, 10) * 1024;
    }
    if (group.memory_left < free_bytes) free_bytes = group.memory_left;
    return free_bytes == UINT64_MAX ? 0 : free_bytes >> 20;
}

/* Bytes that the run at work was counted to take. */
static uint64_t held_bytes(struct jobs *j) {
    struct store_job job;
    struct plan plan;
    pthread_mutex_lock(&j->read_mu);
    int rc = store_job_next(j->reader, JOBS_RUNNING, 0, &job, NULL);
    pthread_mutex_unlock(&j->read_mu);
    if (rc || j->opt.launcher != JOBS_LOCAL || plan_of(j, job.job.id, &plan)) return 0;
    return plan.takes;
}

/* ---- asking ---- */

/* The last line that it wrote, without what a program puts in front. */
static void last_line(struct buf *text, char *to, size_t size) {
    while (text->len && strchr("\n\r ", text->p[text->len - 1]))
        text->p[--text->len] = '\0';
    const char *all = text->len ? (const char *)text->p : "";
    const char *line = strrchr(all, '\n');
    line = line ? line + 1 : all;
    if (strncmp(line, "lammd: ", 7) == 0) line += 7;
    snprintf(to, size, "%s", line);
}

/* It has no plan. */
static int plan_failed(const char *log, struct err *e) {
    struct buf text;
    char said[220];
    buf_init(&text, PLAN_BYTES_MAX);
    (void)disk_read(log, &text, NULL);
    last_line(&text, said, sizeof(said));
    buf_clear(&text);
    return err_set(e, E_INVALID, "the run can't be planned: %s",
                   strchr(said, '/') ? "see its log"
                   : *said           ? said
                                     : "no word");
}

static int plan_result(struct jobs *j, const char *id, const char *log, int status, struct err *e) {
    struct plan plan;
    if (status == 0) return 0;
    if (plan_of(j, id, &plan) || !plan.lacks) return plan_failed(log, e);
    if (plan.lacks <= held_bytes(j)) return 0;
    return err_set(e, E_TOO_BIG, "%s, beside what serving holds", plan.text);
}

int plan_check(struct jobs *j, const char *id, struct err *e) {
    char recipe[JOBS_PATH_MAX], log[JOBS_PATH_MAX], out[JOBS_PATH_MAX], most[32];
    struct runner_child child;
    int status = -1;
    jobs_run_path(j, id, "job.ini", recipe);
    jobs_run_path(j, id, "plan.log", log);
    jobs_run_path(j, id, "plan.json", out);
    snprintf(most, sizeof(most), "%" PRIu64, memory_mib(j));
    const char *const argv[] = {j->program, "train",        recipe, "--plan",
                                "--json",   "--memory-mib", most,   NULL};
    const struct runner_start how = {.argv = argv, .log = log, .out = out, .cpu_s = 60};
    int rc = runner_begin(&how, &child, e);
    if (rc) return rc;
    if (!runner_wait(&child, PLAN_MS, &status)) {
        runner_signal(&child, SIGKILL);
        (void)runner_wait(&child, END_MS, &status);
        rc = err_set(e, E_TIMEOUT, "to count its memory takes too long at present");
    }
    runner_forget(&child);
    if (rc == 0) rc = plan_result(j, id, log, status, e);
    unlink(log);
    return rc;
}
