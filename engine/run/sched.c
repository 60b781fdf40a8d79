/* sched.c - admission, shares, advance.
 *
 * Invariants
 *   1. A running job holds its stem's chain and a promise of tree.branch_tokens + lane_slots single
 *      slots. Each lane beyond its first adds lane_slots to the promise.
 *   2. A job whose ending is not WAITING holds nothing. It is only still to be announced.
 *   3. What a job waits for is held by running jobs or the cache alone. Running jobs end: each has
 *      a piece of work that fits an empty pass (eng_open checks the sizes).
 *   4. An owner's share is its own while it has jobs. It lives in a table of fixed size.
 */
#include "engine/run/sched.h"

#include <string.h>

#include "engine/run/branch.h"
#include "kernels/base/err.h"
#include "kernels/base/num.h"

void sched_init(struct sched *s, struct kv *kv, struct stems *stems, struct lanes *lanes,
                int32_t tile) {
    *s = (struct sched){.kv = kv, .stems = stems, .lanes = lanes, .tile = tile};
}

/* ---- lists ---- */

static void sched_push(struct job_list *list, struct eng_job *j) {
    j->next = NULL;
    if (list->last)
        list->last->next = j;
    else
        list->first = j;
    list->last = j;
    list->n++;
}

/* Takes out the job behind `prev` (NULL: the first one). */
static void pull(struct job_list *list, struct eng_job *prev) {
    struct eng_job *j = prev ? prev->next : list->first;
    if (prev)
        prev->next = j->next;
    else
        list->first = j->next;
    if (list->last == j) list->last = prev;
    j->next = NULL;
    list->n--;
}

static void touch(struct sched *s, struct eng_job *j) {
    if (j->is_touched) return;
    j->is_touched = 1;
    sched_push(&s->touched, j);
}

void sched_add(struct sched *s, struct eng_job *j) {
    j->share = share_of(&s->shares, j->owner);
    j->share->n_jobs++;
    j->arrival = s->added++;
    s->n_waiting[j->urgency]++;
    sched_push(&j->share->waiting[j->urgency], j);
}

/* Takes the job behind `before` out of its owner's waiting ones. */
static void sched_pull_waiting(struct sched *s, struct eng_job *j, struct eng_job *before) {
    pull(&j->share->waiting[j->urgency], before);
    s->n_waiting[j->urgency]--;
}

static int count_waiting(const struct sched *s) {
    int n = 0;
    for (int c = 0; c < ENG_CLASSES; c++)
        n += s->n_waiting[c];
    return n;
}

/* Something else than a batch runs. */
static int has_others(const struct sched *s) {
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->urgency != ENG_BATCH) return 1;
    return 0;
}

int sched_is_idle(const struct sched *s) { return s->n_running == 0 && count_waiting(s) == 0; }

/* Rows that it may still need. */
static uint64_t rows_left_of(const struct eng_job *j) { return j->cost - j->retired; }

/* So many rows of its cost are done, or won't be needed. */
static void retire(struct sched *s, struct eng_job *j, int64_t rows) {
    uint64_t left = rows_left_of(j), n = rows > 0 ? (uint64_t)rows : 0;
    if (n > left) n = left;
    j->retired += n;
    s->retired += n;
}

void sched_load(const struct sched *s, struct wait_owner of[WAIT_OWNERS]) {
    for (int i = 0; i < WAIT_OWNERS; i++) {
        memset(of[i].left, 0, sizeof(of[i].left));
        memset(of[i].running, 0, sizeof(of[i].running));
    }
    for (int i = 0; i < s->n_running; i++) {
        const struct eng_job *j = s->running[i];
        struct wait_owner *o = &of[j->place];
        o->left[j->urgency] += rows_left_of(j);
        o->running[j->urgency]++;
    }
}

/* ---- ends ---- */

static void unlink_lane(struct eng_job *j, struct lane *l) {
    if (l->prev)
        l->prev->next = l->next;
    else
        j->lanes = l->next;
    if (l->next)
        l->next->prev = l->prev;
    else
        j->last_lane = l->prev;
}

static void drop_lane(struct sched *s, struct lane *l) {
    struct eng_job *j = l->job;
    unlink_lane(j, l);
    lane_free(s->lanes, l);
    s->batch_lanes -= j->urgency == ENG_BATCH;
    j->n_lanes--;
    if (j->n_lanes > 0) kv_release(s->kv, j->lane_slots); /* the job keeps the last one's promise */
}

