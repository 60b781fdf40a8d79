/* engine.h - the door to the engine: pictures and questions go in, answers come out. No tensors.
 *
 * Nouns. A `struct eng` is a model loaded on one or more devices, with a step thread for each. A
 * `struct eng_picture` is a picture made ready for the model, known by a digest. A `struct eng_job`
 * is all the questions of one request. A `struct eng_adapter` stands beside the model, and a job
 * may ask to be answered with it.
 *
 *     eng_open(&opt, &eng, &e);
 *     eng_picture_new(eng, rgb, w, h, &picture, &e);
 *     ask = (struct eng_ask){.pictures = &picture, .n_pictures = 1, .points = p, .n_points = n};
 *     eng_submit(eng, &ask, &job, &e);
 *     while (eng_job_wait(job, UINT64_MAX) == 0 && eng_job_state(job) < ENG_DONE) ...
 *     answers = eng_job_answers(job, &n_ready);
 *     eng_job_put(job); eng_picture_put(picture); eng_close(eng);
 *
 * Threads: every function may be called from any thread unless it says otherwise. The model and all
 * device memory belong to the step threads. No caller ever waits for them, but in eng_job_wait.
 * Ownership: pictures, adapters and jobs are reference counted. _new, _load, _get and eng_submit
 * give one reference, _put returns it. A job that is put before its end is cancelled: its work
 * stops before the next pass. Answers are written once, by the step thread, before the ready count
 * is raised. They never change.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct eng;
struct eng_picture;
struct eng_job;
struct eng_adapter;

enum { ENG_DEVICES_MAX = 16, ENG_ADAPTERS_MAX = 16 };
/* The most that may be asked of a device: E_INVALID beyond, before anything is read. */
enum {
    ENG_THREADS_MAX = 256,
    ENG_ROWS_MAX = 65536, /* lanes, too */
    ENG_KV_TOKENS_MAX = 1 << 26,
    ENG_CACHED_IMAGES_MAX = 4096
};

/* What the options of the command line say, by their names. Each device gets the sizes below for
 * itself. Only `threads` are shared out among several devices. */
struct eng_options {
    const char *model;     /* folder */
    const char *device;    /* "auto", "cpu", "ref", "cuda", "cuda:1" (see kern_choose), or up to
                           ENG_DEVICES_MAX of them with commas between: "cuda:0,cuda:1" */
    int device_index;      /* of eng_open_on, which doesn't read `device` */
    const char *plugin;    /* file of the CUDA plugin; NULL: the usual places */
    const char *isa;       /* NULL: auto; see kern_config */
    int threads;           /* 0: one per core; of all devices on the host together */
    int lanes;             /* questions decoded at once, at most `rows`; 0: `rows` */
    int rows;              /* token rows of one pass, at least what a question needs (64 or more);
                              0: the device's best (512 on a processor, 1,024 or 2,048 on a GPU), or
                              `lanes` when that is more */
    int kv_tokens;         /* slots of the KV pool; 0: enough for the lanes and some pictures */
    int cached_images;     /* stems kept in the KV pool after their job; 0: 32, < 0: none */
    uint64_t queue_tokens; /* work that may wait, in prompt tokens; 0: default. One job each of
                              owners who have none there finds room in as much again */
    uint64_t queue_ns;     /* that a job may have to wait for others; 0: any time */
    uint64_t memory;       /* bytes of each device's memory to use; 0: all that is free */
    int adapters;          /* berths: places for adapters, each with room reserved at start, at most
                      ENG_ADAPTERS_MAX; 0: none, and nothing is reserved */
    int adapter_rank;      /* most rank of a LoRA; 0: 64 */
    int adapter_overlays;  /* of the berths, how many have room for an overlay; 0: none */
    const char *adapters_as; /* that of matrices in berths: "auto" (NULL, too) and "f32", by which
                                nothing is lost, or "bf16", on a processor */
    const char *weights_as;  /* the form of matrices: "auto" (NULL, too), which loses nothing, or
                               another of kern_keep_find */
    const char *kv_as;       /* that of the KV cache: "auto" (NULL, too), the device's own, "f32",
                          "bf16" or "int8" */
    int is_seeded; /* make the weights from `seed` and read none: to measure; answers are noise */
    uint64_t seed;
    const char *profile; /* file that gets a table of each operation's time at close; NULL: none */
};

