/* branch.c - slots of shared runs, counted by what is left below them.
 *
 * Invariants
 *   1. run_left is -1 before a run starts, then the children that have not finished, then 0: given back.
 *   2. A started run's parents are started; a run is given back before its parent.
 *   3. Its slots are part of what the job was promised on admission.
 */
#include "engine/run/branch.h"

#include "engine/run/batch.h"
#include "kernels/base/err.h"

int32_t branch_missing(const struct eng_job *j, int32_t leaf) {
    int32_t rows = 0;
    for (int32_t r = j->tree.leaves[leaf].up; r >= 0 && j->run_left[r] < 0; r = j->tree.runs[r].up)
        rows += j->tree.runs[r].n;
    return rows;
}

void branch_start(struct eng_job *j, int32_t leaf, struct kv *kv, struct batch *b) {
    for (int32_t r = j->tree.leaves[leaf].up; r >= 0 && j->run_left[r] < 0;
         r = j->tree.runs[r].up) {
        const struct tree_run *run = &j->tree.runs[r];
        for (int32_t i = 0; i < run->n; i++)
            j->run_slot[run->slot0 + i] = kv_take(kv);
        j->run_left[r] = run->children;
        batch_run(b, j, r);
    }
}

static void give_back(struct eng_job *j, int32_t r, struct kv *kv) {
    const struct tree_run *run = &j->tree.runs[r];
    for (int32_t i = 0; i < run->n; i++)
        kv_give(kv, j->run_slot[run->slot0 + i]);
    j->run_left[r] = 0;
}

void branch_leave(struct eng_job *j, int32_t leaf, struct kv *kv) {
    for (int32_t r = j->tree.leaves[leaf].up; r >= 0; r = j->tree.runs[r].up) {
        must(j->run_left[r] > 0);
        if (j->run_left[r] > 1) {
            j->run_left[r]--;
            return;
        }
        give_back(j, r, kv);
    }
}

void branch_drop(struct eng_job *j, struct kv *kv) {
    for (int32_t r = 0; r < j->tree.n_runs; r++)
        if (j->run_left[r] > 0) give_back(j, r, kv);
}

int32_t branch_slots(const struct eng_job *j, int32_t run, int32_t *slots) {
    if (run < 0) return 0;
    int32_t end = j->tree.runs[run].depth + j->tree.runs[run].n;
    for (int32_t r = run; r >= 0; r = j->tree.runs[r].up) {
        const struct tree_run *at = &j->tree.runs[r];
        for (int32_t i = 0; i < at->n; i++)
            slots[at->depth + i] = j->run_slot[at->slot0 + i];
    }
    return end;
}

void branch_put(const struct eng_job *j, int32_t run, struct batch *b) {
    const struct tree_run *r = &j->tree.runs[run];
    int32_t n = branch_slots(j, run, b->path);
    int32_t stem = j->form->stem_tokens;
    for (int32_t i = 0; i < r->n; i++) {
        int32_t depth = r->depth + i;
        batch_row(b, r->ids[i], stem + depth, b->path[depth]);
        batch_keys(b, b->path, depth + 1);
    }
    must(n == r->depth + r->n);
}