static void stop_running(struct sched *s, struct eng_job *j) {
    while (j->lanes)
        drop_lane(s, j->lanes);
    branch_drop(j, s->kv);
    kv_release(s->kv, j->tree.branch_tokens + j->lane_slots);
    stem_give(s->stems, j->stem);
    j->stem = NULL;
    int i = 0;
    while (s->running[i] != j)
        i++;
    for (s->n_running--; i < s->n_running; i++)
        s->running[i] = s->running[i + 1];
    j->share->n_running--;
}

static void leave_queue(struct sched *s, const struct eng_job *j) {
    s->left_cost[j->place][j->urgency] += j->cost;
    s->left++;
}

/* The job is in no list but `touched` when this returns. */
static void sched_finish(struct sched *s, struct eng_job *j, enum eng_state state, int code,
                         const char *why) {
    if (state == ENG_DONE) retire(s, j, INT64_MAX);
    if (j->stem)
        stop_running(s, j);
    else
        leave_queue(s, j);
    j->share->n_jobs--;
    job_leave_adapter(j);
    if (code) err_set(&j->error, code, "%s", why);
    s->done += state == ENG_DONE;
    s->failed += state == ENG_FAILED && code != E_BUSY;
    s->cancelled += state == ENG_CANCELLED || code == E_BUSY;
    j->ending = state;
    touch(s, j);
}

static void finish_with(struct sched *s, struct eng_job *j, int code, const char *why) {
    sched_finish(s, j, code == E_CANCELLED ? ENG_CANCELLED : ENG_FAILED, code, why);
}

/* A code and why the job may not go on; 0 when it may. */
static int doom(const struct eng_job *j, uint64_t now_ns, const char **why) {
    if (atomic_load_explicit(&j->is_cancelled, memory_order_relaxed)) {
        *why = "cancelled";
        return E_CANCELLED;
    }
    *why = "deadline passed";
    return j->deadline_ns && now_ns >= j->deadline_ns ? E_TIMEOUT : 0;
}

/* Ends those of an owner's waiting jobs that may not go on. */
static void reap_waiting(struct sched *s, struct job_list *list, uint64_t now_ns) {
    const char *why;
    struct eng_job *prev = NULL, *next;
    for (struct eng_job *j = list->first; j; j = next) {
        next = j->next;
        int code = doom(j, now_ns, &why);
        if (code) {
            sched_pull_waiting(s, j, prev);
            finish_with(s, j, code, why);
        } else {
            prev = j;
        }
    }
}

void sched_reap(struct sched *s, uint64_t now_ns) {
    const char *why;
    for (int i = 0; i < s->shares.n; i++)
        for (int c = 0; c < ENG_CLASSES; c++)
            reap_waiting(s, &s->shares.at[i].waiting[c], now_ns);
    for (int i = s->n_running - 1; i >= 0; i--) {
        int code = doom(s->running[i], now_ns, &why);
        if (code) finish_with(s, s->running[i], code, why);
    }
}

void sched_end_all(struct sched *s, int code, const char *why) {
    for (int i = 0; i < s->shares.n; i++) {
        for (int c = 0; c < ENG_CLASSES; c++) {
            struct eng_job *j;
            while ((j = s->shares.at[i].waiting[c].first) != NULL) {
                sched_pull_waiting(s, j, NULL);
                finish_with(s, j, code, why);
            }
        }
    }
    while (s->n_running > 0)
        finish_with(s, s->running[s->n_running - 1], code, why);
}

/* ---- admission ---- */

static void sched_enter(struct sched *s, struct eng_job *j) {
    share_enter(j, s->running, s->n_running);
    s->running[s->n_running++] = j;
    s->admitted++;
    leave_queue(s, j);
    atomic_store(&j->state, ENG_RUNNING);
}