/* What a caller may want to know about the loaded model. */
struct eng_info {
    char name[64];     /* last component of the folder's path */
    char digest[65];   /* SHA-256 of the weights, hex */
    char backend[512]; /* "cpu: avx512, 2 threads"; several devices with semicolons between */
    char note[240];    /* why "auto" did not take the GPU; empty: nothing to report */
    uint64_t parameters;
    int is_summed;    /* the folder has a SHA256SUMS, and its files are what that says */
    int grid;         /* pixel questions are about grid x grid places */
    int image_size;   /* side of the picture that the vision tower gets */
    int image_tokens; /* tokens of a prompt that one picture takes */
    int positions;    /* tokens of a prompt and its answer together, at most */
    int adapters, adapter_rank, adapter_overlays; /* as the options, with the default in place */
};

/* E_INVALID: a size is out of bounds. E_NOMEM: the device has no room for the model and its
 * smallest pass. The text says how much is needed. Sizes that are 0 here are cut down to fit. */
int eng_open(const struct eng_options *opt, struct eng **out, struct err *e);
/* The same on n given tables of operations, each on device `device_index`: for tests that lose a
 * device. */
struct kern_ops;
int eng_open_on(const struct eng_options *opt, const struct kern_ops *const *ops, int n,
                struct eng **out, struct err *err);
void eng_close(struct eng *e); /* cancels what is left and joins the threads; NULL is legal */
const struct eng_info *eng_info(const struct eng *e);
/* 0, or E_DEVICE: a device was lost, and no job will be accepted any more. */
int eng_health(const struct eng *e);
/* For how long (ns) a device has had jobs and got on with none, not by one layer; 0: all get on, or
 * have nothing to do. It is seen from call to call, so ask often. One thread. */
uint64_t eng_stuck_ns(struct eng *e);
/* The error of the lost device; empty while all are well. Valid until eng_close. */
const char *eng_lost(const struct eng *e);
/* The text of one token, as the tokenizer has it ("▁the"); NULL for an id outside the
 * vocabulary. */
const char *eng_piece(const struct eng *e, int32_t token);
/* May a text stand in a prompt? eng_submit checks it, too; here `what` names the text in the error.
 * In a chat line breaks, tabs and the tag of a task are legal. E_INVALID; E_TOO_BIG: outside a chat
 * a text has 4,000 bytes at most. */
int eng_check_text(const char *text, int in_chat, const char *what, struct err *e);
/* The same of a text that is to be learnt. Names of control pieces, such as </s>, are refused, too:
 * who writes them there means the pieces. */
int eng_check_learnt(const char *text, int in_chat, const char *what, struct err *e);
/* In place: the first and the last byte of each tag that eng_check_text refuses in a chat become
 * blanks. For what the model said, which may come back as a part of a chat. */
void eng_blank_tags(char *text);

/* ---- pictures ---- */
enum {
    ENG_PICTURE_SIDE_MAX = 32768,
    ENG_PICTURE_PIXELS_MAX = 64 * 1000 * 1000,
    ENG_TRUTH_MAX = 8192
};

/* Resize a picture (Pillow's bicubic) and take its digest. rgb (h, w, 3) is borrowed during the
 * call. Takes milliseconds: not for an I/O thread. E_INVALID, E_TOO_BIG, E_NOMEM. */
int eng_picture_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_picture **out,
                    struct err *err);
/* The same of a picture that comes row by row and is never held whole. w, h are as stored;
 * `orientation`, 1 .. 8, is how it is to be turned (EXIF's numbers), and everything that is asked
 * of the picture afterwards is about the turned one.
 *
 *     eng_intake_open(eng, w, h, orientation, 0, &in, &e);
 *     for each stored row from the top: eng_intake_row(in, rgb);      (w, 3), borrowed
 *     eng_intake_close(in, &picture, &e);                             gives the picture
 *
 * The close frees `in` in any case. out NULL: there will be no picture, for rows are missing.
 * `truth` is the side of the picture's truth, at most ENG_TRUTH_MAX; 0: the model's grid. */
struct eng_intake;
int eng_intake_open(struct eng *e, int w, int h, int orientation, int truth, struct eng_intake **in,
                    struct err *err);
