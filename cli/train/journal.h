/* journal.h - what a run writes down while it goes: losses.csv and events.jsonl.
 *
 * losses.csv is a table with a row for each step and each judgement. A run that goes on cuts it
 * back to its checkpoint, so that each step stands in it once. events.jsonl is a log: a line for
 * everything that happens, a step too, and nothing is ever taken out. After the line `resume` its
 * steps count from there.
 *
 *     {"event": "start", "recipe": ..., "data": ..., "steps": 300, ...}
 *     {"event": "step", "stage": "learn", "step": 1, "loss": 2.25, "tasks": {"refer": 2.25}, ...}
 *     {"event": "judge", "step": 200, "loss": ..., "tasks": {...}}
 *     {"event": "phase", "phase": "train" | "evaluate" | "export"}
 *     {"event": "checkpoint" | "resume" | "left_out" | "export" | "stop" | "end", ...}
 *
 * Thread: main's.
 */
#ifndef CLI_TRAIN_JOURNAL_H
#define CLI_TRAIN_JOURNAL_H

#include <jansson.h>
#include <stdint.h>

#include "cli/train/folder.h"
#include "cli/train/state.h"
#include "kernels/base/err.h"

struct journal {
    char csv_path[FOLDER_PATH_MAX], events_path[FOLDER_PATH_MAX];
    int csv, events; /* descriptors; < 0: closed */
    uint64_t csv_bytes;
};

struct journal_row {
    uint64_t step; /* of all stages, from 1 */
    const char *stage;
    int is_judgement; /* then the fields below `losses` are not written */
    const struct losses *losses;
    double rate, norm, seconds; /* seconds: that the step took */
    uint64_t talks, tokens;
    int is_skipped;
};

/* Opens both; losses.csv is cut to its first `csv_bytes` bytes. E_IO, E_FORMAT (losses.csv is
 * shorter than that). */
int journal_open(const struct folder *f, uint64_t csv_bytes, struct journal *j, struct err *e);
/* Opens events.jsonl alone. */
int journal_open_events(const struct folder *f, struct journal *j, struct err *e);
void journal_close(struct journal *j);
/* A row of the table, and its event. E_IO: the disk is full, say. */
int journal_add(struct journal *j, const struct journal_row *r, struct err *e);
/* An event; takes `fields`, an object. */
int journal_event(struct journal *j, const char *event, json_t *fields, struct err *e);
/* The table is on the disk. */
int journal_sync(struct journal *j, struct err *e);

#endif
