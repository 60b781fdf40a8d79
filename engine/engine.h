/* engine.h - the door to the engine: pictures and jobs go in, answers come out. No tensor in sight.
 *
 * Nouns. A `struct eng` is a model loaded on one or more devices, with a step thread for each. A `struct eng_picture` is a picture
 * made ready for it, known by a digest. A `struct eng_job` is all the questions of one request.
 *
 *     eng_open(&opt, &eng, &e);
 *     eng_picture_new(eng, rgb, w, h, &img, &e);
 *     eng_submit(eng, &(struct eng_ask){.pictures = &img, .n_pictures = 1, .points = pts, .n_points = n},
 *                &job, &e);
 *     while (eng_job_wait(job, UINT64_MAX) == 0 && eng_job_state(job) < ENG_DONE) ...
 *     answers = eng_job_answers(job, &n_ready);
 *     eng_job_put(job); eng_picture_put(img); eng_close(eng);
 *
 * Threads: every function may be called from any thread unless it says otherwise. The model and all
 * device memory belong to the step threads, which no caller ever waits for, but in eng_job_wait.
 * Ownership: pictures and jobs are reference counted; _new and eng_submit give one reference, _put
 * returns it. A job that is put before its end is cancelled: its work stops before the next pass.
 * Answers are written once, by the step thread, before the ready count is raised, and never change.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct eng;
struct eng_picture;
struct eng_job;

enum { ENG_DEVICES_MAX = 16 };
/* The most that may be asked of a device: E_INVALID beyond, before anything is read. */
enum {
    ENG_THREADS_MAX = 256,
    ENG_ROWS_MAX = 65536, /* lanes, too */
    ENG_KV_TOKENS_MAX = 1 << 26,
    ENG_CACHED_IMAGES_MAX = 4096
};

/* Of several devices each gets the sizes below for itself; only `threads` are shared out. */
struct eng_options {
    const char *model_dir;
    const char *backend;   /* "auto", "cpu", "ref", "cuda", "cuda:1" (see kern_choose), or up to
                              ENG_DEVICES_MAX of them with commas between, "cuda:0,cuda:1" */
    const char *plugin;    /* file of the CUDA engine; NULL: the usual places */
    int device;            /* for eng_open_on only: eng_open takes it from `backend` */
    const char *isa;       /* NULL: auto; see kern_config */
    int threads;           /* 0: one per core; of several devices on the host in all */
    int width;             /* lanes decoded at once, at most rows_max; 0: rows_max */
    int rows_max;          /* token rows of one pass; 0: 512, or width when that is more */
    int kv_tokens;         /* slots of the KV pool; 0: enough for width lanes and some pictures */
    int cached_images;     /* stems kept after their job; 0: default 32, <0: none */
    uint64_t queue_tokens; /* work that may wait, in prompt tokens; 0: default */
    uint64_t memory_max;   /* bytes of each device's memory to use; 0: all that is free */
    int as_fp8; /* the decoder's matrices in 8 bits, x rounded on its way: faster on some GPUs, and
                      other answers; on the CPU slower, to see what it costs */
    int is_seeded; /* weights are made from `seed`, not read: to measure; answers are noise */
    uint64_t seed;
    const char *profile; /* file that gets a table of each operation's time at close; NULL: none */
};

/* Everything a caller may want to know about the loaded model. */
struct eng_info {
    char name[64];     /* last part of the folder's name */
    char digest[65];   /* SHA-256 of the weights, hex */
    char backend[512]; /* "cpu: avx512, 2 threads"; of several devices with semicolons between */
    char note[240];    /* why "auto" did not take the GPU; empty: nothing to be told */
    uint64_t parameters;
    int grid; /* pixel questions run over grid x grid places */
    int image_size;
    int tokens_per_number; /* most tokens a colour value takes */
    int image_tokens;      /* that one picture takes of a prompt */
    int positions;         /* tokens of a prompt and its answer together, at most */
    int vocabulary;
};

