/* speak.c - see speak.h. */
#include "api/task/speak.h"

#include <math.h>

#include "api/ask.h"
#include "api/stream.h"
#include "api/task/figures.h"
#include "api/wire/json_write.h"
#include "api/wire/sse.h"

enum { TOKENS_ASKED_MAX = 99999999 };

int speak_read_most(struct input *in, const char *name, int *out) {
    int asked = *out;
    if (input_int(in, name, 1, TOKENS_ASKED_MAX, &asked)) return -1;
    *out = asked < ENG_TOKENS_MAX ? asked : ENG_TOKENS_MAX;
    return 0;
}

int speak_read(struct input *in, uint32_t max_tokens, struct eng_generate *out) {
    int max = (int)max_tokens;
    double temperature = 0, top_p = 1;
    if (speak_read_most(in, "max_tokens", &max)) return -1;
    if (input_number(in, "temperature", 0, 2, &temperature)) return -1;
    if (input_number(in, "top_p", 0, 1, &top_p)) return -1;
    if (input_seed(in, "seed", &out->seed)) return -1;
    out->max_tokens = (uint32_t)max;
    out->may_be_shorter = 1; /* where the context ends before */
    out->temperature = (float)temperature;
    out->top_p = top_p > 0 ? (float)top_p : 1e-6f; /* the likeliest token alone */
    return 0;
}

const char *speak_finish(const struct eng_job *job) {
    return eng_job_finish(job) == ENG_CUT ? "length" : "stop";
}

double speak_logprob(const struct eng_job *job) {
    uint32_t n;
    double sum = 0;
    const struct eng_token *tokens = eng_job_tokens(job, &n);
    for (uint32_t i = 0; i < n; i++)
        sum += (double)tokens[i].logprob;
    return sum;
}

int speak_is_unsure(const struct eng_job *job) {
    uint32_t n;
    (void)eng_job_tokens(job, &n);
    return speak_logprob(job) < (n > SPEAK_SHORT ? n : 1) * log(SPEAK_SURE);
}

static void write_answer(struct api_call *c) {
    const struct speaking *s = c->state;
    struct buf *b = &c->body;
    buf_char(b, '{');
    figures_head(c, b);
    buf_char(b, ',');
    s->write(c, b);
    buf_char(b, ',');
    figures_tail(c, b);
    buf_char(b, '}');
}

void speak_event(struct api_call *c) {
    struct speaking *s = c->state;
    const struct eng_job *job = call_job(c, 0);
    size_t len;
    /* The state first: what was spoken before the end is then surely in the text below. */
    int is_over = eng_job_state(job) >= ENG_DONE;
    const char *text = eng_job_text(job, &len);
    if (len > s->told) {
        sse_begin(&c->body, "token");
        buf_str(&c->body, "{\"text\":");
        json_write_text(&c->body, text + s->told, len - s->told);
        buf_char(&c->body, '}');
        sse_end(&c->body);
        s->told = len;
        return;
    }
    if (!is_over) return;
    c->stream.ended = 1;
    if (call_outcome(c) < 0) {
        stream_problem(c, "error");
        return;
    }
    sse_begin(&c->body, "done");
    write_answer(c);
    sse_end(&c->body);
}

int speak_answer(struct api_call *c) {
    write_answer(c);
    buf_char(&c->body, '\n');
    call_header(c, "Vary", "Accept");
    return call_answer(c, 200, "application/json");
}