void eng_intake_row(struct eng_intake *in, const uint8_t *rgb);
int eng_intake_close(struct eng_intake *in, struct eng_picture **out, struct err *err);
/* Could a prompt about n pictures ever be asked? E_TOO_BIG: its pictures alone take more tokens
 * than the model has positions or the device has room for. To be asked before they are decoded. */
int eng_check_pictures(const struct eng *e, uint32_t n, struct err *err);
struct eng_picture *eng_picture_get(struct eng_picture *i); /* one more reference */
void eng_picture_put(struct eng_picture *i);                /* NULL is legal */
/* SHA-256, hex, over width, height and the pixels that the resizing left: pictures with the same
 * digest have the same answers. With the job's owner it is the key of a unit's caches. */
const char *eng_picture_digest(const struct eng_picture *i);
/* The picture at grid x grid, or as large as its intake said, (grid, grid, 3) u8, resized from the
 * original: the truth that pixel answers are measured against. Borrowed from the picture. */
const uint8_t *eng_picture_truth(const struct eng_picture *i);
void eng_picture_size(const struct eng_picture *i, int *w, int *h); /* of the original, turned */
size_t eng_picture_bytes(const struct eng_picture *i);              /* of memory that it takes */

/* ---- adapters ---- */

/* What of a model learnt, loaded beside the base model, which stays as it is. Immutable. Jobs that
 * name it and jobs that don't run side by side, in the same passes, and each gets the answers that
 * it would get alone. An adapter is never merged into the base. */
struct eng_adapter_info {
    char digest[65]; /* of content: base, LoRA and overlay. Another folder with the same content has
                        the same one */
    int rank;        /* 0: no LoRA */
    int has_lora, has_overlay;
    uint64_t parameters; /* numbers of its own */
    uint64_t bytes;      /* of its files' tensors */
};
/* Opens and checks the folder, strictly, on the caller's thread (reads all of it: not for an I/O
 * thread). Then each unit fills a berth with it, a layer a turn, between its passes; so no job
 * waits for it. Returns before that: see eng_adapter_state. `wake`: once, on a step thread, when it
 * is loaded on all units or has failed; must return at once, and may call nothing of the engine but
 * what reads an adapter. NULL: no call. Not after the last put.
 * E_NOT_FOUND (no such folder, or no adapter in it), E_FORMAT (broken, or for another base),
 * E_UNSUPPORTED (what peft has and this engine has not; no berths), E_TOO_BIG (its rank; an overlay
 * where none has room), E_BUSY (no berth is free), E_DEVICE. *out is NULL then, and nothing is
 * left behind. */
int eng_adapter_load(struct eng *e, const char *folder,
                     void (*wake)(void *ud, struct eng_adapter *adapter), void *ud,
                     struct eng_adapter **out, struct err *err);
/* ENG_WAITING or ENG_RUNNING while it is being loaded, ENG_DONE: it may be asked; ENG_FAILED. */
enum eng_state eng_adapter_state(const struct eng_adapter *a);
/* Why it failed; code 0 when it has not. Valid until the put. */
const struct err *eng_adapter_error(const struct eng_adapter *a);
const struct eng_adapter_info *eng_adapter_info(const struct eng_adapter *a);
struct eng_adapter *eng_adapter_get(struct eng_adapter *a); /* one more reference */
/* The last put frees its berths, as soon as no job needs it. All are to be put before eng_close.
 * NULL is legal. */
void eng_adapter_put(struct eng_adapter *a);

/* ---- jobs ---- */
/* Urgent first. ENG_BATCH is for work that nobody waits for: it runs in passes that have nothing of
 * the others, is counted in no queue and in no estimate of theirs, and where it stands in the way
 * of one of them it fails with E_BUSY, to be asked again. */
enum eng_class { ENG_ACT, ENG_MASK, ENG_ANSWER, ENG_PICTURE, ENG_BATCH, ENG_CLASSES };
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
    ENG_TOP = 20           /* likeliest tokens reported with each generated one */
};
/* Frames in the prompt of a game. */
enum { ENG_DRIVE_FRAMES = 2, ENG_SHOOT_FRAMES = 4 };

