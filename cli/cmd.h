/* cmd.h - the commands, and what all of them say to a user.
 *
 * A command gets its parsed options and returns the exit status: 0; 1 when it failed, and said why
 * on standard error; 2 when the command line is wrong. Thread: main's.
 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <stdio.h>

#include "cli/config.h"
#include "server/serve.h"

struct cmd {
    const char *name;
    enum config_cmd cmd;
    int (*run)(const struct config *cfg);
    const char *usage;           /* what follows the name */
    const char *const *words;    /* that its first argument may be; NULL: it isn't one of a few */
    const char *summary;         /* a few words, for the list of commands */
    const char *about;           /* sentences */
    void (*arguments)(FILE *to); /* a table of what `usage` takes; NULL: nothing to be said */
    const char *examples;        /* command lines, one a line */
};

const struct cmd *cmd_find(const char *name); /* NULL: there is none */
const struct cmd *cmd_all(size_t *n);
void cmd_overview(FILE *to);
void cmd_help(const struct cmd *c, FILE *to);

/* Print "lammd: text" on standard error; returns 1. */
int cmd_fail(const struct err *e);
/* Print how the command is used on standard error; returns 2. */
int cmd_misused(enum config_cmd cmd);

int cmd_serve(const struct config *cfg);
int cmd_reconstruct(const struct config *cfg);
int cmd_ask(const struct config *cfg);
int cmd_batch(const struct config *cfg);
int cmd_eval(const struct config *cfg);
int cmd_train(const struct config *cfg);
int cmd_import(const struct config *cfg);
int cmd_keys(const struct config *cfg);
int cmd_adapters(const struct config *cfg);
int cmd_jobs(const struct config *cfg);
int cmd_bench(const struct config *cfg);
int cmd_bench_mix(const struct config *cfg);      /* of cmd_bench */
int cmd_bench_beside(const struct config *cfg);   /* of cmd_bench */
int cmd_bench_ops(const struct config *cfg);      /* of cmd_bench */
int cmd_bench_train(const struct config *cfg);    /* of cmd_bench */
int cmd_bench_replicas(const struct config *cfg); /* of cmd_bench */

/* Their tables of arguments. */
void cmd_ask_arguments(FILE *to);
void cmd_eval_arguments(FILE *to);
void cmd_import_arguments(FILE *to);
void cmd_bench_arguments(FILE *to);
void cmd_keys_arguments(FILE *to);
void cmd_adapters_arguments(FILE *to);
void cmd_jobs_arguments(FILE *to);

/* What `lammd serve` starts, for a model in that folder; borrows `cfg`. */
struct serve_options cmd_serve_options(const struct config *cfg, const char *model);

#endif
