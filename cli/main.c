/* main.c - the words behind `lammd`: which command they name, and what to say when they name none.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "kernels/base/version.h"

/* `about`: the command that help is wanted for; NULL: for all. */
static int help(const char *about) {
    const struct cmd *c = about ? cmd_find(about) : NULL;
    if (c)
        cmd_help(c, stdout);
    else
        cmd_overview(stdout);
    return 0;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("lammd %s\n", LAMMD_VERSION);
        return 0;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (!*name) {
        cmd_overview(stderr);
        return 2;
    }
    const struct cmd *c = cmd_find(name);
    if (!c) {
        fprintf(stderr, "lammd: unknown command %s; see lammd help\n", name);
        return 2;
    }
    struct config cfg;
    struct err e = {0};
    if (config_parse(&cfg, c->cmd, argc - 2, argv + 2, &e)) {
        fprintf(stderr, "lammd: %s; see lammd %s --help\n", e.text, name);
        return 2;
    }
    int status = cfg.is_help ? help(name) : c->run(&cfg);
    config_clear(&cfg);
    return status;
}
