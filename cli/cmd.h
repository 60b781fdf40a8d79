/* cmd.h - the subcommands. Each gets its parsed options and returns the exit status: 0, 1 when it
 * failed (and said why on standard error), 2 when the command line is wrong. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "cli/config.h"

int cmd_serve(const struct config *cfg);
int cmd_reconstruct(const struct config *cfg);
int cmd_ask(const struct config *cfg);
int cmd_eval(const struct config *cfg);
int cmd_bench(const struct config *cfg);
int cmd_bench_mix(const struct config *cfg); /* of cmd_bench */

/* Print "lammd: text" on standard error; returns 1. */
int cmd_fail(const struct err *e);

#endif
