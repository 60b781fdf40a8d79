/* runs.h - the times of runs, and their percentiles. Thread: its owner's. */
#ifndef CLI_RUNS_H
#define CLI_RUNS_H

enum { RUNS_MAX = 4096 };
struct runs {
    double at[RUNS_MAX]; /* seconds */
    int n;
};
void runs_add(struct runs *r, double v); /* no more than RUNS_MAX are kept */
/* The time below which `part` of the runs lie, 0 .. 1, interpolated; 0 when there is none. Sorts.
 */
double runs_part(struct runs *r, double part);

#endif
