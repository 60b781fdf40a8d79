/* problem.c - the one table of everything a client may be told, and its writer.
 *
 * A reply to a fault is RFC 9457 `application/problem+json` with OpenAI's `error` object inside, so
 * that both kinds of client find what they look for. Status codes are chosen so: 400 the request
 * can't be read or a field is wrong, 413 too many bytes or pixels, 415 a kind of body or picture
 * that is not taken, 422 well formed but impossible (a damaged picture, more work than ever fits),
 * 429 and 503 come back later (always with Retry-After), 504 took too long. openapi.yaml lists the
 * same words; tests/http/test_openapi.py holds one against the other.
 *
 * Thread: any; nothing here is mutable.
 */
#include "api/wire/problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/wire/json_write.h"

#define BAD   "invalid_request_error"
#define LATER "rate_limit_error"
#define OURS  "server_error"

static const struct problem_row rows[PROBLEM_CODES] = {
    /* the request as a whole */
    [PROBLEM_HEADER_GATE] = {"header_gate", 400, BAD, "Malformed HTTP request",
                             "the request line or a header is not what HTTP/1.1 allows"},
    [PROBLEM_BAD_MULTIPART] =
        {"bad_multipart", 400, BAD, "Malformed multipart body",
         "the multipart body is cut short or malformed; send it as curl -F image=@photo.jpg does"},
    [PROBLEM_INVALID_JSON] = {"invalid_json", 400, BAD, "Malformed JSON",
                              "the body is not valid JSON"},
    [PROBLEM_INVALID_PARAMETER] = {"invalid_parameter", 400, BAD, "A field is wrong",
                                   "a field has a value that is not allowed"},
    [PROBLEM_UNKNOWN_PARAMETER] = {"unknown_parameter", 400, BAD, "Unknown field",
                                   "the request has a field that is not known"},
    [PROBLEM_MISSING_PARAMETER] = {"missing_parameter", 400, BAD, "A field is missing",
                                   "the request lacks a field"},
    [PROBLEM_MISSING_PICTURE] = {"missing_picture", 400, BAD, "No picture",
                                 "the request has no picture"},
    [PROBLEM_TOO_MANY_PICTURES] = {"too_many_pictures", 400, BAD, "More than one picture",
                                   "exactly one picture is needed; the request has several"},
    [PROBLEM_UNSUPPORTED_URL] =
        {"unsupported_url", 400, BAD, "URLs are not fetched",
         "pictures are never fetched from a URL; send the bytes, or a data: URL"},
    [PROBLEM_UNAUTHORIZED] = {"unauthorized", 401, "authentication_error", "A key is needed",
                              "this call needs a key; send it as Authorization: Bearer KEY"},
    [PROBLEM_FORBIDDEN] = {"forbidden", 403, "permission_error", "Not allowed",
                           "this call is not allowed here"},
    [PROBLEM_SCOPE_MISSING] = {"scope_missing", 403, "permission_error", "The key is not for this",
                               "the key is not for calls of this kind"},
    [PROBLEM_NOT_FOUND] = {"not_found", 404, BAD, "No such thing",
                           "there is nothing at this path; see /openapi.yaml"},
    [PROBLEM_IMAGE_NOT_FOUND] = {"image_not_found", 404, BAD, "No such picture",
                                 "no picture is stored under this id, or it has expired; send it "
                                 "again with PUT /v1/images"},
    [PROBLEM_SESSION_NOT_FOUND] = {"session_not_found", 404, BAD, "No such session",
                                   "no game is played under this id, or it has expired; begin one "
                                   "with POST /v1/act/sessions"},
    [PROBLEM_FILE_NOT_FOUND] = {"file_not_found", 404, BAD, "No such file",
                                "no file has this id, or it was deleted; see GET /v1/files"},
    [PROBLEM_JOB_NOT_FOUND] = {"job_not_found", 404, BAD, "No such job",
                               "no job has this id; see GET /v1/fine_tuning/jobs"},
    [PROBLEM_BATCH_NOT_FOUND] = {"batch_not_found", 404, BAD, "No such batch",
                                 "you have no batch with this id; see GET /v1/batches"},
    [PROBLEM_MODEL_NOT_FOUND] = {"model_not_found", 404, BAD, "No such model",
                                 "this model is not served; see /v1/models"},
    [PROBLEM_ADAPTER_NOT_FOUND] = {"adapter_not_found", 404, BAD, "No such adapter",
                                   "there is no adapter of this name in the server's folder; GET "
                                   "/v1/adapters lists those that there are"},
    [PROBLEM_METHOD_NOT_ALLOWED] = {"method_not_allowed", 405, BAD, "Method not allowed",
                                    "this path does not take this method; see the Allow header"},
    [PROBLEM_NOT_ACCEPTABLE] = {"not_acceptable", 406, BAD, "No such representation",
                                "none of the types in Accept can be made; see /openapi.yaml"},
    [PROBLEM_SESSION_BUSY] = {"session_busy", 409, BAD, "The session is busy",
                              "a step of this session is still being answered; frames have an "
                              "order, so send the next one "
                              "after its answer"},
    [PROBLEM_STEP_IS_OLD] = {"step_is_old", 409, BAD, "An old step",
                             "a step with a higher sequence was answered already; send the next "
                             "frame with a sequence above it"},
    [PROBLEM_RELOAD_FAILED] = {"reload_failed", 409, BAD, "Nothing was reloaded",
                               "the files can't be taken as they are; what was loaded stays"},
    [PROBLEM_FILE_IN_USE] =
        {"file_in_use", 409, BAD, "The file is in use",
         "a job or a batch that has not ended uses this file; cancel it first, or wait"},
    [PROBLEM_FILE_NOT_PROCESSED] = {"file_not_processed", 409, BAD, "The file can't be used",
                                    "the file was checked and has errors, or was uploaded for "
                                    "another purpose; GET /v1/files/{id} says which"},
    [PROBLEM_WRONG_STATE] = {"wrong_state", 409, BAD, "It is in another state",
                             "a job or a batch in this state doesn't allow that"},
    [PROBLEM_IDEMPOTENCY_CONFLICT] = {"idempotency_conflict", 409, BAD, "The key was used before",
                                      "this Idempotency-Key came with another request before; "
                                      "take a new one"},
    [PROBLEM_ADAPTER_NOT_LOADED] = {"adapter_not_loaded", 409, BAD, "The adapter isn't loaded",
                                    "it is in the server's folder, but not loaded; load it with "
                                    "POST /v1/adapters"},
    [PROBLEM_ADAPTER_IS_DEFAULT] = {"adapter_is_default", 409, BAD, "The adapter is the default",
                                    "promote another, or roll back first"},
    [PROBLEM_ADAPTER_CHANGED] = {"adapter_changed", 409, BAD, "The adapter is another one now",
                                 "its folder holds something else than what was the default"},
    [PROBLEM_DEFAULT_MOVED] = {"default_moved", 409, BAD, "Another replica was first",
                               "the default was changed at another replica at the same moment; "
                               "see GET /v1/adapters, and ask again if it is still to be done"},
    [PROBLEM_GATE_REFUSED] =
        {"gate_refused", 409, BAD, "The adapter is worse",
         "the adapter is worse than what answers now; force promotes it all the same"},
    [PROBLEM_GATE_NOT_DECIDED] =
        {"gate_not_decided", 409, BAD, "Nobody knows whether the adapter is better",
         "it was not compared with what answers now; force promotes it all the same"},
    [PROBLEM_NOTHING_BEFORE] = {"nothing_before", 409, BAD, "There was no other default",
                                "nothing was promoted, so there is nothing to go back to"},
    [PROBLEM_BODY_TOO_LARGE] = {"body_too_large", 413, BAD, "The body is too large",
                                "the body is larger than is taken here"},
    [PROBLEM_PICTURE_TOO_LARGE] =
        {"picture_too_large", 413, BAD, "The picture is too large",
         "the picture has more pixels or bytes than are taken here; send a smaller one"},
    [PROBLEM_UNSUPPORTED_MEDIA_TYPE] = {"unsupported_media_type", 415, BAD, "Unsupported body",
                                        "send a picture, multipart/form-data or application/json"},
    [PROBLEM_UNSUPPORTED_PICTURE] = {"unsupported_picture", 415, BAD, "Unsupported picture",
                                     "send a PNG, JPEG or WebP picture"},
    [PROBLEM_BAD_PICTURE] = {"bad_picture", 422, BAD, "Damaged picture",
                             "the picture is damaged or cut short"},
    [PROBLEM_TOO_MUCH_WORK] =
        {"too_much_work", 422, BAD, "More work than ever fits",
         "this many questions can never fit into the memory of the model; ask for fewer"},
    [PROBLEM_UNSUPPORTED_TASK] = {"unsupported_task", 422, BAD, "The model can't do this",
                                  "the loaded model can't do this task; see /v1/models"},
    [PROBLEM_TOO_BIG] = {"too_big", 422, BAD, "The run doesn't fit",
                         "the run needs more memory than there is"},
    [PROBLEM_ADAPTER_DOES_NOT_FIT] = {"adapter_does_not_fit", 422, BAD,
                                      "The adapter can't be loaded",
                                      "the adapter is broken, or was made for another base model"},
    [PROBLEM_URI_TOO_LONG] = {"uri_too_long", 414, BAD, "The URL is too long",
                              "the URL is longer than is taken here"},
    [PROBLEM_HEADERS_TOO_LARGE] = {"headers_too_large", 431, BAD, "The headers are too large",
                                   "the headers are larger than is taken here"},
    /* come back later */
    [PROBLEM_QUOTA_EXCEEDED] =
        {"quota_exceeded", 429, LATER, "More than one caller may have",
         "you have as much at once as one caller may; come back when some of it is done"},
    [PROBLEM_TOO_MANY_OWN_JOBS] = {"too_many_own_jobs", 429, LATER,
                                   "You have as many jobs as may be",
                                   "wait for one of your jobs to end, or cancel one"},
    [PROBLEM_TOO_MANY_JOBS] = {"too_many_jobs", 503, LATER, "As many jobs wait as may be",
                               "come back when some of them have ended"},
    [PROBLEM_TOO_MANY_OWN_BATCHES] = {"too_many_own_batches", 429, LATER,
                                      "You have as many batches as may be",
                                      "wait for one of your batches to end, or cancel one"},
    [PROBLEM_TOO_MANY_OWN_BYTES] = {"too_many_own_bytes", 429, LATER,
                                    "Your files of batches are as large as may be",
                                    "delete files of batches that you don't need any more"},
    [PROBLEM_TOO_MANY_BATCHES] = {"too_many_batches", 503, LATER, "As many batches wait as may be",
                                  "come back when some of them have ended"},
    [PROBLEM_QUEUE_FULL] = {"queue_full", 503, LATER, "The queue is full",
                            "the queue is full; come back after the seconds in Retry-After"},
    [PROBLEM_STORE_FULL] = {"store_full", 503, LATER, "No room for pictures",
                            "as many pictures are stored as there is room for, all of others; send "
                            "it with the request, or come back later"},
    [PROBLEM_TOO_MANY_SESSIONS] =
        {"too_many_sessions", 503, LATER, "Too many sessions",
         "as many games are played as there is room for; end one with DELETE, or come back later"},
    [PROBLEM_TOO_MANY_CONNECTIONS] =
        {"too_many_connections", 503, LATER, "Too many connections",
         "the server has no room for another connection; come back later"},
    [PROBLEM_NO_STATE] = {"no_state", 503, OURS, "This server keeps nothing",
                          "this server keeps no files, jobs and adapters; start it with --state "
                          "DIR"},
    [PROBLEM_NO_SPACE] = {"no_space", 503, OURS, "The disk is full",
                          "there is no room for this on the server's disk; delete files that are "
                          "not needed, or come back later"},
    [PROBLEM_DRAINING] = {"draining", 503, OURS, "Shutting down",
                          "the server is shutting down and takes no new work; come back later"},
    [PROBLEM_AUDIT_UNAVAILABLE] =
        {"audit_unavailable", 503, OURS, "The audit file can't be written",
         "calls of this kind are taken only when they can be written into the audit file"},
    [PROBLEM_STATE_UNWRITABLE] =
        {"state_unwritable", 503, OURS, "The folder of --state can't be written",
         "nothing was changed, because it could not be written down; the log says why"},
    [PROBLEM_NO_SLOT] = {"no_slot", 503, OURS, "No slot is free",
                         "all slots for adapters are taken; unload one first"},
    [PROBLEM_LOADING] = {"loading", 503, OURS, "Still loading",
                         "the model is still being loaded; come back after the seconds in "
                         "Retry-After"},
    [PROBLEM_STUCK] = {"stuck", 503, OURS, "Not getting on",
                       "the server has not got on with its work for a while; come back later"},
    [PROBLEM_NO_MEMORY] = {"no_memory", 503, OURS, "Out of memory",
                           "there is no memory for this request now"},
    [PROBLEM_DEVICE_LOST] = {"device_lost", 503, OURS, "The compute device is lost",
                             "the model's device is lost; the server has to be restarted"},
    [PROBLEM_DEADLINE] = {"deadline", 504, OURS, "Took too long",
                          "the answer was not ready in time"},
    [PROBLEM_CANCELLED] = {"cancelled", 499, OURS, "Cancelled", "the request was cancelled"},
    [PROBLEM_INTERNAL_ERROR] = {"internal_error", 500, OURS, "Internal error",
                                "something went wrong on our side"},
};

