/* gate.h - is what was trained better than what it was trained from, or worse at something else?
 * Its figures decide whether an adapter may be promoted.
 *
 *     gate.c      which questions, both models asked, rows compared, the decision
 *     ask.c       an item is asked of a model through the engine's door, and its answer scored
 *     models.c    the two models: the base, and what came of it
 *     battery.c   questions about other things, drawn by code (scene.c)
 *     boot.c      better, worse, or luck;  score.c  texts against right texts
 *     report.c    gate.json, the table, the card's part
 *     command.c   `lammd eval gate`
 *
 * Rows. For each task of the data that were kept apart there is one row with the task's own metric,
 * and another for each task of the battery. Both models get the same questions. At most `most` of a
 * task are asked, those whose digests are the lowest.
 * Decisions. A row is `worse` or `better` when the paired bootstrap says so at 95 % (boot.h), worse
 * only beyond the metric's tolerance; by Holm over the rows of the data, and again over those of
 * the battery. So a model that is as good as its base is refused in at most 5 of 100 gates. A row
 * of fewer than GATE_PICTURES_MIN pictures decides nothing, and neither does a row of the battery
 * in which the base answers no better than without looking. The gate is `worse` when any row is,
 * else `better` when a row of the data is. With fewer than GATE_ITEMS_MIN questions about the data
 * it is `not_decided`.
 * The same models and data give the same bytes. Thread: main's; engines have their own.
 */
#ifndef CLI_GATE_GATE_H
#define CLI_GATE_GATE_H

#include "cli/config.h"
#include "cli/gate/boot.h"
#include "data/source.h"
#include "kernels/base/buf.h"

enum { GATE_ITEMS_MIN = 30, GATE_PICTURES_MIN = 8, GATE_MOST = 300, GATE_DATA_MAX = 64 };

enum gate_decision { GATE_NOT_DECIDED, GATE_WORSE, GATE_NOT_WORSE, GATE_BETTER };
extern const char *const gate_decision_words[]; /* "not_decided", ..., NULL */
enum gate_part { GATE_DATA, GATE_BATTERY, GATE_PARTS };

/* How a task is judged. */
struct gate_metric {
    const char *name;
    int higher_is_better;
    double scale, tolerance; /* the figure is scale * sum of num / sum of den */
};
extern const struct gate_metric gate_metrics[SAMPLE_TASKS];

struct gate_data {
    const struct source *source; /* borrowed */
    unsigned tasks;              /* a bit for each enum sample_task that is judged by it */
    float held;                  /* the share of it that was kept apart; 1: all */
};
struct gate_options {
    const struct config *cfg; /* of the engine: device, threads ... */
    const char *base;         /* folder of the model */
    const char *adapter;      /* an adapter for it, served as it is: never merged; or */
    const char *against;      /* another model, where `adapter` is NULL */
    struct gate_data data[GATE_DATA_MAX];
    int n_data;
    uint32_t most;         /* questions of a task; 0: GATE_MOST */
    const char *items;     /* file that gets each item's scores, as JSON lines; NULL: none */
    int (*stop)(void *ud); /* asked between questions: anything but 0 ends it; NULL: never */
    void *ud;
};

struct gate_row {
    enum sample_task task;
    uint32_t available; /* n questions of so many were asked */
    struct boot_result result;
    enum gate_decision decision;
    double chance; /* of the battery: the figure of answers without looking */
    int at_chance;
};
/* What it was judged by, as digests: the same ones give the same figures. */
struct gate_basis {
    char base[65];   /* of the model before */
    char result[65]; /* of the adapter, or of the model after */
    int is_adapter;
    struct {
        char digest[65]; /* source_report's */
        double held;
    } data[GATE_DATA_MAX];
    int n_data;
};
struct gate_report {
    struct gate_basis by;
    enum gate_decision decision;
    uint32_t items, refused; /* questions about the data; those that the engine refused, which
                                count as wrong */
    struct gate_row rows[GATE_PARTS][SAMPLE_TASKS];
    int n[GATE_PARTS];
    char why[400];
};
/* E_CANCELLED: `stop` said so. And the errors of engines, adapters and sources. */
int gate_run(const struct gate_options *o, struct gate_report *out, struct err *e);

/* What the rows say together: fills decisions and `why`. Pure. */
void gate_decide(struct gate_report *r);

/* ---- report.c ---- */

/* gate.json, version 1: on the disk, whole or not at all. E_IO, E_NOMEM. "-": standard output. */
int gate_write(const struct gate_report *r, const char *path, struct err *e);
/* As a table of Markdown: for a card, and for people. */
void gate_table(const struct gate_report *r, struct buf *to);

#endif
