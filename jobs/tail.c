/* tail.c - what a run writes into its events.jsonl becomes events, and the job's figures.
 *
 * The file is a run's own, and a run may be killed while it writes, so: a line counts once its end
 * is there; a line that is too long, or no JSON, is passed over and counted; how far the file was
 * read is a field of the job, and changes in one transaction with what was read. So no line is
 * missed and none is taken twice, however the daemon ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs/disk.h"
#include "jobs/state.h"
#include "kernels/base/jsonscan.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

enum { PART_MAX = 256 << 10, LINE_BYTES_MAX = 64 << 10, DEPTH_MAX = 8, MARKS_MAX = 2000 };
#define WHOLE_MAX   1000000000000
#define SECONDS_MAX 1e9 /* of a step */

/* ---- one line ---- */

static double real_of(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* From 0 on, and no more than sums can hold. */
static int64_t whole_of(const json_t *o, const char *name) {
    json_int_t n = json_integer_value(json_object_get(o, name));
    return n < 0 ? 0 : n > WHOLE_MAX ? WHOLE_MAX : (int64_t)n;
}

static double seconds_of(const json_t *o) {
    double s = real_of(o, "seconds");
    return s > 0 && s < SECONDS_MAX ? s : 0;
}

static const char *tail_text(const json_t *o, const char *name) {
    const char *text = json_string_value(json_object_get(o, name));
    return text ? text : "";
}

/* A sentence of the run's, without the paths of this machine. jansson has seen that it is UTF-8;
 * what has no room is cut between two characters. */
static void without_paths(const struct jobs *j, const char *text, char *to, size_t size) {
    size_t n = strlen(j->dir), at = 0;
    while (*text) {
        if (strncmp(text, j->dir, n) == 0 && text[n] == '/') {
            text += n + 1;
            continue;
        }
        size_t len = (size_t)utf8_length(text);
        if (!len) len = 1;
        if (at + len >= size) break;
        memcpy(to + at, text, len);
        at += len;
        text += len;
    }
    to[at] = '\0';
}

/* A number, or an object of numbers; anything else is left out. */
static void copy_figure(json_t *to, const char *as, const json_t *from, const char *name) {
    json_t *v = json_object_get(from, name), *one;
    const char *key;
    int is_fine = json_is_number(v) || json_is_object(v);
    json_object_foreach(v, key, one) is_fine &= json_is_number(one);
    if (is_fine) json_object_set(to, as, v);
}

static int add_metrics(struct jobs *j, struct store_job *job, const json_t *o, const char *name,
                       const char *message, struct err *e) {
    json_t *data = json_object();
    json_object_set_new(data, "step", json_integer(whole_of(o, "step")));
    json_object_set_new(data, "total_steps", json_integer(job->job.steps));
    if (json_is_number(json_object_get(o, "loss"))) copy_figure(data, name, o, "loss");
    static const char *const also[] = {"tasks", "rate", "norm", "seconds", "talks", "skipped"};
    for (size_t i = 0; i < ARRAY_LEN(also); i++)
        copy_figure(data, also[i], o, also[i]);
    char *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(9));
    const struct jobs_event event = {.created = jobs_now(),
                                     .level = "info",
                                     .type = "metrics",
                                     .message = message,
                                     .data = text ? text : ""};
    int rc = store_event_add(j->writer, job, &event, e);
    json_decref(data);
    mem_plain_free(text);
    return rc;
}

static int on_step(struct jobs *j, struct store_job *job, const json_t *o, struct err *e) {
    char message[96];
    double seconds = seconds_of(o);
    job->job.step = whole_of(o, "step");
    job->job.loss = real_of(o, "loss");
    job->job.seconds += seconds;
    job->job.tokens += whole_of(o, "talks");
    pthread_mutex_lock(&j->mu);
    j->stats.steps++;
    j->stats.loss = job->job.loss;
    j->stats.seconds += seconds;
    pthread_mutex_unlock(&j->mu);
    snprintf(message, sizeof(message), "Step %lld/%lld: training loss=%.4f",
             (long long)job->job.step, (long long)job->job.steps, job->job.loss);
    return add_metrics(j, job, o, "train_loss", message, e);
}

static int on_judge(struct jobs *j, struct store_job *job, const json_t *o, struct err *e) {
    char message[96];
    int64_t step = whole_of(o, "step");
    double loss = real_of(o, "loss");
    if (step == 0) job->job.judged_before = loss;
    job->job.judged = loss;
    snprintf(message, sizeof(message), "Step %lld/%lld: validation loss=%.4f", (long long)step,
             (long long)job->job.steps, loss);
    return add_metrics(j, job, o, "valid_loss", message, e);
}