/* E_INVALID: a size is out of bounds. E_NOMEM: the device hasn't room for the model and its smallest pass; the text says for how much.
 * Sizes that nobody chose are made to fit. */
int eng_open(const struct eng_options *opt, struct eng **out, struct err *e);
/* The same on n given tables of operations: for tests that lose a device. `backend` is not read. */
struct kern_ops;
int eng_open_on(const struct eng_options *opt, const struct kern_ops *const *ops, int n,
                struct eng **out, struct err *err);
void eng_close(struct eng *e); /* cancels what is left, joins the threads; NULL is legal */
const struct eng_info *eng_info(const struct eng *e);
/* 0, or why no job will be taken again: E_DEVICE after a device was lost, whichever. */
int eng_health(const struct eng *e);
/* What the lost device said; empty while all are well. Valid until eng_close. */
const char *eng_lost(const struct eng *e);
/* The text of one token, as the tokenizer has it ("▁the"); NULL for an id outside the vocabulary. */
const char *eng_piece(const struct eng *e, int32_t token);
/* May a text stand in a prompt? eng_submit looks, too; here `what` names it in the error. In a chat line
 * breaks, tabs and a task's tag are legal. E_INVALID, or E_TOO_BIG: outside a chat 4,000 bytes at most. */
int eng_check_text(const char *text, int in_chat, const char *what, struct err *e);

/* ---- pictures ---- */
enum { ENG_PICTURE_SIDE_MAX = 32768, ENG_PICTURE_PIXELS_MAX = 64 * 1000 * 1000 };

/* Resize (Pillow's bicubic) and digest a picture; rgb (h, w, 3) is borrowed during the call. Takes
 * milliseconds: not for an I/O thread. E_INVALID, E_TOO_BIG, E_NOMEM. */
int eng_picture_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_picture **out,
                    struct err *err);
struct eng_picture *eng_picture_get(struct eng_picture *i); /* one more reference */
void eng_picture_put(struct eng_picture *i);                /* NULL is legal */
/* SHA-256 hex over width, height, pixels, model and preprocessing: what caches know it by. */
const char *eng_picture_digest(const struct eng_picture *i);
/* The picture at grid x grid, (grid, grid, 3) u8, resized from the original: the truth that pixel
 * answers are measured against. Borrowed from the image. */
const uint8_t *eng_picture_truth(const struct eng_picture *i);
void eng_picture_size(const struct eng_picture *i, int *w, int *h); /* of the original */

/* ---- jobs ---- */
enum eng_class { ENG_ACT, ENG_MASK, ENG_ANSWER, ENG_PICTURE, ENG_TRAIN, ENG_CLASSES }; /* urgency */
enum eng_estimate {
    ENG_MODE,   /* the likeliest token each time (docs/model.md section 4.4) */
    ENG_MEDIAN, /* of each number's distribution given the numbers before it: least mean error */
    ENG_MEAN    /* the same, rounded to the nearest level */
};
extern const char *const eng_estimate_words[]; /* "mode", "median", "mean", NULL */

/* The tasks, with the prompts of engine/ask/prompt.h (docs/model.md sections 4.3 and 4.5). */
enum eng_task {
    ENG_PIXELS,    /* one picture, points            -> [r,g,b] 0..255 for each point */
    ENG_SEGMENT,   /* one picture, `text`, points    -> 0 or 1 for each point */
    ENG_REFER,     /* one picture, `text`            -> x1, y1, x2, y2 0..100 */
    ENG_DRIVE,     /* 2 frames of CarRacing          -> steering, gas, brake 0..20 */
    ENG_SHOOT,     /* 4 frames of Space Invaders     -> 0..5 */
    ENG_IDENTIFY,  /* one picture, `box` 0..100      -> text */
    ENG_CAPTION,   /* one picture                    -> text */
    ENG_GROUNDING, /* one picture                    -> text with boxes */
    ENG_DETECTION, /* one picture, `text`            -> text with boxes */
    ENG_VQA,       /* one picture, `text`            -> text, or choices scored */
    ENG_CHAT,      /* pictures, `turns`              -> text, or choices scored */
    ENG_TASKS
};
enum {
    ENG_PICTURES_MAX = 8,
    ENG_TURNS_MAX = 64,
    ENG_CHOICES_MAX = 64,
    ENG_TOKENS_MAX = 1024, /* of an answer in text */
    ENG_VALUES = 4,        /* most numbers of an answer */
    ENG_TOP = 5            /* likeliest tokens told for each one spoken */
};
/* Frames that a game's prompt holds. */
enum { ENG_DRIVE_FRAMES = 2, ENG_SHOOT_FRAMES = 4 };

