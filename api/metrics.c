/* metrics.c - GET /metrics: counters and gauges in Prometheus' text format 0.0.4.
 *
 * What this room counts itself is in store/counters.h; figures of the engine and the server are
 * fetched when somebody looks. A route is labelled by its template, never by the path that was
 * asked. Thread: the server's loop.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/endpoint.h"
#include "jobs/batches.h"
#include "jobs/jobs.h"
#include "kernels/base/log.h"

static void head(struct buf *b, const char *name, const char *type, const char *help) {
    buf_printf(b, "# HELP lammd_%s %s\n# TYPE lammd_%s %s\n", name, help, name, type);
}

static void counter(struct buf *b, const char *name, uint64_t v, const char *help) {
    head(b, name, "counter", help);
    buf_printf(b, "lammd_%s %llu\n", name, (unsigned long long)v);
}

static void counter_seconds(struct buf *b, const char *name, uint64_t ns, const char *help) {
    head(b, name, "counter", help);
    buf_printf(b, "lammd_%s %.9g\n", name, (double)ns / 1e9);
}

static void gauge(struct buf *b, const char *name, double v, const char *help) {
    head(b, name, "gauge", help);
    buf_printf(b, "lammd_%s %.15g\n", name, v);
}

/* A label's value: backslash, quote and newline are escaped. */
static void label(struct buf *b, const char *s) {
    for (; *s; s++) {
        if (*s == '\n')
            buf_str(b, "\\n");
        else if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else
            buf_char(b, *s);
    }
}

