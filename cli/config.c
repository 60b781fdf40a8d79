/* config.c - what is made of the table of options (options.c): the parser and the help.
 *
 * Options are written `--name value` or `--name=value`; `-o` stands for --output, `-h` for --help;
 * a flag may be `--name=yes` or `--name=no`. Where an option that is no list comes twice, the last
 * one counts. The words are read twice where they name a file: once to find it, and again over what
 * it says, so that they win. What they say of a list stands in place of the file's.
 */
#include "cli/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/config_file.h"
#include "cli/value.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"

/* ---- parsing ---- */

const struct config_row *config_find(enum config_cmd cmd, const char *name, size_t len) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        const struct config_row *r = &rows[i];
        if ((r->cmds & (int)cmd) && strlen(r->name) == len && memcmp(r->name, name, len) == 0)
            return r;
    }
    return NULL;
}

static int add_argument(struct config_list *l, const char *text, struct err *e) {
    if (l->n == CONFIG_LIST_MAX)
        return err_set(e, E_INVALID, "too many arguments: at most %d", CONFIG_LIST_MAX);
    l->at[l->n++] = text;
    return 0;
}

/* The command line's first word of a list: the file's don't count. */
static void forget_file(struct config_list *l) {
    if (l->is_of_file) *l = (struct config_list){.n = 0};
}

/* The option at argv[*i]; moves *i to its last word. */
static int option(struct config *cfg, enum config_cmd cmd, int argc, char **argv, int *i,
                  struct err *e) {
    const char *word = argv[*i];
    const char *name = strcmp(word, "-o") != 0 ? word : cmd == CMD_TRAIN ? "--out" : "--output";
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        cfg->is_help = 1;
        return 0;
    }
    int is_long = name[1] == '-';
    size_t len = is_long ? strcspn(name + 2, "=") : 0;
    const struct config_row *r = len ? config_find(cmd, name + 2, len) : NULL;
    if (!r) return err_set(e, E_INVALID, "unknown option %.*s", (int)strcspn(word, "="), word);
    const char *text = name[2 + len] == '=' ? name + 3 + len : NULL;
    if (r->kind == VALUE_FLAG) return value_take(cfg, r, "--", text ? text : "yes", e);
    if (!text && *i + 1 == argc)
        return err_set(e, E_INVALID, "--%s needs a value: --%s %s", r->name, r->name, r->value);
    if (r->kind == VALUE_LIST) forget_file((struct config_list *)(void *)((char *)cfg + r->at));
    return value_take(cfg, r, "--", text ? text : argv[++*i], e);
}

/* "random:SEED" */
static int read_seed(const char *text, uint64_t *out) {
    static const char word[] = "random:";
    const char *number = text + strlen(word);
    char *end;
    if (strncmp(text, word, strlen(word)) != 0 || !*number || number[strspn(number, "0123456789")])
        return E_INVALID;
    errno = 0;
    *out = strtoull(number, &end, 10);
    return errno ? E_INVALID : 0;
}

/* The memory for all bodies takes the largest one, else it would be refused as "come back later"
 * for ever. */
static int check_bodies(const struct config *cfg, struct err *e) {
    int is_picture = cfg->bodies_mib < cfg->picture_mib;
    if (!is_picture && cfg->bodies_mib >= cfg->json_mib) return 0;
    return err_set(e, E_INVALID,
                   "--bodies-mib %" PRId64 " is less than --%s-mib %" PRId64
                   ": raise the first or lower the second",
                   cfg->bodies_mib, is_picture ? "picture" : "json",
                   is_picture ? cfg->picture_mib : cfg->json_mib);
}

/* What must fit together. */
static int check(struct config *cfg, struct err *e) {
    uint64_t seed;
    for (int i = 0; i < cfg->proxies.n; i++)
        must(peer_net_read(cfg->proxies.at[i], &cfg->nets[i], NULL) == 0); /* by its row */
    if (cfg->weights && read_seed(cfg->weights, &seed))
        return err_set(e, E_INVALID,
                       "--weights takes random:SEED, where SEED is a whole number up to 2^64 - 1, "
                       "not \"%s\"",
                       cfg->weights);
    if (cfg->is_whole_grid && cfg->is_given_boxes)
        return err_set(e, E_INVALID, "--whole-grid and --given-boxes exclude each other");
    if (cfg->is_whole_grid && cfg->is_refined)
        return err_set(e, E_INVALID, "--whole-grid and --refine exclude each other");
    if (cfg->shape && cfg->model)
        return err_set(e, E_INVALID, "--shape and --model exclude each other");
    if (cfg->shape && !cfg->weights)
        return err_set(e, E_INVALID, "--shape comes without weights: add --weights random:1");
    if (cfg->shape && (!*cfg->shape || strchr(cfg->shape, '/') || cfg->shape[0] == '.'))
        return err_set(e, E_INVALID, "--shape takes the name of a folder in models/shapes");
    return check_bodies(cfg, e);
}

static void config_start(struct config *cfg) {
    size_t n;
    const struct config_row *rows = config_rows(&n);
    *cfg = (struct config){0};
    for (size_t i = 0; i < n; i++)
        if (rows[i].kind == VALUE_NUMBER)
            *(int64_t *)(void *)((char *)cfg + rows[i].at) = rows[i].start;
}

static int config_read_words(struct config *cfg, enum config_cmd cmd, int argc, char **argv,
                             struct err *e) {
    for (int i = 0; i < argc; i++) {
        int is_word = argv[i][0] != '-' || argv[i][1] == '\0';
        int rc =
            is_word ? add_argument(&cfg->rest, argv[i], e) : option(cfg, cmd, argc, argv, &i, e);
        if (rc) return rc;
    }
    return 0;
}