/* 0, or E_BUSY: not now; E_NOMEM: not now, for want of single slots. */
static int try_admit(struct sched *s, struct eng_job *j) {
    int kept =
        (j->urgency == ENG_ACT ? 0 : SCHED_FOR_ACT) + (j->share->n_running ? SCHED_FOR_NEW : 0);
    if (s->n_running >= SCHED_RUNNING - kept) return E_BUSY;
    int32_t slots = j->tree.branch_tokens + j->lane_slots, cached;
    if (!kv_promise(s->kv, slots)) return E_NOMEM;
    struct stem_key key = job_stem(j);
    j->stem = stem_take(s->stems, &key, &cached);
    if (!j->stem) {
        kv_release(s->kv, slots);
        return E_BUSY;
    }
    atomic_store(&j->stem_cached, (uint32_t)cached);
    sched_enter(s, j);
    int is_seen = !stem_next_picture(j->stem);
    retire(s, j, cached + (is_seen ? (int64_t)j->n_pictures * j->questions->picture_rows : 0));
    return 0;
}

/* Nobody may pass it any more: neither others of its owner, nor, as long as nothing of its owner
 * runs, anybody. */
static int is_aged(const struct sched *s, const struct eng_job *j) {
    if (!j->passed_over || j->urgency == ENG_BATCH) return 0;
    return !j->share->n_running || s->admitted - (j->passed_over - 1) >= SCHED_SKIPS;
}

/* The class runs all the jobs that it may: its jobs wait for each other, not for others. */
static int is_crowded(const struct sched *s, int class) {
    int n = 0;
    for (int i = 0; i < s->n_running; i++)
        n += (int)s->running[i]->urgency == class;
    return class != ENG_ACT && n >= SCHED_OF_CLASS;
}

static void look_at_first(struct sched *s, int class) {
    for (int i = 0; i < s->shares.n; i++) {
        s->shares.at[i].look = s->shares.at[i].waiting[class].first;
        s->shares.at[i].before = NULL;
    }
}

/* Whose waiting job is tried next: of whom fewest run, and then whose came first. NULL: all were
 * tried. */
static struct share *next_to_look(struct sched *s, int is_class_full) {
    struct share *next = NULL;
    for (int i = 0; i < s->shares.n; i++) {
        struct share *at = &s->shares.at[i];
        if (!at->look || (is_class_full && at->n_running)) continue;
        if (!next || at->n_running < next->n_running ||
            (at->n_running == next->n_running && at->look->arrival < next->look->arrival))
            next = at;
    }
    return next;
}

/* Admit what fits of one class. 1: an aged job does not fit, and nobody may pass it. */
static int admit_class(struct sched *s, int class, int only_aged) {
    struct share *own;
    if (!s->n_waiting[class]) return 0;
    look_at_first(s, class);
    for (int looks = 0; looks < SCHED_LOOKS; looks++) {
        own = next_to_look(s, is_crowded(s, class));
        if (!own) break;
        struct eng_job *j = own->look;
        own->look = j->next;
        int may = !only_aged || is_aged(s, j), rc = may ? try_admit(s, j) : E_BUSY;
        if (rc == 0) {
            sched_pull_waiting(s, j, own->before);
            continue;
        }
        if (may) s->is_short |= class != ENG_BATCH;
        if (may && !j->passed_over) j->passed_over = 1 + s->admitted;
        if (may && only_aged) {
            s->is_held = rc == E_NOMEM;
            return 1;
        }
        own->before = j;
    }
    return 0;
}

static void admit_others(struct sched *s) {
    int is_barred = 0;
    s->is_held = s->is_short = 0;
    for (int c = 0; c < ENG_BATCH && !is_barred; c++)
        is_barred = admit_class(s, c, 1);
    for (int c = 0; c < ENG_BATCH; c++)
        if (!is_barred || c == ENG_ACT) admit_class(s, c, 0);
}

/* The youngest job of a batch makes room. 0: there is none. */
static int give_up_batch(struct sched *s) {
    for (int i = s->n_running - 1; i >= 0; i--) {
        if (s->running[i]->urgency != ENG_BATCH) continue;
        finish_with(s, s->running[i], E_BUSY, "its room was needed for what is more urgent");
        return 1;
    }
    return 0;
}

void sched_admit(struct sched *s) {
    admit_others(s);
    while (s->is_short && give_up_batch(s))
        admit_others(s);
    if (!s->is_short && !has_others(s)) admit_class(s, ENG_BATCH, 0);
}

/* ---- rows of a pass ---- */

