/* cmd.h - the subcommands. Each gets its parsed options and returns the exit status: 0, 1 when it
 * failed (and said why on standard error), 2 when the command line is wrong. */
#ifndef SERVER_CMD_CMD_H
#define SERVER_CMD_CMD_H

#include "server/config.h"

int cmd_serve(const struct config *cfg);
int cmd_reconstruct(const struct config *cfg);
int cmd_ask(const struct config *cfg);
int cmd_eval(const struct config *cfg);
int cmd_bench(const struct config *cfg);
int cmd_bench_mix(const struct config *cfg); /* of cmd_bench */

/* Print "lammd: text" on standard error; returns 1. */
int cmd_fail(const struct err *e);

#endif
