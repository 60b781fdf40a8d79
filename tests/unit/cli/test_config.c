/* test_config.c - the command line: every kind of option, and every way to be wrong. */
#include "cli/config.h"

#include <stdlib.h>

#include "tests/check.h"

static int run_parse(struct config *cfg, enum config_cmd cmd, struct err *e, char **words) {
    int n = 0;
    while (words[n])
        n++;
    return config_parse(cfg, cmd, n, words, e);
}
#define PARSE(cfg, cmd, e, ...) run_parse(cfg, cmd, e, (char *[]){__VA_ARGS__, NULL})

TEST(config_defaults) {
    struct config cfg;
    CHECK_EQ(run_parse(&cfg, CMD_SERVE, NULL, (char *[]){NULL}), 0);
    CHECK_EQ(cfg.connections, 1024);
    CHECK_EQ(cfg.drain_s, 60);
    CHECK_EQ(cfg.listen.n, 0);
    CHECK(!cfg.model);
    CHECK_STR(config_engine(&cfg, "m").device, "auto");
}

TEST(config_reads) {
    struct config cfg;
    CHECK_EQ(PARSE(&cfg, CMD_SERVE, NULL, "--listen", "127.0.0.1:0", "--listen=[::1]:9",
                   "--threads=2", "--cached-images", "-1", "--verbose", "--model=/m=n"),
             0);
    CHECK_EQ(cfg.listen.n, 2);
    CHECK_STR(cfg.listen.at[1], "[::1]:9");
    CHECK_EQ(cfg.threads, 2);
    CHECK_EQ(cfg.cached_images, -1);
    CHECK_EQ(cfg.is_verbose, 1);
    CHECK_STR(cfg.model, "/m=n");
    CHECK_EQ(PARSE(&cfg, CMD_RECONSTRUCT, NULL, "photo.jpg", "-o", "-", "--width", "8"), 0);
    CHECK_EQ(cfg.rest.n, 1);
    CHECK_STR(cfg.rest.at[0], "photo.jpg");
    CHECK_STR(cfg.out, "-");
    CHECK_STR(cfg.width, "8");
    CHECK_EQ(PARSE(&cfg, CMD_EVAL, NULL, "--help"), 0);
    CHECK(cfg.is_help);
}

TEST(config_device_by_either_name) {
    struct config cfg;
    CHECK_EQ(PARSE(&cfg, CMD_SERVE, NULL, "--device", "cuda:1"), 0);
    CHECK_STR(config_engine(&cfg, "m").device, "cuda:1");
    CHECK_EQ(PARSE(&cfg, CMD_BENCH, NULL, "--backend=ref"), 0);
    CHECK_STR(config_engine(&cfg, "m").device, "ref");
    CHECK(!config_engine(&cfg, "m").plugin);
    setenv("LAMMD_PLUGIN", "/p.so", 1);
    CHECK_STR(config_engine(&cfg, "m").plugin, "/p.so");
}

static void check_refused(enum config_cmd cmd, const char *text, char **words) {
    struct config cfg;
    struct err e = {0};
    CHECK_EQ(run_parse(&cfg, cmd, &e, words), E_INVALID);
    CHECK_HAS(e.text, text);
}
#define REFUSED(cmd, text, ...) check_refused(cmd, text, (char *[]){__VA_ARGS__, NULL})

TEST(config_refuses) {
    REFUSED(CMD_SERVE, "--nope is no option", "--nope");
    REFUSED(CMD_SERVE, "--repeat is no option", "--repeat", "3"); /* of another command */
    REFUSED(CMD_SERVE, "-x is no option", "-x");
    REFUSED(CMD_SERVE, "-- is no option", "--");
    REFUSED(CMD_SERVE, "needs a value", "--threads");
    REFUSED(CMD_SERVE, "takes no value", "--verbose=1");
    REFUSED(CMD_SERVE, "from 0 to 1024, not \"x\"", "--threads", "x");
    REFUSED(CMD_SERVE, "from 0 to 1024, not \"\"", "--threads=");
    REFUSED(CMD_SERVE, "not \"1.5\"", "--threads", "1.5");
    REFUSED(CMD_SERVE, "not \" 1\"", "--threads", " 1");
    REFUSED(CMD_SERVE, "not \"0x10\"", "--threads", "0x10");
    REFUSED(CMD_SERVE, "not \"-1\"", "--threads", "-1");
    REFUSED(CMD_SERVE, "not \"1025\"", "--threads", "1025");
    REFUSED(CMD_SERVE, "not \"99999999999999999999\"", "--threads", "99999999999999999999");
    REFUSED(CMD_SERVE, "at most 8 times listen", "--listen=a", "--listen=a", "--listen=a",
            "--listen=a", "--listen=a", "--listen=a", "--listen=a", "--listen=a", "--listen=a");
}

TEST(config_help_names_every_option) {
    static char text[8192];
    FILE *f = fmemopen(text, sizeof text, "w");
    config_help(CMD_SERVE, f);
    fclose(f);
    CHECK_HAS(text, "--listen ADDR:PORT");
    CHECK_HAS(text, "--drain-timeout S");
    CHECK_HAS(text, "default: 1024");
    CHECK(!strstr(text, "--repeat"));
}

TEST(config_of_a_bench_without_weights) {
    struct config cfg;
    char path[4096];
    CHECK_EQ(PARSE(&cfg, CMD_BENCH, NULL, "--weights", "random:18446744073709551615", "--shape",
                   "pae-lamm-7b", "--memory-mib", "24576"),
             0);
    struct eng_options o = config_engine(&cfg, config_model(&cfg, path));
    CHECK_STR(o.model, "models/shapes/pae-lamm-7b");
    CHECK(o.is_seeded);
    CHECK_EQ(o.seed, UINT64_MAX);
    CHECK_EQ(o.memory, (uint64_t)24 << 30);
    CHECK(!config_engine(&(struct config){0}, "m").is_seeded);
    static const char *const wrong[] = {"random",    "random:", "random:-1",
                                        "random:1x", "zeros:1", "random:18446744073709551616"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        check_refused(CMD_BENCH, "random:SEED", (char *[]){"--weights", (char *)wrong[i], NULL});
    check_refused(CMD_BENCH, "no weights", (char *[]){"--shape", "pae-lamm-7b", NULL});
    check_refused(CMD_BENCH, "one of them",
                  (char *[]){"--shape", "a", "--model", "b", "--weights", "random:1", NULL});
    check_refused(CMD_BENCH, "models/shapes",
                  (char *[]){"--shape", "../a", "--weights", "random:1", NULL});
    check_refused(CMD_SERVE, "no option here", (char *[]){"--weights", "random:1", NULL});
}