/* `labels` is "" or `a="b",` */
static void write_histogram(struct buf *b, const char *name, const char *labels,
                            struct histogram *h) {
    unsigned long long sum = 0;
    for (size_t i = 0; i < COUNTERS_BOUNDS; i++) {
        sum += atomic_load(&h->buckets[i]);
        buf_printf(b, "lammd_%s_bucket{%sle=\"%g\"} %llu\n", name, labels, counters_bound_s[i],
                   sum);
    }
    sum += atomic_load(&h->buckets[COUNTERS_BOUNDS]);
    buf_printf(b, "lammd_%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, sum);
    int n = (int)strlen(labels);
    const char *open = n ? "{" : "", *close = n ? "}" : "";
    if (n) n--; /* without the comma */
    buf_printf(b, "lammd_%s_sum%s%.*s%s %.9g\n", name, open, n, labels, close,
               (double)atomic_load(&h->sum_ns) / 1e9);
    buf_printf(b, "lammd_%s_count%s%.*s%s %llu\n", name, open, n, labels, close, sum);
}

static void write_batches(struct buf *b, struct jobs *jobs) {
    struct jobs_stats s;
    if (!jobs) return;
    jobs_stats(jobs, &s);
    head(b, "batches", "gauge", "Batches, by state.");
    for (int i = 0; i < JOBS_BATCH_STATES; i++)
        buf_printf(b, "lammd_batches{state=\"%s\"} %llu\n", jobs_batch_words[i],
                   (unsigned long long)s.batches[i]);
    head(b, "batch_lines_total", "counter", "Lines of batches that were done, by how they ended.");
    buf_printf(b, "lammd_batch_lines_total{outcome=\"completed\"} %llu\n",
               (unsigned long long)s.lines);
    buf_printf(b, "lammd_batch_lines_total{outcome=\"failed\"} %llu\n",
               (unsigned long long)s.lines_failed);
}

static void write_finetune(struct buf *b, struct jobs *jobs) {
    struct jobs_stats s;
    if (!jobs) return;
    jobs_stats(jobs, &s);
    head(b, "finetune_jobs", "gauge", "Finetuning jobs, by state.");
    for (int i = 0; i < JOBS_STATES; i++)
        buf_printf(b, "lammd_finetune_jobs{state=\"%s\"} %llu\n", jobs_state_words[i],
                   (unsigned long long)s.jobs[i]);
    gauge(b, "finetune_files", (double)s.files, "Files of training data, and of batches.");
    counter(b, "finetune_steps_total", s.steps, "Training steps that runs told of.");
    head(b, "finetune_step_seconds_total", "counter", "Time that these steps took.");
    buf_printf(b, "lammd_finetune_step_seconds_total %.9g\n", s.seconds);
    counter(b, "finetune_restarts_total", s.restarts,
            "Runs that ended early and were begun again.");
    if (isfinite(s.loss)) gauge(b, "finetune_loss", s.loss, "Training loss of the last step.");
}

/* Of the i-th route, where i = n stands for what matched none. */
struct route_row {
    size_t row;
    char labels[128];
};

static struct route_row route_row(const struct api_route *table, size_t n, size_t i) {
    struct route_row r = {.row = i < n ? i : COUNTERS_ROUTES};
    snprintf(r.labels, sizeof(r.labels), "method=\"%s\",route=\"%s\",",
             i < n ? table[i].method : "", i < n ? table[i].path : "");
    return r;
}

static void write_requests(struct buf *b, struct counters *m) {
    size_t n;
    const struct api_route *table = api_route_table(&n);
    head(b, "http_requests_total", "counter", "Requests answered, by route template and status.");
    for (size_t i = 0; i <= n; i++) {
        struct route_row r = route_row(table, n, i);
        for (size_t s = 0; s < COUNTERS_STATUSES; s++) {
            unsigned long long v = atomic_load(&m->requests[r.row][s]);
            if (!v) continue;
            buf_printf(b, "lammd_http_requests_total{%scode=\"%d\"} %llu\n", r.labels,
                       counters_status[s], v);
        }
    }
    head(b, "http_request_duration_seconds", "histogram",
         "From the first byte of a request to the last of its reply.");
    for (size_t i = 0; i <= n; i++) {
        struct route_row r = route_row(table, n, i);
        write_histogram(b, "http_request_duration_seconds", r.labels, &m->durations[r.row]);
    }
}

static void write_tasks(struct buf *b, const struct eng_stats *s) {
    static const char *const names[ENG_TASKS] = {"pixels",    "segment",  "refer",   "drive",
                                                 "shoot",     "identify", "caption", "grounding",
                                                 "detection", "vqa",      "chat"};
    head(b, "answers_total", "counter",
         "Answers given, by task: colours, bits of masks, boxes, actions, texts, choices.");
    for (int t = 0; t < ENG_TASKS; t++)
        buf_printf(b, "lammd_answers_total{task=\"%s\"} %llu\n", names[t],
                   (unsigned long long)s->answers[t]);
    counter(b, "tokens_spoken_total", s->tokens, "Tokens of answers in text.");
}

static void write_engine(struct buf *b, const struct eng_stats *s) {
    counter(b, "passes_total", s->passes, "Passes of the step thread.");
    counter_seconds(b, "pass_seconds_total", s->pass_ns, "Time spent in passes.");
    counter(b, "token_rows_total", s->rows, "Token rows that went through the decoder.");
    counter(b, "picks_total", s->picks, "Rows for which logits were computed.");
    counter(b, "pixels_total", s->pixels, "Pixel questions answered.");
    write_tasks(b, s);
    counter(b, "pictures_seen_total", s->pictures, "Pictures that went through the vision tower.");
    counter_seconds(b, "vision_seconds_total", s->vision_ns, "Time spent in the vision tower.");
    head(b, "jobs_total", "counter", "Jobs that ended, by how.");
    buf_printf(b, "lammd_jobs_total{outcome=\"done\"} %llu\n", (unsigned long long)s->jobs_done);
    buf_printf(b, "lammd_jobs_total{outcome=\"failed\"} %llu\n",
               (unsigned long long)s->jobs_failed);
    buf_printf(b, "lammd_jobs_total{outcome=\"cancelled\"} %llu\n",
               (unsigned long long)s->jobs_cancelled);
    buf_printf(b, "lammd_jobs_total{outcome=\"refused\"} %llu\n",
               (unsigned long long)s->jobs_refused);
    counter(b, "stem_cache_hits_total", s->stem_hits, "Jobs whose stem was cached.");
    counter(b, "stem_cache_misses_total", s->stem_misses, "Jobs whose stem had to be computed.");
    counter(b, "stem_cache_evictions_total", s->stem_evicted, "Stems dropped to make room.");
    gauge(b, "jobs_waiting", s->jobs_waiting, "Jobs in the queue.");
    gauge(b, "jobs_running", s->jobs_running, "Jobs being answered.");
    gauge(b, "lanes", s->lanes, "Questions being decoded.");
    head(b, "kv_slots", "gauge", "Slots of the KV pool by use.");
    buf_printf(b, "lammd_kv_slots{state=\"used\"} %u\nlammd_kv_slots{state=\"cached\"} %u\n",
               s->kv_used, s->kv_cached);
    buf_printf(b, "lammd_kv_slots{state=\"free\"} %u\n", s->kv_slots - s->kv_used - s->kv_cached);
    gauge(b, "queue_tokens", (double)s->queue_tokens, "Prompt tokens of the jobs that wait.");
    gauge(b, "queue_tokens_limit", (double)s->queue_tokens_max,
          "Most prompt tokens that may wait.");
    gauge(b, "queue_wait_seconds", s->queue_seconds, "What a small job would wait, as estimated.");
    gauge(b, "queue_wait_limit_seconds", s->queue_seconds_max, "Most that a job may have to wait.");
    gauge(b, "pixels_per_second", s->pixels_per_second, "Recent speed.");
    counter(b, "step_allocations_total", s->allocations_in_step, "Must stay 0.");
}

/* How evenly the devices work. */
static void write_devices(struct buf *b, const struct eng *e) {
    int n = eng_devices(e);
    struct eng_stats s[ENG_DEVICES_MAX];
    for (int i = 0; i < n; i++)
        eng_device_stats(e, i, &s[i]);
    head(b, "device_passes_total", "counter", "Passes, by device.");
    for (int i = 0; i < n; i++)
        buf_printf(b, "lammd_device_passes_total{device=\"%d\"} %llu\n", i,
                   (unsigned long long)s[i].passes);
    head(b, "device_token_rows_total", "counter", "Token rows, by device.");
    for (int i = 0; i < n; i++)
        buf_printf(b, "lammd_device_token_rows_total{device=\"%d\"} %llu\n", i,
                   (unsigned long long)s[i].rows);
    head(b, "device_info", "gauge", "Devices with the same bits answer alike, and share pictures.");
    for (int i = 0; i < n; i++)
        buf_printf(b, "lammd_device_info{device=\"%d\",bits=\"%016llx\"} 1\n", i,
                   (unsigned long long)s[i].bits);
    head(b, "device_jobs", "gauge", "Jobs that wait or run, by device.");
    for (int i = 0; i < n; i++)
        buf_printf(b, "lammd_device_jobs{device=\"%d\"} %u\n", i,
                   s[i].jobs_waiting + s[i].jobs_running);
}

static void write_server(struct buf *b, struct api *a) {
    pthread_mutex_lock(&a->mu);
    api_server_stats_fn *fn = a->server_stats;
    void *ud = a->server_ud;
    pthread_mutex_unlock(&a->mu);
    if (!fn) return;
    struct api_server_stats s = {0};
    fn(ud, &s);
    gauge(b, "connections", (double)s.connections, "Connections open now.");
    counter(b, "connections_total", s.connections_total, "Connections taken.");
    counter(b, "connections_shed_total", s.shed_total, "Connections refused with 503.");
    counter(b, "header_gate_refusals_total", s.gate_refused_total, "Requests the gate refused.");
    counter(b, "clients_left_total", s.cancelled_total, "Clients that left before their reply.");
    counter(b, "log_lines_lost_total", log_lost(), "Log lines that nobody took in time.");
    gauge(b, "body_bytes", (double)s.body_bytes, "Bytes held in request bodies now.");
}

static void metrics_write_model(struct buf *b, const struct eng_info *info) {
    head(b, "model_info", "gauge", "The model that is loaded.");
    buf_str(b, "lammd_model_info{model=\"");
    label(b, info->name);
    buf_printf(b, "\",sha256=\"%s\",backend=\"", info->digest);
    label(b, info->backend);
    buf_str(b, "\"} 1\n");
    gauge(b, "model_parameters", (double)info->parameters, "Parameters of the model.");
}

/* Whether this replica serves what the history says. */
static void write_standing(struct buf *b, struct api *a) {
    struct catalog_standing s;
    catalog_standing(a->catalog, &s);
    head(b, "default_info", "gauge", "What answers when no model is named: base or adapter.");
    buf_str(b, "lammd_default_info{name=\"");
    label(b, s.name);
    buf_printf(b, "\",sha256=\"%s\"} 1\n", s.served);
    gauge(b, "default_behind", s.is_behind,
          "1: another adapter should be the default, and isn't loaded here.");
    gauge(b, "adapter_history_lines", (double)s.lines, "Lines of the history of adapters.");
    gauge(b, "adapter_history_age_seconds", s.age_s,
          "Since the history that replicas share was read; 0: none is shared.");
}

static void write_adapters(struct buf *b, struct api *a) {
    struct catalog_row rows[ENG_ADAPTERS_MAX];
    struct catalog_counts n;
    catalog_counts(a->catalog, &n);
    head(b, "adapters", "gauge",
         "Adapters by state; missing ones could not be loaded, or not yet.");
    buf_printf(b, "lammd_adapters{state=\"loaded\"} %d\nlammd_adapters{state=\"missing\"} %d\n",
               n.loaded, n.missing);
    gauge(b, "adapter_slots", eng_info(a->eng)->adapters, "Adapters that can be loaded at once.");
    int loaded = catalog_loaded(a->catalog, rows, ARRAY_LEN(rows));
    head(b, "adapter_info", "gauge", "The adapters that are loaded.");
    for (int i = 0; i < loaded; i++) {
        buf_printf(b, "lammd_adapter_info{name=\"%s\",sha256=\"%s\",default=\"%s\"} 1\n",
                   rows[i].model.name, eng_adapter_info(rows[i].model.adapter)->digest,
                   rows[i].is_default ? "true" : "false");
        catalog_put(&rows[i].model);
    }
    write_standing(b, a);
    head(b, "adapter_promotions_total", "counter", "Changes of the default, and those refused.");
    buf_printf(b, "lammd_adapter_promotions_total{outcome=\"promoted\"} %llu\n",
               (unsigned long long)n.promoted);
    buf_printf(b, "lammd_adapter_promotions_total{outcome=\"forced\"} %llu\n",
               (unsigned long long)n.forced);
    buf_printf(b, "lammd_adapter_promotions_total{outcome=\"refused\"} %llu\n",
               (unsigned long long)n.refused);
    buf_printf(b, "lammd_adapter_promotions_total{outcome=\"rolled_back\"} %llu\n",
               (unsigned long long)n.rolled_back);
}

static int count_fds(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the directory's own */
    while (d && readdir(d))
        n++;
    if (d) closedir(d);
    return n < 0 ? 0 : n;
}

static void write_process(struct buf *b, double born_s) {
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    long pages = 0, total = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%ld %ld", &total, &pages) != 2) total = pages = 0;
    if (f) fclose(f);
    double page = (double)sysconf(_SC_PAGESIZE);
    buf_printf(b,
               "# HELP process_cpu_seconds_total User and system time.\n"
               "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.6f\n",
               (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    buf_printf(b,
               "# HELP process_resident_memory_bytes Resident memory.\n"
               "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %.0f\n",
               (double)pages * page);
    buf_printf(b,
               "# HELP process_virtual_memory_bytes Virtual memory.\n"
               "# TYPE process_virtual_memory_bytes gauge\nprocess_virtual_memory_bytes %.0f\n",
               (double)total * page);
    buf_printf(b,
               "# HELP process_open_fds Open file descriptors.\n# TYPE process_open_fds gauge\n"
               "process_open_fds %d\n",
               count_fds());
    buf_printf(b,
               "# HELP process_start_time_seconds Start of the process, since the epoch.\n"
               "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.3f\n",
               born_s);
}

static void write_images(struct buf *b, struct api *a) {
    struct decoded_stats s;
    decoded_stats(a->decoded, &s);
    head(b, "image_decode_seconds", "histogram", "Decoding, resizing and digesting a picture.");
    write_histogram(b, "image_decode_seconds", "", &a->counters->decode);
    counter(b, "images_refused_total", atomic_load(&a->counters->images_refused),
            "Pictures that could not be used.");
    counter(b, "image_cache_hits_total", s.hits, "Uploads whose picture was decoded before.");
    counter(b, "image_cache_misses_total", s.misses, "Uploads that had to be decoded.");
    gauge(b, "image_cache_bytes", (double)s.bytes, "Memory of the pictures that are found so.");
    gauge(b, "images_stored", images_count(a->images), "Pictures kept by PUT /v1/images.");
}

static int metrics_answer(struct api_call *c) {
    struct api *a = c->api;
    struct buf *b = &c->body;
    enum problem_code trouble = api_trouble(a);
    gauge(b, "ready", !trouble || trouble == PROBLEM_QUEUE_FULL, "1 while new work is taken.");
    write_requests(b, a->counters);
    if (atomic_load(&a->has_engine)) {
        struct eng_stats s;
        eng_stats(a->eng, &s);
        metrics_write_model(b, eng_info(a->eng));
        write_adapters(b, a);
        write_engine(b, &s);
        write_devices(b, a->eng);
    }
    write_images(b, a);
    gauge(b, "act_sessions", sessions_count(a->sessions), "Games played by /v1/act/sessions.");
    write_finetune(b, a->jobs);
    write_batches(b, a->jobs);
    write_server(b, a);
    write_process(b, a->born_s);
    call_header(c, "Cache-Control", "no-store");
    return call_answer(c, 200, "text/plain; version=0.0.4; charset=utf-8");
}

const struct endpoint metrics_endpoint = {.answer = metrics_answer};
