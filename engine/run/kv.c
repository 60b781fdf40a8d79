/* kv.c - slots of the KV pool: runs by first fit over a sorted list of gaps, singles by a stack.
 *
 * Invariants
 *   1. gaps are sorted by slot, not empty, and no two touch: len of all = run_free.
 *   2. singles - n_stack <= promised <= singles: what is taken was promised, what is promised is there.
 *   3. Slots are never moved: a row's key list names them for as long as its owner holds them.
 * The gap list needs one place more than there may be runs, since runs separate gaps.
 * Thread: step.
 */
#include "engine/run/kv.h"

#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void kv_init(struct kv *kv, int32_t run_slots, int32_t singles, int32_t runs_max) {
    must(run_slots > 0 && singles > 0 && runs_max > 0);
    *kv = (struct kv){.run_slots = run_slots, .run_free = run_slots, .singles = singles};
    kv->cap_gaps = runs_max + 1;
    kv->gaps = mem_must((size_t)kv->cap_gaps * sizeof kv->gaps[0]);
    kv->gaps[0] = (struct kv_gap){0, run_slots};
    kv->n_gaps = 1;
    kv->stack = mem_must((size_t)singles * sizeof kv->stack[0]);
    kv->n_stack = singles;
    for (int32_t i = 0; i < singles; i++) /* low slots are taken first */
        kv->stack[i] = run_slots + singles - 1 - i;
}

void kv_clear(struct kv *kv) {
    mem_free(kv->gaps);
    mem_free(kv->stack);
    *kv = (struct kv){0};
}

static void remove_gap(struct kv *kv, int32_t i) {
    kv->n_gaps--;
    memmove(&kv->gaps[i], &kv->gaps[i + 1], (size_t)(kv->n_gaps - i) * sizeof kv->gaps[0]);
}

int kv_run_take(struct kv *kv, int32_t len, int32_t *slot) {
    must(len > 0);
    for (int32_t i = 0; i < kv->n_gaps; i++) {
        struct kv_gap *gap = &kv->gaps[i];
        if (gap->len < len) continue;
        *slot = gap->slot;
        gap->slot += len;
        gap->len -= len;
        kv->run_free -= len;
        if (gap->len == 0) remove_gap(kv, i);
        return 1;
    }
    return 0;
}

void kv_run_give(struct kv *kv, int32_t slot, int32_t len) {
    must(len > 0 && slot >= 0 && slot <= kv->run_slots - len);
    int32_t i = 0; /* the first gap behind the run */
    while (i < kv->n_gaps && kv->gaps[i].slot < slot)
        i++;
    struct kv_gap *before = i > 0 ? &kv->gaps[i - 1] : NULL;
    struct kv_gap *after = i < kv->n_gaps ? &kv->gaps[i] : NULL;
    must(!before || before->slot + before->len <= slot);
    must(!after || slot + len <= after->slot);
    kv->run_free += len;
    int joins_before = before && before->slot + before->len == slot;
    int joins_after = after && slot + len == after->slot;
    if (joins_before && joins_after) {
        before->len += len + after->len;
        remove_gap(kv, i);
    } else if (joins_before) {
        before->len += len;
    } else if (joins_after) {
        after->slot = slot;
        after->len += len;
    } else {
        must(kv->n_gaps < kv->cap_gaps);
        memmove(&kv->gaps[i + 1], &kv->gaps[i], (size_t)(kv->n_gaps - i) * sizeof kv->gaps[0]);
        kv->gaps[i] = (struct kv_gap){slot, len};
        kv->n_gaps++;
    }
}

int kv_promise(struct kv *kv, int32_t n) {
    must(n >= 0);
    if (n > kv->singles - kv->promised) return 0;
    kv->promised += n;
    return 1;
}

void kv_release(struct kv *kv, int32_t n) {
    must(n >= 0 && n <= kv->promised);
    kv->promised -= n;
    must(kv->singles - kv->n_stack <= kv->promised);
}

int32_t kv_take(struct kv *kv) {
    must(kv->singles - kv->n_stack < kv->promised);
    return kv->stack[--kv->n_stack];
}

void kv_give(struct kv *kv, int32_t slot) {
    must(kv->n_stack < kv->singles);
    must(slot >= kv->run_slots && slot < kv->run_slots + kv->singles);
    kv->stack[kv->n_stack++] = slot;
}
