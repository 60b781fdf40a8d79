/* config.c - the table of options, and the two readers of it: parse and help.
 *
 * A row names the field it fills by its offset. Numbers are decimal, whole and within the row's
 * bounds; anything else is refused with a text that says what would be right. Long options only
 * (but -o and -h), as `--name value` or `--name=value`; an option that is not a list may come once.
 */
#include "cli/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum kind { KIND_TEXT, KIND_INT, KIND_FLAG, KIND_LIST };

struct row {
    const char *name;
    enum kind kind;
    int cmds; /* who takes it */
    size_t at;
    int64_t least, most, start; /* bounds and default of a number */
    const char *value, *help;   /* what stands for the value; one line */
};

enum { ALL = CMD_SERVE | CMD_RECONSTRUCT | CMD_EVAL | CMD_BENCH | CMD_ASK };
#define AT(field) offsetof(struct config, field)
#define BIG       INT64_C(1000000000)

static const struct row rows[] = {
    {"model", KIND_TEXT, ALL, AT(model), 0, 0, 0, "DIR",
     "folder of config.json, model.safetensors, tokenizer.model; default: lamm-mini"},
    {"device", KIND_TEXT, ALL, AT(device), 0, 0, 0, "NAME",
     "auto (default; the CPU for now), cpu, ref, cuda or cuda:N, or several: cuda:0,cuda:1, each "
     "with a model, a queue and caches of its own; cuda is lammd-cuda.so, or what LAMMD_PLUGIN "
     "names"},
    {"backend", KIND_TEXT, ALL, AT(device), 0, 0, 0, "NAME", "another word for --device"},
    {"isa", KIND_TEXT, ALL, AT(isa), 0, 0, 0, "NAME",
     "auto (default); cpu: avx512, avx2 or portable; cuda: flat, tile or strict, with "
     "+graphs behind it or not"},
    {"threads", KIND_INT, ALL, AT(threads), 0, 1024, 0, "N", "compute threads; 0: one per core"},
    {"lanes", KIND_INT, ALL, AT(lanes), 0, 65536, 0, "N",
     "questions decoded at once, at most --rows; 0: --rows"},
    {"rows", KIND_INT, ALL, AT(rows), 0, 1 << 20, 0, "N",
     "token rows of a pass; 0: 512, or --lanes when that is more"},
    {"kv-tokens", KIND_INT, ALL, AT(kv_tokens), 0, BIG, 0, "N",
     "slots of the KV cache; 0: enough for the lanes and some pictures"},
    {"cached-images", KIND_INT, ALL, AT(cached_images), -1, 100000, 0, "N",
     "pictures kept ready in the KV cache; 0: 32, -1: none"},
    {"memory-mib", KIND_INT, ALL, AT(memory_mib), 0, INT64_C(1) << 30, 0, "MIB",
     "each device's memory to use, weights included; 0: all that is free"},
    {"fp8", KIND_FLAG, ALL, AT(is_fp8), 0, 1, 0, NULL,
     "the decoder's products in 8 bits (e4m3): for GPUs of compute capability 8.9 up; other "
     "answers"},
    {"queue-tokens", KIND_INT, CMD_SERVE, AT(queue_tokens), 0, INT64_C(1) << 50, 0, "N",
     "work that may wait, in prompt tokens; 0: a good default"},

    {"listen", KIND_LIST, CMD_SERVE, AT(listen), 0, 0, 0, "ADDR:PORT",
     "where to listen, may be repeated; port 0: a free one; default: 127.0.0.1:8080"},
    {"allow-host", KIND_LIST, CMD_SERVE, AT(hosts), 0, 0, 0, "NAME",
     "a Host name that requests may carry, besides localhost and addresses; may be repeated"},
    {"connections", KIND_INT, CMD_SERVE, AT(connections), 1, 65536, 1024, "N",
     "connections at once; more are told 503"},
    {"workers", KIND_INT, CMD_SERVE, AT(workers), 1, 64, 2, "N",
     "threads that decode pictures and write answers; one more is there for games and health"},
    {"json-mib", KIND_INT, CMD_SERVE, AT(json_mib), 1, 1024, 16, "MIB", "largest JSON body"},
    {"picture-mib", KIND_INT, CMD_SERVE, AT(picture_mib), 1, 1024, 12, "MIB",
     "largest encoded picture"},
    {"megapixels", KIND_INT, CMD_SERVE, AT(megapixels), 1, 64, 40, "MP", "largest decoded picture"},
    {"bodies-mib", KIND_INT, CMD_SERVE, AT(bodies_mib), 1, 65536, 256, "MIB",
     "all bodies that are held at once"},
    {"stored-images", KIND_INT, CMD_SERVE, AT(stored_images), 1, 100000, 64, "N",
     "pictures kept for PUT /v1/images"},
    {"image-ttl", KIND_INT, CMD_SERVE, AT(image_ttl_s), 1, BIG, 3600, "S",
     "and for how long after their last use"},
    {"sessions", KIND_INT, CMD_SERVE, AT(sessions), 1, 100000, 64, "N",
     "games played at once through /v1/act/sessions"},
    {"session-ttl", KIND_INT, CMD_SERVE, AT(session_ttl_s), 1, BIG, 600, "S",
     "seconds after its last step that a game may make room"},
    {"header-timeout", KIND_INT, CMD_SERVE, AT(header_s), 1, 3600, 10, "S",
     "time for the headers of a request"},
    {"body-timeout", KIND_INT, CMD_SERVE, AT(body_s), 1, 3600, 60, "S",
     "time for its body, and at least 1 KiB/s after 5 s"},
    {"request-timeout", KIND_INT, CMD_SERVE, AT(request_s), 1, 86400, 120, "S",
     "time until its answer"},
    {"idle-timeout", KIND_INT, CMD_SERVE, AT(idle_s), 1, 86400, 75, "S",
     "time that a connection may wait for its next request"},
    {"drain-timeout", KIND_INT, CMD_SERVE, AT(drain_s), 0, 86400, 60, "S",
     "time for running requests after SIGTERM"},
    {"verbose", KIND_FLAG, CMD_SERVE, AT(is_verbose), 0, 1, 0, NULL, "log every request"},

    {"output", KIND_TEXT, CMD_RECONSTRUCT, AT(out), 0, 0, 0, "FILE",
     "where the PNG goes, also -o; - is standard output"},
    {"width", KIND_TEXT, CMD_RECONSTRUCT, AT(width), 0, 0, 0, "N",
     "width of the answer; default: the region's"},
    {"height", KIND_TEXT, CMD_RECONSTRUCT, AT(height), 0, 0, 0, "N", "height of the answer"},
    {"region", KIND_TEXT, CMD_RECONSTRUCT, AT(region), 0, 0, 0, "X,Y,W,H",
     "part of the model's grid; default: all of it"},
    {"estimate", KIND_TEXT, CMD_RECONSTRUCT | CMD_BENCH, AT(estimate), 0, 0, 0, "NAME",
     "mode (default), median or mean"},
    {"output", KIND_TEXT, CMD_ASK, AT(out), 0, 0, 0, "FILE",
     "where the answer goes, also -o: NAME.png gets a picture, anything else JSON; default: -"},
    {"limit", KIND_INT, CMD_EVAL, AT(limit), 0, BIG, 0, "N",
     "only the first N pictures or questions; 0: all"},
    {"images", KIND_TEXT, CMD_EVAL, AT(images), 0, 0, 0, "DIR",
     "where the pictures are; default: images/ beside the annotations, or beside them"},
    {"whole-grid", KIND_FLAG, CMD_EVAL, AT(is_whole_grid), 0, 1, 0, NULL,
     "seg: ask every place of the grid, no box first"},
    {"given-boxes", KIND_FLAG, CMD_EVAL, AT(is_given_boxes), 0, 1, 0, NULL,
     "seg: ask the places inside the true boxes"},
    {"output", KIND_TEXT, CMD_EVAL, AT(out), 0, 0, 0, "DIR",
     "pvp, seg: write truth and answers there, as PNG files of the grid"},
    {"json", KIND_TEXT, CMD_EVAL, AT(json), 0, 0, 0, "FILE",
     "figures and answers as one JSON object; - is standard output, without the table"},
    {"shape", KIND_TEXT, CMD_BENCH, AT(shape), 0, 0, 0, "NAME",
     "instead of --model: sizes without weights, pae-lamm-7b; wants --weights"},
    {"weights", KIND_TEXT, CMD_BENCH, AT(weights), 0, 0, 0, "random:SEED",
     "weights made from a number instead of the model's: true speed, answers that mean nothing"},
    {"profile", KIND_TEXT, CMD_BENCH, AT(profile), 0, 0, 0, "FILE",
     "time each operation and write a table there; slows down what is measured"},
    {"repeat", KIND_INT, CMD_BENCH, AT(repeat), 1, 1000, 5, "N",
     "runs, or turns, of each measurement"},
    {"quick", KIND_FLAG, CMD_BENCH, AT(is_quick), 0, 1, 0, NULL,
     "pix4096: only the default width; mix: only act"},
    {"json", KIND_FLAG, CMD_BENCH, AT(is_json), 0, 1, 0, NULL, "figures as one JSON object"},
};

