/* run.c - the work of a model: a picture through the vision tower, a pass through the decoder.
 *
 * This is the only place that says how operations are handed to the device: run_ops. With a tap
 * they are issued one by one, since the tap reads tensors in between.
 */
#include "engine/model/internal.h"

/* Which passes are alike, see kern_ops.pass: one of these, with more in the lower 48 bits. */
static const uint64_t KEY_VIT = UINT64_C(1) << 48, KEY_LLAMA = UINT64_C(2) << 48;

typedef void issue_fn(struct model *m, const void *what);

struct issued {
    struct model *m;
    issue_fn *issue;
    const void *what;
};

static void issue_one(void *ud) {
    const struct issued *i = ud;
    i->issue(i->m, i->what);
}

/* Issue the operations of pictures or of a pass. Calls with equal keys issue the same operations in
 * the same order. */
static void run_ops(struct model *m, uint64_t key, issue_fn *issue, const void *what) {
    if (m->tap) {
        issue(m, what);
        return;
    }
    struct issued i = {m, issue, what};
    m->ops->pass(m->k, key, issue_one, &i);
}

/* ---- pictures ---- */

static void issue_pictures(struct model *m, const void *what) { vit_issue(m, what); }

void model_encode_all(struct model *m, int berth, const struct model_view *views, int n) {
    must(m->is_planned && n >= 1 && n <= m->plan.pictures_max);
    must(berth == MODEL_BASE ||
         (berth >= 0 && berth < m->plan.berths && m->berths[berth].is_filled));
    size_t side = (size_t)m->c.vision.image_size, rgb = side * side * 3;
    size_t bytes = sizeof(float) * (size_t)m->c.n_image_tokens * (size_t)m->c.text.hidden_size;
    struct vit_call call = {.tower = berth == MODEL_BASE ? &m->vit : &m->berths[berth].vit, .n = n};
    for (int i = 0; i < n; i++) {
        must(views[i].feat >= 0 && views[i].feat < m->plan.feats_max);
        m->ops->put(m->k, kern_at(m->work.rgb, (size_t)i * rgb), views[i].rgb, rgb);
        call.out[i] = kern_at(m->feats, (size_t)views[i].feat * bytes);
    }
    run_ops(m, KEY_VIT | (uint64_t)n, issue_pictures, &call);
}

void model_encode(struct model *m, int berth, const uint8_t *rgb, int feat) {
    model_encode_all(m, berth, &(struct model_view){rgb, feat}, 1);
}

/* ---- passes ---- */

struct pass {
    const struct model_pass *p;
    struct pass_index at;
};

static void issue_pass(struct model *m, const void *what) {
    const struct pass *pass = what;
    llama_issue(m, pass->p, &pass->at);
}

/* 0 for none, 1 for one, and one more behind each power of two. */
static uint64_t magnitude(int n) {
    uint64_t bits = n > 0;
    for (n--; n > 0; n /= 2)
        bits++;
    return bits;
}

/* The operations of a pass depend on how many heads pick, on whether there are picks at all, and on
 * its sections. Their number is in the key; of which matrices their adapters have something, a
 * backend may see as it counts operations. Rows, groups and tails are arguments and differ from
 * pass to pass. They are in the key by their magnitude only, since a backend may cut large ones, or
 * multiply few by another algorithm: it changes behind powers of two. */
static uint64_t run_key_of(const struct model_pass *p) {
    return KEY_LLAMA | (uint64_t)p->n_sections << 24 | (uint64_t)p->n_pick_groups << 16 |
           magnitude(p->picks) << 8 | magnitude(p->rows);
}

int model_run(struct model *m, const struct model_pass *p, struct err *e) {
    struct pass pass = {.p = p};
    pass_put(m, p, &pass.at);
    run_ops(m, run_key_of(p), issue_pass, &pass);
    return pass_get(m, p, e);
}