const struct problem_row *problem_row(enum problem_code code) {
    must(code > PROBLEM_NONE && code < PROBLEM_CODES);
    return &rows[code];
}

int problem_set(struct problem *p, enum problem_code code, const char *param, const char *fmt,
                ...) {
    if (p->code) return -1;
    p->code = code;
    snprintf(p->param, sizeof(p->param), "%s", param ? param : "");
    p->detail[0] = 0;
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(p->detail, sizeof(p->detail), fmt, ap);
        va_end(ap);
    }
    return -1;
}

int problem_point(struct problem *p, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->pointer, sizeof(p->pointer), fmt, ap);
    va_end(ap);
    return -1;
}

enum problem_code problem_code_of(int status) {
    switch (status) {
    case E_TOO_BIG: return PROBLEM_TOO_MUCH_WORK;
    case E_BUSY: return PROBLEM_QUEUE_FULL;
    case E_CANCELLED: return PROBLEM_DRAINING;
    case E_TIMEOUT: return PROBLEM_DEADLINE;
    case E_NOMEM: return PROBLEM_NO_MEMORY;
    case E_DEVICE: return PROBLEM_DEVICE_LOST;
    case E_FORMAT: return PROBLEM_BAD_PICTURE;
    case E_UNSUPPORTED: return PROBLEM_UNSUPPORTED_PICTURE;
    default: return PROBLEM_INTERNAL_ERROR;
    }
}

