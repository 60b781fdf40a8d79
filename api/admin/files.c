/* files.c - /v1/files: training data and batches come, are read again, and deleted.
 *
 * The shape is OpenAI's. The bytes went to the disk while they came (api_file); here they become a
 * file of jobs/, which has training data checked by a process of its own. What the check found
 * stands under "lammd". Training data belongs to the server: whoever has the scope train sees all
 * of it. What belongs to batches is its owner's, and the scope admin's.
 *
 * Thread: a worker. The disk is touched here to move a file, which is soon done, and to open one.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/admin/fine_tuning.h"
#include "api/wire/json_write.h"
#include "api/wire/text.h"
#include "jobs/batches.h"
#include "kernels/base/mem.h"

enum { FILES_NAME_MAX = 255, FILES_LIST = 20 };

/* What jobs/ said about files -> the problem. Returns API_REPLY. */
static int files_refuse(struct api_call *c, int rc, const struct err *e) {
    enum problem_code code = PROBLEM_NONE;
    if (rc == E_NOT_FOUND) code = PROBLEM_FILE_NOT_FOUND;
    if (rc == E_BUSY) code = PROBLEM_FILE_IN_USE;
    if (code != PROBLEM_NONE) return call_fail_as(c, code);
    (void)fine_tuning_refuse(c, rc, NULL, e);
    return call_fail(c);
}

/* ---- a file as OpenAI shapes it ---- */

/* "report": what the check said; null while there is none. */
static void write_report(struct api_call *c, const struct jobs_file *f) {
    struct buf report;
    buf_init(&report, JOBS_REPORT_MAX);
    int rc = jobs_file_report(c->api->jobs, f->id, &report, NULL);
    while (report.len && report.p[report.len - 1] == '\n')
        report.len--;
    buf_str(&c->body, ",\"report\":");
    if (rc || !report.len)
        buf_str(&c->body, "null");
    else
        buf_add(&c->body, report.p, report.len); /* JSON: jobs/ took it as that */
    buf_clear(&report);
}

static void files_write(struct api_call *c, const struct jobs_file *f, int with_report) {
    struct buf *b = &c->body;
    buf_printf(b,
               "{\"id\":\"%s\",\"object\":\"file\",\"bytes\":%" PRIu64 ",\"created_at\":%" PRId64,
               f->id, f->bytes, f->created);
    buf_str(b, ",\"filename\":");
    json_write_str(b, f->name);
    buf_str(b, ",\"purpose\":");
    json_write_str(b, f->purpose);
    buf_printf(b, ",\"status\":\"%s\",\"lammd\":{\"sha256\":\"%s\"", jobs_file_words[f->status],
               f->sha256);
    if (with_report) write_report(c, f);
    buf_str(b, "}}");
}

static int files_answer(struct api_call *c, const struct jobs_file *f) {
    files_write(c, f, 1);
    buf_char(&c->body, '\n');
    return call_answer(c, 200, "application/json");
}

/* ---- POST ---- */

/* What comes behind the last slash of what was sent, if that is a name for people. */
static const char *files_name(const char *sent) {
    const char *name = sent ? sent : "";
    for (const char *at = name; *at; at++)
        if (*at == '/' || *at == '\\') name = at + 1;
    struct text_look look = text_look(name, strlen(name));
    int is_fine = *name && look.bad_at == strlen(name) && look.control_at == strlen(name);
    return is_fine && strlen(name) <= FILES_NAME_MAX ? name : "file";
}

