/* figures.c - see figures.h. */
#include "api/task/figures.h"

#include "api/ask.h"
#include "api/wire/json_write.h"

void figures_head(const struct api_call *c, struct buf *b) {
    buf_str(b, "\"id\":");
    json_write_str(b, c->request_id);
    buf_str(b, ",\"model\":");
    json_write_str(b, c->model.name);
}

void figures_size(const struct api_call *c, struct buf *b) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(b, "\"width\":%d,\"height\":%d", w, h);
}

static double ms(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

/* "timing":{...}, : `first` names the time of the first answer. */
static void write_timing(const struct api_call *c, const struct eng_job_stats *s, const char *first,
                         struct buf *b) {
    buf_printf(b,
               "\"timing\":{\"decode_ms\":%.3f,\"vision_ms\":%.3f,\"%s\":%.3f,\"total_ms\":%.3f},",
               (double)c->decode_ns / 1e6, (double)s->vision_ns / 1e6, first,
               ms(c->born_ns, s->first_ns), ms(c->born_ns, s->end_ns));
}

/* The end of "usage":{...}. What depends on the company says nothing of a line of a batch. */
static void end_usage(const struct api_call *c, const struct eng_job_stats *s, struct buf *b) {
    if (!c->in.batch)
        buf_printf(b, ",\"rows\":%llu,\"rows_plain\":%llu,\"stem_tokens\":%u,\"stem_cached\":%u",
                   (unsigned long long)s->rows, (unsigned long long)s->rows_plain, s->stem_tokens,
                   s->stem_cached);
    buf_char(b, '}');
}

void figures_tail(struct api_call *c, struct buf *b) {
    struct eng_job_stats s;
    uint64_t prompt = 0, completion = 0;
    call_stats(c, &s);
    for (int i = 0; i < atomic_load(&c->n_jobs); i++) {
        uint32_t n; /* none was dropped: that is for pixels */
        eng_job_tokens(call_job(c, i), &n);
        completion += n;
        prompt += eng_job_prompt_tokens(call_job(c, i));
    }
    if (!c->in.batch) write_timing(c, &s, "first_ms", b);
    buf_printf(b, "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu",
               (unsigned long long)prompt, (unsigned long long)completion);
    end_usage(c, &s, b);
}

void figures_tail_pixels(struct api_call *c, uint32_t n, struct buf *b) {
    struct eng_job_stats s;
    call_stats(c, &s);
    if (!c->in.batch) write_timing(c, &s, "first_pixel_ms", b);
    buf_printf(b, "\"usage\":{\"pixels\":%u", n);
    end_usage(c, &s, b);
}

void figures_order(int box[4]) {
    for (int k = 0; k < 2; k++) {
        if (box[k] <= box[2 + k]) continue;
        int low = box[2 + k];
        box[2 + k] = box[k];
        box[k] = low;
    }
}

void figures_box(const struct api_call *c, const int percent[4], struct buf *b) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    buf_printf(b, "{\"x1\":%.2f,\"y1\":%.2f,\"x2\":%.2f,\"y2\":%.2f}", percent[0] * w / 100.0,
               percent[1] * h / 100.0, percent[2] * w / 100.0, percent[3] * h / 100.0);
}

int figures_check_box(struct api_call *c, const double box[4]) {
    int w, h;
    eng_picture_size(c->pictures[0], &w, &h);
    const char *why = NULL;
    if (box[0] >= box[2] || box[1] >= box[3])
        why = "x1 must be less than x2 and y1 less than y2";
    else if (box[0] < 0 || box[1] < 0 || box[2] > w || box[3] > h)
        why = "it must lie inside the picture";
    if (!why) return 0;
    return problem_set(&c->problem, PROBLEM_INVALID_PARAMETER, "box",
                       "box is x1,y1,x2,y2 in pixels of the picture, which is %d x %d; %s; got "
                       "%g,%g,%g,%g",
                       w, h, why, box[0], box[1], box[2], box[3]);
}
