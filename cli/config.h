/* config.h - the options of the program, one row each.
 *
 *     struct config cfg;
 *     if (config_parse(&cfg, CMD_SERVE, argc, argv, &e)) ...   // e.text says what is wrong
 *     config_help(CMD_SERVE, stdout);
 *     config_clear(&cfg);
 *
 * The table in options.c is the only place that knows an option's name, kind, bounds, default and
 * help. The command line, lammd.conf, --help, the manual pages and the completion of bash are made
 * from it. Strings point into argv, into the file's text or are constants. Thread: main's, before
 * others start.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "engine/engine.h"
#include "kernels/base/err.h"
#include "server/serve.h"

enum { CONFIG_LIST_MAX = 8 };

enum config_cmd {
    CMD_SERVE = 1,
    CMD_RECONSTRUCT = 2,
    CMD_EVAL = 4,
    CMD_BENCH = 8,
    CMD_ASK = 16,
    CMD_TRAIN = 32,
    CMD_KEYS = 64,
    CMD_ADAPTERS = 128,
    CMD_JOBS = 256,
    CMD_IMPORT = 512,
    CMD_BATCH = 1024
};

enum config_comm { CONFIG_ONE, CONFIG_MPI };
extern const char *const config_orders[]; /* "auto", "yx", "xy", NULL */

struct config_list {
    const char *at[CONFIG_LIST_MAX];
    int n, is_of_file; /* is_of_file: a file said them, and the command line may say others */
};

struct config_ints {
    int64_t at[CONFIG_LIST_MAX];
    int n;
};

struct config {
    /* serve: options from a file */
    const char *file;
    char *file_text; /* owned: what the file's values point into */
    int64_t is_trial;
    /* the model and its engine */
    const char *model, *device, *isa;
    int64_t threads, lanes, rows, kv_tokens, cached_images, queue_tokens, queue_s, memory_mib;
    const char *weights_as, *kv_as, *adapters_as, *shape, *weights, *profile; /* bench */
    struct config_ints rows_of; /* bench; the largest is `rows` */
    struct config_list with;    /* bench: adapters' folders */
    /* serve: where and for whom */
    struct config_list listen, listen_tls, hosts, origins, proxies;
    const char *tls_cert, *tls_key, *tls_client_ca;
    struct peer_net nets[CONFIG_LIST_MAX]; /* what the proxies say */
    const char *admin_socket, *key_file, *audit, *replica;
    const char *shared_adapters;
    int64_t adapters, adapter_rank, adapter_overlays;
    int64_t key_requests, key_tokens, key_body_mib, key_images, key_sessions, key_uploads;
    int64_t is_insecure;
    int64_t connections, workers;
    /* serve: bytes */
    int64_t json_mib, picture_mib, megapixels, megapixels_costly, bodies_mib, decoded_mib,
        stored_images, image_ttl_s;
    int64_t sessions, session_ttl_s;
    const char *state;
    int64_t upload_mib, state_free_mib;
    /* serve: seconds */
    int64_t header_s, body_s, request_s, idle_s, delay_s, drain_s;
    int64_t is_verbose;
    /* serve: jobs */
    const char *train_device, *recipes;
    int64_t launcher, train_threads, train_memory_mib, jobs, key_jobs,
        key_batch_mib; /* enum jobs_launcher */
    int64_t is_keeping_checkpoints;
    /* reconstruct, eval, bench */
    const char *out, *width, *height, *region, *tiles, *images, *json;
    const char *adapter, *against; /* eval gate */
    const char *table, *label;     /* eval battery */
    struct config_list data;
    int64_t estimate;        /* enum eng_estimate */
    int64_t is_beside_train; /* bench mix */
    int64_t is_json, limit, repeat, is_quick, is_whole_grid, is_given_boxes, is_refined, n_tiles;
    /* keys */
    const char *scopes;
    int64_t days;
    /* adapters */
    const char *url;
    int64_t is_forced;
    /* jobs */
    const char *recipe, *suffix, *validation, *tasks;
    int64_t seed, epochs, batch, is_vision, is_followed;
    /* train */
    const char *samples, *take;
    int64_t is_check;
    int64_t steps, is_plan, is_export, is_keys, is_idle, is_gated,
        comm; /* comm: enum config_comm */
    /* import */
    const char *as_config, *tokenizer, *keep_adapter, *rms_eps, *lora_alpha, *probe;
    int64_t is_pointing, is_any_tokenizer, is_dropping, coord_order, inst_spaces, bos_count,
        pixel_grid, image_size, vision_heads; /* coord_order: an index of import_orders */
    struct config_list sets;
    struct config_list rest; /* the arguments: words that are no options */
    int is_help;             /* --help was among them */
    /* batch */
    const char *part;
    int64_t is_unordered, is_eager, steppers;
};

enum value_kind { VALUE_TEXT, VALUE_WORD, VALUE_NUMBER, VALUE_NUMBERS, VALUE_FLAG, VALUE_LIST };

/* The bound of a number that nothing else bounds. */
#define CONFIG_BIG INT64_C(1000000000)

struct config_row {
    const char *name; /* without the dashes; NULL: `help` is the title of the rows below */
    enum value_kind kind;
    int cmds;                   /* who takes it: enum config_cmd, or-ed */
    size_t at;                  /* offset of its field in struct config */
    int64_t least, most, start; /* bounds and default of a number */
    const char *const *words;   /* that a word may be, or a text often is; NULL behind the last */
    const char *value, *help;   /* what stands for the value; sentences */
    int (*check)(const char *text, struct err *e); /* E_INVALID; NULL: any text is legal here */
    int is_of_line;                                /* no file may say it */
};

/* All rows, titles among them (options.c). */
const struct config_row *config_rows(size_t *n);

/* The row of a command's option; NULL: it has no such option. */
const struct config_row *config_find(enum config_cmd cmd, const char *name, size_t len);

/* Fill `cfg` from the words behind the command's name, and from the file that they may name; they
 * win. E_INVALID, or what reading the file says, with a text for the user; config_clear after
 * success only. */
int config_parse(struct config *cfg, enum config_cmd cmd, int argc, char **argv, struct err *e);
void config_clear(struct config *cfg);
/* The options of a command, by section. */
void config_help(enum config_cmd cmd, FILE *to);
/* The folder of recipes beside the program; where there is none, "recipes". */
const char *config_recipes(char path[4096]);
/* The folder of the model: --model, or models/lamm-mini (models/shapes/NAME for --shape NAME)
 * beside the program, below the current folder or in ../share/lammd. Borrowed from `cfg` or from
 * `path`. */
const char *config_model(const struct config *cfg, char path[4096]);
struct eng_options config_engine(const struct config *cfg, const char *model);

#endif
