/* kv.h - who owns which slot of the KV pool. Only numbers: the memory itself is the model's.
 *
 * The pool has two regions. The front is handed out as runs of consecutive slots: stems. The back
 * is handed out slot by slot: branches and lanes. So single slots can't tear holes into the space
 * that stems need, and a slot of the back is as good as any other.
 *
 * A single slot is taken in two steps: first a number of them is promised, later each is taken. A
 * promise is refused when the region can't keep it together with all earlier ones; a promised slot
 * is always there. So a job that was let in never fails in the middle of a pass.
 * Thread: step.
 */
#ifndef ENGINE_RUN_KV_H
#define ENGINE_RUN_KV_H

#include <stdint.h>

struct kv_gap {
    int32_t slot, len;
};

struct kv {
    int32_t run_slots;   /* slots [0, run_slots) are handed out as runs */
    int32_t run_free;    /* of them, in no run */
    struct kv_gap *gaps; /* what is free there, by slot, never two side by side */
    int32_t n_gaps, cap_gaps;

    int32_t singles;  /* slots [run_slots, run_slots + singles) */
    int32_t promised; /* of them; never less than those taken, never more than there are */
    int32_t *stack;   /* those not taken */
    int32_t n_stack;
};

/* At most `runs_max` runs are out at any time. Must-succeed. */
void kv_init(struct kv *kv, int32_t run_slots, int32_t singles, int32_t runs_max);
void kv_clear(struct kv *kv);

/* First fit. 1 and *slot, or 0 when no gap is long enough. */
int kv_run_take(struct kv *kv, int32_t len, int32_t *slot);
void kv_run_give(struct kv *kv, int32_t slot, int32_t len);

/* 1, or 0 when n more can't be guaranteed. n may be 0. */
int kv_promise(struct kv *kv, int32_t n);
void kv_release(struct kv *kv, int32_t n); /* only after the slots were given back */
int32_t kv_take(struct kv *kv);            /* one that was promised */
void kv_give(struct kv *kv, int32_t slot);

static inline int32_t kv_used(const struct kv *kv) {
    return kv->run_slots - kv->run_free + kv->singles - kv->n_stack;
}

#endif
