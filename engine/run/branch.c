/* branch.c - slots of branches, counted by what is left below them.
 *
 * Invariants
 *   1. branch_left is -1 before a branch starts. Then it counts the children that have not
 *      finished. At 0 the slots are given back.
 *   2. All branches above a leaf are started before its lane is. A branch is given back before
 *      those above.
 *   3. Its slots are among those that the job was promised on admission.
 */
#include "engine/run/branch.h"

#include "kernels/base/err.h"

static int32_t above(const struct eng_job *j, int32_t branch) {
    return j->tree.branches[branch].up;
}

int32_t branch_missing(const struct eng_job *j, int32_t leaf) {
    int32_t b = j->tree.leaves[leaf].up;
    while (b >= 0 && j->branch_left[b] >= 0)
        b = above(j, b);
    return b;
}

int32_t branch_missing_rows(const struct eng_job *j, int32_t leaf) {
    int32_t rows = 0;
    for (int32_t b = branch_missing(j, leaf); b >= 0 && j->branch_left[b] < 0; b = above(j, b))
        rows += j->tree.branches[b].n;
    return rows;
}

void branch_start(struct eng_job *j, int32_t branch, struct kv *kv) {
    const struct tree_branch *b = &j->tree.branches[branch];
    must(j->branch_left[branch] < 0);
    for (int32_t i = 0; i < b->n; i++)
        j->branch_slot[b->slot0 + i] = kv_take(kv);
    j->branch_left[branch] = b->children;
}

static void give_back(struct eng_job *j, int32_t branch, struct kv *kv) {
    const struct tree_branch *b = &j->tree.branches[branch];
    for (int32_t i = 0; i < b->n; i++)
        kv_give(kv, j->branch_slot[b->slot0 + i]);
    j->branch_left[branch] = 0;
}

void branch_leave(struct eng_job *j, int32_t leaf, struct kv *kv) {
    for (int32_t b = j->tree.leaves[leaf].up; b >= 0; b = above(j, b)) {
        must(j->branch_left[b] > 0);
        if (j->branch_left[b] > 1) {
            j->branch_left[b]--;
            return;
        }
        give_back(j, b, kv);
    }
}

void branch_drop(struct eng_job *j, struct kv *kv) {
    for (int32_t b = 0; b < j->tree.n_branches; b++)
        if (j->branch_left[b] > 0) give_back(j, b, kv);
}

int32_t branch_slots(const struct eng_job *j, int32_t branch, int32_t *slots) {
    if (branch < 0) return 0;
    for (int32_t b = branch; b >= 0; b = above(j, b)) {
        const struct tree_branch *at = &j->tree.branches[b];
        for (int32_t i = 0; i < at->n; i++)
            slots[at->depth + i] = j->branch_slot[at->slot0 + i];
    }
    return j->tree.branches[branch].depth + j->tree.branches[branch].n;
}

void branch_put(const struct eng_job *j, int32_t branch, struct rows *r) {
    const struct tree_branch *b = &j->tree.branches[branch];
    int32_t stem = j->questions->stem_tokens;
    must(branch_slots(j, branch, r->path) == b->depth + b->n);
    for (int32_t i = 0; i < b->n; i++) {
        int32_t depth = b->depth + i;
        rows_add(r, b->ids[i], stem + depth, r->path[depth]);
        rows_keys(r, r->path, depth + 1);
    }
}
