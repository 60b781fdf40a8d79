/* job.h - all the questions of one request, from submit to the last put.
 *
 *   state       in whose hands                         changes to
 *   (new)       the submitting thread                  WAITING, by pushing it into the queue
 *   WAITING     the queue, then sched's waiting list   RUNNING, CANCELLED, FAILED
 *   RUNNING     sched: step thread                     DONE, CANCELLED, FAILED
 *   DONE, FAILED, CANCELLED   nobody: read-only        freed with the last reference
 *
 * There are two references: the asker's and the engine's. The threads of both sides share the
 * atomics, and what the step thread writes before it raises one of them: answers before n_ready,
 * error before state. The asker's put closes the gate of `wake`: after it has returned, wake is not
 * called again.
 */
#ifndef ENGINE_RUN_JOB_H
#define ENGINE_RUN_JOB_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/answer/kinds.h"
#include "engine/engine.h"
#include "engine/run/loaded.h"
#include "engine/run/stem.h"
#include "engine/run/tree.h"
#include "kernels/base/mem.h"
#include "kernels/base/queue.h"

struct lane;
struct share;
struct bands;

enum { JOB_POINTS_MAX = 65536 };

/* The prompts of a job, cut into the stem that all share and a text for each question; what kind of
 * answer they want, and what it costs. All jobs about pixels share one struct, made at start. Other
 * jobs have one of their own, in their arena. */
struct questions {
    enum kind kind;
    int32_t
        grid; /* text y * grid + x asks about place (x, y) of the grid; 0: text i is question i */
    int32_t n_texts;               /* grid * grid, or the number of questions */
    const struct tree_text *texts; /* (n_texts) what follows the stem; n 0: never asked */
    const int32_t *order; /* (n_order) indices of those that may be asked, ascending as texts */
    int32_t n_order;
    int is_flat;             /* texts share no rows, though they begin alike */
    const int32_t *stem_ids; /* (n_stem_ids) see struct stem_key */
    int32_t n_stem_ids, image_tokens;
    int32_t stem_tokens;
    int32_t picture_rows; /* what the vision tower does for a picture, in rows */
    int32_t answer_max;   /* most tokens fed for an answer */
    int32_t explore_max;  /* most tokens held besides, while a number is explored */
    int32_t fields;       /* numbers of an answer */
};

/* The text that a job generates. */
struct job_text {
    struct eng_generate how;
    int32_t *ids;             /* (max_tokens) */
    struct eng_token *tokens; /* (max_tokens) step writes, n_ready publishes */
    uint32_t n;
    char *utf8, *scratch; /* (cap) what the asker may read; the latest decoding */
    size_t len, cap;
    int32_t *path, *feed; /* of its lane: (tail + max_tokens) each */
    enum eng_finish finish;
};

struct eng_job {
    enum mail mail; /* first */

    /* ---- Fixed at submit. ---- */
    struct arena *mem;                              /* everything below lies in it */
    struct eng_picture *pictures[ENG_PICTURES_MAX]; /* a reference each */
    uint32_t n_pictures;
    struct eng_adapter *adapter; /* a reference, until it has ended; NULL: the base answers */
    enum eng_task task;
    const struct questions
        *questions; /* its own or the engine's. Not read after the job has ended */
    uint32_t stem_tokens, prompt_tokens;
    enum eng_estimate estimate;
    int distribution;
    enum eng_class urgency;
    uint64_t deadline_ns, owner;
    int place; /* its owner's in the unit's table, as long as it waits or runs */
    void (*wake)(void *ud, struct eng_job *job);
    void *ud;
    uint32_t n_points;    /* questions: points, choices, or one */
    int32_t *same;        /* (n_points) the next point with the same text, or -1 */
    struct tree tree;     /* a leaf for each text that is asked */
    uint32_t *leaf_point; /* (n_leaves) the leaf's first point */
    int32_t answer_rows;  /* rows that an answer may take, behind its tail */
    int32_t lane_slots;   /* single slots that one lane may take */
    uint64_t cost;        /* rows it may take at most, its pictures' too: what the queue counts */
    struct bands *bands;  /* several units answer it (band.h), and it is in none itself; or NULL */