int config_parse(struct config *cfg, enum config_cmd cmd, int argc, char **argv, struct err *e) {
    config_start(cfg);
    int rc = config_read_words(cfg, cmd, argc, argv, e);
    if (rc == 0 && cfg->file && !cfg->is_help) {
        const char *file = cfg->file;
        config_start(cfg);
        rc = config_file_read(file, cfg, e);
        if (rc == 0) rc = config_read_words(cfg, cmd, argc, argv, e);
    }
    for (int i = 0; i < cfg->rows_of.n; i++)
        if (cfg->rows_of.at[i] > cfg->rows) cfg->rows = cfg->rows_of.at[i];
    if (rc == 0) {
        rc = check(cfg, e);
        if (rc && cfg->file) (void)err_in(e, "with --config %s", cfg->file);
    }
    if (rc) config_clear(cfg);
    return rc;
}

void config_clear(struct config *cfg) {
    mem_free(cfg->file_text);
    cfg->file_text = NULL;
}

/* ---- help ---- */

enum { HELP_COLUMN = 25, HELP_WIDTH = 90 };

/* Words of `text` from column HELP_COLUMN on, broken before HELP_WIDTH; `column` is where we are.
 */
static void wrap(FILE *to, int column, const char *text) {
    for (int is_first = 1; *text; is_first = 0) {
        int n = (int)strcspn(text, " ");
        int is_full = is_first ? column + 1 > HELP_COLUMN : column + 1 + n > HELP_WIDTH;
        if (is_full) {
            fputc('\n', to);
            column = 0;
        } else if (!is_first) {
            fputc(' ', to);
            column++;
        }
        if (column < HELP_COLUMN) column += fprintf(to, "%*s", HELP_COLUMN - column, "");
        column += fprintf(to, "%.*s", n, text);
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void help_row(FILE *to, const struct config_row *r) {
    struct buf text;
    buf_init(&text, 1024);
    buf_str(&text, r->help);
    int has_bounds = (r->kind == VALUE_NUMBER || r->kind == VALUE_NUMBERS) && r->most < CONFIG_BIG;
    int has_default = r->kind == VALUE_NUMBER && r->start != 0;
    if (has_bounds) buf_printf(&text, " (%" PRId64 "..%" PRId64, r->least, r->most);
    if (has_default) buf_printf(&text, "%sdefault %" PRId64, has_bounds ? ", " : " (", r->start);
    buf_str(&text, has_bounds || has_default ? ")" : "");
    must(!buf_char(&text, '\0'));
    int column = fprintf(to, "  --%s%s%s", r->name, r->value ? " " : "", r->value ? r->value : "");
    wrap(to, column, (const char *)text.p);
    buf_clear(&text);
}

void config_help(enum config_cmd cmd, FILE *to) {
    const char *title = NULL;
    size_t n;
    const struct config_row *rows = config_rows(&n);
    for (size_t i = 0; i < n; i++) {
        const struct config_row *r = &rows[i];
        if (!r->name) title = r->help;
        if (!(r->cmds & (int)cmd)) continue;
        if (title) fprintf(to, "\n%s:\n", title);
        title = NULL;
        help_row(to, r);
    }
}

/* ---- the model and its engine ---- */

static int is_model(const char *dir) {
    char path[4200];
    snprintf(path, sizeof(path), "%s/config.json", dir);
    return access(path, R_OK) == 0;
}

const char *config_model(const struct config *cfg, char path[4096]) {
    static const char *const beside[] = {"/", "/../share/lammd/"};
    const char *in = cfg->shape ? "models/shapes/" : "models/";
    const char *name = cfg->shape ? cfg->shape : "lamm-mini";
    if (cfg->model) return cfg->model;
    char exe[2048];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    char *slash = n > 0 ? memrchr(exe, '/', (size_t)n) : NULL;
    snprintf(path, 4096, "%s%s", in, name);
    for (size_t i = 0; slash && !is_model(path) && i < ARRAY_LEN(beside); i++)
        snprintf(path, 4096, "%.*s%s%s%s", (int)(slash - exe), exe, beside[i], in, name);
    if (!is_model(path))
        snprintf(path, 4096, "%s%s", in, name); /* its loader says what is missing */
    return path;
}

const char *config_recipes(char path[4096]) {
    static const char *const beside[] = {"/", "/../share/lammd/"};
    char exe[2048];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    char *slash = n > 0 ? memrchr(exe, '/', (size_t)n) : NULL;
    for (size_t i = 0; slash && i < ARRAY_LEN(beside); i++) {
        snprintf(path, 4096, "%.*s%srecipes", (int)(slash - exe), exe, beside[i]);
        if (access(path, R_OK | X_OK) == 0) return path;
    }
    snprintf(path, 4096, "recipes");
    return path;
}

struct eng_options config_engine(const struct config *cfg, const char *model) {
    uint64_t seed = 0;
    if (cfg->weights) (void)read_seed(cfg->weights, &seed); /* checked when it was parsed */
    return (struct eng_options){.model = model,
                                .is_seeded = cfg->weights != NULL,
                                .seed = seed,
                                .weights_as = cfg->weights_as,
                                .kv_as = cfg->kv_as,
                                .adapters_as = cfg->adapters_as,
                                .profile = cfg->profile,
                                .memory = (uint64_t)cfg->memory_mib << 20,
                                .device = cfg->device ? cfg->device : "auto",
                                .plugin = getenv("LAMMD_PLUGIN"),
                                .isa = cfg->isa,
                                .threads = (int)cfg->threads,
                                .lanes = (int)cfg->lanes,
                                .rows = (int)cfg->rows,
                                .kv_tokens = (int)cfg->kv_tokens,
                                .cached_images = (int)cfg->cached_images,
                                .queue_tokens = (uint64_t)cfg->queue_tokens};
}
