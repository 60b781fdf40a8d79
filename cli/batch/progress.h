/* progress.h - how far a batch is, on standard error: a bar where that is a terminal, else a line
 * now and then. Thread: its owner's. */
#ifndef CLI_BATCH_PROGRESS_H
#define CLI_BATCH_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

struct progress {
    uint64_t total;        /* lines that are to be done, those of earlier runs among them */
    uint64_t before;       /* of them, done by earlier runs */
    uint64_t done, failed; /* by this one */
    uint64_t start_ns, said_ns;
    int is_bar, n_said;
};

void progress_begin(struct progress *p, uint64_t total, uint64_t before);
void progress_tick(struct progress *p); /* says something when it is time */
void progress_end(struct progress *p);  /* leaves the bar's line */
/* A line of text about one line of the batch; only the first few are said. */
void progress_say(struct progress *p, uint64_t line, const char *text);
/* Lines a second of this run. */
double progress_pace(const struct progress *p);

/* "2 h 5 min", "4 min 10 s", "12 s" */
void progress_time(double seconds, char *to, size_t size);

#endif