struct eng_point {
    uint16_t x, y; /* column, row of the grid, from the top left */
};
struct eng_turn {
    uint32_t n_pictures;  /* that come with the question: the next ones of ask.pictures */
    const char *question; /* UTF-8; "[vqa] ..." and the like are legal, other tags are refused */
    const char *answer;   /* NULL in the last turn: the answer that is wanted */
};
/* How text is generated. */
struct eng_generate {
    uint32_t max_tokens; /* 1 .. ENG_TOKENS_MAX; 0: 64 */
    int may_be_shorter;  /* where the model has not so many positions left, but at least one */
    float temperature;   /* 0: greedy, the likeliest token, always */
    float top_p;         /* 0 < top_p <= 1; 0: 1. Samples among the likeliest tokens that have it
                            together, at that temperature */
    uint64_t seed;       /* the same seed, model and prompt: the same text */
};

struct eng_ask {
    enum eng_task task;
    struct eng_picture *const *pictures; /* borrowed; the job keeps its own references */
    uint32_t n_pictures;                 /* at most ENG_PICTURES_MAX */
    struct eng_adapter *adapter;    /* ENG_DONE, of this engine; borrowed: the job keeps its own
                                    reference. NULL: the base model answers */
    const char *text;               /* UTF-8, borrowed; NULL for tasks that take none */
    const struct eng_point *points; /* borrowed during the call; duplicates are legal */
    uint32_t n_points;              /* answered in this order, as far as lanes allow */
    int box[4];                     /* of ENG_IDENTIFY: x1, y1, x2, y2 in 0..100 */
    const struct eng_turn *turns;   /* of ENG_CHAT, borrowed */
    uint32_t n_turns;
    const char *const *choices;   /* VQA and chat: score these and generate nothing; borrowed */
    uint32_t n_choices;           /* at most ENG_CHOICES_MAX, all different, none empty */
    struct eng_generate generate; /* of tasks that answer in text */
    enum eng_estimate estimate;   /* of tasks that answer in numbers */
    int distribution; /* entropy and probabilities are wanted; implied by median, mean */
    enum eng_class urgency;
    int goes_on;   /* the request has had jobs: this one isn't refused for a long wait */
    uint64_t rest; /* token rows that the request will ask for behind this job: they count when its
                      wait is estimated */
    uint64_t deadline_ns; /* clock_ns() time; 0: none. Past it the job fails with E_TIMEOUT */
    uint64_t
        owner; /* whose it is: owners get fair shares, and none finds what is cached of another */
    /* Called on the step thread after a pass that brought answers, and once at the end. Must return
     * at once, and may call nothing of the engine but what reads a job. NULL: no calls. */
    void (*wake)(void *ud, struct eng_job *job);
    void *ud;
};

/* Pixels and masks have one for each point, choices one for each choice, all others one. */
struct eng_answer {
    uint32_t point; /* index of the ask's points or choices; 0 when there are neither */
    union {
        uint8_t rgb[3];
        uint8_t value[ENG_VALUES]; /* the numbers, in the order of the answer's text */
    };
    float prob[ENG_VALUES];     /* of each chosen value given those before it; 0 when not wanted */
    float entropy[ENG_VALUES];  /* bits, of each value's distribution; 0 when not wanted */
    float mean_abs[ENG_VALUES]; /* expected |value - chosen|, as the model is calibrated; 0 when not
                                   wanted */
    double logprob;             /* of a choice alone: natural log of its likelihood among the whole
                                   vocabulary, end of text included */
};

/* One token of a text. The end of text has none. */
struct eng_token {
    int32_t id;
    uint32_t end;               /* bytes of the text up to the end of this token */
    float logprob;              /* natural log, before temperature and top_p */
    int32_t top[ENG_TOP];       /* the likeliest tokens, best first; -1: fewer than that */
    float top_logprob[ENG_TOP]; /* of these */
};
enum eng_finish { ENG_GOES_ON, ENG_STOPPED /* end of text */, ENG_CUT /* max_tokens */ };

enum eng_state { ENG_WAITING, ENG_RUNNING, ENG_DONE, ENG_FAILED, ENG_CANCELLED };

/* Queue the questions. A place asked twice is computed once. At most 65,536 points. Takes
 * milliseconds where a text has to be tokenized: not for an I/O thread. E_INVALID (something is
 * missing, or too much, or no legal text), E_TOO_BIG (can never fit: too many tokens for the model
 * or the pool), E_BUSY (the queue is full, or by the measured pace the job would wait too long for
 * others or miss its deadline: see eng_retry_after; never when nothing waits or runs), E_CANCELLED
 * (closing),
 * E_DEVICE. On several devices a job of many places may be answered by all that have nothing to do;
 * statistics count it once for each. */
