/* kv.h - who owns which slot of the KV pool. Only numbers: the memory itself is the model's.
 *
 * The pool has two regions. The front is handed out in ranges of consecutive slots, which stems
 * take. The back is handed out slot by slot, to branches and lanes. So single slots leave no holes
 * in the region of the stems, and one slot of the back is as good as another.
 *
 * Single slots are taken in two steps: first a number of them is promised, later each one is taken.
 * A promise is refused when the region can't keep it together with all earlier ones. A promised
 * slot is always there, so a job that was admitted never runs out of slots in the middle of a pass.
 * Thread: step.
 */
#ifndef ENGINE_RUN_KV_H
#define ENGINE_RUN_KV_H

#include <stdint.h>

struct kv_gap {
    int32_t slot, len;
};

struct kv {
    int32_t range_slots; /* slots [0, range_slots) are handed out in ranges */
    int32_t range_free;  /* of them, in no range */
    struct kv_gap *gaps; /* the free ones, sorted by slot; no two gaps touch */
    int32_t n_gaps, cap_gaps;

    int32_t single_slots; /* the slots behind them, handed out one by one */
    int32_t promised;     /* of them; at least those taken, at most all */
    int32_t *stack;       /* those not taken */
    int32_t n_stack;
};

/* At most `ranges_max` ranges are taken at any time. Must-succeed. */
void kv_init(struct kv *kv, int32_t range_slots, int32_t single_slots, int32_t ranges_max);
void kv_clear(struct kv *kv);

/* First fit. 1 and *slot, or 0 when no gap is long enough. */
int kv_range_take(struct kv *kv, int32_t len, int32_t *slot);
void kv_range_give(struct kv *kv, int32_t slot, int32_t len);

/* 1, or 0 when n more can't be promised. n may be 0. */
int kv_promise(struct kv *kv, int32_t n);
void kv_release(struct kv *kv, int32_t n); /* only after the slots were given back */
int32_t kv_take(struct kv *kv);            /* one that was promised */
void kv_give(struct kv *kv, int32_t slot);

static inline int32_t kv_used(const struct kv *kv) {
    return kv->range_slots - kv->range_free + kv->single_slots - kv->n_stack;
}

#endif
