/* vqa.c - POST /v1/vqa: a picture and a question -> a short answer.
 *
 * With `choices` nothing is spoken: the likelihood of each choice, end of text included, says how
 * probable it is among them, best first. Thread: step on a worker, a stream's read wherever the
 * server reads.
 */
#include <math.h>
#include <stdlib.h>

#include "api/task/figures.h"
#include "api/task/speak.h"
#include "kernels/base/mem.h"

enum { QUESTION_MAX = 1000, CHOICE_MAX = 200, TOKENS = 20 };

struct asking {
    struct speaking speaking; /* first: speak.h */
    const char *question;
    const char *const *choices;
    uint32_t n_choices;
};

static int read_speech(struct api_call *c, struct input *in, struct asking *q) {
    static const char *const fields[] = {SPEAK_FIELDS};
    for (size_t i = 0; q->n_choices && i < ARRAY_LEN(fields); i++) {
        if (input_has(in, fields[i]))
            return problem_set(&c->problem, "invalid_parameter", fields[i],
                               "%s does not go together with choices: nothing is spoken",
                               fields[i]);
    }
    return speak_read(in, TOKENS, &q->speaking.generate);
}

static int read_request(struct api_call *c, struct asking *q) {
    static const char *const known[] = {"question", "choices", SPEAK_FIELDS, NULL};
    static const struct input_wants wants = {.picture = "image", .known = known};
    struct input in;
    int rc = input_open(&in, c, &wants);
    if (!rc) rc = input_text(&in, "question", QUESTION_MAX, &q->question);
    if (!rc)
        rc = input_texts(&in, "choices", ENG_CHOICES_MAX, CHOICE_MAX, &q->choices, &q->n_choices);
    if (!rc) rc = read_speech(c, &in, q);
    if (!rc && !q->question)
        rc = problem_set(&c->problem, "missing_parameter", "question",
                         "question is missing: what to ask, e.g. \"is there a ball?\"");
    if (!rc) rc = call_pictures(c, &in);
    input_close(&in);
    return rc;
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
    buf_printf(b, ",\"probability\":%.6g,\"finish\":\"stop\",\"choices\":[", 1 / sum);
    for (uint32_t i = 0; i < n; i++) {
        buf_str(b, i ? ",{\"text\":" : "{\"text\":");
        json_write_str(b, q->choices[s[i].choice]);
        buf_printf(b, ",\"probability\":%.6g,\"logprob\":%.6f}",
                   exp(s[i].logprob - s[0].logprob) / sum, s[i].logprob);
    }
    buf_char(b, ']');
}

static void write_fields(struct api_call *c, struct buf *b) {
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
    buf_printf(b, ",\"probability\":%.6g,\"finish\":\"%s\"", exp(speak_logprob(job)),
               speak_finish(job));
}

/* ---- the step ---- */

static int begin(struct api_call *c) {
    struct asking *q = c->state = mem_try(sizeof(*q));
    if (!q) return problem_set(&c->problem, "no_memory", NULL, NULL);
    q->speaking.write = write_fields;
    if (speak_accept(c, &q->speaking) || read_request(c, q)) return -1;
    struct eng_ask ask = {.task = ENG_VQA,
                          .text = q->question,
                          .choices = q->choices,
                          .n_choices = q->n_choices,
                          .generate = q->speaking.generate,
                          .urgency = ENG_ANSWER};
    return call_ask(c, &ask, q->n_choices ? "choices" : "question") ? 0 : -1;
}

int vqa_step(struct api_call *c) {
    if (!c->state && begin(c)) return call_fail(c);
    return speak_step(c);
}
