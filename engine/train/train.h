/* train.h - the second door of the engine: a model learns from samples.
 *
 *     struct train_options o = {.model = "models/lamm-mini", .device = "cpu", ...};
 *     struct train *t;
 *     int rc = train_open(&o, &t, &e);
 *     for each step:
 *         for each of its samples: rc = train_add(t, &sample, &e);   // forward, backward
 *         rc = train_step(t, &result, &e);                           // clip, update
 *     rc = train_save(t, "step-00000100.safetensors", &meta, &e);
 *     rc = train_export_adapter(t, "my-adapter", &card, &e);
 *
 * Training is a process of its own (docs/training.md): nothing here runs beside a serving engine in
 * one process, and nothing here knows files of pictures, recipes, clocks or progress lines.
 *
 * One sample is one pass: its talks hang as a tree behind the pictures (tower, stem, branches,
 * tails), each token is computed once, forward and backward. The gradient equals that of the same
 * talks one by one. The losses of a step are summed over its answer tokens and divided by their
 * weight at its end, whatever sample or rank they came from.
 *
 * Same bits: everything is a function of (seed, step, sample). The samples of a step are four equal
 * lanes, or two, or one, as their number allows. In a lane gradients are added one after the other,
 * and lanes as a binary tree, so 1, 2 and 4 ranks (each with an equal share of consecutive samples)
 * give the same bits. So do 1, 2 and 3 threads.
 *
 * Thread: one; it owns the device. Errors: a train that returned E_DEVICE is lost; close it.
 */
#ifndef ENGINE_TRAIN_TRAIN_H
#define ENGINE_TRAIN_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "engine/sample.h"
#include "kernels/base/err.h"

struct train;

/* What of the decoder learns. */
enum train_text { TRAIN_TEXT_FROZEN, TRAIN_TEXT_LORA, TRAIN_TEXT_FULL };
extern const char *const train_text_words[]; /* "frozen", "lora", "full", NULL */

/* The matrices of a layer that a LoRA stands beside. */
enum {
    TRAIN_LORA_Q = 1,
    TRAIN_LORA_K = 2,
    TRAIN_LORA_V = 4,
    TRAIN_LORA_O = 8,
    TRAIN_LORA_GATE = 16,
    TRAIN_LORA_UP = 32,
    TRAIN_LORA_DOWN = 64,
    TRAIN_LORA_RANK_MAX = 512
};
extern const char *const train_lora_words[]; /* "q", "k", ... in the order of the bits, NULL */
struct train_lora {
    int r;
    float alpha;
    int is_rslora;    /* scale alpha / sqrt(r) in place of alpha / r */
    float dropout;    /* of the LoRA's input; with it a packed gradient isn't the plain one */
    unsigned targets; /* bits as above */
};

/* What picture tokens are asked directly. */
enum train_dense {
    TRAIN_DENSE_INSIDE,
    TRAIN_DENSE_BOX,
    TRAIN_DENSE_COLOUR,
    TRAIN_DENSE_FEATURE,
    TRAIN_DENSE
};
extern const char *const train_dense_words[]; /* "inside", "box", "colour", "feature", NULL */

enum { TRAIN_TEACH_TOP_MAX = 1024, TRAIN_ROWS_MAX = 65536 };

/* Linear from `start` to `peak` over the first `warmup` steps, else
 *     end + (peak - end) (1 + cos(pi step / steps)) / 2
 * with `step` counted from 0, warm-up included (docs/model.md section 6). */
struct train_rate {
    double start, peak, end;
    uint64_t warmup, steps;
};

struct train_options {
    const char *model;  /* folder */
    int is_seeded;      /* weights made from `seed`, without a file: to measure (model.h) */
    const char *device; /* "cpu", "ref" ... (kern_choose); one device */
    const char *plugin, *isa;
    int threads;     /* 0: one per core */
    uint64_t memory; /* bytes to use at most; 0: all that is free */

    int tower, connector; /* do they learn? ln_vision goes with the tower */
    enum train_text text;
    struct train_lora lora;

