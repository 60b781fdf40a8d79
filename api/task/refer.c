/* refer.c - POST /v1/refer: a picture and a sentence -> the box of what it speaks of.
 *
 * The model names four numbers from 0 to 100; a box whose corners come the wrong way round is put in
 * order. Thread: a worker.
 */
#include <math.h>

#include "api/call.h"
#include "api/task/figures.h"
#include "api/wire/accept.h"
#include "api/wire/input.h"
#include "api/wire/json_write.h"
#include "kernels/base/mem.h"

enum { SENTENCE_MAX = 500 };

struct pointing {
    const char *sentence;
    int estimate;
};

static int read_request(struct api_call *c, struct pointing *p) {
    static const char *const known[] = {"sentence", "estimate", NULL};
    static const struct input_wants wants = {.picture = "image", .known = known};
    struct input in;
    int rc = call_open(c, &in, &wants);
    if (!rc) rc = input_text(&in, "sentence", SENTENCE_MAX, &p->sentence);
    if (!rc) rc = input_word(&in, "estimate", eng_estimate_words, &p->estimate);
    if (!rc && !p->sentence)
        rc = problem_set(&c->problem, PROBLEM_MISSING_PARAMETER, "sentence",
                         "sentence is missing: what to look for, e.g. \"the red ball\"");
    if (!rc) rc = call_pictures(c, &in);
    input_close(&in);
    return rc;
}

static int begin(struct api_call *c) {
    static const char *const forms[] = {"application/json"};
    struct pointing *p = c->state = mem_try(sizeof(*p));
    if (!p) return problem_set(&c->problem, PROBLEM_NO_MEMORY, NULL, NULL);
    if (accept_pick(c->in.accept, forms, 1) < 0)
        return problem_set(&c->problem, PROBLEM_NOT_ACCEPTABLE, NULL,
                           "the answer comes as application/json, which is not in Accept");
    if (read_request(c, p)) return -1;
    struct eng_ask ask = {.task = ENG_REFER,
                          .text = p->sentence,
                          .estimate = (enum eng_estimate)p->estimate,
                          .distribution = 1,
                          .urgency = ENG_ANSWER};
    return call_ask(c, &ask, "sentence") ? 0 : -1;
}

static int answer(struct api_call *c, const struct pointing *p) {
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

int refer_step(struct api_call *c) {
    if (!c->state && begin(c)) return call_fail(c);
    int outcome = call_outcome(c);
    if (outcome < 0) return call_fail(c);
    return outcome ? answer(c, c->state) : API_WAIT;
}
