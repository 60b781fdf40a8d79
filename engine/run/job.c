/* job.c - the memory of a job, its references, and what its asker and the step thread share.
 *
 * Invariants
 *   1. The memory of a job is one arena, filled at submit. The step thread takes nothing from it.
 *   2. Each text is asked once. Points with the same text are chained by `same`.
 *   3. Leaves stand in the order in which their texts were first asked.
 *   4. n_ready only grows, state only moves forward. Both are sequentially consistent: a waiter
 *      publishes its bell before it reads them, and the step thread writes them before it reads the
 *      bell.
 */
#include "engine/run/job.h"

#include <sched.h>
#include <string.h>

#include "engine/run/band.h"
#include "kernels/base/clock.h"

/* The cap of an arena: answers and chains of JOB_POINTS_MAX points take 5 MiB, a tree of as many
 * texts 12 MiB, a map of the largest grid some more, and the texts of a job's own prompts as much
 * again. */
enum { JOB_BYTES_MAX = 64 << 20 };
enum { GATE_OPEN, GATE_CALLING, GATE_SHUT };
static const uint64_t WAIT_SLICE_NS = 100u * 1000 * 1000;

/* ---- making ---- */

/* The text that question i asks with. */
static int32_t job_text_of(const struct eng_job *j, const struct eng_point *points, uint32_t i) {
    int32_t grid = j->questions->grid;
    return grid > 0 ? points[i].y * grid + points[i].x : (int32_t)i;
}

/* Chain the points that have the same text: leaf_of[text] is its leaf. Fills leaf_point, same,
 * texts. */
static int32_t find_leaves(struct eng_job *j, const struct eng_point *points, int32_t *leaf_of,
                           int32_t *last, struct tree_text *texts) {
    int32_t n = 0;
    for (int32_t i = 0; i < j->questions->n_texts; i++)
        leaf_of[i] = -1;
    for (uint32_t i = 0; i < j->n_points; i++) {
        int32_t text = job_text_of(j, points, i);
        int32_t leaf = leaf_of[text];
        j->same[i] = -1;
        if (leaf < 0) {
            leaf = leaf_of[text] = n++;
            j->leaf_point[leaf] = i;
            texts[leaf] = j->questions->texts[text];
        } else {
            j->same[last[leaf]] = (int32_t)i;
        }
        last[leaf] = (int32_t)i;
    }
    return n;
}

static int make_branches(struct eng_job *j) {
    size_t n = (size_t)j->tree.n_branches + 1, tokens = (size_t)j->tree.branch_tokens + 1;
    j->branch_left = arena_take(j->mem, n * sizeof j->branch_left[0]);
    j->branch_slot = arena_take(j->mem, tokens * sizeof j->branch_slot[0]);
    if (!j->branch_left || !j->branch_slot) return E_NOMEM;
    for (int32_t i = 0; i < j->tree.n_branches; i++)
        j->branch_left[i] = -1;
    return 0;
}

static int make_tree(struct eng_job *j, const struct eng_point *points) {
    const struct questions *q = j->questions;
    size_t all = (size_t)q->n_texts, most = j->n_points < all ? j->n_points : all;
    j->answers = arena_take(j->mem, j->n_points * sizeof j->answers[0]);
    j->same = arena_take(j->mem, j->n_points * sizeof j->same[0]);
    j->leaf_point = arena_take(j->mem, most * sizeof j->leaf_point[0]);
    int32_t *leaf_of = arena_take(j->mem, all * sizeof leaf_of[0]);
    int32_t *last = arena_take(j->mem, most * sizeof last[0]);
    int32_t *order = arena_take(j->mem, most * sizeof order[0]);
    struct tree_text *texts = arena_take(j->mem, most * sizeof texts[0]);
    if (!j->answers || !j->same || !j->leaf_point || !leaf_of || !last || !order || !texts)
        return E_NOMEM;
    int32_t n = find_leaves(j, points, leaf_of, last, texts), k = 0;
    for (int32_t i = 0; i < q->n_order; i++)
        if (leaf_of[q->order[i]] >= 0) order[k++] = leaf_of[q->order[i]];
    must(k == n);
    int rc = tree_build(&j->tree, j->mem, texts, n, order, q->is_flat);
    return rc ? rc : make_branches(j);
}

