/* main.c - which subcommand, and what to say when there is none. */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"

#ifndef LAMMD_VERSION
#define LAMMD_VERSION "0.1.0"
#endif

static const struct command {
    const char *name;
    enum config_cmd cmd;
    int (*run)(const struct config *cfg);
    const char *usage, *help;
} commands[] = {
    {"serve", CMD_SERVE, cmd_serve, "serve [OPTIONS]", "answer HTTP requests until SIGTERM"},
    {"reconstruct", CMD_RECONSTRUCT, cmd_reconstruct, "reconstruct PHOTO -o SEEN.png [OPTIONS]",
     "write what the model sees of a photo"},
    {"ask", CMD_ASK, cmd_ask, "ask TASK PHOTO... [NAME=VALUE...]",
     "segment, refer, describe, vqa, act or pixels of a photo; fields as in openapi.yaml"},
    {"eval", CMD_EVAL, cmd_eval, "eval pvp|rec|seg|vqa|game PATH [OPTIONS]",
     "the paper's figures on pictures and annotations: pixels, boxes, masks, answers, actions"},
    {"bench", CMD_BENCH, cmd_bench, "bench pix4096 [PHOTO] | mix [OPTIONS]",
     "how fast every pixel of a picture is answered here; how well tasks share the machine"},
};

static int overview(FILE *to) {
    fputs("lammd serves PAE-LaMM, the model that can be asked for the colour of any pixel.\n\n",
          to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  lammd %-42s %s\n", commands[i].usage, commands[i].help);
    fprintf(to, "  lammd %-42s %s\n", "version", "print the version");
    fputs("\nlammd COMMAND --help lists a command's options.\n", to);
    return to == stdout ? 0 : 2;
}

static int help_on(const struct command *c, FILE *to) {
    fprintf(to, "usage: lammd %s\n%s\n\n", c->usage, c->help);
    config_help(c->cmd, to);
    return to == stdout ? 0 : 2;
}

int cmd_fail(const struct err *e) {
    fprintf(stderr, "lammd: %s\n", e->text);
    return 1;
}

static const struct command *find(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("lammd %s\n", LAMMD_VERSION);
        return 0;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        const struct command *about = argc > 2 ? find(argv[2]) : NULL;
        return about ? help_on(about, stdout) : overview(stdout);
    }
    const struct command *c = find(name);
    if (!c) {
        if (*name) fprintf(stderr, "lammd: there is no command \"%s\"\n\n", name);
        return overview(stderr);
    }
    struct config cfg;
    struct err e = {0};
    if (config_parse(&cfg, c->cmd, argc - 2, argv + 2, &e)) {
        cmd_fail(&e);
        return 2;
    }
    return cfg.is_help ? help_on(c, stdout) : c->run(&cfg);
}
