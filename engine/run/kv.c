/* kv.c - slots of the KV pool: ranges by first fit over a sorted list of gaps, single slots by a
 * stack.
 *
 * Invariants
 *   1. Gaps are sorted by slot and not empty, and no two touch. Their lengths add up to range_free.
 *   2. single_slots - n_stack <= promised <= single_slots: what is taken was promised, and what is
 *      promised is there.
 *   3. Slots never move. The key list of a row names them for as long as their owner holds them.
 * Ranges separate gaps, so the list of gaps needs room for one more than there may be ranges.
 * Thread: step.
 */
#include "engine/run/kv.h"

#include <string.h>

#include "kernels/base/err.h"
#include "kernels/base/mem.h"

void kv_init(struct kv *kv, int32_t range_slots, int32_t single_slots, int32_t ranges_max) {
    must(range_slots > 0 && single_slots > 0 && ranges_max > 0);
    *kv = (struct kv){
        .range_slots = range_slots, .range_free = range_slots, .single_slots = single_slots};
    kv->cap_gaps = ranges_max + 1;
    kv->gaps = mem_must((size_t)kv->cap_gaps * sizeof kv->gaps[0]);
    kv->gaps[0] = (struct kv_gap){0, range_slots};
    kv->n_gaps = 1;
    kv->stack = mem_must((size_t)single_slots * sizeof kv->stack[0]);
    kv->n_stack = single_slots;
    for (int32_t i = 0; i < single_slots; i++) /* low slots are taken first */
        kv->stack[i] = range_slots + single_slots - 1 - i;
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

int kv_range_take(struct kv *kv, int32_t len, int32_t *slot) {
    must(len > 0);
    for (int32_t i = 0; i < kv->n_gaps; i++) {
        struct kv_gap *gap = &kv->gaps[i];
        if (gap->len < len) continue;
        *slot = gap->slot;
        gap->slot += len;
        gap->len -= len;
        kv->range_free -= len;
        if (gap->len == 0) remove_gap(kv, i);
        return 1;
    }
    return 0;
}

void kv_range_give(struct kv *kv, int32_t slot, int32_t len) {
    must(len > 0 && slot >= 0 && slot <= kv->range_slots - len);
    int32_t i = 0; /* the first gap behind the range */
    while (i < kv->n_gaps && kv->gaps[i].slot < slot)
        i++;
    struct kv_gap *before = i > 0 ? &kv->gaps[i - 1] : NULL;
    struct kv_gap *after = i < kv->n_gaps ? &kv->gaps[i] : NULL;
    must(!before || before->slot + before->len <= slot);
    must(!after || slot + len <= after->slot);
    kv->range_free += len;
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
    if (n > kv->single_slots - kv->promised) return 0;
    kv->promised += n;
    return 1;
}

void kv_release(struct kv *kv, int32_t n) {
    must(n >= 0 && n <= kv->promised);
    kv->promised -= n;
    must(kv->single_slots - kv->n_stack <= kv->promised);
}

int32_t kv_take(struct kv *kv) {
    must(kv->single_slots - kv->n_stack < kv->promised);
    return kv->stack[--kv->n_stack];
}

void kv_give(struct kv *kv, int32_t slot) {
    must(kv->n_stack < kv->single_slots);
    must(slot >= kv->range_slots && slot < kv->range_slots + kv->single_slots);
    kv->stack[kv->n_stack++] = slot;
}