struct eng_job *sched_next_picture(const struct sched *s, int is_act) {
    struct eng_job *next = NULL;
    int may_batch = !has_others(s);
    for (int i = 0; i < s->n_running; i++) {
        struct eng_job *j = s->running[i];
        if ((j->urgency == ENG_ACT) != is_act || !stem_next_picture(j->stem)) continue;
        if (j->urgency == ENG_BATCH && !may_batch) continue;
        int is_better = !next || j->share->seen < next->share->seen ||
                        (j->share == next->share && j->urgency < next->urgency);
        if (is_better) next = j;
    }
    return next;
}

void sched_saw(struct sched *s, struct eng_job *j, int is_new) {
    j->share->seen += is_new != 0;
    retire(s, j, j->questions->picture_rows);
}

/* May a job have one more? */
static int may_have_lane(const struct sched *s, const struct eng_job *j) {
    if (s->is_held && j->n_lanes > 0) return 0;
    return j->urgency != ENG_BATCH || s->batch_lanes == 0 ||
           s->batch_lanes < s->lanes->n / SCHED_BATCH_LANES;
}

static int32_t start_lane(struct sched *s, struct batch *b, struct eng_job *j) {
    if (j->next_leaf == j->tree.n_leaves || !may_have_lane(s, j)) return 0;
    int32_t leaf = j->next_leaf;
    int32_t own = lane_first_rows(s->lanes, j, leaf), rows = branch_missing_rows(j, leaf) + own;
    if (rows > b->rows_left || lane_first_text_picks(j, leaf) > b->text_left) return 0;
    int is_extra = j->n_lanes > 0;
    if (is_extra && !kv_promise(s->kv, j->lane_slots)) return 0;
    struct lane *l = lane_new(s->lanes, j, leaf);
    if (!l) {
        if (is_extra) kv_release(s->kv, j->lane_slots);
        return 0;
    }
    l->rows = own;
    l->prev = j->last_lane;
    l->next = NULL;
    if (j->last_lane)
        j->last_lane->next = l;
    else
        j->lanes = l;
    j->last_lane = l;
    s->batch_lanes += j->urgency == ENG_BATCH;
    j->n_lanes++;
    j->next_leaf++;
    int32_t branch;
    while ((branch = branch_missing(j, leaf)) >= 0) {
        branch_start(j, branch, s->kv);
        batch_branch(b, j, branch);
    }
    batch_lane(b, l);
    return rows;
}

/* The job's next piece of work joins the pass. Its rows, or 0 when there is none that fits. */
static int32_t add_work(struct sched *s, struct batch *b, struct eng_job *j) {
    if (j->cursor) {
        struct lane *l = j->cursor;
        int32_t rows = lane_rows(l);
        if (rows > b->rows_left || lane_text_picks(l) > b->text_left) return 0;
        j->cursor = l->next;
        l->rows += rows;
        batch_lane(b, l);
        return rows;
    }
    struct stem_part *part = stem_next(j->stem);
    if (!part) return start_lane(s, b, j);
    if (!stem_is_ready(part)) return 0;
    int32_t rows = stem_chunk(part);
    if (rows > b->rows_left) return 0;
    batch_chunk(b, j, part);
    return rows;
}

/* The turn of one job: pieces of its work until they have `quantum` rows, or what is left of it. */
static int32_t fill_from(struct sched *s, struct batch *b, struct eng_job *j, int32_t quantum) {
    int32_t rows = 0, more = quantum > 0;
    while (rows < quantum && (more = add_work(s, b, j)) > 0)
        rows += more;
    j->is_full = more == 0;
    retire(s, j, rows);
    share_took(j, rows);
    atomic_fetch_add_explicit(&j->rows, (uint64_t)rows, memory_order_relaxed);
    return rows;
}

int sched_has_act(const struct sched *s) {
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->urgency == ENG_ACT) return 1;
    return 0;
}

/* Act jobs before all others, but for the rows that those always get. One whose next piece of work
 * doesn't fit before them, though it was the first, is left to be chosen among all. */
