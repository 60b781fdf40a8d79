/* metric.c - see metric.h. Thread: any. */
#include "cli/eval/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/num.h"

/* ---- boxes ---- */

double metric_iou(const double a[4], const double b[4]) {
    double w = fmin(a[2], b[2]) - fmax(a[0], b[0]) + 1;
    double h = fmin(a[3], b[3]) - fmax(a[1], b[1]) + 1;
    double both = fmax(w, 0) * fmax(h, 0);
    double either =
        (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - both;
    return either > 0 ? both / either : 0;
}

int metric_hit(const double a[4], const double b[4]) { return metric_iou(a, b) > 0.5; }

void metric_box_pixels(const uint8_t spoken[4], int w, int h, double out[4]) {
    for (int i = 0; i < 4; i++)
        out[i] = spoken[i] / 100.0 * (i % 2 ? h : w);
}

void metric_box_spoken(const double box[4], int w, int h, uint8_t out[4]) {
    for (int i = 0; i < 4; i++) {
        double v = 100 * box[i] / (i % 2 ? h : w);
        out[i] = (uint8_t)(v < 0 ? 0 : v > 100 ? 100 : v);
    }
}

struct metric_cells metric_box_cells(const uint8_t s[4], int grid) {
    return (struct metric_cells){s[0] * grid / 100, s[1] * grid / 100, (s[2] * grid + 99) / 100,
                                 (s[3] * grid + 99) / 100};
}

const uint8_t metric_central_box[4] = {20, 20, 80, 80};

static int within(double v, int most) { return v < 0 ? 0 : v > most ? most : (int)v; }

struct metric_cells metric_pixel_cells(const double b[4], int w, int h, int grid) {
    return (struct metric_cells){
        within(floor(b[0] * grid / w), grid), within(floor(b[1] * grid / h), grid),
        within(ceil(b[2] * grid / w), grid), within(ceil(b[3] * grid / h), grid)};
}

/* ---- texts ---- */

double metric_vizwiz(const char *answer, const char *const *people, size_t n) {
    int same = 0;
    for (size_t i = 0; i < n; i++)
        same += strcmp(answer, people[i]) == 0;
    return same < 3 ? same / 3.0 : 1;
}

static int metric_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c & 0x80;
}

int metric_says(const char *text, const char *name) {
    size_t len = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at++)
        if ((at == text || !metric_letter(at[-1])) && !metric_letter(at[len])) return 1;
    return 0;
}

/* ---- luck ---- */

void metric_wilson(double right, double n, double *low, double *high) {
    static const double z = 1.959964;
    double p = right / n, wide = 1 + z * z / n;
    double middle = (p + z * z / (2 * n)) / wide;
    double off = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / wide;
    *low = fmax(middle - off, 0);
    *high = fmin(middle + off, 1);
}

/* ---- constants ---- */

static int by_answer(const void *a, const void *b) {
    const struct metric_vote *x = a, *y = b;
    return strcmp(x->answer, y->answer);
}

double metric_best_constant(struct metric_vote *votes, size_t n, const char *group,
                            const char **answer) {
    double best = 0;
    *answer = "";
    if (n > 1) qsort(votes, n, sizeof(*votes), by_answer);
    for (size_t i = 0; i < n;) {
        size_t first = i;
        double sum = 0;
        for (; i < n && strcmp(votes[i].answer, votes[first].answer) == 0; i++)
            if (!group || strcmp(votes[i].group, group) == 0) sum += votes[i].score;
        if (sum > best) {
            best = sum;
            *answer = votes[first].answer;
        }
    }
    return best;
}

int metric_median(int *values, size_t n) {
    if (n == 0) return 0;
    qsort(values, n, sizeof(*values), by_int32);
    return values[(n - 1) / 2];
}
