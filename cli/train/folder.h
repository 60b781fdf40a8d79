/* folder.h - the folder that a run lives in, and its checkpoints.
 *
 *     OUT/lock                        held while a run is at work: two never share a folder
 *     OUT/recipe.ini                  what runs, every key said
 *     OUT/step-%08u.safetensors       checkpoints: the last two, and the best one
 *     OUT/losses.csv  events.jsonl    journal.h
 *     OUT/stage-N/                    what stage N handed to the next
 *     OUT/adapter/ or OUT/model/      the result, with its card
 *
 * The lock belongs to the process: the kernel gives it up when the process ends, however it ends.
 * Thread: main's.
 */
#ifndef CLI_TRAIN_FOLDER_H
#define CLI_TRAIN_FOLDER_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { FOLDER_PATH_MAX = 4200, FOLDER_STEPS_MAX = 64 };

struct folder {
    char path[4096 - 64];
    int lock; /* descriptor; < 0: none */
};

/* Makes the folder where it is missing, and takes its lock. E_BUSY: another run has it (the text
 * names its process), E_IO, E_INVALID (the path is too long). */
int folder_open(const char *path, struct folder *f, struct err *e);
/* The same without making or locking anything: for the ranks that only read in it. */
int folder_name(const char *path, struct folder *f, struct err *e);
void folder_close(struct folder *f);
/* Path of a file in it; `name` has 40 bytes at most. */
void folder_file(const struct folder *f, const char *name, char to[FOLDER_PATH_MAX]);
void folder_checkpoint(const struct folder *f, uint64_t step, char to[FOLDER_PATH_MAX]);
/* The steps of the checkpoints that are there, newest first; at most FOLDER_STEPS_MAX. Files that
 * a killed run left half written are deleted. */
int folder_steps(const struct folder *f, uint64_t steps[FOLDER_STEPS_MAX], int *n, struct err *e);
/* Deletes the checkpoints but for the newest two and `best` (0: there is none). */
int folder_prune(const struct folder *f, uint64_t best, struct err *e);
/* Is there room for three files of so many bytes? E_IO, the text says how much is missing. */
int folder_check_space(const struct folder *f, uint64_t bytes, struct err *e);

#endif