int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err);
/* Seconds until a refused request may come back, from the measured rate; 1 .. 600. */
unsigned eng_retry_after(const struct eng *e);
/* Token rows that all questions about a picture may take, as eng_job_cost counts; and how many rows
 * all devices together get done in a second, as measured. 0: not measured yet. */
uint64_t eng_picture_cost(const struct eng *e);
double eng_pace(const struct eng *e);

enum eng_state eng_job_state(const struct eng_job *j);
/* Answers that are ready, in the order in which they were found, and how many. Valid until the
 * put. */
const struct eng_answer *eng_job_answers(const struct eng_job *j, uint32_t *n_ready);
/* The text so far: *len bytes of UTF-8, complete characters only, without a NUL; and its tokens.
 * Both only grow: what was there once never changes. Valid until the put. */
const char *eng_job_text(const struct eng_job *j, size_t *len);
const struct eng_token *eng_job_tokens(const struct eng_job *j, uint32_t *n_ready);
enum eng_finish eng_job_finish(const struct eng_job *j);
/* What the queue counts it as: token rows that it may take at most, and in rows what the vision
 * tower does for its pictures. */
uint64_t eng_job_cost(const struct eng_job *j);
/* Tokens of the prompt, pictures included. */
uint32_t eng_job_prompt_tokens(const struct eng_job *j);
/* Wait for more answers (or tokens) than `seen`, or for the end. 0, E_TIMEOUT. Not for an I/O
 * thread. */
int eng_job_wait(struct eng_job *j, uint32_t seen, uint64_t timeout_ns);
/* Why it failed or was cancelled; code 0 when it was not, or has not ended yet. */
const struct err *eng_job_error(const struct eng_job *j);
void eng_job_cancel(struct eng_job *j);
/* Cancels, too. After it `wake` is not called any more. Not from inside wake. NULL is legal. */
void eng_job_put(struct eng_job *j);

struct eng_job_stats {
    uint64_t queued_ns, first_ns, end_ns; /* clock_ns() of submit, first answer, end; 0: not yet */
    uint64_t vision_ns;                   /* spent in the vision tower for it; 0 when cached */
    uint32_t stem_tokens, stem_cached;    /* tokens of its stem, and how many came from the cache */
    uint64_t rows;                        /* token rows it used */
    uint64_t rows_plain;                  /* rows that a loop over whole prompts would have used */
};
void eng_job_stats(const struct eng_job *j, struct eng_job_stats *out);

/* ---- statistics: counters since start, gauges now. Copied without a lock, word by word. ---- */
struct eng_stats {
    uint64_t passes, rows, picks, pixels;
    uint64_t pictures;           /* that went through the vision tower */
    uint64_t answers[ENG_TASKS]; /* by task: pixels, bits of masks, texts, ... */
    uint64_t tokens;             /* of text */
    uint64_t pass_ns, vision_ns;
    uint64_t jobs_done, jobs_failed, jobs_cancelled, jobs_refused;
    uint64_t stem_hits, stem_misses, stem_evicted;
    uint32_t jobs_waiting, jobs_running, lanes;
    uint32_t kv_slots, kv_used, kv_cached; /* of the pool; used by jobs; held by cached stems */
    uint64_t queue_tokens, queue_tokens_max;
    double queue_seconds, queue_seconds_max; /* that a small job would wait, and may; 0: any time */
    uint64_t allocations_in_step;            /* must stay 0 */
    double pixels_per_second;                /* recent */
    uint64_t bits;     /* kern_stats.bits, of one device: of several, that of the first */
    uint64_t adapters; /* berths that are taken: loading, loaded, or needed by the last jobs */
};
void eng_stats(const struct eng *e, struct eng_stats *out); /* of all devices together */
/* Passes to come take at most n rows, and no more than rows_max; 0: rows_max again. For measuring,
 * so that a model need not be opened anew: answers stay the same. Returns what it became, of
 * several devices the least; that is more than n where n rows would be too few for a question. */
int eng_limit_rows(struct eng *e, int n);
int eng_devices(const struct eng *e);
/* Of one of them, in the order of the options. */
void eng_device_stats(const struct eng *e, int device, struct eng_stats *out);

#endif
