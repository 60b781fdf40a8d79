/* score.c - see score.h. */
#include "cli/gate/score.h"

#include <stdint.h>
#include <string.h>

#include "cli/eval/metric.h"

enum { WORDS_MAX = 512, BOXES_MAX = 128 };

/* ---- words ---- */

struct word {
    const char *at;
    size_t len;
};

static int score_is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c > 127;
}

/* Words behind the first WORDS_MAX are not looked at. */
static size_t words_of(const char *text, size_t len, struct word *to) {
    size_t n = 0;
    for (size_t i = 0; i < len && n < WORDS_MAX;) {
        size_t start = i;
        while (i < len && score_is_word(text[i]))
            i++;
        if (i > start)
            to[n++] = (struct word){text + start, i - start};
        else
            i++;
    }
    return n;
}

/* Not strncasecmp, which looks at the locale. */
static int score_is_same(const struct word *a, const struct word *b) {
    if (a->len != b->len) return 0;
    for (size_t i = 0; i < a->len; i++) {
        char x = a->at[i], y = b->at[i];
        if (x >= 'A' && x <= 'Z') x = (char)(x + ('a' - 'A'));
        if (y >= 'A' && y <= 'Z') y = (char)(y + ('a' - 'A'));
        if (x != y) return 0;
    }
    return 1;
}

static double f1(size_t both, size_t said, size_t right) {
    if (said + right == 0) return 1;
    return 2 * (double)both / (double)(said + right);
}

static double score_one(const struct word *said, size_t n_said, const char *right) {
    struct word words[WORDS_MAX];
    char used[WORDS_MAX] = {0};
    size_t n = words_of(right, strlen(right), words), both = 0;
    for (size_t i = 0; i < n_said; i++)
        for (size_t k = 0; k < n; k++)
            if (!used[k] && score_is_same(&said[i], &words[k])) {
                used[k] = 1;
                both++;
                break;
            }
    return f1(both, n_said, n);
}

double score_words(const char *said, size_t len, const char *const *right, size_t n) {
    struct word words[WORDS_MAX];
    size_t n_said = words_of(said, len, words);
    double best = 0;
    for (size_t i = 0; i < n; i++) {
        double one = score_one(words, n_said, right[i]);
        best = one > best ? one : best;
    }
    return best;
}

/* ---- boxes ---- */

/* "<57>" at `at`, up to `end`: its number and what follows; NULL: it is none. */
static const char *read_part(const char *at, const char *end, double *out) {
    int n = 0, digits = 0;
    if (at == end || *at++ != '<') return NULL;
    for (; at < end && digits < 3 && *at >= '0' && *at <= '9'; at++, digits++)
        n = 10 * n + (*at - '0');
    if (!digits || n > 100 || at == end || *at++ != '>') return NULL;
    *out = n;
    return at;
}

static size_t boxes_of(const char *text, size_t len, double (*to)[4]) {
    size_t n = 0;
    for (const char *at = text, *end = text + len; at < end && n < BOXES_MAX; at++) {
        const char *next = at + 1;
        if (*at != '{') continue;
        for (int k = 0; next && k < 4; k++)
            next = read_part(next, end, &to[n][k]);
        if (next && next < end && *next == '}') n++;
    }
    return n;
}

double score_boxes(const char *said, size_t len, const char *right) {
    double a[BOXES_MAX][4], b[BOXES_MAX][4];
    char used[BOXES_MAX] = {0};
    size_t n = boxes_of(said, len, a), m = boxes_of(right, strlen(right), b), both = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < m; k++)
            if (!used[k] && metric_hit(a[i], b[k])) {
                used[k] = 1;
                both++;
                break;
            }
    return f1(both, n, m);
}
