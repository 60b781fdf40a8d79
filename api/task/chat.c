/* chat.c - POST /v1/chat/completions: OpenAI's shape around the same questions.
 *
 * The answer is one choice, whole or in chunks. Stop strings are looked for here, in the text: what
 * could be the beginning of one is held back until it is clear, and when one has come, the job is
 * cancelled and the text ends before it. Thread: step on a worker, a stream's read wherever the
 * server reads.
 */
#include "api/task/chat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/stream.h"
#include "api/wire/json_write.h"
#include "api/wire/sse.h"

/* ---- what may be told ---- */

/* The text as far as it is the answer's. */
struct said {
    const char *text;
    size_t len;     /* that may be told; all of it when is_over */
    int is_stopped; /* by a stop string */
    int is_over;
    const struct eng_token *tokens;
    uint32_t n_tokens; /* that begin before the end of the answer */
};

struct talk {
    struct chat asked;
    struct said said;     /* when it was listened to last */
    long long created;    /* seconds since the epoch */
    size_t told;          /* bytes that are in chunks */
    uint32_t told_tokens; /* tokens likewise */
};

/* Bytes at the end of text that could become a stop string. */
static size_t held_back(const struct chat *q, const char *text, size_t len) {
    size_t most = 0;
    for (size_t i = 0; i < q->n_stops; i++) {
        size_t n = strlen(q->stops[i]) - 1;
        if (n > len) n = len;
        while (n > most && memcmp(text + len - n, q->stops[i], n) != 0)
            n--;
        if (n > most) most = n;
    }
    return most;
}

/* Where the first stop string begins; len when there is none. */
static size_t find_stop(const struct talk *t, const char *text, size_t len) {
    const struct chat *q = &t->asked;
    size_t first = len;
    for (size_t i = 0; i < q->n_stops; i++) {
        size_t n = strlen(q->stops[i]);
        const char *at = memmem(text + t->told, len - t->told, q->stops[i], n);
        if (at && (size_t)(at - text) < first) first = (size_t)(at - text);
    }
    return first;
}

static struct said listen(struct api_call *c, const struct talk *t) {
    struct eng_job *job = call_job(c, 0);
    struct said s = {.is_over = eng_job_state(job) >= ENG_DONE}; /* the state first, as ever */
    size_t len;
    s.text = eng_job_text(job, &len);
    s.len = find_stop(t, s.text, len);
    s.is_stopped = s.len < len;
    if (s.is_stopped) {
        eng_job_cancel(job);
        s.is_over = 1;
    }
    if (!s.is_over) s.len = len - held_back(&t->asked, s.text, len);
    s.tokens = eng_job_tokens(job, &s.n_tokens);
    for (uint32_t i = 1; s.is_stopped && i < s.n_tokens; i++) {
        if (s.tokens[i - 1].end >= s.len) s.n_tokens = i;
    }
    if (s.is_stopped && s.len == 0) s.n_tokens = 0;
    return s;
}

static const char *chat_finish(struct api_call *c, const struct said *s) {
    return !s->is_stopped && eng_job_finish(call_job(c, 0)) == ENG_CUT ? "length" : "stop";
}

/* ---- JSON ---- */

/* A piece of the tokenizer as bytes: the mark of a word's begin is a blank, <0x41> is one byte. */
static size_t piece_bytes(const char *piece, char *to, size_t cap) {
    static const char mark[] = "\xe2\x96\x81";
    unsigned byte;
    size_t n = 0;
    int end = 0;
    if (sscanf(piece, "<0x%2X>%n", &byte, &end) == 1 && end == 6 && !piece[6]) {
        to[0] = (char)byte;
        return 1;
    }
    while (*piece && n < cap) {
        if (strncmp(piece, mark, 3) == 0) {
            to[n++] = ' ';
            piece += 3;
        } else {
            to[n++] = *piece++;
        }
    }
    return n;
}

/* `text` NULL: the piece as it is. A token that only begins a character is "" in the text. */
static void write_token(struct api_call *c, int32_t id, float logprob, const char *text, size_t len,
                        struct buf *b) {
    char bytes[256];
    const char *piece = eng_piece(c->api->eng, id);
    size_t n = piece_bytes(piece ? piece : "", bytes, sizeof(bytes));
    buf_str(b, "{\"token\":");
    json_write_text(b, text ? text : bytes, text ? len : n);
    buf_printf(b, ",\"logprob\":%.6f,\"bytes\":[", isfinite(logprob) ? (double)logprob : -9999.0);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, i ? ",%u" : "%u", (unsigned char)bytes[i]);
    buf_char(b, ']');
}

/* "logprobs":... of tokens [from, to) */
static void write_logprobs(struct api_call *c, const struct said *s, uint32_t from, uint32_t to,
                           struct buf *b) {
    const struct chat *q = &((const struct talk *)c->state)->asked;
    if (!q->with_logprobs) {
        buf_str(b, "\"logprobs\":null");
        return;
    }
    buf_str(b, "\"logprobs\":{\"content\":[");
    for (uint32_t i = from; i < to; i++) {
        const struct eng_token *t = &s->tokens[i];
        size_t begin = i ? s->tokens[i - 1].end : 0, end = t->end < s->len ? t->end : s->len;
        if (i > from) buf_char(b, ',');
        write_token(c, t->id, t->logprob, s->text + begin, end > begin ? end - begin : 0, b);
        buf_str(b, ",\"top_logprobs\":[");
        for (int k = 0; k < q->n_top && t->top[k] >= 0; k++) {
            if (k) buf_char(b, ',');
            write_token(c, t->top[k], t->top_logprob[k], NULL, 0, b);
            buf_char(b, '}');
        }
        buf_str(b, "]}");
    }
    buf_str(b, "],\"refusal\":null}");
}

