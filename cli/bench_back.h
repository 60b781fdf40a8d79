/* bench_back.h - the operations of training, there and back, at a model's shapes: the second half
 * of `lammd bench train`. Thread: main's.
 */
#ifndef CLI_BENCH_BACK_H
#define CLI_BENCH_BACK_H

#include "cli/config.h"
#include "engine/train/train.h"

/* Prints a table for one thread and one for all, or rows of JSON, `*n_printed` counting them.
 * E_NOMEM, E_DEVICE, those of kern_choose. */
int bench_back(const struct config *cfg, const struct train_form *form, int *n_printed,
               struct err *e);

/* bench_back_ops.c: one operation's operands, and a list of what there is to be run. */
struct back_stage;
typedef void back_run_fn(const struct back_stage *s);
struct back_case {
    char name[48];
    back_run_fn *run[3];    /* there, and one or two ways back; NULL: there is no second */
    int m, n, k, heads;     /* rows, outputs, inputs (0: no product) */
    int stem;               /* rows of a prompt tree's stem; 0: there is no tree */
    double flop, back_flop; /* of each way; 0: time alone is told */
    int bar;                /* percent of the rate there that a way back should have */
};
enum { BACK_CASES = 20 };
int back_cases(const struct train_form *form, struct back_case out[BACK_CASES]); /* how many */

struct kern;
struct kern_ops;
int back_stage_open(const struct kern_ops *ops, struct kern *k, const struct back_case *c,
                    struct back_stage **out, struct err *e);
void back_stage_close(struct back_stage *s); /* NULL is legal */

#endif
