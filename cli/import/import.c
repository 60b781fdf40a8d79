/* import.c - `lammd import`: the options become those of engine/import/import.h, and what it says
 * becomes lines and a bar. Thread: main's. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/import/probe.h"
#include "cli/train/say.h"
#include "data/files.h"
#include "engine/import/import.h"
#include "kernels/base/clock.h"

enum { BAR = 24, SHOW_MS = 200, LINE_MS = 10000 };

void cmd_import_arguments(FILE *to) {
    fputs("Originals, in the order in which they were trained:\n"
          "  FOLDER       LLaMA-2 in Hugging Face's form: config.json, tokenizer.model, and\n"
          "               safetensors or .bin, whole or in shards\n"
          "  FILE         .pth, .pt, .bin or .safetensors: the tower, a connector, a LoRA\n",
          to);
}

/* ---- what is said meanwhile ---- */

struct bar {
    int is_terminal, is_shown;
    uint64_t start_ns, said_ns;
};

static void import_show(void *ud, uint64_t done, uint64_t all) {
    struct bar *b = ud;
    uint64_t now = clock_ns(), every = (b->is_terminal ? SHOW_MS : LINE_MS) * CLOCK_MS;
    double seconds = (double)(now - b->start_ns) / 1e9, part = all ? (double)done / (double)all : 1;
    char left[24];
    if (now - b->said_ns < every && !(b->is_shown && done == all)) return;
    b->said_ns = now;
    say_time(part > 0 ? seconds / part - seconds : 0, left);
    int full = (int)(part * BAR);
    fprintf(stderr, "%s[%.*s%.*s] %5.1f of %.1f GB, %.0f MB/s, %s left%s",
            b->is_terminal ? "\r" : "", full, "########################", BAR - full,
            "........................", (double)done / 1e9, (double)all / 1e9,
            (double)done / 1e6 / (seconds + 1e-9), left, b->is_terminal ? "   " : "\n");
    b->is_shown = 1;
}

static void import_say(void *ud, const char *text) {
    (void)ud;
    fprintf(stderr, "%s\n", text);
}

/* ---- the options ---- */

/* A number above 0; 0 where `text` is NULL. */
static int read_positive(const char *option, const char *text, double *out, struct err *e) {
    char *end;
    *out = 0;
    if (!text) return 0;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v > 0 && v < 1e6))
        return err_set(e, E_INVALID, "--%s takes a number above 0, not \"%s\"", option, text);
    *out = v;
    return 0;
}

static int import_options(const struct config *cfg, struct import_options *o, struct err *e) {
    *o = (struct import_options){.originals = cfg->rest.at,
                                 .n_originals = cfg->rest.n,
                                 .config = cfg->as_config,
                                 .tokenizer = cfg->tokenizer,
                                 .is_any_tokenizer = cfg->is_any_tokenizer != 0,
                                 .drops_unknown = cfg->is_dropping != 0,
                                 .is_pointing = cfg->is_pointing != 0,
                                 .adapter = cfg->keep_adapter,
                                 .inst_spaces = (int)cfg->inst_spaces,
                                 .bos_count = (int)cfg->bos_count,
                                 .pixel_grid = (int)cfg->pixel_grid,
                                 .image_size = (int)cfg->image_size,
                                 .vision_heads = (int)cfg->vision_heads,
                                 .note = import_say,
                                 .progress = import_show};
    if (cfg->coord_order) o->coord_order = config_orders[cfg->coord_order];
    int rc = read_positive("rms-eps", cfg->rms_eps, &o->rms_eps, e);
    return rc ? rc : read_positive("lora-alpha", cfg->lora_alpha, &o->lora_alpha, e);
}

static void import_say_result(const struct config *cfg, const struct import *i, double seconds) {
    const struct import_facts *f = import_facts(i);
    char took[24];
    say_time(seconds, took);
    fprintf(stderr, "%s: %d tensors, %.2f billion parameters, %.2f GB, in %s\n", cfg->out,
            f->tensors, (double)f->parameters / 1e9, (double)f->bytes / 1e9, took);
    if (f->merged) fprintf(stderr, "the LoRA was added to %d matrices\n", f->merged);
    if (cfg->keep_adapter) fprintf(stderr, "the LoRA is in %s\n", cfg->keep_adapter);
    printf("%s\n", f->digest);
}

static int import_make(const struct config *cfg, struct err *e) {
    struct import_options o;
    struct import *i = NULL;
    struct bar bar = {.is_terminal = isatty(STDERR_FILENO), .start_ns = clock_ns()};
    int rc = import_options(cfg, &o, e);
    o.ud = &bar;
    bar.said_ns = bar.start_ns;
    if (!rc) rc = import_open(&o, &i, e);
    if (!rc) rc = import_write(i, cfg->out, e);
    if (bar.is_shown && bar.is_terminal) fputc('\n', stderr);
    if (!rc) import_say_result(cfg, i, (double)(clock_ns() - bar.start_ns) / 1e9);
    import_close(i);
    return rc;
}

int cmd_import(const struct config *cfg) {
    struct err e = {0};
    if (!cfg->out || (!cfg->rest.n && !cfg->probe)) return cmd_misused(CMD_IMPORT);
    if (cfg->probe && cfg->keep_adapter) {
        fputs("lammd: --probe asks the model without its adapter, so --keep-adapter excludes it\n",
              stderr);
        return 2;
    }
    int rc = cfg->probe ? probe_check(cfg, &e) : 0;
    if (!rc && cfg->rest.n) rc = import_make(cfg, &e);
    if (!rc && cfg->probe) rc = probe_run(cfg, cfg->out, &e);
    return rc ? cmd_fail(&e) : 0;
}
