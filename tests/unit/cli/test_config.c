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
    CHECK_EQ(cfg.estimate, ENG_MODE);
    CHECK_EQ(PARSE(&cfg, CMD_RECONSTRUCT, NULL, "photo.jpg", "--estimate", "mean"), 0);
    CHECK_EQ(cfg.estimate, ENG_MEAN);
    CHECK_EQ(PARSE(&cfg, CMD_EVAL, NULL, "--help"), 0);
    CHECK(cfg.is_help);
}

TEST(config_device_and_plugin) {
    struct config cfg;
    CHECK_EQ(PARSE(&cfg, CMD_SERVE, NULL, "--device", "cuda:1"), 0);
    CHECK_STR(config_engine(&cfg, "m").device, "cuda:1");
    CHECK_EQ(PARSE(&cfg, CMD_BENCH, NULL, "--device=ref"), 0);
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
    REFUSED(CMD_SERVE, "unknown option --nope", "--nope");
    REFUSED(CMD_SERVE, "unknown option --repeat", "--repeat", "3"); /* of another command */
    REFUSED(CMD_SERVE, "unknown option -x", "-x");
    REFUSED(CMD_SERVE, "unknown option --", "--");
    REFUSED(CMD_SERVE, "needs a value", "--threads");
    REFUSED(CMD_SERVE, "--verbose takes one of no, yes, not \"1\"", "--verbose=1");
    REFUSED(CMD_SERVE, "--trusted-proxy: ", "--trusted-proxy", "10.0.0.0/99");
    REFUSED(CMD_SERVE, "from 0 to 256, not \"x\"", "--threads", "x");
    REFUSED(CMD_SERVE, "from 0 to 256, not \"\"", "--threads=");
    REFUSED(CMD_SERVE, "not \"1.5\"", "--threads", "1.5");
    REFUSED(CMD_SERVE, "not \" 1\"", "--threads", " 1");
    REFUSED(CMD_SERVE, "not \"0x10\"", "--threads", "0x10");
    REFUSED(CMD_SERVE, "not \"-1\"", "--threads", "-1");
    REFUSED(CMD_SERVE, "not \"257\"", "--threads", "257");
    REFUSED(CMD_SERVE, "not \"99999999999999999999\"", "--threads", "99999999999999999999");
    REFUSED(CMD_BENCH, "one of mode, median, mean, not \"modes\"", "--estimate", "modes");
    REFUSED(CMD_BENCH, "one of mode, median, mean, not \"\"", "--estimate=");
    REFUSED(CMD_EVAL, "exclude each other", "--whole-grid", "--given-boxes");
    REFUSED(CMD_SERVE, "unknown option --backend", "--backend", "ref");
    REFUSED(CMD_SERVE, "too many --listen options: at most 8", "--listen=a", "--listen=a",
            "--listen=a", "--listen=a", "--listen=a", "--listen=a", "--listen=a", "--listen=a",
            "--listen=a");
}

/* A body that the memory for all of them can't take would be told to come back later for ever. */
TEST(config_refuses_bodies_larger_than_all_of_them) {
    struct config cfg;
    REFUSED(CMD_SERVE, "--bodies-mib 11 is less than --picture-mib 12", "--bodies-mib=11",
            "--json-mib=1");
    REFUSED(CMD_SERVE, "--bodies-mib 96 is less than --picture-mib 97", "--picture-mib=97");
    REFUSED(CMD_SERVE, "--bodies-mib 15 is less than --json-mib 16", "--bodies-mib=15");
    CHECK_EQ(PARSE(&cfg, CMD_SERVE, NULL, "--bodies-mib=16"), 0);
    CHECK_EQ(PARSE(&cfg, CMD_SERVE, NULL, "--bodies-mib=1", "--json-mib=1", "--picture-mib=1"), 0);
}

TEST(config_takes_several_rows_in_a_bench_alone) {
    struct config cfg;
    CHECK_EQ(PARSE(&cfg, CMD_BENCH, NULL, "--rows", "512,2048,1024"), 0);
    CHECK_EQ(cfg.rows_of.n, 3);
    CHECK_EQ(cfg.rows_of.at[1], 2048);
    CHECK_EQ(config_engine(&cfg, "m").rows, 2048);
    CHECK_EQ(PARSE(&cfg, CMD_BENCH, NULL, "--rows=64"), 0);
    CHECK_EQ(cfg.rows_of.n, 1);
    CHECK_EQ(config_engine(&cfg, "m").rows, 64);
    REFUSED(CMD_BENCH, "not \"\"", "--rows", "512,");
    REFUSED(CMD_BENCH, "not \"x\"", "--rows", "512,x");
    REFUSED(CMD_BENCH, "not \"1048577\"", "--rows", "512,1048577");
    REFUSED(CMD_BENCH, "8 numbers at most", "--rows", "1,2,3,4,5,6,7,8,9");
    REFUSED(CMD_SERVE, "not \"512,1024\"", "--rows", "512,1024");
}

TEST(config_help_names_every_option) {
    static char text[16384];
    size_t n;
    const struct config_row *rows = config_rows(&n);
    for (int cmd = CMD_SERVE; cmd <= CMD_ASK; cmd *= 2) {
        FILE *f = fmemopen(text, sizeof(text), "w");
        config_help((enum config_cmd)cmd, f);
        fclose(f);
        for (size_t i = 0; i < n; i++) {
            char option[80];
            if (!rows[i].name) continue;
            snprintf(option, sizeof(option), "\n  --%s ", rows[i].name);
            if (rows[i].cmds & cmd) CHECK_HAS(text, option);
        }
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            CHECK(strcspn(line, "\n") <= 90);
    }
    FILE *f = fmemopen(text, sizeof(text), "w");
    config_help(CMD_SERVE, f);
    fclose(f);
    CHECK_HAS(text, "\nWhere to listen:\n  --listen ADDR:PORT     Address and port.");
    CHECK_HAS(text, "(1..65536, default 1024)");
    CHECK_HAS(text, "--drain-timeout S");
    CHECK(!strstr(text, "--repeat") && !strstr(text, "Output:"));
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
    check_refused(CMD_BENCH, "without weights", (char *[]){"--shape", "pae-lamm-7b", NULL});
    check_refused(CMD_BENCH, "exclude each other",
                  (char *[]){"--shape", "a", "--model", "b", "--weights", "random:1", NULL});
    check_refused(CMD_BENCH, "models/shapes",
                  (char *[]){"--shape", "../a", "--weights", "random:1", NULL});
    check_refused(CMD_SERVE, "unknown option", (char *[]){"--weights", "random:1", NULL});
}