static void write_usage(struct api_call *c, const struct said *s, struct buf *b) {
    uint32_t prompt = eng_job_prompt_tokens(call_job(c, 0));
    buf_printf(b, "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}",
               prompt, s->n_tokens, prompt + s->n_tokens);
}

/* {"id":..,"object":..,"created":..,"model":..,"system_fingerprint":..,"choices":[ */
static void write_head(const struct api_call *c, const char *object, struct buf *b) {
    const struct talk *t = c->state;
    char print[API_PRINT_BYTES];
    api_call_print(c, print);
    buf_str(b, "{\"id\":\"chatcmpl-");
    buf_str(b, c->request_id); /* a plain word */
    buf_printf(b, "\",\"object\":\"%s\",\"created\":%lld,\"model\":", object, t->created);
    json_write_str(b, c->model.name);
    buf_printf(b, ",\"system_fingerprint\":\"%s\",\"choices\":[", print);
}

static int chat_answer(struct api_call *c) {
    const struct said *s = &((const struct talk *)c->state)->said;
    struct buf *b = &c->body;
    write_head(c, "chat.completion", b);
    buf_str(b, "{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    json_write_text(b, s->text, s->len);
    buf_str(b, ",\"refusal\":null},");
    write_logprobs(c, s, 0, s->n_tokens, b);
    buf_printf(b, ",\"finish_reason\":\"%s\"}],", chat_finish(c, s));
    write_usage(c, s, b);
    buf_str(b, "}\n");
    return call_answer(c, 200, "application/json");
}

/* ---- chunks ---- */

static void begin_chunk(struct api_call *c, struct buf *b) {
    sse_data(b);
    write_head(c, "chat.completion.chunk", b);
}

static void end_chunk(const struct chat *q, struct buf *b) {
    buf_str(b, q->with_usage ? "],\"usage\":null}" : "]}");
    sse_end(b);
}

static void write_first(struct api_call *c) {
    const struct talk *t = c->state;
    struct buf *b = &c->body;
    begin_chunk(c, b);
    buf_str(b, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
               "\"logprobs\":null,\"finish_reason\":null}");
    end_chunk(&t->asked, b);
}

static void write_piece(struct api_call *c, struct talk *t, const struct said *s, uint32_t tokens) {
    struct buf *b = &c->body;
    begin_chunk(c, b);
    buf_str(b, "{\"index\":0,\"delta\":{\"content\":");
    json_write_text(b, s->text + t->told, s->len - t->told);
    buf_str(b, "},");
    write_logprobs(c, s, t->told_tokens, tokens, b);
    buf_str(b, ",\"finish_reason\":null}");
    end_chunk(&t->asked, b);
    t->told = s->len;
    t->told_tokens = tokens;
}

static void write_last(struct api_call *c, const struct chat *q, const struct said *s) {
    struct buf *b = &c->body;
    begin_chunk(c, b);
    buf_printf(b, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}",
               chat_finish(c, s));
    end_chunk(q, b);
    if (q->with_usage) {
        begin_chunk(c, b);
        buf_str(b, "],");
        write_usage(c, s, b);
        buf_char(b, '}');
        sse_end(b);
    }
    buf_str(b, "data: [DONE]\n\n");
}

static void next_chunk(struct api_call *c) {
    struct talk *t = c->state;
    struct said s = listen(c, t);
    uint32_t tokens = t->told_tokens;
    while (tokens < s.n_tokens && (s.is_over || s.tokens[tokens].end <= s.len))
        tokens++;
    if (s.len > t->told || (s.is_over && tokens > t->told_tokens)) {
        write_piece(c, t, &s, tokens);
    } else if (s.is_over) {
        c->stream.ended = 1;
        if (!s.is_stopped && call_outcome(c) < 0)
            stream_problem(c, NULL);
        else
            write_last(c, &t->asked, &s);
    }
}

/* ---- the row ---- */

/* Clients of this shape ask for JSON and a stream in one breath; `stream` decides. */
static int chat_fields(struct api_call *c, struct input *in) {
    struct talk *t = c->state;
    const struct api_batch *batch = c->in.batch;
    t->created = batch ? (long long)batch->created : (long long)time(NULL);
    if (chat_read(in, &t->asked)) return -1;
    if (batch && t->asked.is_stream)
        return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, "stream",
                           "a line of a batch has one whole answer: leave stream out");
    c->stream.is_wanted = t->asked.is_stream;
    return 0;
}

static int chat_ask(struct api_call *c) {
    const struct chat *q = &((const struct talk *)c->state)->asked;
    if (q->n_stops) c->wakes_each_pass = 1;
    struct eng_ask ask = {.task = ENG_CHAT,
                          .turns = q->turns,
                          .n_turns = q->n_turns,
                          .generate = q->generate,
                          .urgency = ENG_ANSWER};
    return call_ask(c, &ask, "messages") ? 0 : -1;
}

static int chat_outcome(struct api_call *c) {
    struct talk *t = c->state;
    t->said = listen(c, t);
    if (!t->said.is_over) return 0;
    return t->said.is_stopped ? 1 : call_outcome(c);
}

const struct endpoint chat_endpoint = {.wants = &chat_wants,
                                       .media = &media_json_or_events,
                                       .state_size = sizeof(struct talk),
                                       .read = chat_fields,
                                       .ask = chat_ask,
                                       .outcome = chat_outcome,
                                       .answer = chat_answer,
                                       .first = write_first,
                                       .next = next_chunk};