static void *field(struct config *cfg, const struct row *r) { return (char *)cfg + r->at; }

static const struct row *find(enum config_cmd cmd, const char *name, size_t len) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((rows[i].cmds & (int)cmd) && strlen(rows[i].name) == len &&
            memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    }
    return NULL;
}

static int read_number(const struct row *r, const char *text, int64_t *out, struct err *e) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    int is_number = text[strspn(text, "-0123456789")] == '\0' && end != text && *end == '\0';
    if (!is_number || errno || v < r->least || v > r->most)
        return err_set(e, E_INVALID,
                       "--%s takes a whole number from %" PRId64 " to %" PRId64 ", not \"%s\"",
                       r->name, r->least, r->most, text);
    *out = v;
    return 0;
}

static int append(struct config_list *l, const char *what, const char *text, struct err *e) {
    if (l->n == CONFIG_LIST_MAX)
        return err_set(e, E_INVALID, "at most %d times %s", CONFIG_LIST_MAX, what);
    l->at[l->n++] = text;
    return 0;
}

static int take(struct config *cfg, const struct row *r, const char *text, struct err *e) {
    switch (r->kind) {
    case KIND_TEXT: *(const char **)field(cfg, r) = text; return 0;
    case KIND_INT: return read_number(r, text, field(cfg, r), e);
    case KIND_LIST: return append(field(cfg, r), r->name, text, e);
    case KIND_FLAG: break;
    }
    return 0;
}

