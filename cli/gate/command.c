/* command.c - see command.h. SIGINT and SIGTERM end it as any command: nothing is written before
 * the end. */
#include "cli/gate/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/gate/gate.h"
#include "kernels/base/mem.h"

enum { TABLE_MAX = 64 << 10, ITEMS_PATH_MAX = 4200 };

static int command_open_data(const struct config *cfg, struct source **sources,
                             struct gate_options *o, struct err *e) {
    const struct source_options how = {.check = eng_check_learnt};
    for (int i = 0; i < cfg->data.n; i++) {
        int rc = source_open(cfg->data.at[i], &how, &sources[i], e);
        if (rc) return rc;
        const struct source_report *r = source_report(sources[i]);
        if (r->bad)
            return err_set(e, E_FORMAT, "%s: %" PRIu64 " bad lines; line %" PRIu64 ": %s%s%s",
                           r->path, r->bad, r->errors[0].line, r->errors[0].field,
                           *r->errors[0].field ? ": " : "", r->errors[0].reason);
        unsigned tasks = 0;
        for (int t = 0; t < SAMPLE_TASKS; t++)
            tasks |= (unsigned)(r->tasks[t] > 0) << t;
        if (!tasks && r->pictures) tasks = 1u << SAMPLE_PIXELS; /* a folder of pictures */
        o->data[o->n_data++] = (struct gate_data){sources[i], tasks, 1};
    }
    return 0;
}

static int gate_say(const struct config *cfg, const struct gate_report *r, struct err *e) {
    struct buf b;
    if (cfg->json) {
        int rc = gate_write(r, cfg->json, e);
        if (rc || strcmp(cfg->json, "-") == 0) return rc;
    }
    buf_init(&b, TABLE_MAX);
    gate_table(r, &b);
    if (b.p) fputs((const char *)b.p, stdout);
    buf_clear(&b);
    printf("\n%s: %s\n", gate_decision_words[r->decision], r->why);
    return 0;
}

static int gate_check(const struct config *cfg, struct err *e) {
    if (!cfg->adapter == !cfg->against)
        return err_set(
            e, E_INVALID,
            "gate compares --model with --adapter FOLDER, or with --against FOLDER: give "
            "one of them");
    return 0;
}

int gate_command(const struct config *cfg, struct err *e) {
    struct source *sources[CONFIG_LIST_MAX] = {NULL};
    char model[4096], items[ITEMS_PATH_MAX];
    struct gate_report *r = mem_must(sizeof(*r));
    struct gate_options o = {.cfg = cfg,
                             .base = config_model(cfg, model),
                             .adapter = cfg->adapter,
                             .against = cfg->against,
                             .most = (uint32_t)cfg->limit};
    if (cfg->out) snprintf(items, sizeof(items), "%s/items.jsonl", cfg->out);
    if (cfg->out) o.items = items;
    int rc = gate_check(cfg, e);
    if (rc == 0) rc = command_open_data(cfg, sources, &o, e);
    if (rc == 0) rc = gate_run(&o, r, e);
    if (rc == 0) rc = gate_say(cfg, r, e);
    for (int i = 0; i < CONFIG_LIST_MAX; i++)
        source_close(sources[i]);
    mem_free(r);
    return rc;
}
