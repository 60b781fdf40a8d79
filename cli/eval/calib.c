/* calib.c - is a model as wrong as it says? See eval.h. */
#include <math.h>

#include "cli/eval/eval.h"

/* Cell 0 has what is below 2^-LOW; then come STEPS for each doubling. */
enum { LOW = 14, STEPS = 22 };

void eval_calib_add(struct eval_calib *c, double stated, double found) {
    int cell = 0;
    if (stated > 0) cell = 1 + (int)floor((log2(stated) + LOW) * STEPS);
    if (cell < 0) cell = 0;
    if (cell >= CALIB_CELLS) cell = CALIB_CELLS - 1;
    c->n[cell]++;
    c->stated[cell] += stated;
    c->found[cell] += found;
}

void eval_calib_set(json_t *o, const char *key, const struct eval_calib *c) {
    uint64_t left = 0;
    double off = 0;
    json_t *bins = json_array(), *all = json_object();
    for (int i = 0; i < CALIB_CELLS; i++)
        left += c->n[i];
    const double total = (double)left;
    int bins_left = CALIB_BINS;
    for (int i = 0; i < CALIB_CELLS && left;) {
        uint64_t n = 0, wanted = left / (uint64_t)bins_left;
        double stated = 0, found = 0;
        for (; i < CALIB_CELLS && (n == 0 || n + c->n[i] / 2 < wanted || bins_left == 1); i++) {
            n += c->n[i];
            stated += c->stated[i];
            found += c->found[i];
        }
        off += fabs(stated - found) / total;
        json_t *bin = json_pack("{s:I}", "n", (json_int_t)n);
        eval_set(bin, "stated", stated / (double)n);
        eval_set(bin, "found", found / (double)n);
        json_array_append_new(bins, bin);
        left -= n;
        if (bins_left > 1) bins_left--;
    }
    eval_set(all, "off", off);
    json_object_set_new(all, "bins", bins);
    json_object_set_new(o, key, all);
}
