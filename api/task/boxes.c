/* boxes.c - see boxes.h. A phrase holds for the boxes right behind it, which `<delim>` may part. */
#include "api/task/boxes.h"

#include <string.h>

#include "api/task/figures.h"

static int boxes_is_here(const struct boxes *b, size_t at, const char *word) {
    size_t n = strlen(word);
    return b->len - at >= n && memcmp(b->text + at, word, n) == 0;
}

/* `<p>..</p>` at b->at: past it, with its phrase. */
static int take_phrase(struct boxes *b) {
    if (!boxes_is_here(b, b->at, "<p>")) return 0;
    const char *from = b->text + b->at + 3, *end = b->text + b->len;
    const char *close = memmem(from, (size_t)(end - from), "</p>", 4);
    if (!close) return 0;
    b->at = (size_t)(close + 4 - b->text);
    while (from < close && *from == ' ')
        from++;
    while (close > from && close[-1] == ' ')
        close--;
    b->phrase = from;
    b->phrase_len = (size_t)(close - from);
    return 1;
}

/* `<12>` at *at: past it. -1: there is none. */
static int take_number(const struct boxes *b, size_t *at) {
    size_t i = *at;
    int v = 0, digits = 0;
    if (i >= b->len || b->text[i++] != '<') return -1;
    for (; i < b->len && b->text[i] >= '0' && b->text[i] <= '9' && digits < 4; i++, digits++)
        v = v * 10 + (b->text[i] - '0');
    if (!digits || i >= b->len || b->text[i] != '>' || v > 100) return -1;
    *at = i + 1;
    return v;
}

static int boxes_take_box(struct boxes *b, int percent[4]) {
    size_t at = b->at + 1;
    if (b->text[b->at] != '{') return 0;
    for (int k = 0; k < 4; k++) {
        percent[k] = take_number(b, &at);
        if (percent[k] < 0) return 0;
    }
    if (at >= b->len || b->text[at] != '}') return 0;
    b->at = at + 1;
    return 1;
}

int boxes_next(struct boxes *b, struct box_named *out) {
    while (b->at < b->len) {
        if (take_phrase(b)) continue;
        if (boxes_take_box(b, out->percent)) {
            figures_order(out->percent);
            out->phrase = b->phrase;
            out->phrase_len = b->phrase_len;
            return 1;
        }
        if (boxes_is_here(b, b->at, "<delim>")) {
            b->at += strlen("<delim>");
            continue;
        }
        if (b->text[b->at] != ' ') b->phrase = NULL;
        b->at++;
    }
    return 0;
}