/* Room for a text of max_tokens tokens, and for the path of the one lane that generates it. */
static int make_text(struct eng_job *j, const struct eng_generate *how, size_t cap) {
    struct job_text *t = arena_take(j->mem, sizeof *t);
    if (!t) return E_NOMEM;
    size_t most = how->max_tokens, path = most + (size_t)j->tree.tail_max;
    t->how = *how;
    t->cap = cap;
    t->ids = arena_take(j->mem, most * sizeof t->ids[0]);
    t->tokens = arena_take(j->mem, most * sizeof t->tokens[0]);
    t->utf8 = arena_take(j->mem, cap);
    t->scratch = arena_take(j->mem, cap);
    t->path = arena_take(j->mem, path * sizeof t->path[0]);
    t->feed = arena_take(j->mem, path * sizeof t->feed[0]);
    j->text = t;
    return t->ids && t->tokens && t->utf8 && t->scratch && t->path && t->feed ? 0 : E_NOMEM;
}

static int check_points(const struct eng_ask *ask, const struct questions *q, struct err *e) {
    if (ask->n_points == 0 || !ask->points) return err_set(e, E_INVALID, "no points");
    if (ask->n_points > JOB_POINTS_MAX)
        return err_set(e, E_TOO_BIG, "%u points, at most %d", ask->n_points, JOB_POINTS_MAX);
    for (uint32_t i = 0; i < ask->n_points; i++)
        if (ask->points[i].x >= q->grid || ask->points[i].y >= q->grid)
            return err_set(e, E_INVALID, "point %u at (%u, %u) lies outside the %d x %d grid", i,
                           ask->points[i].x, ask->points[i].y, q->grid, q->grid);
    return 0;
}

static int job_check_ask(const struct eng_ask *ask, const struct questions *q, struct err *e) {
    if ((unsigned)ask->estimate > ENG_MEAN) return err_set(e, E_INVALID, "no such estimate");
    if ((unsigned)ask->urgency >= ENG_CLASSES) return err_set(e, E_INVALID, "no such class");
    if (ask->n_pictures > ENG_PICTURES_MAX)
        return err_set(e, E_TOO_BIG, "%u pictures, at most %d", ask->n_pictures, ENG_PICTURES_MAX);
    for (uint32_t i = 0; i < ask->n_pictures; i++)
        if (!ask->pictures || !ask->pictures[i]) return err_set(e, E_INVALID, "no picture");
    return q->grid > 0 ? check_points(ask, q, e) : 0;
}

struct arena *job_arena(void) {
    return arena_new(JOB_BYTES_MAX);
}

static void job_fill(struct eng_job *j, const struct eng_ask *ask, const struct questions *q) {
    j->questions = q;
    j->task = ask->task;
    j->estimate = ask->estimate;
    j->distribution = ask->distribution || ask->estimate != ENG_MODE;
    j->urgency = ask->urgency;
    j->deadline_ns = ask->deadline_ns;
    j->owner = ask->owner;
    j->wake = ask->wake;
    j->ud = ask->ud;
    j->stem_tokens = (uint32_t)q->stem_tokens;
    j->n_points = q->grid > 0 ? ask->n_points : (uint32_t)q->n_texts;
}

/* What its lanes may take, and what the queue counts it as. */
static void count_cost(struct eng_job *j) {
    const struct questions *q = j->questions;
    int32_t explored = j->distribution && !kind_is_text(q->kind) ? q->explore_max : 0;
    j->lane_slots = j->tree.tail_max + q->answer_max + explored;
    j->answer_rows = q->answer_max + q->fields * explored;
    j->cost = (uint64_t)(q->stem_tokens + j->tree.branch_tokens + j->tree.tail_tokens) +
              (uint64_t)j->tree.n_leaves * (uint64_t)j->answer_rows +
              (uint64_t)j->n_pictures * (uint64_t)q->picture_rows;
    j->prompt_tokens = j->stem_tokens + (uint32_t)(j->tree.leaves[0].depth + j->tree.leaves[0].n);
}

