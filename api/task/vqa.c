/* vqa.c - POST /v1/vqa: a picture and a question -> a short answer.
 *
 * With `choices` nothing is spoken: the likelihood of each choice, end of text included, says how
 * probable it is among them, best first. An answer that is a guess says so: `unsure`.
 * Thread: step on a worker, a stream's read wherever the server reads.
 */
#include <math.h>
#include <stdlib.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/task/speak.h"
#include "api/wire/json_write.h"

enum { QUESTION_MAX = 1000, CHOICE_MAX = 200, TOKENS = 20 };

struct asking {
    struct speaking speaking; /* first: speak.h */
    const char *question;
    const char *const *choices;
    uint32_t n_choices;
};

static int read_speech(struct input *in, struct asking *q) {
    static const char *const fields[] = {SPEAK_FIELDS};
    for (size_t i = 0; q->n_choices && i < ARRAY_LEN(fields); i++) {
        if (input_has(in, fields[i]))
            return problem_set(in->problem, PROBLEM_INVALID_PARAMETER, fields[i],
                               "%s does not go together with choices: nothing is spoken",
                               fields[i]);
    }
    return speak_read(in, TOKENS, &q->speaking.generate);
}

/* ---- choices ---- */

struct scored {
    uint32_t choice;
    double logprob;
};

static int by_score(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->logprob != y->logprob) return x->logprob < y->logprob ? 1 : -1;
    return x->choice < y->choice ? -1 : 1;
}

static void write_choices(const struct asking *q, const struct eng_job *job, struct buf *b) {
    struct scored s[ENG_CHOICES_MAX];
    uint32_t n;
    double sum = 0;
    const struct eng_answer *answers = eng_job_answers(job, &n);
    must(n == q->n_choices && n <= ENG_CHOICES_MAX);
    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct scored){answers[i].point, answers[i].logprob};
    qsort(s, n, sizeof(s[0]), by_score);
    for (uint32_t i = 0; i < n; i++)
        sum += exp(s[i].logprob - s[0].logprob);
    buf_str(b, "\"answer\":");
    json_write_str(b, q->choices[s[0].choice]);
    buf_printf(b, ",\"probability\":%.6g,\"unsure\":%s,\"finish\":\"stop\",\"choices\":[", 1 / sum,
               1 / sum < SPEAK_SURE ? "true" : "false");
    for (uint32_t i = 0; i < n; i++) {
        buf_str(b, i ? ",{\"text\":" : "{\"text\":");
        json_write_str(b, q->choices[s[i].choice]);
        buf_printf(b, ",\"probability\":%.6g,\"logprob\":%.6f}",
                   exp(s[i].logprob - s[0].logprob) / sum, s[i].logprob);
    }
    buf_char(b, ']');
}

static void vqa_write_fields(struct api_call *c, struct buf *b) {
    const struct asking *q = c->state;
    const struct eng_job *job = call_job(c, 0);
    if (q->n_choices) {
        write_choices(q, job, b);
        return;
    }
    size_t len;
    const char *text = eng_job_text(job, &len);
    buf_str(b, "\"answer\":");
    json_write_text(b, text, len);
    buf_printf(b, ",\"probability\":%.6g,\"unsure\":%s,\"finish\":\"%s\"", exp(speak_logprob(job)),
               speak_is_unsure(job) ? "true" : "false", speak_finish(job));
}

/* ---- the row ---- */

static int vqa_read(struct api_call *c, struct input *in) {
    struct asking *q = c->state;
    q->speaking.write = vqa_write_fields;
    if (input_text(in, "question", QUESTION_MAX, &q->question)) return -1;
    if (input_texts(in, "choices", ENG_CHOICES_MAX, CHOICE_MAX, &q->choices, &q->n_choices))
        return -1;
    if (read_speech(in, q)) return -1;
    if (q->question) return 0;
    return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "question",
                       "question is missing: what to ask, e.g. \"is there a ball?\"");
}

static int vqa_ask(struct api_call *c) {
    const struct asking *q = c->state;
    struct eng_ask ask = {.task = ENG_VQA,
                          .text = q->question,
                          .choices = q->choices,
                          .n_choices = q->n_choices,
                          .generate = q->speaking.generate,
                          .urgency = ENG_ANSWER};
    return call_ask(c, &ask, q->n_choices ? "choices" : "question") ? 0 : -1;
}

static const char *const known[] = {"question", "choices", SPEAK_FIELDS, NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint vqa_endpoint = {.wants = &wants,
                                      .media = &media_json_or_events,
                                      .state_size = sizeof(struct asking),
                                      .read = vqa_read,
                                      .ask = vqa_ask,
                                      .answer = speak_answer,
                                      .next = speak_event};