const char *problem_text(const struct problem *p) {
    return p->detail[0] ? p->detail : problem_row(p->code)->detail;
}

int problem_write(const struct problem *p, const char *request_id, struct buf *out) {
    const struct problem_row *row = problem_row(p->code);
    const char *detail = problem_text(p);
    buf_printf(out, "{\"type\":\"urn:lammd:problem:%s\",\"title\":", row->code);
    json_write_str(out, row->title);
    buf_printf(out, ",\"status\":%d,\"detail\":", row->status);
    json_write_str(out, detail);
    buf_str(out, ",\"instance\":");
    json_write_str(out, request_id);
    if (p->pointer[0]) {
        buf_str(out, ",\"pointer\":");
        json_write_str(out, p->pointer);
    }
    if (p->more) {
        buf_char(out, ',');
        buf_str(out, p->more);
    }
    buf_str(out, ",\"error\":{\"message\":");
    json_write_str(out, detail);
    buf_printf(out, ",\"type\":\"%s\",\"code\":\"%s\",\"param\":", row->type, row->code);
    if (p->param[0])
        json_write_str(out, p->param);
    else
        buf_str(out, "null");
    buf_str(out, "}}\n");
    return out->bad;
}

int api_problem(enum problem_code code, const char *detail, const char *request_id,
                struct buf *body) {
    struct problem p = {0};
    if (detail)
        problem_set(&p, code, NULL, "%s", detail);
    else
        problem_set(&p, code, NULL, NULL);
    problem_write(&p, request_id, body);
    return problem_row(code)->status;
}
