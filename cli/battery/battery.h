/* battery.h - `lammd eval battery DIR`: many exams of one model, and a table that is kept.
 *
 *     DIR/battery.json
 *     {"digest": "...", "parts": [{"name": "coco", "mode": "rec", "path": "coco"}, ...]}
 *
 * A part is asked by a mode of `lammd eval`; its path is below DIR. Of each part come figures, each
 * with how much was asked, its 95 % interval, and what answers without looking get. A share has
 * Wilson's interval; for all else pictures are drawn again (cli/gate/boot.h). `digest` says which
 * exam it is: only figures of the same one are compared. tools/data/battery.py makes such a folder.
 */
#ifndef CLI_BATTERY_BATTERY_H
#define CLI_BATTERY_BATTERY_H

#include <jansson.h>
#include <stdint.h>

#include "cli/config.h"

enum { BATTERY_PARTS_MAX = 64, BATTERY_FIGURES_MAX = 512, BATTERY_TRIVIALS = 3 };
enum { BATTERY_BINS = 5 };

struct figure {
    char part[64], name[32];
    uint32_t n;              /* pictures, sentences, questions, steps */
    double value, low, high; /* low, high: NAN: there is no interval */
    struct {
        const char *name; /* NULL: there is none */
        double value;
    } trivial[BATTERY_TRIVIALS];
    double before; /* NAN: the table has none of this exam */
    int bins;      /* of a figure about stated errors: so many of these, the surest first */
    double stated[BATTERY_BINS], found[BATTERY_BINS];
};
struct figures {
    struct figure at[BATTERY_FIGURES_MAX];
    int n;
};

/* `dir`: the folder. E_IO, E_FORMAT, E_INVALID, and those of the modes. */
int battery_command(const struct config *cfg, const char *dir, struct err *e);

/* ---- figures.c ---- */

/* What a mode's report and items say of a part. In per cent but for levels. */
void figures_take(struct figures *to, const char *part, const char *mode, const json_t *report,
                  const json_t *items);

/* ---- table.c ---- */

struct battery_run {
    const char *label, *exam;   /* exam: the folder's digest */
    char model[64], digest[65]; /* of the weights */
    char date[32];              /* UTC */
    double seconds;
};
/* Print them on standard output. */
void table_print(const struct battery_run *run, const struct figures *f);
/* Is `path` a table, or not there yet? E_IO, E_FORMAT. */
int table_check(const char *path, struct err *e);
/* Read the newest figures of this exam from the table `path`, into `before`; no such file: none.
 * Errors of table_check. */
int table_before(const char *path, const struct battery_run *run, struct figures *f, struct err *e);
/* Append a line for each figure; the file is made where there is none. */
int table_append(const char *path, const struct battery_run *run, const struct figures *f,
                 struct err *e);

#endif