    struct train_rate rate;
    double tower_rate;         /* the tower's rate is so many times that of all others; 0: 1 */
    double beta1, beta2, eps;  /* 0: 0.9, 0.999, 1e-8 */
    double decay;              /* none of vectors and of names with "bias", "ln", "norm" */
    double clip;               /* of the norm of the model's gradient; 0: none */
    double average;            /* decay of the running average of weights; 0: none is kept */
    float soft[SAMPLE_TASKS];  /* numbers are learnt as a bell of this deviation around the
                                     right one, where the tokenizer has a token a number; 0: hard */
    int is_legal;              /* are numbers learnt among the legal ones (legal.h), not among
                                     the whole vocabulary? */
    float box_l1, box_giou;    /* weights of the losses of the expected box; 0: none */
    float dense[TRAIN_DENSE];  /* weights of the dense questions (losses/dense.h); 0: not asked.
                                     They want a tower or a connector that learns */
    double dense_rate;         /* their heads' rate is so many times that of all others; 0: 1 */
    uint64_t dense_alone;      /* steps in which the heads learn and the model doesn't by them */
    const char *teacher;       /* folder of a model whose answers are learnt from; NULL: none */
    float teach[SAMPLE_TASKS]; /* its share of the target, 0 to 1 (losses/teach.h) */
    int teach_top;             /* of its answer, the likeliest tokens; 0: 32 */
    int has_taught;            /* do talks come that are taught (sample.h)? Where no teacher is
                                     given, the model as it begins is theirs */
    float hold;                /* weight of the loss of attention that is held (sample.h) */
    int hold_layer;            /* of the decoder, from 0 */
    uint32_t hold_heads;       /* a bit each */
    unsigned hold_tasks;       /* whose talks are held, a bit each; 0: those of all */
    int recompute;             /* 0: keep all that the way back needs, 1: norms and activations
                                     are computed again, 2: whole layers */
    int rows;                  /* token rows of a sample, at most; 0: 2,048 */
    int pictures;              /* pictures of a sample, at most; 0: 4 */
    uint64_t seed;             /* of dropout and of a new LoRA's A */
    const struct train_comm *comm; /* other ranks; NULL: alone. Borrowed (comm.h) */
};

/* Bytes, counted before anything is allocated. */
struct train_memory {
    char backend[16];     /* as which one keeps it: "cuda" */
    uint64_t weights;     /* in the types and packs that the device multiplies by */
    uint64_t masters;     /* f32 of what learns */
    uint64_t gradients;   /* one, or a sum for each level of the tree over lanes */
    uint64_t optimiser;   /* moments and average */
    uint64_t teacher;     /* its weights and activations */
    uint64_t activations; /* of one sample, there and back */
    uint64_t own;         /* the backend's own, from when it is opened */
    uint64_t total;
    uint64_t parameters, learning; /* how many weights there are, and how many learn */
};
/* `samples`: of a step, all ranks together, a multiple of their number (o->comm->size); 1 to
 * 16,384. Opens no device, and reads of the model its config, and the types of its weights where
 * there are any (else: bf16). */
int train_plan(const struct train_options *o, int samples, struct train_memory *out, struct err *e);
/* What a card has free now, beside whatever else holds some of it; 0: nobody knows, as of a
 * host's own memory. Opens the device for a moment. E_NOT_FOUND, E_UNSUPPORTED, E_DEVICE: there is
 * none. */
int train_room(const struct train_options *o, uint64_t *bytes, struct err *e);

/* E_INVALID (an option), E_NOT_FOUND, E_FORMAT (the model), E_NOMEM (the text says how much and
 * what would fit), E_UNSUPPORTED (the backend can't train). */
int train_open(const struct train_options *o, int samples, struct train **out, struct err *e);
void train_close(struct train *t); /* NULL is legal */

/* How pictures and numbers are to be asked about: what data/ needs to make samples for the
 * model. */
struct train_form {
    int grid;       /* places of a side */
    int is_yx;      /* are places [row, column]? */
    int image_size; /* side of the tower's square */
    int image_tokens;
    int tokens_side_w, tokens_side_h; /* the picture tokens as a grid, for sample_talk.hold */
    int positions;
    struct {
        int tokens, width, ffn, heads;
    } tower; /* tokens: of a picture, cls among them */
    struct {
        int width, ffn, heads, vocabulary;
    } text;
};
const struct train_form *train_form(const struct train *t);

