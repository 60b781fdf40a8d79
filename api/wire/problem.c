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
#include "api/wire/json.h"

#define BAD   "invalid_request_error"
#define LATER "rate_limit_error"
#define OURS  "server_error"

static const struct problem_row rows[] = {
    /* the request as a whole */
    {"header_gate", 400, BAD, "Malformed HTTP request",
     "the request line or a header is not what HTTP/1.1 allows"},
    {"bad_multipart", 400, BAD, "Malformed multipart body",
     "the multipart body is cut short or malformed; send it as curl -F image=@photo.jpg does"},
    {"invalid_json", 400, BAD, "Malformed JSON", "the body is not valid JSON"},
    {"invalid_parameter", 400, BAD, "A field is wrong", "a field has a value that is not allowed"},
    {"unknown_parameter", 400, BAD, "Unknown field", "the request has a field that is not known"},
    {"missing_parameter", 400, BAD, "A field is missing", "the request lacks a field"},
    {"missing_picture", 400, BAD, "No picture", "the request has no picture"},
    {"too_many_pictures", 400, BAD, "More than one picture",
     "exactly one picture is needed; the request has several"},
    {"unsupported_url", 400, BAD, "URLs are not fetched",
     "pictures are never fetched from a URL; send the bytes, or a data: URL"},
    {"unauthorized", 401, "authentication_error", "No valid key",
     "this call needs an API key: Authorization: Bearer KEY"},
    {"forbidden", 403, "permission_error", "Not allowed", "this call is not allowed here"},
    {"not_found", 404, BAD, "No such thing", "there is nothing at this path; see /openapi.yaml"},
    {"image_not_found", 404, BAD, "No such picture",
     "no picture is stored under this id, or it has expired; send it again with PUT /v1/images"},
    {"session_not_found", 404, BAD, "No such session",
     "no game is played under this id, or it has expired; begin one with POST /v1/act/sessions"},
    {"model_not_found", 404, BAD, "No such model", "this model is not served; see /v1/models"},
    {"method_not_allowed", 405, BAD, "Method not allowed",
     "this path does not take this method; see the Allow header"},
    {"not_acceptable", 406, BAD, "No such representation",
     "none of the types in Accept can be made; see /openapi.yaml"},
    {"request_timeout", 408, BAD, "The request came too slowly",
     "the request did not arrive in time"},
    {"session_busy", 409, BAD, "The session is busy",
     "a step of this session is still being answered; frames have an order, so send the next one "
     "after its answer"},
    {"body_too_large", 413, BAD, "The body is too large", "the body is larger than is taken here"},
    {"picture_too_large", 413, BAD, "The picture is too large",
     "the picture has more pixels or bytes than are taken here; send a smaller one"},
    {"unsupported_media_type", 415, BAD, "Unsupported body",
     "send image/png, image/jpeg, multipart/form-data or application/json"},
    {"unsupported_picture", 415, BAD, "Unsupported picture", "send a PNG or a JPEG picture"},
    {"bad_picture", 422, BAD, "Damaged picture", "the picture is damaged or cut short"},
    {"too_much_work", 422, BAD, "More work than ever fits",
     "this many questions can never fit into the memory of the model; ask for fewer"},
    {"unsupported_task", 422, BAD, "The model can't do this",
     "the loaded model can't do this task; see /v1/models"},
    {"uri_too_long", 414, BAD, "The URL is too long", "the URL is longer than is taken here"},
    {"headers_too_large", 431, BAD, "The headers are too large",
     "the headers are larger than is taken here"},
    /* come back later */
    {"queue_full", 503, LATER, "The queue is full",
     "the queue is full; come back after the seconds in Retry-After"},
    {"too_many_sessions", 503, LATER, "Too many sessions",
     "as many games are played as there is room for; end one with DELETE, or come back later"},
    {"too_many_connections", 503, LATER, "Too many connections",
     "the server has no room for another connection; come back later"},
    {"draining", 503, OURS, "Shutting down",
     "the server is shutting down and takes no new work; come back later"},
    {"not_ready", 503, OURS, "Not ready", "the model is not ready; come back later"},
    {"no_memory", 503, OURS, "Out of memory", "there is no memory for this request now"},
    {"device_lost", 503, OURS, "The compute device is lost",
     "the model's device is lost; the server has to be restarted"},
    {"deadline", 504, OURS, "Took too long", "the answer was not ready in time"},
    {"cancelled", 499, OURS, "Cancelled", "the request was cancelled"},
    {"internal_error", 500, OURS, "Internal error", "something went wrong on our side"},
};

const struct problem_row *problem_table(size_t *n) {
    *n = ARRAY_LEN(rows);
    return rows;
}

const struct problem_row *problem_row(const char *code) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].code, code) == 0) return &rows[i];
    }
    int is_in_table = 0;
    must(is_in_table);
    return NULL;
}

int problem_set(struct problem *p, const char *code, const char *param, const char *fmt, ...) {
    if (p->row) return -1;
    p->row = problem_row(code);
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

const char *problem_code_of(int status) {
    switch (status) {
    case E_TOO_BIG: return "too_much_work";
    case E_BUSY: return "queue_full";
    case E_CANCELLED: return "draining";
    case E_TIMEOUT: return "deadline";
    case E_NOMEM: return "no_memory";
    case E_DEVICE: return "device_lost";
    case E_FORMAT: return "bad_picture";
    case E_UNSUPPORTED: return "unsupported_picture";
    default: return "internal_error";
    }
}

int problem_write(const struct problem *p, const char *request_id, struct buf *out) {
    const char *detail = p->detail[0] ? p->detail : p->row->detail;
    buf_printf(out, "{\"type\":\"urn:lammd:problem:%s\",\"title\":", p->row->code);
    json_write_str(out, p->row->title);
    buf_printf(out, ",\"status\":%d,\"detail\":", p->row->status);
    json_write_str(out, detail);
    buf_str(out, ",\"instance\":");
    json_write_str(out, request_id);
    if (p->pointer[0]) {
        buf_str(out, ",\"pointer\":");
        json_write_str(out, p->pointer);
    }
    buf_str(out, ",\"error\":{\"message\":");
    json_write_str(out, detail);
    buf_printf(out, ",\"type\":\"%s\",\"code\":\"%s\",\"param\":", p->row->type, p->row->code);
    if (p->param[0])
        json_write_str(out, p->param);
    else
        buf_str(out, "null");
    buf_str(out, "}}\n");
    return out->bad;
}

int api_problem(const char *code, const char *detail, const char *request_id, struct buf *body) {
    struct problem p = {0};
    if (detail)
        problem_set(&p, code, NULL, "%s", detail);
    else
        problem_set(&p, code, NULL, NULL);
    problem_write(&p, request_id, body);
    return p.row->status;
}