struct eng_point {
    uint16_t x, y; /* column, row of the grid, from the top left */
};
struct eng_turn {
    uint32_t n_pictures;  /* of ask.pictures, the next ones, that come with the question */
    const char *question; /* UTF-8; "[vqa] ..." and the like are legal, other tags are refused */
    const char *answer;   /* NULL in the last turn: the answer that is wanted */
};
/* How text is spoken. */
struct eng_speech {
    uint32_t max_tokens; /* 1 .. ENG_TOKENS_MAX; 0: 64 */
    float temperature;   /* 0: greedy, the likeliest token, always */
    float top_p;         /* 0 < top_p <= 1; 0: 1. Only the likeliest tokens that have this much */
    uint64_t seed;       /* the same seed, model and prompt: the same text */
};

struct eng_ask {
    enum eng_task task;
    struct eng_picture *const *pictures; /* borrowed; the job keeps its own references */
    uint32_t n_pictures;                 /* at most ENG_PICTURES_MAX */
    const char *text;               /* UTF-8, borrowed; see the tasks. NULL where none belongs */
    const struct eng_point *points; /* borrowed during the call; duplicates are legal */
    uint32_t n_points;              /* answered in this order as far as width allows */
    int box[4];                     /* of ENG_IDENTIFY: x1, y1, x2, y2 in 0..100 */
    const struct eng_turn *turns;   /* of ENG_CHAT, borrowed */
    uint32_t n_turns;
    const char *const *choices; /* VQA and chat: score these instead of speaking; borrowed */
    uint32_t n_choices;         /* at most ENG_CHOICES_MAX, all different, none empty */
    struct eng_speech speech;   /* of tasks that answer in text */
    enum eng_estimate estimate; /* of tasks that answer in numbers */
    int distribution;           /* wanted: entropy and probabilities; implied by median, mean */
    enum eng_class urgency;
    uint64_t deadline_ns; /* clock_ns() time; 0: none. Past it the job fails E_TIMEOUT */
    /* Called on the step thread after a pass that brought answers, and once at the end. Must return
     * at once, may not call back into the engine except eng_job_*() reads. NULL: nobody cares. */
    void (*wake)(void *ud, struct eng_job *job);
    void *ud;
};

/* Pixels and masks: one for each point. Other numbers: one. Choices: one for each. */
struct eng_answer {
    uint32_t point; /* index into the ask's points, or its choices; 0 when there are neither */
    union {
        uint8_t rgb[3];
        uint8_t value[ENG_VALUES]; /* the numbers, in the order of the answer's text */
    };
    float prob[ENG_VALUES];     /* of each chosen value given those before it; 0 when not asked */
    float entropy[ENG_VALUES];  /* bits, of each value's distribution; 0 when not asked */
    float mean_abs[ENG_VALUES]; /* expected |value - chosen|; 0 when not asked */
    double logprob;             /* of a choice: natural log of its likelihood, end of text included,
                                   among the whole vocabulary. Choices alone */
};

/* Text that is being spoken: one for each token, end of text left out. */
struct eng_token {
    int32_t id;
    uint32_t end;               /* bytes of the text up to the end of this token */
    float logprob;              /* natural log, before temperature and top_p */
    int32_t top[ENG_TOP];       /* the likeliest tokens, best first; -1: fewer than that */
    float top_logprob[ENG_TOP]; /* theirs */
};
enum eng_finish { ENG_GOES_ON, ENG_STOPPED /* end of text */, ENG_CUT /* max_tokens */ };

