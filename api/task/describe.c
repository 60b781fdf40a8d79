/* describe.c - POST /v1/describe: a picture goes in, words about it come out.
 *
 * Four tasks of docs/model.md section 4.3: caption, identify (what is in this box?), grounding (a
 * description whose phrases have boxes), detection (where is this phrase?). Boxes in the text are
 * told as data too.
 * Thread: step on a worker, a stream's read wherever the server reads.
 */
#include <math.h>

#include "api/ask.h"
#include "api/endpoint.h"
#include "api/task/boxes.h"
#include "api/task/figures.h"
#include "api/task/speak.h"
#include "api/wire/json_write.h"

enum { PHRASE_MAX = 500 };

static const struct {
    enum eng_task task;
    uint32_t max_tokens; /* when not told */
} kinds[] = {{ENG_CAPTION, 64}, {ENG_IDENTIFY, 64}, {ENG_GROUNDING, 256}, {ENG_DETECTION, 256}};
static const char *const names[] = {"caption", "identify", "grounding", "detection", NULL};

struct describing {
    struct speaking speaking; /* first: speak.h */
    int kind;
    int has_box;
    double box[4]; /* pixels */
    const char *phrase;
};

/* `box` and `phrase` belong to one task each. */
static int check_fields(struct problem *p, const struct describing *d) {
    int wants_box = kinds[d->kind].task == ENG_IDENTIFY;
    int wants_phrase = kinds[d->kind].task == ENG_DETECTION;
    if (wants_box && !d->has_box)
        return problem_set(p, PROBLEM_MISSING_PARAMETER, "box",
                           "box is missing: x1,y1,x2,y2 in pixels, what to identify");
    if (wants_phrase && !d->phrase)
        return problem_set(p, PROBLEM_MISSING_PARAMETER, "phrase",
                           "phrase is missing: what to detect, e.g. \"a ball\"");
    if (!wants_box && d->has_box)
        return problem_set(p, PROBLEM_INVALID_PARAMETER, "box", "box belongs to the task identify");
    if (!wants_phrase && d->phrase)
        return problem_set(p, PROBLEM_INVALID_PARAMETER, "phrase",
                           "phrase belongs to the task detection");
    return 0;
}

static void write_boxes(const struct api_call *c, const char *text, size_t len, struct buf *b) {
    struct boxes at = {.text = text, .len = len};
    struct box_named found;
    int n = 0;
    buf_str(b, "\"boxes\":[");
    while (boxes_next(&at, &found)) {
        buf_str(b, n++ ? ",{\"phrase\":" : "{\"phrase\":");
        if (found.phrase)
            json_write_text(b, found.phrase, found.phrase_len);
        else
            buf_str(b, "null");
        buf_str(b, ",\"box\":");
        figures_box(c, found.percent, b);
        buf_printf(b, ",\"percent\":[%d,%d,%d,%d]}", found.percent[0], found.percent[1],
                   found.percent[2], found.percent[3]);
    }
    buf_char(b, ']');
}

static void describe_write_fields(struct api_call *c, struct buf *b) {
    const struct describing *d = c->state;
    const struct eng_job *job = call_job(c, 0);
    size_t len;
    const char *text = eng_job_text(job, &len);
    figures_size(c, b);
    buf_printf(b, ",\"task\":\"%s\",\"text\":", names[d->kind]);
    json_write_text(b, text, len);
    buf_char(b, ',');
    write_boxes(c, text, len, b);
    buf_printf(b, ",\"finish\":\"%s\",\"probability\":%.6g,\"unsure\":%s", speak_finish(job),
               exp(speak_logprob(job)), speak_is_unsure(job) ? "true" : "false");
}

/* ---- the row ---- */

static int describe_read(struct api_call *c, struct input *in) {
    struct describing *d = c->state;
    d->speaking.write = describe_write_fields;
    if (input_word(in, "task", names, &d->kind)) return -1;
    d->has_box = input_has(in, "box");
    if (input_numbers(in, "box", "x1,y1,x2,y2", 4, d->box)) return -1;
    if (input_text(in, "phrase", PHRASE_MAX, &d->phrase)) return -1;
    if (speak_read(in, kinds[d->kind].max_tokens, &d->speaking.generate)) return -1;
    return check_fields(in->problem, d);
}

static int describe_ask(struct api_call *c) {
    const struct describing *d = c->state;
    struct eng_ask ask = {.task = kinds[d->kind].task,
                          .text = d->phrase,
                          .generate = d->speaking.generate,
                          .urgency = ENG_ANSWER};
    int w, h;
    if (d->has_box && figures_check_box(c, d->box)) return -1;
    eng_picture_size(c->pictures[0], &w, &h);
    for (int k = 0; k < 4 && d->has_box; k++)
        ask.box[k] = (int)(100 * d->box[k] / (k % 2 ? h : w));
    return call_ask(c, &ask, d->phrase ? "phrase" : "max_tokens") ? 0 : -1;
}

static const char *const known[] = {"task", "box", "phrase", SPEAK_FIELDS, NULL};
static const struct input_wants wants = {.picture = "image", .known = known, .has_model = 1};
const struct endpoint describe_endpoint = {.wants = &wants,
                                           .media = &media_json_or_events,
                                           .state_size = sizeof(struct describing),
                                           .read = describe_read,
                                           .ask = describe_ask,
                                           .answer = speak_answer,
                                           .next = speak_event};
