/* curve.c - see curve.h.
 *
 * The table is read twice: once for the extent of the axes, once to draw. Where several steps fall
 * into one column of pixels, their mean is drawn.
 */
#include "cli/train/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sample.h"

enum { LEFT = 62, RIGHT = 150, TOP = 16, BOTTOM = 34, SCALE = 2 /* of a letter of 3 x 5 */ };
enum { COLUMN_STEP = 0, COLUMN_STAGE = 1, COLUMN_KIND = 2, COLUMN_TASKS = 12 };
enum { COLUMNS = COLUMN_TASKS + SAMPLE_TASKS, PLOT_W = CURVE_W - LEFT - RIGHT };

struct curve {
    uint8_t *rgb;
    double steps, low, high; /* of the axes; low and high are logarithms to base 10 */
};

/* 0-9, a-z, '.' and '-': rows of three pixels, an octal digit each. */
static const char *const letters[] = {
    "75557", "26227", "71747", "71317", "55711", "74717", "74757", "71122", "75757", "75717",
    "25755", "65656", "34443", "65556", "74647", "74644", "34553", "55755", "72227", "11152",
    "55655", "44447", "57755", "65555", "25552", "65644", "25563", "65655", "34216", "72222",
    "55557", "55552", "55775", "55255", "55222", "71247", "00002", "00700"};
static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz.-";

static const uint8_t colours[SAMPLE_TASKS][3] = {{31, 119, 180},  {214, 39, 40},   {44, 160, 44},
                                                 {255, 127, 14},  {148, 103, 189}, {140, 86, 75},
                                                 {227, 119, 194}, {127, 127, 127}, {188, 189, 34},
                                                 {23, 190, 207},  {0, 0, 0}};

/* ---- pixels ---- */

static void curve_dot(struct curve *c, int x, int y, const uint8_t *colour) {
    if (x >= 0 && x < CURVE_W && y >= 0 && y < CURVE_H)
        memcpy(c->rgb + 3 * ((size_t)y * CURVE_W + (size_t)x), colour, 3);
}

static void fill(struct curve *c, int x, int y, int w, int h, const uint8_t *colour) {
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++)
            curve_dot(c, x + i, y + j, colour);
}

/* Two pixels high, so that it is seen. */
static void stroke(struct curve *c, int x0, int y0, int x1, int y1, const uint8_t *colour) {
    int n = abs(x1 - x0) > abs(y1 - y0) ? abs(x1 - x0) : abs(y1 - y0);
    for (int i = 0; i <= n; i++) {
        int x = n ? x0 + (int)lround((double)(x1 - x0) * i / n) : x0;
        int y = n ? y0 + (int)lround((double)(y1 - y0) * i / n) : y0;
        fill(c, x, y, 1, 2, colour);
    }
}

static int text_width(const char *s) { return (int)strlen(s) * 4 * SCALE - SCALE; }

static void text(struct curve *c, int x, int y, const char *s, const uint8_t *colour) {
    for (; *s; s++, x += 4 * SCALE) {
        const char *at = strchr(alphabet, *s);
        for (int row = 0; at && row < 5; row++) {
            int bits = letters[at - alphabet][row] - '0';
            for (int k = 0; k < 3; k++)
                if (bits >> (2 - k) & 1)
                    fill(c, x + k * SCALE, y + row * SCALE, SCALE, SCALE, colour);
        }
    }
}

/* ---- the table ---- */

struct row {
    double step, loss[SAMPLE_TASKS]; /* NAN: the row has none */
    const char *stage;
    int stage_len, is_judgement;
};

/* The row at *at, which moves behind it. 0, or E_FORMAT. */
static int read_row(const char **at, const char *end, struct row *r) {
    const char *s = *at, *stop = memchr(s, '\n', (size_t)(end - s));
    if (!stop) stop = end;
    *at = stop < end ? stop + 1 : end;
    int k = 0;
    for (;; k++) {
        const char *comma = memchr(s, ',', (size_t)(stop - s));
        const char *to = comma ? comma : stop;
        char cell[40];
        snprintf(cell, sizeof(cell), "%.*s", (int)(to - s), s);
        if (k == COLUMN_STEP) r->step = strtod(cell, NULL);
        if (k == COLUMN_STAGE) r->stage = s, r->stage_len = (int)(to - s);
        if (k == COLUMN_KIND) r->is_judgement = strcmp(cell, "judge") == 0;
        if (k >= COLUMN_TASKS && k < COLUMNS)
            r->loss[k - COLUMN_TASKS] = *cell ? strtod(cell, NULL) : NAN;
        if (!comma) break;
        s = comma + 1;
    }
    return k + 1 >= COLUMNS && isfinite(r->step) && r->step >= 0 ? 0 : E_FORMAT;
}

/* Rows behind the head. */
static const char *first_row(const char *csv, size_t len) {
    const char *stop = memchr(csv, '\n', len);
    return stop ? stop + 1 : csv + len;
}

static int is_shown(double loss) { return isfinite(loss) && loss > 1e-6; }

static int measure(struct curve *c, const char *csv, size_t len, struct err *e) {
    double low = INFINITY, high = 0;
    for (const char *at = first_row(csv, len), *end = csv + len; at < end;) {
        struct row r = {0};
        if (read_row(&at, end, &r))
            return err_set(e, E_FORMAT, "losses.csv has a row of another form");
        if (r.step > c->steps) c->steps = r.step;
        for (int t = 0; t < SAMPLE_TASKS; t++) {
            if (!is_shown(r.loss[t])) continue;
            low = fmin(low, r.loss[t]);
            high = fmax(high, r.loss[t]);
        }
    }
    if (high <= 0 || c->steps <= 0) return err_set(e, E_NOT_FOUND, "there is no loss to be drawn");
    c->low = floor(log10(low) * 3) / 3;
    c->high = fmax(ceil(log10(high) * 3) / 3, c->low + 1.0 / 3);
    return 0;
}