int job_new(const struct eng_ask *ask, const struct questions *q, size_t text_cap,
            struct arena *mem, struct eng_job **out, struct err *e) {
    *out = NULL;
    int rc = job_check_ask(ask, q, e);
    struct eng_job *j = mem && !rc ? arena_take(mem, sizeof *j) : NULL;
    if (!j) {
        arena_free(mem);
        return rc ? rc : err_set(e, E_NOMEM, "no memory for a job");
    }
    j->mem = mem;
    job_fill(j, ask, q);
    rc = make_tree(j, ask->points);
    if (!rc && q->kind == KIND_TEXT) rc = make_text(j, &ask->generate, text_cap);
    if (rc) {
        arena_free(mem);
        return err_set(e, rc, "no memory for a job");
    }
    for (; j->n_pictures < ask->n_pictures; j->n_pictures++)
        j->pictures[j->n_pictures] = eng_picture_get(ask->pictures[j->n_pictures]);
    count_cost(j);
    if (ask->adapter) j->adapter = loaded_get(ask->adapter);
    j->mail = MAIL_JOB;
    atomic_init(&j->refs, 2);
    atomic_init(&j->state, ENG_WAITING);
    atomic_init(&j->queued_ns, clock_ns());
    *out = j;
    return 0;
}

struct eng_job *job_whole(const struct eng_ask *ask) {
    struct arena *mem = job_arena();
    struct eng_job *j = mem ? arena_take(mem, sizeof *j) : NULL;
    struct eng_answer *answers = j ? arena_take(mem, ask->n_points * sizeof *answers) : NULL;
    if (!answers) {
        arena_free(mem);
        return NULL;
    }
    j->mem = mem;
    j->answers = answers;
    j->task = ask->task;
    j->n_points = ask->n_points;
    j->wake = ask->wake;
    j->ud = ask->ud;
    atomic_init(&j->refs, 1);
    atomic_init(&j->state, ENG_WAITING);
    atomic_init(&j->queued_ns, clock_ns());
    return j;
}

struct stem_key job_stem(const struct eng_job *j) {
    struct stem_key key = {.owner = j->owner,
                           .ids = j->questions->stem_ids,
                           .n_ids = j->questions->n_stem_ids,
                           .image_tokens = j->questions->image_tokens,
                           .model = j->adapter ? j->adapter->info.digest : NULL};
    for (uint32_t i = 0; i < j->n_pictures; i++)
        key.digests[i] = eng_picture_digest(j->pictures[i]);
    return key;
}

/* ---- the adapter ---- */

int job_berth(const struct eng_job *j) { return j->adapter ? j->adapter->berth : MODEL_BASE; }

int job_tower(const struct eng_job *j, const char **vision) {
    int is_own = j->adapter && j->adapter->info.has_overlay;
    *vision = is_own ? j->adapter->vision : NULL;
    return is_own ? j->adapter->berth : MODEL_BASE;
}

void job_leave_adapter(struct eng_job *j) {
    loaded_put(j->adapter);
    j->adapter = NULL;
}

/* ---- references ---- */

void job_put(struct eng_job *j) {
    if (atomic_fetch_sub(&j->refs, 1) > 1) return;
    struct queue *bell = atomic_load(&j->bell);
    void *item;
    while (bell && queue_pop(bell, 0, &item) == 0) {}
    queue_free(bell);
    for (uint32_t i = 0; i < j->n_pictures; i++)
        eng_picture_put(j->pictures[i]);
    loaded_put(j->adapter); /* of one that never came into the queue */
    arena_free(j->mem);     /* the job itself lies in it */
}

void eng_job_put(struct eng_job *j) {
    if (!j) return;
    eng_job_cancel(j);
    int open = GATE_OPEN;
    while (!atomic_compare_exchange_strong(&j->gate, &open, GATE_SHUT)) {
        sched_yield(); /* wake is being called, and returns at once */
        open = GATE_OPEN;
    }
    if (j->bands) bands_put(j->bands);
    job_put(j);
}

/* ---- the asker's side ---- */

void eng_job_cancel(struct eng_job *j) {
    atomic_store(&j->is_cancelled, 1);
    if (j->bands) bands_cancel(j->bands);
}

enum eng_state eng_job_state(const struct eng_job *j) {
    return (enum eng_state)atomic_load(&j->state);
}

const struct eng_answer *eng_job_answers(const struct eng_job *j, uint32_t *n_ready) {
    *n_ready = j->text ? 0 : atomic_load(&j->n_ready);
    return j->answers;
}

const struct eng_token *eng_job_tokens(const struct eng_job *j, uint32_t *n_ready) {
    *n_ready = j->text ? atomic_load(&j->n_ready) : 0;
    return j->text ? j->text->tokens : NULL;
}

const char *eng_job_text(const struct eng_job *j, size_t *len) {
    *len = atomic_load(&j->text_ready);
    return j->text ? j->text->utf8 : "";
}

