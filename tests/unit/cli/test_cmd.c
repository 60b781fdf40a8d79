/* test_cmd.c - the table of commands: every command can be found, and its help is complete. */
#include "cli/cmd.h"

#include <stdlib.h>

#include "kernels/base/err.h"
#include "tests/check.h"

/* What `print` prints. */
static char *printed(void (*print)(const struct cmd *c, FILE *to), const struct cmd *c) {
    static char text[16384];
    FILE *f = fmemopen(text, sizeof(text), "w");
    print(c, f);
    CHECK(ftell(f) < (long)sizeof(text) - 1);
    fclose(f);
    return text;
}

static void overview(const struct cmd *c, FILE *to) {
    (void)c;
    cmd_overview(to);
}

TEST(cmd_help_is_complete) {
    static const char *const names[] = {"serve", "reconstruct", "ask", "eval", "bench", "train"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct cmd *c = cmd_find(names[i]);
        char usage[200], example[40];
        CHECK(c != NULL);
        CHECK_HAS(printed(overview, NULL), c->summary);
        const char *help = printed(cmd_help, c);
        snprintf(usage, sizeof(usage), "usage: lammd %s %s\n", c->name, c->usage);
        snprintf(example, sizeof(example), "\n  lammd %s", c->name);
        CHECK_MEM(help, usage, strlen(usage));
        CHECK_HAS(help, c->about);
        CHECK_HAS(help, "  --model DIR");
        CHECK_HAS(strstr(help, "\nExamples:\n"), example);
        for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
            CHECK(strcspn(line, "\n") <= 100);
    }
    CHECK(cmd_find("") == NULL && cmd_find("serv") == NULL && cmd_find("help") == NULL);
    CHECK_HAS(printed(cmd_help, cmd_find("eval")), "\n  seg      FOLDER|FILE  masks");
}

TEST(cmd_statuses) {
    CHECK_EQ(cmd_misused(CMD_ASK), 2);
    CHECK_EQ(cmd_fail(&(struct err){.text = "no"}), 1);
}