/* One option at argv[*i]; moves *i to its last word. */
static int option(struct config *cfg, enum config_cmd cmd, int argc, char **argv, int *i,
                  struct err *e) {
    const char *word = argv[*i];
    const char *name = strcmp(word, "-o") == 0 ? "--output" : word;
    size_t len = strcspn(name + 2, "=");
    if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
        cfg->is_help = 1;
        return 0;
    }
    const struct row *r = name[1] == '-' ? find(cmd, name + 2, len) : NULL;
    if (!r) return err_set(e, E_INVALID, "%s is no option here; see --help", word);
    const char *text = name[2 + len] == '=' ? name + 3 + len : NULL;
    if (r->kind == KIND_FLAG) {
        if (text) return err_set(e, E_INVALID, "--%s takes no value", r->name);
        *(int64_t *)field(cfg, r) = 1;
        return 0;
    }
    if (!text && *i + 1 == argc) return err_set(e, E_INVALID, "--%s needs a value", r->name);
    return take(cfg, r, text ? text : argv[++*i], e);
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

/* What must fit together. */
static int check(const struct config *cfg, struct err *e) {
    uint64_t seed;
    if (cfg->weights && read_seed(cfg->weights, &seed))
        return err_set(e, E_INVALID,
                       "--weights takes random:SEED, a number up to 2^64 - 1, not \"%s\"",
                       cfg->weights);
    if (cfg->shape && cfg->model) return err_set(e, E_INVALID, "--shape and --model: one of them");
    if (cfg->shape && !cfg->weights)
        return err_set(e, E_INVALID, "--shape has no weights: say --weights random:1 as well");
    if (cfg->shape && (!*cfg->shape || strchr(cfg->shape, '/') || cfg->shape[0] == '.'))
        return err_set(e, E_INVALID, "--shape takes the name of a folder in models/shapes");
    return 0;
}

int config_parse(struct config *cfg, enum config_cmd cmd, int argc, char **argv, struct err *e) {
    *cfg = (struct config){0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].kind == KIND_INT) *(int64_t *)field(cfg, &rows[i]) = rows[i].start;
    }
    for (int i = 0; i < argc; i++) {
        int is_word = argv[i][0] != '-' || argv[i][1] == '\0';
        int rc = is_word ? append(&cfg->rest, "arguments", argv[i], e)
                         : option(cfg, cmd, argc, argv, &i, e);
        if (rc) return rc;
    }
    return check(cfg, e);
}

void config_help(enum config_cmd cmd, FILE *to) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (!(r->cmds & (int)cmd)) continue;
        char left[64];
        snprintf(left, sizeof(left), "--%s %s", r->name, r->value ? r->value : "");
        fprintf(to, "  %-24s %s", left, r->help);
        if (r->kind == KIND_INT && r->start) fprintf(to, "; default: %" PRId64, r->start);
        fputc('\n', to);
    }
    fprintf(to, "  %-24s this text\n", "--help");
}

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

struct eng_options config_engine(const struct config *cfg, const char *model) {
    uint64_t seed = 0;
    if (cfg->weights) (void)read_seed(cfg->weights, &seed); /* checked when it was parsed */
    return (struct eng_options){.model = model,
                                .is_seeded = cfg->weights != NULL,
                                .seed = seed,
                                .fp8 = cfg->is_fp8 != 0,
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
