/* fuzz_lines.c - bytes as lines of training data. A line that is taken is within its bounds and can
 * be asked about; one that isn't has a code, a field and a reason. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "data/source/line.h"
#include "data/source/url.h"
#include "engine/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_box(const double b[4]) {
    for (int i = 0; i < 4; i++)
        must(isfinite(b[i]));
    must(b[0] < b[2] && b[1] < b[3]);
}

static void check_phrases(const struct line *l) {
    for (uint32_t i = 0; i < l->n_phrases; i++) {
        const struct line_phrase *p = &l->phrases[i];
        must(p->n_boxes >= 1 && p->n_boxes <= LINE_BOXES_MAX);
        for (uint32_t k = 0; k < p->n_boxes; k++)
            check_box(p->boxes[k]);
        if (l->caption) must(strncmp(l->caption + p->at, p->text, strlen(p->text)) == 0);
    }
}

static void check_pictures(const struct line *l) {
    for (uint32_t i = 0; i < l->n_pictures; i++) {
        struct buf b;
        if (!url_is(l->pictures[i])) continue;
        buf_init(&b, SOURCE_LINE_MAX);
        must(url_decode(l->pictures[i], &b) == 0 && b.len > 0);
        buf_clear(&b);
    }
}

static void check_line(const struct line *l) {
    uint32_t pictures = 0;
    must(l->tasks && l->tasks < 1u << SAMPLE_TASKS && l->n_pictures <= SAMPLE_PICTURES_MAX);
    if (l->tasks & (1u << SAMPLE_REFER | 1u << SAMPLE_IDENTIFY)) check_box(l->box);
    if (l->tasks & 1u << SAMPLE_MASK) must(l->mask.kind != LINE_MASK_NONE && l->sentence);
    if (l->tasks & 1u << SAMPLE_VQA) must(l->question && l->n_answers >= 1);
    if (l->tasks & 1u << SAMPLE_CHAT) must(l->n_turns >= 1 && l->n_turns <= SAMPLE_TURNS_MAX);
    for (uint32_t i = 0; i < l->n_turns; i++) {
        pictures += l->turns[i].n_pictures;
        must(eng_check_learnt(l->turns[i].question, 1, "q", NULL) == 0);
        must(eng_check_learnt(l->turns[i].answer, 1, "a", NULL) == 0);
    }
    must(!l->n_turns || pictures == l->n_pictures);
    check_phrases(l);
    check_pictures(l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        struct line l;
        struct line_fault why;
        int rc = line_read(at, n, eng_check_learnt, &l, &why);
        must(rc == 0 || (rc == E_FORMAT && why.code && why.reason[0]));
        if (rc == 0) check_line(&l);
        line_clear(&l);
        at += n + 1;
    }
    return 0;
}
