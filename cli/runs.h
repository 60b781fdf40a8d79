/* runs.h - times of runs, and which of them to quote. Thread: its owner's. */
#ifndef CLI_RUNS_H
#define CLI_RUNS_H

enum { RUNS_MAX = 4096 };
struct runs {
    double at[RUNS_MAX]; /* seconds */
    int n;
};
void runs_add(struct runs *r, double v); /* no more than RUNS_MAX are kept */
/* The value below which `part` of them lie, 0 .. 1, between neighbours; 0 of none. Sorts. */
double runs_part(struct runs *r, double part);

#endif