/* -1 with the problem, as below. */
static int files_take_purpose(struct api_call *c, const struct api_field *f, const char **to) {
    static const struct {
        const char *word;
        enum api_scope scope;
    } purposes[] = {{"fine-tune", API_TRAIN}, {JOBS_BATCH_INPUT, API_ASK}};
    size_t i = 0;
    while (i < ARRAY_LEN(purposes) &&
           (f->len != strlen(purposes[i].word) || memcmp(f->data, purposes[i].word, f->len) != 0))
        i++;
    if (i == ARRAY_LEN(purposes))
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, f->name,
                           "purpose must be fine-tune or batch: files are for nothing else here");
    if (c->in.caller && !(c->in.caller->scopes & API_SCOPE(purposes[i].scope)))
        return problem_set(&c->problem, PROBLEM_SCOPE_MISSING, f->name,
                           "a file for %s needs a key with the scope %s", purposes[i].word,
                           api_scope_words[purposes[i].scope]);
    *to = purposes[i].word;
    return 0;
}

/* -1 with the problem. */
static int files_check_form(struct api_call *c, const char **purpose) {
    *purpose = NULL;
    for (size_t i = 0; i < c->in.n_form; i++) {
        const struct api_field *f = &c->in.form[i];
        if (strcmp(f->name, "purpose") != 0)
            return problem_set(&c->problem, PROBLEM_UNKNOWN_PARAMETER, f->name,
                               "a file comes with its purpose, and nothing else");
        if (files_take_purpose(c, f, purpose)) return -1;
    }
    if (!*purpose)
        return problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "purpose",
                           "purpose is needed: fine-tune, or batch");
    if (!c->in.file)
        return problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "file",
                           "the form has no part named file");
    if (!c->in.file->bytes)
        return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "file", "the file is empty");
    return 0;
}

static int files_create(struct api_call *c) {
    struct jobs_file file;
    struct err e = {0};
    const char *purpose;
    if (files_check_form(c, &purpose)) return call_fail(c);
    const struct jobs_file_new new = {.spooled = c->in.file->path,
                                      .sha256 = c->in.file->sha256,
                                      .bytes = c->in.file->bytes,
                                      .name = files_name(c->in.file->name),
                                      .purpose = purpose,
                                      .owner = fine_tuning_owner(c)};
    if (strcmp(purpose, JOBS_BATCH_INPUT) != 0 && fine_tuning_record(c)) return call_fail(c);
    int rc = jobs_file_add(c->api->jobs, &new, &file, &e);
    if (rc == E_BUSY) {
        problem_set(&c->problem, PROBLEM_TOO_MANY_OWN_BYTES, "file", "%s", e.text);
        return call_fail(c);
    }
    if (rc) return files_refuse(c, rc, &e);
    call_header_printf(c, "Location", "/v1/files/%s", file.id);
    snprintf(c->summary, sizeof(c->summary), "file=%s", file.id);
    return files_answer(c, &file);
}

/* ---- GET, DELETE ---- */

/* The one that the path names, if the caller may see it. */
static int files_find(struct api_call *c, struct jobs_file *out, struct err *e) {
    const struct jobs_eyes by = fine_tuning_eyes(c);
    int rc = jobs_file_get(c->api->jobs, c->in.arg, out, e);
    return rc || jobs_file_is_seen(out, &by) ? rc : E_NOT_FOUND;
}

static int files_get(struct api_call *c) {
    struct jobs_file file;
    struct err e = {0};
    int rc = files_find(c, &file, &e);
    return rc ? files_refuse(c, rc, &e) : files_answer(c, &file);
}

/* The name in a header: what isn't plain ASCII becomes an underline. */
static void write_disposition(struct api_call *c, const char *name) {
    char plain[48];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof(plain); n++) {
        char at = name[n];
        plain[n] = at > ' ' && at < 127 && at != '"' && at != '\\' ? at : '_';
    }
    plain[n] = '\0';
    call_header_printf(c, "Content-Disposition", "attachment; filename=\"%s\"", plain);
}