enum eng_finish eng_job_finish(const struct eng_job *j) {
    return (enum eng_finish)atomic_load(&j->finish);
}

uint64_t eng_job_cost(const struct eng_job *j) { return j->cost; }

uint32_t eng_job_prompt_tokens(const struct eng_job *j) { return j->prompt_tokens; }

const struct err *eng_job_error(const struct eng_job *j) {
    static const struct err none;
    return eng_job_state(j) >= ENG_DONE ? &j->error : &none;
}

void eng_job_stats(const struct eng_job *j, struct eng_job_stats *out) {
    *out = (struct eng_job_stats){
        .queued_ns = atomic_load(&j->queued_ns),
        .first_ns = atomic_load(&j->first_ns),
        .end_ns = atomic_load(&j->end_ns),
        .vision_ns = atomic_load(&j->vision_ns),
        .stem_tokens = j->stem_tokens,
        .stem_cached = atomic_load(&j->stem_cached),
        .rows = atomic_load(&j->rows),
        .rows_plain = atomic_load(&j->rows_plain),
    };
    if (j->bands) bands_stats(j->bands, out);
}

/* The bell is a queue of length one. It is full when there may be something new, and stays so until
 * a waiter takes that out. With several waiters one takes it; the others look again after
 * WAIT_SLICE_NS. */
static struct queue *bell_of(struct eng_job *j) {
    struct queue *bell = atomic_load(&j->bell);
    if (bell) return bell;
    struct queue *mine = queue_new(1);
    if (atomic_compare_exchange_strong(&j->bell, &bell, mine)) return mine;
    queue_free(mine);
    return bell;
}

int eng_job_wait(struct eng_job *j, uint32_t seen, uint64_t timeout_ns) {
    struct queue *bell = bell_of(j);
    uint64_t start = clock_ns();
    for (;;) {
        if (atomic_load(&j->n_ready) > seen || eng_job_state(j) >= ENG_DONE) return 0;
        uint64_t spent = clock_ns() - start;
        if (spent >= timeout_ns) return E_TIMEOUT;
        uint64_t left = timeout_ns - spent;
        void *item;
        (void)queue_pop(bell, left < WAIT_SLICE_NS ? left : WAIT_SLICE_NS, &item);
    }
}

/* ---- the step thread's side ---- */

uint32_t job_answer(struct eng_job *j, int32_t leaf, const struct eng_answer *a) {
    uint32_t n = 0;
    for (int32_t i = (int32_t)j->leaf_point[leaf]; i >= 0; i = j->same[i], n++) {
        must(j->n_answers < j->n_points);
        j->answers[j->n_answers] = *a;
        j->answers[j->n_answers++].point = (uint32_t)i;
    }
    return n;
}

void job_end_text(struct eng_job *j, size_t len) {
    struct job_text *t = j->text;
    must(len >= t->len && len <= t->cap);
    memcpy(t->utf8 + t->len, t->scratch + t->len, len - t->len);
    t->len = len;
}

void job_add_token(struct eng_job *j, const struct eng_token *token, size_t len) {
    struct job_text *t = j->text;
    job_end_text(j, len);
    t->tokens[j->n_answers] = *token;
    t->tokens[j->n_answers++].end = (uint32_t)len;
    must(j->n_answers == t->n);
}

int job_is_complete(const struct eng_job *j) {
    return j->text ? j->text->finish != ENG_GOES_ON : j->n_answers == j->n_points;
}

void job_announce(struct eng_job *j) {
    if (j->n_answers > 0 && atomic_load(&j->first_ns) == 0) atomic_store(&j->first_ns, clock_ns());
    if (j->ending != ENG_WAITING) atomic_store(&j->end_ns, clock_ns());
    if (j->text) {
        atomic_store(&j->text_ready, j->text->len);
        atomic_store(&j->finish, j->text->finish);
    }
    atomic_store(&j->n_ready, j->n_answers);
    if (j->ending != ENG_WAITING) atomic_store(&j->state, j->ending);
    struct queue *bell = atomic_load(&j->bell);
    if (bell) (void)queue_push(bell, j);
    int open = GATE_OPEN;
    if (j->wake && atomic_compare_exchange_strong(&j->gate, &open, GATE_CALLING)) {
        j->wake(j->ud, j);
        atomic_store(&j->gate, GATE_OPEN);
    }
}
