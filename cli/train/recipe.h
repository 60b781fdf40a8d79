/* recipe.h - what is to be trained, from what, how: a recipe file, read and checked.
 *
 *     [run]            which model, where to, how often to save and to judge
 *     [stage NAME]     in order: how many steps, what learns, at which rate, from which tasks
 *                      `from = OTHER`: it begins with what that stage learnt, not the one before
 *                      `like = OTHER`: what it doesn't say is as there
 *     [data NAME]      where the samples come from
 *
 * The table of keys.c is the only place that knows a key's name, kind, bounds, default and help;
 * reading, writing, `lammd train --keys` and docs/training.md come from it. Thread: main's.
 */
#ifndef CLI_TRAIN_RECIPE_H
#define CLI_TRAIN_RECIPE_H

#include <stdint.h>
#include <stdio.h>

#include "engine/train/train.h"
#include "kernels/base/buf.h"
#include "kernels/base/err.h"
#include "kernels/base/mem.h"

enum { RECIPE_STAGES_MAX = 32, RECIPE_DATA_MAX = 64, RECIPE_PATH_MAX = 4095 };
enum recipe_section { RECIPE_RUN, RECIPE_STAGE, RECIPE_DATA, RECIPE_SECTIONS };
extern const char *const recipe_sections[]; /* "run", "stage", "data", NULL */

enum recipe_export { RECIPE_LAST, RECIPE_BEST };
enum recipe_result { RECIPE_ADAPTER, RECIPE_MODEL, RECIPE_BOTH };
enum recipe_orient { RECIPE_SHOWN, RECIPE_STORED };

/* Numbers are int64_t and double, words their place in the key's list, so that one table reads all.
 */
struct recipe_run {
    const char *model, *out, *device, *isa, *features; /* NULL: not given */
    int64_t seed, threads, memory_mib;
    int64_t checkpoint_every, judge_every, judge_samples;
    double validation; /* share of the data that is judged by, and never learnt */
    int64_t export_;   /* enum recipe_export */
    int64_t result;    /* enum recipe_result */
    int64_t gate;      /* is the result compared with what it began with? */
};
struct recipe_stage {
    const char *name, *from, *like; /* NULL: not given */
    int parent;                     /* the stage whose result it begins with; -1: the model */
    int64_t steps, samples, questions, pack, mix, pictures, rows; /* mix 1: steps of one source */
    int64_t also;                   /* questions of a sample that are of each other task */
    int64_t rehearse;               /* questions of a sample that no line asks */
    double ratio[SAMPLE_TASKS];     /* < 0: not given */
    int64_t tower, connector, text; /* text: enum train_text */
    int64_t lora_r, lora_rslora, lora_targets; /* targets: bits of train_lora_words */
    double lora_alpha, lora_dropout;           /* dropout < 0: 0, or 0.05 where pack is no */
    double rate, rate_start, rate_end, tower_rate;
    int64_t warmup;
    double beta1, beta2, eps, decay, clip, average;
    int64_t legal;
    double soft[SAMPLE_TASKS], box_l1, box_giou;
    double hold;
    int64_t hold_layer, hold_heads, hold_tasks, hold_mask; /* hold_mask 1: the thing */
    int64_t recompute;
    double dense[TRAIN_DENSE], dense_rate;
    int64_t dense_alone;
    const char *teacher;                  /* folder; NULL: not given */
    double teach, teach_of[SAMPLE_TASKS]; /* < 0: not given, as teach */
    int64_t teach_top;
};
struct recipe_data {
    const char *name, *path, *pictures, *split;
    int64_t tasks; /* bits of sample_task_words */
    double weight, stress;
    int64_t orient; /* enum recipe_orient */
    double crop, jitter, flip;
    int64_t forms;                 /* 0: all, 1: lammd's own alone */
    int64_t bad_lines, validation; /* validation: all of it is judged by */
};
struct recipe {
    struct arena *mem;
    const char *file; /* its path, for errors */
    struct recipe_run run;
    struct recipe_stage stages[RECIPE_STAGES_MAX];
    struct recipe_data data[RECIPE_DATA_MAX];
    int n_stages, n_data;
};

/* What the command line says: NAME=VALUE, which `${NAME}` in a path stands for, or
 * SECTION.KEY=VALUE, which is taken in place of what the recipe says: "learn.rate=1e-4" of
 * [stage learn]. */
struct recipe_sets {
    const char *const *at; /* (n) */
    int n;                 /* up to 64 */
    const char *dir; /* what a path is relative to that begins with ${NAME}; NULL: the recipe */
};

/* A recipe's text; `dir` is what its paths are relative to. E_FORMAT with file, line and reason,
 * E_TOO_BIG, E_NOMEM. `file` and `dir` are borrowed until recipe_close, which is for success only.
 */
int recipe_parse(const char *file, const char *dir, const char *text, size_t len,
                 const struct recipe_sets *sets, struct recipe *out, struct err *e);
/* The same of a file; paths are relative to its folder. E_IO, too. */
int recipe_open(const char *path, const struct recipe_sets *sets, struct recipe *out,
                struct err *e);
void recipe_close(struct recipe *r); /* all zero is legal */
/* Every stage has `steps` steps at most; warm-up is shortened alike. */
void recipe_shorten(struct recipe *r, int64_t steps);

/* As a recipe that says every key. `is_digest`: only what changes the weights, for digests. */
void recipe_write(const struct recipe *r, int is_digest, struct buf *out);
/* SHA-256, hex, of the keys that change the weights. */
void recipe_digest(const struct recipe *r, char hex[65]);

/* What a stage asks of the trainer; texts are borrowed. `model` and the rest of what the run knows
 * are left empty. */
struct train_options recipe_train_options(const struct recipe *r, int stage);
/* Samples of a step of that stage: with `pack = no` a question is one. */
int recipe_samples(const struct recipe_stage *s);
int recipe_questions(const struct recipe_stage *s);
int64_t recipe_steps(const struct recipe *r); /* of all stages */

#endif