enum eng_state { ENG_WAITING, ENG_RUNNING, ENG_DONE, ENG_FAILED, ENG_CANCELLED };

/* Queue the questions; a place asked twice is answered once. At most 65,536 points. Takes
 * milliseconds where a text has to be read: not for an I/O thread. E_INVALID (what is missing, is too
 * much, or is no legal text), E_TOO_BIG (can never fit: too many tokens for the model or the pool),
 * E_BUSY (queue full: see eng_retry_after), E_CANCELLED (closing), E_DEVICE. */
int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err);
/* Seconds until a refused request may come back, from the measured rate; 1 .. 600. */
unsigned eng_retry_after(const struct eng *e);

enum eng_state eng_job_state(const struct eng_job *j);
/* Answers that are ready, in the order they were found, and how many. Valid until the last put. */
const struct eng_answer *eng_job_answers(const struct eng_job *j, uint32_t *n_ready);
/* Text spoken so far: *len bytes of UTF-8, whole characters only, without a NUL, and its tokens.
 * Valid until the last put; what has been told never changes. */
const char *eng_job_text(const struct eng_job *j, size_t *len);
const struct eng_token *eng_job_tokens(const struct eng_job *j, uint32_t *n_ready);
enum eng_finish eng_job_finish(const struct eng_job *j);
/* Tokens of the prompt, pictures included. */
uint32_t eng_job_prompt_tokens(const struct eng_job *j);
/* Wait for more answers (or tokens) than `seen` or for the end. 0, E_TIMEOUT. Not for I/O threads. */
int eng_job_wait(struct eng_job *j, uint32_t seen, uint64_t timeout_ns);
/* Why it failed; code 0 while it has not. Only after the state says so. */
const struct err *eng_job_error(const struct eng_job *j);
void eng_job_cancel(struct eng_job *j);
struct eng_job *eng_job_get(struct eng_job *j);
/* The asker's last put cancels; after it `wake` is not called any more. Not from inside wake. NULL
 * is legal. */
void eng_job_put(struct eng_job *j);

struct eng_job_stats {
    uint64_t queued_ns, first_ns, end_ns; /* clock_ns() of submit, first answer, end; 0: not yet */
    uint64_t see_ns;                      /* spent in the vision tower for it; 0 when cached */
    uint32_t stem_tokens, stem_cached;    /* tokens of its stem, and how many came from the cache */
    uint64_t rows;                        /* token rows it used */
    uint64_t rows_plain;                  /* rows a loop of full prompts would have used */
};
void eng_job_stats(const struct eng_job *j, struct eng_job_stats *out);

/* ---- statistics: counters since start, gauges now. A consistent enough copy, no lock held. ---- */
struct eng_stats {
    uint64_t passes, rows, picks, see, pixels;
    uint64_t answers[ENG_TASKS]; /* given, by task: pixels, bits of masks, texts, ... */
    uint64_t tokens;             /* spoken */
    uint64_t pass_ns, see_ns;
    uint64_t jobs_done, jobs_failed, jobs_cancelled, jobs_refused;
    uint64_t stem_hits, stem_misses, stem_evicted;
    uint32_t jobs_waiting, jobs_running, lanes;
    uint32_t kv_slots, kv_used, kv_cached; /* of the pool; used by jobs; held by cached stems */
    uint64_t queue_tokens, queue_tokens_max;
    uint64_t allocations_in_step; /* must stay 0 */
    double pixels_per_second;     /* recent */
};
void eng_stats(const struct eng *e, struct eng_stats *out); /* of all devices together */
int eng_devices(const struct eng *e);
/* Of one of them, in the order of the options. */
void eng_device_stats(const struct eng *e, int device, struct eng_stats *out);

#endif