static int files_content(struct api_call *c) {
    struct jobs_file file;
    struct err e = {0};
    char path[JOBS_PATH_MAX];
    int rc = files_find(c, &file, &e);
    if (rc) return files_refuse(c, rc, &e);
    jobs_file_path(c->api->jobs, &file, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return call_fail_as(c, PROBLEM_FILE_NOT_FOUND); /* deleted a moment ago */
    write_disposition(c, file.name);
    return call_answer_file(c, fd, file.bytes, "application/octet-stream");
}

/* One's own of a batch needs no more than the scope ask. */
static int files_is_own(const struct api_call *c, const struct jobs_file *f) {
    int is_batch =
        strcmp(f->purpose, JOBS_BATCH_INPUT) == 0 || strcmp(f->purpose, JOBS_BATCH_OUTPUT) == 0;
    return is_batch && strcmp(f->owner, fine_tuning_owner(c)) == 0;
}

static int files_delete(struct api_call *c) {
    struct err e = {0};
    struct jobs_file file; /* the id as it is kept, not as it was sent */
    int rc = files_find(c, &file, &e);
    if (rc == 0 && !files_is_own(c, &file) && fine_tuning_record(c)) return call_fail(c);
    if (rc == 0) rc = jobs_file_delete(c->api->jobs, file.id, &e);
    if (rc) return files_refuse(c, rc, &e);
    buf_printf(&c->body, "{\"id\":\"%s\",\"object\":\"file\",\"deleted\":true}\n", file.id);
    return call_answer(c, 200, "application/json");
}

/* ---- all ---- */

static int files_list_read(struct api_call *c, struct input *in) {
    static const char *const orders[] = {"desc", "asc", NULL};
    struct jobs_file_page *p = c->state;
    p->max = FILES_LIST;
    p->by = fine_tuning_eyes(c);
    int rc = input_text(in, "after", 80, &p->after);
    if (!rc) rc = input_text(in, "purpose", 32, &p->purpose);
    if (!rc) rc = input_int(in, "limit", 1, 10000, &p->max);
    if (!rc) rc = input_word(in, "order", orders, &p->is_oldest_first);
    if (p->max > JOBS_LIST_MAX) p->max = JOBS_LIST_MAX; /* has_more says that there are more */
    return rc;
}

static int files_list_answer(struct api_call *c) {
    struct jobs_file *files = mem_try(JOBS_LIST_MAX * sizeof(*files));
    struct err e = {0};
    struct buf *b = &c->body;
    int n = 0, more = 0;
    if (!files) return call_fail_as(c, PROBLEM_NO_MEMORY);
    int rc = jobs_file_list(c->api->jobs, c->state, files, &n, &more, &e);
    if (rc) {
        mem_free(files);
        return files_refuse(c, rc, &e);
    }
    buf_str(b, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < n; i++) {
        if (i) buf_char(b, ',');
        files_write(c, &files[i], 0);
    }
    buf_printf(b, "],\"has_more\":%s", more ? "true" : "false");
    if (n) buf_printf(b, ",\"first_id\":\"%s\",\"last_id\":\"%s\"", files[0].id, files[n - 1].id);
    buf_str(b, "}\n");
    mem_free(files);
    return call_answer(c, 200, "application/json");
}

static const char *const list_known[] = {"after", "purpose", "limit", "order", NULL};
static const struct input_wants list_wants = {.known = list_known};

const struct endpoint files_list_endpoint = {.wants = &list_wants,
                                             .media = &media_json,
                                             .state_size = sizeof(struct jobs_file_page),
                                             .enter = fine_tuning_enter,
                                             .read = files_list_read,
                                             .answer = files_list_answer};
const struct endpoint files_create_endpoint = {
    .takes_file = 1, .media = &media_json, .enter = fine_tuning_enter, .answer = files_create};
const struct endpoint files_get_endpoint = {
    .media = &media_json, .enter = fine_tuning_enter, .answer = files_get};
const struct endpoint files_content_endpoint = {.enter = fine_tuning_enter,
                                                .answer = files_content};
const struct endpoint files_delete_endpoint = {
    .media = &media_json, .enter = fine_tuning_enter, .answer = files_delete};
