/* through.c - an adapter goes through a train, for run.py: in, and out again in both forms.
 *
 *     peft_through MODEL ADAPTER R ALPHA IS_RSLORA TARGETS OUT
 *
 * OUT/adapter and OUT/model are written. TARGETS is a mask of TRAIN_LORA_*. One line on standard
 * error and status 1 when something is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/train/train.h"

static int through(struct train *t, const char *adapter, const char *out, struct err *e) {
    char path[4096];
    int rc = train_import_adapter(t, adapter, e);
    (void)snprintf(path, sizeof path, "%s/adapter", out);
    if (!rc) rc = train_export_adapter(t, path, NULL, "# of tests/peft\n", e);
    (void)snprintf(path, sizeof path, "%s/model", out);
    return rc ? rc : train_export_model(t, path, NULL, e);
}

int main(int argc, char **argv) {
    if (argc != 8) return 2;
    struct train_options o = {.model = argv[1],
                              .device = "cpu",
                              .threads = 1,
                              .text = TRAIN_TEXT_LORA,
                              .lora = {.r = (int)strtol(argv[3], NULL, 10),
                                       .alpha = strtof(argv[4], NULL),
                                       .is_rslora = argv[5][0] == '1',
                                       .targets = (unsigned)strtoul(argv[6], NULL, 10)},
                              .rate = {.peak = 1e-4, .steps = 1},
                              .rows = 64,
                              .pictures = 1};
    struct train *t;
    struct err e = {0};
    int rc = train_open(&o, 1, &t, &e);
    if (!rc) rc = through(t, argv[2], argv[7], &e);
    train_close(t);
    if (rc) fprintf(stderr, "%s\n", e.text);
    return rc != 0;
}