static int on_begin(struct jobs *j, struct store_job *job, const json_t *o, struct err *e) {
    job->job.step = whole_of(o, "step");
    job->job.steps = whole_of(o, "steps");
    if (!job->job.phase[0]) snprintf(job->job.phase, sizeof(job->job.phase), "train");
    snprintf(job->last, sizeof(job->last), "start");
    return keeper_say(j, job, "info", e, "Training goes from step %lld to %lld",
                      (long long)job->job.step, (long long)job->job.steps);
}

static int on_end(struct jobs *j, struct store_job *job, const char *word, const json_t *o) {
    snprintf(job->last, sizeof(job->last), "%s", word);
    without_paths(j, tail_text(o, "error"), job->failure, sizeof(job->failure));
    without_paths(j, tail_text(o, "text"), job->reason, sizeof(job->reason));
    return 0;
}

static int tail_event(struct jobs *j, struct store_job *job, const json_t *o, struct err *e) {
    char text[280], named[40];
    const char *word = tail_text(o, "event");
    if (strcmp(word, "step") == 0) return on_step(j, job, o, e);
    if (strcmp(word, "judge") == 0) return on_judge(j, job, o, e);
    if (strcmp(word, "start") == 0 || strcmp(word, "resume") == 0) return on_begin(j, job, o, e);
    if (strcmp(word, "end") == 0 || strcmp(word, "stop") == 0 || strcmp(word, "failed") == 0)
        return on_end(j, job, word, o);
    if (strcmp(word, "checkpoint") == 0) {
        job->saved = whole_of(o, "step");
        return keeper_say(j, job, "info", e, "Checkpoint of step %lld", (long long)job->saved);
    }
    if (strcmp(word, "phase") == 0) {
        without_paths(j, tail_text(o, "phase"), job->job.phase, sizeof(job->job.phase));
        return keeper_say(j, job, "info", e, "Phase: %s", job->job.phase);
    }
    if (strcmp(word, "left_out") == 0) {
        char where[100]; /* all of it fits into an event */
        without_paths(j, tail_text(o, "where"), where, sizeof(where));
        without_paths(j, tail_text(o, "text"), text, sizeof(text));
        return keeper_say(j, job, "warn", e, "Left out: %s: %s", where, text);
    }
    without_paths(j, word, named, sizeof(named));
    without_paths(j, tail_text(o, "text"), text, sizeof(text));
    return keeper_say(j, job, "info", e, "%s%s%s", named, *text ? ": " : "", text);
}

static int tail_line(struct jobs *j, struct store_job *job, const char *line, size_t len,
                     struct err *e) {
    json_t *o = NULL;
    if (len <= LINE_BYTES_MAX && jsonscan_bound(line, len, DEPTH_MAX, MARKS_MAX, NULL) == 0)
        o = json_loadb(line, len, 0, NULL);
    int rc = json_is_object(o)
                 ? tail_event(j, job, o, e)
                 : keeper_say(j, job, "warn", e, "A line of the run's events can't be read");
    json_decref(o);
    return rc;
}

/* ---- the file ---- */

/* The whole lines of a part; *used: their bytes. A part that is full and has no line end is one
 * line that is too long: it is passed over piece by piece. */
static int tail_part(struct jobs *j, struct store_job *job, const char *part, size_t n,
                     size_t *used, struct err *e) {
    int rc = 0;
    for (*used = 0; rc == 0 && *used < n;) {
        const char *line = part + *used, *end = memchr(line, '\n', n - *used);
        if (!end && (*used || n < PART_MAX)) break;
        size_t len = end ? (size_t)(end - line) : n;
        rc = tail_line(j, job, line, len, e);
        *used += len + (end != NULL);
    }
    return rc;
}

int tail_read(struct jobs *j, struct store_job *job, int *is_all, struct err *e) {
    char path[JOBS_PATH_MAX];
    struct stat st;
    jobs_run_path(j, job->job.id, "events.jsonl", path);
    *is_all = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : disk_bad(path, e);
    if (fstat(fd, &st) == 0 && st.st_size < job->tail_at) job->tail_at = st.st_size;
    char *part = mem_must(PART_MAX);
    ssize_t n = pread(fd, part, PART_MAX, job->tail_at);
    size_t used = 0;
    int rc = n < 0 ? disk_bad(path, e) : tail_part(j, job, part, (size_t)n, &used, e);
    if (rc == 0) job->tail_at += (int64_t)used;
    if (used) keeper_changed(j, job->job.id);
    *is_all = n < PART_MAX;
    mem_free(part);
    close(fd);
    return rc;
}
