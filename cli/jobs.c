/* jobs.c - `lammd jobs`: a server's finetuning jobs, over its API.
 *
 * create takes the id of a file, or a path: then it uploads first, and waits for the check.
 * Whatever is wrong with a file is told line by line. Thread: main's.
 */
#include "cli/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "kernels/base/jsonscan.h"
#include "kernels/base/mem.h"

enum { DEPTH = 16, MARKS = 400000, TOLD = 20 };

void cmd_jobs_arguments(FILE *to) {
    fputs(
        "Actions:\n"
        "  list                 all jobs, the newest first\n"
        "  recipes              which recipes a job may name, and what they choose\n"
        "  show ID              one job, with the values that it has\n"
        "  create FILE          begin a job; FILE is a tar or *.jsonl of training data, or the id\n"
        "                       of one that was uploaded\n"
        "  upload FILE          send training data, and have it looked at\n"
        "  events ID            what a job did; with --follow until it is over\n"
        "  pause ID, resume ID, cancel ID\n",
        to);
}

/* ---- calls ---- */

const char *jobs_text(const json_t *o, const char *name) {
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static long long jobs_whole(const json_t *o, const char *name) {
    return (long long)json_integer_value(json_object_get(o, name));
}

json_t *jobs_parse(const char *text, size_t len) {
    if (!len || jsonscan_bound(text, len, DEPTH, MARKS, NULL)) return NULL;
    return json_loadb(text, len, 0, NULL);
}

json_t *jobs_ask(const struct config *cfg, const struct http_request *q, struct err *e) {
    struct http_client c;
    struct http_reply r;
    json_t *o = NULL;
    if (http_client_open(&c, cfg->url, cfg->admin_socket, cfg->key_file, e)) return NULL;
    if (http_client_ask(&c, q, &r, e) == 0 && http_client_check(&r, e) == 0) {
        o = jobs_parse((const char *)r.body.p, r.body.len);
        if (!o) err_set(e, E_FORMAT, "the server's answer is no JSON");
    }
    http_client_drop(&r);
    return o;
}

int jobs_url(const char *id, const char *behind, char path[300], struct err *e) {
    struct buf b;
    buf_init(&b, 299);
    buf_str(&b, "/v1/fine_tuning/jobs/");
    http_client_segment(&b, id);
    buf_str(&b, behind);
    int rc = b.bad || !*id ? err_set(e, E_INVALID, "that is no id of a job") : 0;
    if (!rc) memcpy(path, b.p, b.len + 1);
    buf_clear(&b);
    return rc;
}

/* ---- showing ---- */

static void print_row(const json_t *job) {
    const json_t *own = json_object_get(job, "lammd");
    char steps[48], when[24] = "";
    time_t t = (time_t)jobs_whole(job, "created_at");
    struct tm tm;
    if (gmtime_r(&t, &tm)) strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
    snprintf(steps, sizeof(steps), "%lld/%lld", jobs_whole(own, "step"), jobs_whole(own, "steps"));
    printf("%-20s  %-16s  %-16s  %-12s  %-14s  %s%s\n", jobs_text(job, "id"), when,
           jobs_text(job, "status"), steps, jobs_text(own, "recipe"),
           jobs_text(job, "fine_tuned_model"), jobs_text(json_object_get(job, "error"), "code"));
}

static void jobs_print_head(void) {
    printf("%-20s  %-16s  %-16s  %-12s  %-14s  %s\n", "ID", "CREATED (UTC)", "STATUS", "STEP",
           "RECIPE", "ADAPTER");
}

static int list_jobs(const struct config *cfg, struct err *e) {
    char path[200] = "/v1/fine_tuning/jobs?limit=100";
    jobs_print_head();
    for (int is_more = 1; is_more;) {
        const struct http_request q = {.method = "GET", .path = path};
        json_t *page = jobs_ask(cfg, &q, e), *row;
        size_t i;
        if (!page) return e->code;
        json_array_foreach(json_object_get(page, "data"), i, row) {
            print_row(row);
            snprintf(path, sizeof(path), "/v1/fine_tuning/jobs?limit=100&after=%.60s",
                     jobs_text(row, "id"));
        }
        is_more = json_is_true(json_object_get(page, "has_more")) && i > 0;
        json_decref(page);
    }
    return 0;
}

static int list_recipes(const struct config *cfg, struct err *e) {
    const struct http_request q = {.method = "GET", .path = "/v1/fine_tuning/recipes"};
    json_t *page = jobs_ask(cfg, &q, e), *row;
    size_t i;
    if (!page) return e->code;
    printf("%-16s  %-5s  %-5s  %-4s  %-6s  %s\n", "RECIPE", "STEPS", "BATCH", "RANK", "VISION",
           "WHAT IT TEACHES");
    json_array_foreach(json_object_get(page, "data"), i, row) {
        const json_t *own = json_object_get(row, "lammd"), *lora = json_object_get(own, "lora");
        printf("%-16s  %-5lld  %-5lld  %-4lld  %-6s  %s\n", jobs_text(row, "id"),
               jobs_whole(own, "steps"), jobs_whole(row, "batch_size"), jobs_whole(lora, "r"),
               json_is_true(json_object_get(own, "vision")) ? "yes" : "no",
               jobs_text(row, "description"));
    }
    json_decref(page);
    return 0;
}

/* POST with `what`, or GET with "". */
static int jobs_change(const struct config *cfg, const char *id, const char *what, struct err *e) {
    char path[300], behind[24];
    snprintf(behind, sizeof(behind), "%s%s", *what ? "/" : "", what);
    int rc = jobs_url(id, behind, path, e);
    if (rc) return rc;
    const struct http_request q = {.method = *what ? "POST" : "GET", .path = path};
    json_t *job = jobs_ask(cfg, &q, e);
    if (!job) return e->code;
    if (*what) {
        jobs_print_head();
        print_row(job);
    } else {
        json_dumpf(job, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    }
    json_decref(job);
    return 0;
}

/* ---- uploading ---- */

static int jobs_print_report(const json_t *file, struct err *e) {
    const json_t *report = json_object_get(json_object_get(file, "lammd"), "report"), *row;
    size_t i;
    json_array_foreach(json_object_get(report, "errors"), i, row) {
        if (i == TOLD) break;
        fprintf(stderr, "  %s:%lld: %s%s%s\n", jobs_text(row, "file"), jobs_whole(row, "line"),
                jobs_text(row, "field"), *jobs_text(row, "field") ? ": " : "",
                jobs_text(row, "reason"));
    }
    return err_set(e, E_INVALID, "%s has errors; nothing is learnt from it",
                   jobs_text(file, "filename"));
}

/* Waits until the file was looked at. */
static int await_check(const struct config *cfg, const char *id, struct err *e) {
    for (;;) {
        char path[120];
        snprintf(path, sizeof(path), "/v1/files/%.60s", id);
        const struct http_request q = {.method = "GET", .path = path};
        json_t *file = jobs_ask(cfg, &q, e);
        if (!file) return e->code;
        const char *status = jobs_text(file, "status");
        int is_good = strcmp(status, "processed") == 0, rc = 0;
        if (strcmp(status, "error") == 0) rc = jobs_print_report(file, e);
        json_decref(file);
        if (is_good || rc) return rc;
        usleep(300 * 1000);
    }
}

static int jobs_upload(const struct config *cfg, const char *file, char id[64], struct err *e) {
    static const char edge[] = "lammd-jobs-9b1f6d2c";
    char head[600], tail[64], type[80];
    const char *name = strrchr(file, '/');
    name = name ? name + 1 : file;
    if (strpbrk(name, "\"\r\n\\")) return err_set(e, E_INVALID, "rename %s first", file);
    snprintf(head, sizeof(head),
             "--%s\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--%s\r\n"
             "Content-Disposition: form-data; name=\"file\"; filename=\"%.200s\"\r\n"
             "Content-Type: application/octet-stream\r\n\r\n",
             edge, edge, name);
    snprintf(tail, sizeof(tail), "\r\n--%s--\r\n", edge);
    snprintf(type, sizeof(type), "multipart/form-data; boundary=%s", edge);
    const struct http_request q = {.method = "POST",
                                   .path = "/v1/files",
                                   .type = type,
                                   .body = head,
                                   .len = strlen(head),
                                   .file = file,
                                   .tail = tail,
                                   .tail_len = strlen(tail)};
    json_t *o = jobs_ask(cfg, &q, e);
    if (!o) return e->code;
    snprintf(id, 64, "%s", jobs_text(o, "id"));
    json_decref(o);
    fprintf(stderr, "%s: %s, being looked at\n", file, id);
    return await_check(cfg, id, e);
}

/* A path becomes a file of the server; an id stays one. */
static int jobs_file_of(const struct config *cfg, const char *what, char id[64], struct err *e) {
    if (access(what, R_OK) == 0) return jobs_upload(cfg, what, id, e);
    if (strncmp(what, "file-", 5) != 0 || strlen(what) > 60)
        return err_set(e, E_NOT_FOUND, "%s: neither a file that can be read nor the id of one",
                       what);
    snprintf(id, 64, "%s", what);
    return 0;
}

/* ---- creating ---- */

static json_t *own_fields(const struct config *cfg) {
    json_t *own = json_object();
    if (cfg->recipe) json_object_set_new(own, "recipe", json_string(cfg->recipe));
    if (cfg->steps) json_object_set_new(own, "steps", json_integer(cfg->steps));
    if (cfg->is_vision) json_object_set_new(own, "vision", json_true());
    if (!cfg->tasks) return own;
    json_t *tasks = json_array();
    for (const char *at = cfg->tasks; *(at += strspn(at, ", "));) {
        size_t n = strcspn(at, ", ");
        json_array_append_new(tasks, json_stringn(at, n));
        at += n;
    }
    json_object_set_new(own, "tasks", tasks);
    return own;
}

/* The body of the request; mem_plain_free by json's own rules. */
static char *create_body(const struct config *cfg, const char *file, const char *validation) {
    json_t *o = json_object(), *hyper = json_object();
    json_object_set_new(o, "training_file", json_string(file));
    if (*validation) json_object_set_new(o, "validation_file", json_string(validation));
    if (cfg->suffix) json_object_set_new(o, "suffix", json_string(cfg->suffix));
    if (cfg->seed) json_object_set_new(o, "seed", json_integer(cfg->seed));
    if (cfg->epochs) json_object_set_new(hyper, "n_epochs", json_integer(cfg->epochs));
    if (cfg->batch) json_object_set_new(hyper, "batch_size", json_integer(cfg->batch));
    json_object_set_new(o, "hyperparameters", hyper);
    json_object_set_new(o, "lammd", own_fields(cfg));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

static int follow_to_end(const struct config *cfg, const char *id, struct err *e) {
    char status[24];
    int rc = jobs_follow(cfg, id, status, e);
    if (rc || !*status) return rc;
    fprintf(stderr, "%s: %s\n", id, status);
    return strcmp(status, "succeeded") == 0 ? 0 : err_set(e, E_CANCELLED, "%s is %s", id, status);
}

static int create_job(const struct config *cfg, const char *what, struct err *e) {
    char file[64], validation[64] = "", id[64];
    int rc = jobs_file_of(cfg, what, file, e);
    if (rc == 0 && cfg->validation) rc = jobs_file_of(cfg, cfg->validation, validation, e);
    if (rc) return rc;
    char *body = create_body(cfg, file, validation);
    const struct http_request q = {.method = "POST",
                                   .path = "/v1/fine_tuning/jobs",
                                   .type = "application/json",
                                   .body = body,
                                   .len = body ? strlen(body) : 0};
    json_t *job = jobs_ask(cfg, &q, e);
    mem_plain_free(body);
    if (!job) return e->code;
    snprintf(id, sizeof(id), "%s", jobs_text(job, "id"));
    jobs_print_head();
    print_row(job);
    fflush(stdout);
    json_decref(job);
    return cfg->is_followed ? follow_to_end(cfg, id, e) : 0;
}

/* ---- the command ---- */

static int jobs_act(const struct config *cfg, struct err *e) {
    static const char *const changes[] = {"pause", "resume", "cancel"};
    const char *const *words = cfg->rest.at;
    char id[64];
    if (cfg->rest.n == 1 && strcmp(words[0], "list") == 0) return list_jobs(cfg, e);
    if (cfg->rest.n == 1 && strcmp(words[0], "recipes") == 0) return list_recipes(cfg, e);
    if (cfg->rest.n != 2) return E_NOT_FOUND;
    if (strcmp(words[0], "show") == 0) return jobs_change(cfg, words[1], "", e);
    if (strcmp(words[0], "create") == 0) return create_job(cfg, words[1], e);
    if (strcmp(words[0], "events") == 0) return follow_to_end(cfg, words[1], e);
    if (strcmp(words[0], "upload") == 0) {
        int rc = jobs_upload(cfg, words[1], id, e);
        if (rc == 0) printf("%s\n", id);
        return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        if (strcmp(words[0], changes[i]) == 0) return jobs_change(cfg, words[1], changes[i], e);
    return E_NOT_FOUND;
}

int cmd_jobs(const struct config *cfg) {
    struct err e = {0};
    int rc = jobs_act(cfg, &e);
    if (rc && !e.code) return cmd_misused(CMD_JOBS);
    if (rc) cmd_fail(&e);
    return rc ? 1 : 0;
}
