/* fuzz_events.c - bytes as events.jsonl of a run, as the keeper reads it. Whatever a run wrote, all
 * whole lines are read, once; the job's figures can be shown, and its events are JSON and UTF-8. */
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text) {
    for (size_t n; *text; text += n)
        must((n = (size_t)utf8_length(text)) > 0);
}

static int on_event(void *ud, const struct jobs_event *event) {
    json_t *o = *event->data ? json_loads(event->data, 0, NULL) : NULL;
    must(event->seq == ++*(int64_t *)ud);
    must(!*event->data || json_is_object(o));
    if (strcmp(event->type, "metrics") == 0) {
        const json_t *train = json_object_get(o, "train_loss");
        const json_t *valid = json_object_get(o, "valid_loss");
        must(json_is_integer(json_object_get(o, "step")));
        must((!train || json_is_number(train)) && (!valid || json_is_number(valid)));
    }
    json_decref(o);
    check_text(event->message);
    check_text(event->level);
    return 0;
}

static void check_job(const struct store_job *row) {
    const struct jobs_job *job = &row->job;
    must(job->step >= 0 && job->steps >= 0 && job->tokens >= 0 && row->saved >= 0);
    must(job->seconds >= 0 && isfinite(job->seconds));
    check_text(job->phase);
    check_text(row->failure);
    check_text(row->reason);
}

/* All of it, as the keeper does: part by part. */
static void read_all(struct jobs *j, struct store_job *row, size_t whole) {
    struct err e = {0};
    int is_all = 0, more = 0;
    int64_t seq = 0;
    while (!is_all) {
        int64_t before = row->tail_at;
        must(tail_read(j, row, &is_all, &e) == 0);
        must(is_all || row->tail_at > before);
    }
    must((size_t)row->tail_at >= whole);
    check_job(row);
    must(store_job_save(j->writer, row, &e) == 0);
    must(store_events(j->writer, row->job.id, 0, INT32_MAX - 1, on_event, &seq, &more, &e) == 0);
    must(seq == row->events && !more);
}

static const char id[] = "ftjob-0123456789ab";
static char dir[] = "/tmp/lammd-fuzz-XXXXXX";

static void remove_dir(void) { disk_remove(dir); }

/* The database and the folder, once: they take a while. */
static struct jobs *jobs_of_all(void) {
    static struct jobs *j;
    char path[JOBS_PATH_MAX];
    struct err e = {0};
    if (j) return j;
    j = mem_must(sizeof(*j));
    must(mkdtemp(dir) && atexit(remove_dir) == 0);
    snprintf(j->dir, sizeof(j->dir), "%s", dir);
    pthread_mutex_init(&j->mu, NULL);
    must(store_open(":memory:", 1, &j->writer, &e) == 0);
    jobs_path(j, "runs", "", path);
    must(mkdir(path, 0700) == 0);
    jobs_run_path(j, id, "", path);
    must(mkdir(path, 0700) == 0);
    return j;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct jobs *j = jobs_of_all();
    char path[JOBS_PATH_MAX];
    struct store_job row = {.job = {.how = {.recipe = "own"}, .loss = NAN}};
    struct err e = {0};
    must(store_begin(j->writer, &e) == 0);
    snprintf(row.job.id, sizeof(row.job.id), "%s", id);
    must(store_job_add(j->writer, &row, NULL, &e) == 0);
    jobs_run_path(j, id, "events.jsonl", path);
    FILE *f = fopen(path, "w");
    must(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
    size_t whole = size;
    while (whole && data[whole - 1] != '\n')
        whole--;
    read_all(j, &row, whole);
    store_rollback(j->writer);
    j->n_changed = 0;
    return 0;
}