/* Of one sample, or of a step. A row that several tasks share counts for each by its part. What is
 * learnt is (all sums + box + hold + dense) / all weights. Where a teacher has a share, the
 * cross-entropy is that with the mixed target; train_judge asks for the right answers alone. */
struct train_loss {
    double sum[SAMPLE_TASKS];     /* of weight * cross-entropy, in nats */
    double weight[SAMPLE_TASKS];  /* of the answer tokens */
    double box;                   /* loss of boxes: each counts like one token of its talk */
    double hold;                  /* loss of attention that is held */
    double dense[TRAIN_DENSE];    /* of dense questions: a sample's weigh as all its tokens do */
    uint64_t talks, tokens, rows; /* rows: of the decoder's passes */
    uint64_t rows_plain;          /* that talks one by one would have had */
};

/* Forward and backward of one sample; its gradient joins those of the step. A step has as many
 * samples as train_open was told, each rank its equal share of them. E_INVALID: a text that can't
 * stand in a prompt (which, and why), E_TOO_BIG: more rows or positions than there are: nothing was
 * added; a skipped sample is given as NULL (*loss is 0 then). E_DEVICE. */
int train_add(struct train *t, const struct sample *s, struct train_loss *loss, struct err *e);
/* Forward alone: for validation. Advances nothing. */
int train_judge(struct train *t, const struct sample *s, struct train_loss *loss, struct err *e);

struct train_result {
    struct train_loss loss; /* of all ranks' samples */
    double norm;            /* of the model's gradient, before clipping */
    double rate;
    int is_skipped; /* the loss or the norm wasn't finite: no weight changed */
};
/* Ends the step: sums over ranks, clips, updates. Ten skipped steps in a row: E_FORMAT, "diverged".
 */
int train_step(struct train *t, struct train_result *out, struct err *e);
uint64_t train_steps(const struct train *t); /* that have ended, skipped ones included */

/* Weights to judge and export by: the running average from now on, or the newest (0). Without an
 * average nothing happens. */
int train_use_average(struct train *t, int is_average, struct err *e);

/* What stands in a checkpoint beside the weights; texts of at most 4,000 bytes, borrowed. */
struct train_meta {
    const char *recipe, *data; /* digests */
    const char *cursor;        /* the caller's own */
};
/* Everything that the next step depends on: written beside, synced, renamed. Rank 0 alone writes.
 * E_IO: the earlier file is whole. */
int train_save(struct train *t, const char *path, const struct train_meta *m, struct err *e);
/* Goes on from there, bit for bit on the same backend and program version; on another one it goes
 * on too, and *note says so (static text, or NULL). E_FORMAT: of another model, stage
 * before, recipe and seed (unless m->recipe is NULL), data (unless m->data is NULL) or shape; then
 * nothing has changed. `cursor` gets the caller's own, NUL-ended. */
int train_load(struct train *t, const char *path, const struct train_meta *m, char *cursor,
               size_t size, const char **note, struct err *e);

/* What came of it. An adapter folder: adapter_config.json and adapter_model.safetensors as peft
 * 0.21 reads them, overlay.safetensors with what of tower, ln_vision and connector learnt,
 * lammd.json with digests (engine/files/adapter.h). An earlier folder of that name is replaced, one
 * with other files in it refused. E_INVALID when the decoder learnt whole: export a model. `m`: for
 * lammd.json; NULL: unknown. `readme`: the text of README.md, borrowed; NULL: none. Rank 0 alone
 * writes. */
int train_export_adapter(struct train *t, const char *folder, const struct train_meta *m,
                         const char *readme, struct err *e);
/* A whole model folder: config and tokenizer copied, LoRA merged in f32, every tensor in the type
 * that it had. */
int train_export_model(struct train *t, const char *folder, const char *readme, struct err *e);
/* A stage begins with what the one before exported: an adapter folder (LoRA and overlay) is read
 * into an opened train, before its first step and before train_load. Everything in it must have a
 * place here: a tower that doesn't learn any more is set and goes along into what this stage
 * exports. What learns here and isn't in it begins as it is. E_FORMAT, E_UNSUPPORTED, E_INVALID,
 * E_NOT_FOUND: nothing has changed. */
int train_import_adapter(struct train *t, const char *folder, struct err *e);

#endif
