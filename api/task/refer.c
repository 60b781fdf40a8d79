/* refer.c - POST /v1/refer: a picture and a sentence -> the box of what it speaks of.
 *
 * The model names four numbers from 0 to 100; a box whose corners come the wrong way round is put
 * in order. Thread: a worker.
 */
#include <math.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/task/figures.h"
#include "api/wire/json_write.h"

enum { SENTENCE_MAX = 500 };

struct pointing {
    const char *sentence;
    int estimate;
};

static int refer_read(struct api_call *c, struct input *in) {
    struct pointing *p = c->state;
    if (input_text(in, "sentence", SENTENCE_MAX, &p->sentence)) return -1;
    if (input_word(in, "estimate", eng_estimate_words, &p->estimate)) return -1;
    if (p->sentence) return 0;
    return problem_set(in->problem, PROBLEM_MISSING_PARAMETER, "sentence",
                       "sentence is missing: what to look for, e.g. \"the red ball\"");
}

static int refer_ask(struct api_call *c) {
    const struct pointing *p = c->state;
    struct eng_ask ask = {.task = ENG_REFER,
                          .text = p->sentence,
                          .estimate = (enum eng_estimate)p->estimate,
                          .distribution = 1,
                          .urgency = ENG_ANSWER};
    return call_ask(c, &ask, "sentence") ? 0 : -1;
}

static int refer_answer(struct api_call *c) {
    const struct pointing *p = c->state;
    uint32_t n;
    const struct eng_answer *a = eng_job_answers(call_job(c, 0), &n);
    must(n == 1);
    int box[4];
    double probability = 1;
    for (int k = 0; k < 4; k++) {
        box[k] = a->value[k];
        probability *= (double)a->prob[k];
    }
    figures_order(box);
    struct buf *b = &c->body;
    buf_char(b, '{');
    figures_head(c, b);
    buf_char(b, ',');
    figures_size(c, b);
    buf_str(b, ",\"sentence\":");
    json_write_str(b, p->sentence);
    buf_str(b, ",\"box\":");
    figures_box(c, box, b);
    buf_printf(b, ",\"percent\":[%d,%d,%d,%d],\"probability\":%.6g,\"estimate\":\"%s\",", box[0],
               box[1], box[2], box[3], probability, eng_estimate_words[p->estimate]);
    figures_tail(c, b);
    buf_str(b, "}\n");
    return call_answer(c, 200, "application/json");
}

static const char *const known[] = {"sentence", "estimate", NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint refer_endpoint = {.wants = &wants,
                                        .media = &media_json,
                                        .state_size = sizeof(struct pointing),
                                        .read = refer_read,
                                        .ask = refer_ask,
                                        .answer = refer_answer};
