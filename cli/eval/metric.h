/* metric.h - the metrics of docs/model.md section 7 to the letter. Pure functions over plain
 * values.
 *
 * Boxes are x1, y1, x2, y2 in pixels. A box that the model says is in hundredths of the sides,
 * truncated.
 */
#ifndef CLI_EVAL_METRIC_H
#define CLI_EVAL_METRIC_H

#include <stddef.h>
#include <stdint.h>

/* Intersection over union with one pixel added to every width and height, as the public REC script
 * has it. 0 when there is no union, as with boxes that are turned around. */
double metric_iou(const double a[4], const double b[4]);
/* P@0.5: strictly more than half. */
int metric_hit(const double a[4], const double b[4]);

/* Hundredths -> pixels of a picture (w, h), and back: truncated and kept within 0..100. */
void metric_box_pixels(const uint8_t spoken[4], int w, int h, double out[4]);
void metric_box_spoken(const double box[4], int w, int h, uint8_t out[4]);
/* Hundredths -> columns x1..x2-1 and rows y1..y2-1 of a grid: floor of the near side, ceiling of
 * the far one. Empty when the box is turned around. */
struct metric_cells {
    int x1, y1, x2, y2;
};
struct metric_cells metric_box_cells(const uint8_t spoken[4], int grid);
/* The same for a box in pixels. */
struct metric_cells metric_pixel_cells(const double box[4], int w, int h, int grid);
/* In the middle, from 20 to 80 hundredths of the sides: a box without looking. */
extern const uint8_t metric_central_box[4];

/* VizWiz: a third for each of the people's answers that is the same, at most 1. */
double metric_vizwiz(const char *answer, const char *const *people, size_t n);

/* Is `name` said in `text`? It must stand there as whole words; what is no letter or digit (bytes
 * above 127 are letters) ends a word. Both plain; `name` is not empty. */
int metric_says(const char *text, const char *name);

/* ---- luck ---- */

/* Wilson's 95 % interval (1927) of a share: `right` of n, n > 0. */
void metric_wilson(double right, double n, double *low, double *high);

/* ---- the score of a constant answer ---- */
struct metric_vote {
    const char *group, *answer; /* plain */
    double score;               /* of this answer to one question */
};
/* Sum of scores of the best single answer in `group` (NULL: over all questions). Sorts `votes`. */
double metric_best_constant(struct metric_vote *votes, size_t n, const char *group,
                            const char **answer);

/* Middle of n values, the lower of two; 0 of none. Sorts. */
int metric_median(int *values, size_t n);

#endif