    /* ---- Shared. ---- */
    atomic_int refs;
    atomic_int is_cancelled;
    atomic_int state;             /* enum eng_state. One writer: step */
    atomic_uint n_ready;          /* One writer: step */
    atomic_int gate;              /* of wake: open, calling, shut */
    _Atomic(struct queue *) bell; /* made by the first waiter */
    _Atomic uint64_t queued_ns, first_ns, end_ns, vision_ns, rows,
        rows_plain;               /* One writer: step */
    _Atomic uint32_t stem_cached; /* One writer: step */
    struct eng_answer *answers;   /* (n_points) step writes, n_ready publishes */
    struct job_text *text;        /* NULL when the answers are numbers or scores */
    _Atomic size_t text_ready;    /* bytes of text. One writer: step */
    atomic_int finish;            /* enum eng_finish. One writer: step */
    struct err error;             /* step writes, state publishes */

    /* ---- Owner: step. ---- */
    struct eng_job *next;           /* in a list of sched's */
    struct share *share;            /* its owner's; until the job has ended */
    uint64_t arrival;               /* jobs that came before it */
    struct stem_part *stem;         /* its last part, pinned while running */
    int32_t next_leaf;              /* leaves before it were started */
    struct lane *lanes, *last_lane; /* in progress, oldest first */
    int32_t n_lanes;
    int32_t *branch_slot;  /* (tree.branch_tokens) */
    int32_t *branch_left;  /* (tree.n_branches) children not finished; -1: not started */
    uint32_t n_answers;    /* written, or tokens generated; n_ready once announced */
    uint64_t retired;      /* of its cost: done, or not needed after all */
    uint64_t served;       /* its part of the class's rows so far; see share.h */
    struct lane *cursor;   /* the next of its lanes for the pass being built */
    int is_full;           /* takes no more of the pass being built */
    int is_touched;        /* is to be announced */
    int is_broken;         /* a lane got no numbers from the model */
    uint64_t passed_over;  /* 1 + sched.admitted when it first did not fit; 0: not yet */
    enum eng_state ending; /* WAITING, or the state it is about to be announced in */
};

/* An arena for a job and its questions; NULL without memory. */
struct arena *job_arena(void);
/* Makes a job of the ask, on the caller's thread. `q` lies in `mem`, or outlives the job. `mem` is
 * the job's from now on, whatever the outcome. text_cap: bytes of text at most, of jobs that
 * generate text. Two references: the asker's and the engine's. E_INVALID, E_TOO_BIG (more than
 * JOB_POINTS_MAX points), E_NOMEM. */
int job_new(const struct eng_ask *ask, const struct questions *q, size_t text_cap,
            struct arena *mem, struct eng_job **out, struct err *e);
/* A job that no unit runs, with room for the answers of all points, which nobody has checked. One
 * reference, the asker's. NULL without memory. */
struct eng_job *job_whole(const struct eng_ask *ask);
/* The key of its stem, borrowed from the job. */
struct stem_key job_stem(const struct eng_job *j);
/* The berth that its rows run with, or MODEL_BASE. */
int job_berth(const struct eng_job *j);
/* The same for its pictures. *vision: the digest of what makes their features; NULL: the base's. */
int job_tower(const struct eng_job *j, const char **vision);
/* Step: it has ended, and lets go of its adapter. */
void job_leave_adapter(struct eng_job *j);
/* The engine's reference. */
void job_put(struct eng_job *j);

/* Step: one more answer; copied to every point with the leaf's text. Returns how many. */
uint32_t job_answer(struct eng_job *j, int32_t leaf, const struct eng_answer *a);
/* Step: one more token, whose id is in text.ids already. The first `len` bytes of the scratch are
 * the text now. At its end job_end_text adds what was held back. */
void job_add_token(struct eng_job *j, const struct eng_token *t, size_t len);
void job_end_text(struct eng_job *j, size_t len);
/* Step: all answers are there. */
int job_is_complete(const struct eng_job *j);
/* Publish what is new (answers, state) and wake the asker. Step: once per pass at most. Of a whole
 * in bands: under their mutex. */
void job_announce(struct eng_job *j);

#endif
