/* test_config_file.c - lammd.conf: what it says, what the command line says over it, and every way
 * to be wrong. */
#include "cli/config_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/ini.h"
#include "tests/check.h"

/* A file of that text; the test's process takes it away. */
static const char *file_of(const char *text) {
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/lammd-conf-%ld", (long)getpid());
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    fputs(text, f);
    fclose(f);
    return path;
}

static int run_with(const char *text, struct config *cfg, struct err *e, char **words) {
    char *all[16] = {"--config", (char *)file_of(text)};
    int n = 2;
    for (int i = 0; words[i]; i++)
        all[n++] = words[i];
    int rc = config_parse(cfg, CMD_SERVE, n, all, e);
    unlink(all[1]);
    return rc;
}
#define WITH(text, cfg, e, ...) run_with(text, cfg, e, (char *[]){__VA_ARGS__, NULL})
#define ALONE(text, cfg, e)     run_with(text, cfg, e, (char *[]){NULL})

TEST(config_file_reads) {
    struct config cfg;
    CHECK_EQ(ALONE("# comment\n\nlisten = 127.0.0.1:0\nlisten=[::1]:9   # and this\n"
                   "threads\t= 2\r\ncached-images = -1\nverbose = yes\nlauncher = pull\n"
                   "model = /m=n o#p\ninsecure = no\ntrusted-proxy = 10.0.0.0/8",
                   &cfg, NULL),
             0);
    CHECK_EQ(cfg.listen.n, 2);
    CHECK_STR(cfg.listen.at[1], "[::1]:9");
    CHECK_EQ(cfg.threads, 2);
    CHECK_EQ(cfg.cached_images, -1);
    CHECK_EQ(cfg.is_verbose, 1);
    CHECK_EQ(cfg.is_insecure, 0);
    CHECK_EQ(cfg.launcher, 1);
    CHECK_STR(cfg.model, "/m=n o#p");
    CHECK_EQ(cfg.nets[0].bits, 96 + 8);
    CHECK_EQ(cfg.connections, 1024); /* what neither says is the default */
    config_clear(&cfg);
    CHECK_EQ(ALONE("", &cfg, NULL), 0);
    CHECK_EQ(cfg.drain_s, 60);
    config_clear(&cfg);
    config_clear(&cfg);
}

TEST(config_file_yields_to_the_command_line) {
    struct config cfg;
    static const char text[] = "listen = 127.0.0.1:1\nlisten = 127.0.0.1:2\nthreads = 2\n"
                               "verbose = yes\nallow-host = here\nmodel = /m\n";
    CHECK_EQ(WITH(text, &cfg, NULL, "--listen", "127.0.0.1:3", "--listen=127.0.0.1:4",
                  "--verbose=no", "--threads=3"),
             0);
    CHECK_EQ(cfg.listen.n, 2);
    CHECK_STR(cfg.listen.at[0], "127.0.0.1:3");
    CHECK_STR(cfg.listen.at[1], "127.0.0.1:4");
    CHECK_EQ(cfg.hosts.n, 1);
    CHECK_STR(cfg.hosts.at[0], "here");
    CHECK_EQ(cfg.is_verbose, 0);
    CHECK_EQ(cfg.threads, 3);
    CHECK_STR(cfg.model, "/m");
    config_clear(&cfg);
    /* Help needs no file, so a wrong one keeps nobody from reading it. */
    char *words[] = {"--config", "/nowhere", "--help"};
    CHECK_EQ(config_parse(&cfg, CMD_SERVE, 3, words, NULL), 0);
    CHECK(cfg.is_help);
}

static void check_refused(const char *text, const char *part) {
    struct config cfg;
    struct err e = {0};
    CHECK(ALONE(text, &cfg, &e) < 0);
    CHECK_HAS(e.text, part);
}

TEST(config_file_refuses) {
    check_refused("\nthread = 2\n", ":2: there is no option \"thread\"; did you mean \"threads\"?");
    check_refused("zzzzzzzzzzzz = 2\n",
                  ":1: there is no option \"zzzzzzzzzzzz\"; lammd serve --help lists all");
    check_refused("repeat = 2\n", "there is no option \"repeat\""); /* of another command */
    check_refused("--threads = 2\n", "\"--threads\": names stand here without dashes in front");
    check_refused(
        "threads = 2\nlanes = 1\nthreads = 3\n",
        ":3: \"threads\" stands here a second time; the first is in line 1: take one out");
    check_refused("threads =\n", ":1: \"threads\" has no value: give it one, or take the line out");
    check_refused("threads = x\n", ":1: threads takes a whole number from 0 to 256, not \"x\"");
    check_refused("threads = 2 3\n", "not \"2 3\"");
    check_refused("threads = \"2\"\n", "not \"\"2\"\"");
    check_refused("threads = 257\n", "not \"257\"");
    check_refused("verbose = 1\n", ":1: verbose takes one of no, yes, not \"1\"");
    check_refused("launcher = far\n", ":1: launcher takes one of local, pull, not \"far\"");
    check_refused("trusted-proxy = 10.0.0.0/99\n", ":1: trusted-proxy: ");
    check_refused("config = /x\n", ":1: \"config\" can be said on the command line only");
    check_refused("check-config = yes\n", "can be said on the command line only");
    check_refused("[serve]\nthreads = 1\n", ":1: this file has no sections");
    check_refused("threads\n", ":1: neither a key = value, nor a comment");
    check_refused("model = \x01\n", ":1: a control character, or text that is not UTF-8");
    check_refused("bodies-mib = 11\njson-mib = 1\n",
                  "--bodies-mib 11 is less than --picture-mib 12");
    check_refused("listen = a\nlisten = a\nlisten = a\nlisten = a\nlisten = a\nlisten = a\n"
                  "listen = a\nlisten = a\nlisten = a\n",
                  ":9: too many listen options: at most 8");
}

TEST(config_file_that_cannot_be_read) {
    static const char *const paths[] = {"/nowhere/lammd.conf", "/tmp", "/dev/zero"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct config cfg;
        struct err e = {0};
        char *words[] = {"--config", (char *)paths[i]};
        CHECK(config_parse(&cfg, CMD_SERVE, 2, words, &e) < 0);
        CHECK_HAS(e.text, "--config: ");
        CHECK_HAS(e.text, paths[i]);
    }
}

/* What is installed in /etc is right, and is what the unit relies on. */
TEST(config_file_that_is_installed) {
    char *words[] = {"--config", "systemd/lammd.conf"};
    struct config cfg;
    struct err e = {0};
    int rc = config_parse(&cfg, CMD_SERVE, 2, words, &e);
    CHECK_STR(e.text, "");
    CHECK_EQ(rc, 0);
    CHECK_STR(cfg.listen.at[0], "127.0.0.1:8080");
    CHECK_STR(cfg.admin_socket, "/run/lammd/admin.sock");
    CHECK_STR(cfg.audit, "/var/log/lammd/audit.json");
    CHECK_STR(cfg.state, "/var/lib/lammd");
    CHECK(!cfg.is_insecure && !cfg.key_file);
    config_clear(&cfg);
}