static void fill_acts(struct sched *s, struct batch *b) {
    struct eng_job *j, *large = NULL;
    int32_t kept = at_most(SCHED_BESIDE_ACT, b->rows_left), room = b->rows_left - kept;
    for (int i = 0; i < s->n_running; i++)
        s->running[i]->is_full = s->running[i]->urgency != ENG_ACT;
    b->rows_left = room;
    while (b->rows_left > 0 && (j = share_next(s->running, s->n_running)) != NULL) {
        int32_t rows = fill_from(s, b, j, at_most(SCHED_QUANTUM, b->rows_left));
        if (rows == 0 && b->rows_left == room && !large) large = j;
    }
    b->rows_left += kept;
    for (int i = 0; i < s->n_running; i++) {
        j = s->running[i];
        int had_turn = j->urgency == ENG_ACT && room > 0 && j != large;
        j->is_full = had_turn || j->urgency == ENG_BATCH;
    }
}

/* How many rows all but act jobs get while one of these runs. */
static int32_t rows_beside_act(struct sched *s, struct batch *b) {
    if (s->tile <= SCHED_BESIDE_ACT) return SCHED_BESIDE_ACT;
    int32_t before = b->rows_left;
    fill_acts(s, b);
    int32_t taken = before - b->rows_left, over = taken % s->tile;
    return at_least(taken && !over ? 0 : s->tile - over, SCHED_BESIDE_ACT);
}

/* Rows for the jobs of batches, or for all others. Returns how many. */
static int32_t sched_fill_with(struct sched *s, struct batch *b, int is_batch) {
    int32_t before = b->rows_left, others = before; /* rows left to all but act jobs */
    for (int i = 0; i < s->n_running; i++) {
        s->running[i]->is_full = (s->running[i]->urgency == ENG_BATCH) != is_batch;
        s->running[i]->cursor = s->running[i]->lanes;
    }
    if (sched_has_act(s)) others = is_batch ? SCHED_BESIDE_ACT : rows_beside_act(s, b);
    struct eng_job *j;
    while (b->rows_left > 0 && (j = share_next(s->running, s->n_running)) != NULL) {
        int is_act = j->urgency == ENG_ACT;
        int32_t quantum = is_act || others > SCHED_QUANTUM ? SCHED_QUANTUM : others;
        int32_t rows = fill_from(s, b, j, quantum);
        if (!is_act) others -= rows;
    }
    return before - b->rows_left;
}

/* Also where others run, but wait for what jobs of batches hold, these get on: invariant 3. */
void sched_fill(struct sched *s, struct batch *b) {
    if (sched_fill_with(s, b, 0) == 0) (void)sched_fill_with(s, b, 1);
}

/* ---- answers ---- */

static void finish_lane(struct sched *s, struct lane *l) {
    struct eng_job *j = l->job;
    const struct tree_leaf *leaf = &j->tree.leaves[l->leaf];
    uint64_t alone = (uint64_t)(j->questions->stem_tokens + leaf->depth + l->n_path);
    uint32_t n = 1;
    if (!j->text) n = job_answer(j, l->leaf, &l->answer);
    atomic_fetch_add_explicit(&j->rows_plain, alone * n, memory_order_relaxed);
    s->answers[j->task] += n;
    retire(s, j, leaf->n + j->answer_rows - l->rows);
    branch_leave(j, l->leaf, s->kv);
    drop_lane(s, l);
    touch(s, j);
}

void sched_advance(struct sched *s, struct batch *b) {
    for (int32_t i = 0; i < b->n_items; i++) {
        struct lane *l = b->items[i].lane;
        if (!l) continue;
        struct eng_job *j = l->job;
        uint32_t before = j->n_answers;
        int is_over = lane_advance(s->lanes, l, &b->rows);
        if (j->text) {
            s->tokens += j->n_answers - before;
            touch(s, j);
        }
        if (is_over < 0) {
            j->is_broken = 1;
            touch(s, j);
        } else if (is_over) {
            finish_lane(s, l);
        }
    }
    for (struct eng_job *j = s->touched.first; j; j = j->next) {
        if (j->ending != ENG_WAITING) continue;
        if (j->is_broken)
            finish_with(s, j, E_INTERNAL, "the model's answer is not a number");
        else if (job_is_complete(j))
            sched_finish(s, j, ENG_DONE, 0, NULL);
    }
}

void sched_announce(struct sched *s) {
    while (s->touched.first) {
        struct eng_job *j = s->touched.first;
        pull(&s->touched, NULL);
        j->is_touched = 0;
        int is_over = j->ending != ENG_WAITING;
        job_announce(j);
        if (is_over) job_put(j);
    }
}