/* ---- axes ---- */

static int x_of(const struct curve *c, double step) {
    return LEFT + (int)lround(step / c->steps * (PLOT_W - 1));
}
static int y_of(const struct curve *c, double loss) {
    double part = (log10(loss) - c->low) / (c->high - c->low);
    return CURVE_H - BOTTOM - 1 - (int)lround(part * (CURVE_H - TOP - BOTTOM - 1));
}

static void draw_losses_axis(struct curve *c) {
    static const uint8_t grey[3] = {225, 225, 225}, black[3] = {60, 60, 60};
    static const double marks[] = {1, 2, 5};
    for (int ten = -6; ten <= 6; ten++) {
        for (size_t k = 0; k < ARRAY_LEN(marks); k++) {
            double v = marks[k] * pow(10, ten);
            if (log10(v) < c->low - 1e-9 || log10(v) > c->high + 1e-9) continue;
            char name[24];
            snprintf(name, sizeof(name), "%g", v);
            fill(c, LEFT, y_of(c, v), PLOT_W, 1, grey);
            text(c, LEFT - 8 - text_width(name), y_of(c, v) - 5, name, black);
        }
    }
}

static void draw_steps_axis(struct curve *c) {
    static const uint8_t grey[3] = {225, 225, 225}, black[3] = {60, 60, 60};
    double each = pow(10, floor(log10(c->steps)));
    if (c->steps / each < 2)
        each /= 5;
    else if (c->steps / each < 5)
        each /= 2;
    if (each < 1) each = 1;
    for (double v = 0; v <= c->steps; v += each) {
        char name[24];
        snprintf(name, sizeof(name), "%.0f", v);
        fill(c, x_of(c, v), TOP, 1, CURVE_H - TOP - BOTTOM, grey);
        text(c, x_of(c, v) - text_width(name) / 2, CURVE_H - BOTTOM + 10, name, black);
    }
    fill(c, LEFT, CURVE_H - BOTTOM, PLOT_W, 1, black);
    fill(c, LEFT, TOP, 1, CURVE_H - TOP - BOTTOM, black);
}

/* ---- lines ---- */

/* A line of one task: the mean of each column of pixels, joined. */
struct line {
    int column, n, last_x, last_y;
    double sum;
};

static void line_flush(struct curve *c, struct line *l, const uint8_t *colour) {
    if (!l->n) return;
    int y = y_of(c, l->sum / l->n);
    stroke(c, l->last_x < 0 ? l->column : l->last_x, l->last_x < 0 ? y : l->last_y, l->column, y,
           colour);
    l->last_x = l->column;
    l->last_y = y;
    l->n = 0;
    l->sum = 0;
}

static void draw_rows(struct curve *c, const char *csv, size_t len, int task) {
    const uint8_t *colour = colours[task];
    struct line l = {.last_x = -1};
    for (const char *at = first_row(csv, len), *end = csv + len; at < end;) {
        struct row r = {0};
        (void)read_row(&at, end, &r); /* measured before */
        if (!is_shown(r.loss[task])) continue;
        int x = x_of(c, r.step);
        if (r.is_judgement) {
            fill(c, x - 3, y_of(c, r.loss[task]) - 3, 7, 7, colour);
            continue;
        }
        if (x != l.column) line_flush(c, &l, colour);
        l.column = x;
        l.sum += r.loss[task];
        l.n++;
    }
    line_flush(c, &l, colour);
}

/* Where a stage begins. */
static void draw_stages(struct curve *c, const char *csv, size_t len) {
    static const uint8_t grey[3] = {150, 150, 150};
    struct row before = {0};
    for (const char *at = first_row(csv, len), *end = csv + len; at < end;) {
        struct row r = {0};
        (void)read_row(&at, end, &r);
        int is_new = before.stage && (before.stage_len != r.stage_len ||
                                      memcmp(before.stage, r.stage, (size_t)r.stage_len) != 0);
        if (is_new) fill(c, x_of(c, before.step), TOP, 1, CURVE_H - TOP - BOTTOM, grey);
        before = r;
    }
}

static int curve_has_task(const char *csv, size_t len, int task) {
    for (const char *at = first_row(csv, len), *end = csv + len; at < end;) {
        struct row r = {0};
        (void)read_row(&at, end, &r);
        if (is_shown(r.loss[task])) return 1;
    }
    return 0;
}

int curve_draw(const char *csv, size_t len, uint8_t *rgb, struct err *e) {
    struct curve c = {.rgb = rgb};
    int rc = measure(&c, csv, len, e), shown = 0;
    if (rc) return rc;
    memset(rgb, 255, (size_t)CURVE_W * CURVE_H * 3);
    draw_losses_axis(&c);
    draw_steps_axis(&c);
    draw_stages(&c, csv, len);
    for (int t = 0; t < SAMPLE_TASKS; t++) {
        if (!curve_has_task(csv, len, t)) continue;
        draw_rows(&c, csv, len, t);
        text(&c, CURVE_W - RIGHT + 14, TOP + 18 * shown++, sample_task_words[t], colours[t]);
    }
    return 0;
}
