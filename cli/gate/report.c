/* report.c - a gate's figures as JSON and as a table. See gate.h. Numbers are rounded to four
 * places, so that a file is the same wherever the same was measured. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/gate/battery.h"
#include "cli/gate/gate.h"
#include "data/files.h"
#include "engine/files/newfile.h"

static void gate_set(json_t *o, const char *key, double v) {
    json_object_set_new(o, key, json_real(round(v * 1e4) / 1e4 + 0.0)); /* + 0: no -0 */
}

static json_t *gate_row_json(const struct gate_row *row, int part) {
    const struct gate_metric *m = &gate_metrics[row->task];
    const struct boot_result *r = &row->result;
    json_t *o = json_object();
    json_object_set_new(o, "task", json_string(sample_task_words[row->task]));
    json_object_set_new(o, "metric", json_string(m->name));
    json_object_set_new(o, "higher_is_better", json_boolean(m->higher_is_better));
    json_object_set_new(o, "n", json_integer(r->n));
    json_object_set_new(o, "available", json_integer(row->available));
    json_object_set_new(o, "pictures", json_integer(r->clusters));
    gate_set(o, "before", r->before);
    gate_set(o, "after", r->after);
    gate_set(o, "difference", r->difference);
    gate_set(o, "low", r->low);
    gate_set(o, "high", r->high);
    gate_set(o, "tolerance", m->tolerance);
    gate_set(o, "p_worse", r->p_worse);
    gate_set(o, "p_better", r->p_better);
    json_object_set_new(o, "decision", json_string(gate_decision_words[row->decision]));
    if (part != GATE_BATTERY) return o;
    gate_set(o, "chance", row->chance);
    json_object_set_new(o, "at_chance", json_boolean(row->at_chance));
    return o;
}

static json_t *gate_basis_json(const struct gate_basis *by) {
    json_t *o = json_object(), *data = json_array();
    for (int i = 0; i < by->n_data; i++) {
        json_t *one = json_object();
        json_object_set_new(one, "digest", json_string(by->data[i].digest));
        gate_set(one, "share", by->data[i].held);
        json_array_append_new(data, one);
    }
    json_object_set_new(o, "base", json_string(by->base));
    json_object_set_new(o, by->is_adapter ? "adapter" : "model", json_string(by->result));
    json_object_set_new(o, "validation", data);
    json_object_set_new(o, "battery_seed", json_integer(BATTERY_SEED));
    return o;
}

static json_t *gate_json(const struct gate_report *r) {
    static const char *const names[GATE_PARTS] = {"tasks", "battery"};
    json_t *o = json_object();
    json_object_set_new(o, "version", json_integer(1));
    json_object_set_new(o, "decision", json_string(gate_decision_words[r->decision]));
    json_object_set_new(o, "items", json_integer(r->items));
    json_object_set_new(o, "refused", json_integer(r->refused));
    for (int part = 0; part < GATE_PARTS; part++) {
        json_t *rows = json_array();
        for (int i = 0; i < r->n[part]; i++)
            json_array_append_new(rows, gate_row_json(&r->rows[part][i], part));
        json_object_set_new(o, names[part], rows);
    }
    json_object_set_new(o, "why", json_string(r->why));
    json_object_set_new(o, "judged_by", gate_basis_json(&r->by));
    return o;
}

int gate_write(const struct gate_report *r, const char *path, struct err *e) {
    json_free_t give;
    json_t *o = gate_json(r);
    char *text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(o);
    if (!text) return err_set(e, E_NOMEM, "no memory for %s", path);
    int is_out = strcmp(path, "-") == 0;
    int rc = is_out ? file_write(path, text, strlen(text), e)
                    : newfile_write(path, text, strlen(text), e);
    if (rc == 0 && is_out) puts("");
    json_get_alloc_funcs(NULL, &give);
    give(text);
    return rc;
}

void gate_table(const struct gate_report *r, struct buf *to) {
    buf_str(to, "| task | figure | questions, pictures | before | after | 95 % of the difference "
                "| |\n|---|---|---|---|---|---|---|\n");
    for (int part = 0; part < GATE_PARTS; part++)
        for (int i = 0; i < r->n[part]; i++) {
            const struct gate_row *row = &r->rows[part][i];
            const struct boot_result *b = &row->result;
            const char *word = gate_decision_words[row->decision];
            buf_printf(to, "| %s%s | %s | %u, %u | %.2f | %.2f | %+.2f to %+.2f | ",
                       sample_task_words[row->task], part == GATE_BATTERY ? ", battery" : "",
                       gate_metrics[row->task].name, b->n, b->clusters, b->before, b->after, b->low,
                       b->high);
            if (row->at_chance)
                buf_printf(to, "no better than without looking, %.2f |\n", row->chance);
            else
                buf_printf(to, "%s |\n", word);
        }
}
