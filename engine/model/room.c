/* room.c - what matrices are kept in, and whether a model has room so.
 *
 *     chosen         decoder's layers   tower's blocks   all others
 *     auto           the device's own   the same         the same
 *     f32            f32                the same         the same
 *     bf16, f16      that               that             16 bits that the file has, else f32
 *     int8           int8               int8             the same
 *     int4           int4               int8             the same
 *     int8x8         int8x8             int8             the same
 *     int4x8         int4x8             int8             the same
 *     fp8            fp8                the device's own   the same
 *
 * A GPU keeps what the file has, and of these forms only fp8. A processor's own form is f32, but of
 * wide matrices the 16 bits that they are stored in, by which products are as fast. Where that
 * finds no room and nobody chose a form, narrow ones stay in 16 bits, too. Nothing is lost by it.
 */
#include "engine/model/room.h"

#include <stdarg.h>
#include <stdio.h>

#include "kernels/base/num.h"

static enum kern_keep as_stored(enum kern_dtype type) {
    return type == KERN_F32 ? KERN_KEEP_OWN : type == KERN_BF16 ? KERN_KEEP_BF16 : KERN_KEEP_F16;
}

enum kern_keep room_keep(const struct model *m, enum room_of where, enum kern_dtype type) {
    switch (m->keep) {
    case KERN_KEEP_OWN: return m->is_as_stored ? as_stored(type) : KERN_KEEP_OWN;
    case KERN_KEEP_F32:
    case KERN_KEEP_FP8: return where == ROOM_LAYER ? m->keep : KERN_KEEP_OWN;
    case KERN_KEEP_INT4:
    case KERN_KEEP_INT8X8:
    case KERN_KEEP_INT4X8:
        if (where == ROOM_TOWER) return KERN_KEEP_INT8;
        break;
    case KERN_KEEP_BF16:
    case KERN_KEEP_F16:
    case KERN_KEEP_INT8: break;
    }
    return where == ROOM_BESIDE ? as_stored(type) : m->keep;
}

/* What is asked of the device, in parts. */
struct room {
    struct model *m;
    struct weights *w;
    const struct model_beside *beside;
    uint64_t most; /* 0: nobody knows */
};

static uint64_t room_sum(uint64_t a, uint64_t b) { return b > UINT64_MAX - a ? UINT64_MAX : a + b; }

static uint64_t kv_bytes(const struct room *r, enum kern_dtype type, int32_t slots) {
    return (uint64_t)slots * model_slot_bytes(&r->m->c, type);
}

static int has_room(const struct room *r, uint64_t weights, enum kern_dtype type, int32_t slots) {
    uint64_t all = room_sum(room_sum(weights, r->beside->buffers), kv_bytes(r, type, slots));
    return all < UINT64_MAX && (!r->most || all <= r->most);
}

/* How many slots fewer than are wanted would do. 0: none. */
static int32_t fewer_slots(const struct room *r, uint64_t weights, enum kern_dtype type) {
    uint64_t but_kv = room_sum(weights, r->beside->buffers),
             slot = model_slot_bytes(&r->m->c, type);
    uint64_t n = r->most > but_kv ? (r->most - but_kv) / slot : 0;
    if (n < (uint64_t)r->beside->slots_least) return 0;
    return n < (uint64_t)r->beside->slots ? (int32_t)n : 0;
}

/* Bytes of the weights in that form. UINT64_MAX: the device has none such. */
static uint64_t form_bytes(const struct room *r, int form) {
    enum kern_keep chosen = r->m->keep;
    uint64_t need;
    r->m->keep = (enum kern_keep)form;
    if (bind_count(r->m, r->w, &need, NULL)) need = UINT64_MAX;
    r->m->keep = chosen;
    return need;
}

/* A list in a text. */
struct said {
    char text[160];
    size_t at;
};

__attribute__((format(printf, 2, 3))) static void say(struct said *s, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(s->text + s->at, sizeof s->text - s->at, fmt, args);
    va_end(args);
    if (n > 0) s->at += (size_t)n;
    if (s->at >= sizeof s->text) s->at = sizeof s->text - 1;
}

/* KV caches in fewer bits, those that lose less first. */
static const struct {
    enum kern_dtype type;
    const char *name;
} small_kv[] = {{KERN_BF16, "bf16"}, {KERN_INT8, "int8"}};

/* ", with --kv-as bf16 or int8": those that would do. */
static void say_which_kv(const struct room *r, uint64_t need, const char *lead, struct said *out) {
    const struct model_config *c = &r->m->c;
    size_t now = model_slot_bytes(c, r->m->pool_dtype);
    for (size_t i = 0; r->beside->slots && i < ARRAY_LEN(small_kv); i++) {
        enum kern_dtype type = small_kv[i].type;
        if (model_slot_bytes(c, type) >= now || !r->m->ops->takes_pool(r->m->k, type) ||
            !has_room(r, need, type, r->beside->slots))
            continue;
        say(out, "%s %s", lead, small_kv[i].name);
        lead = " or";
    }
}

/* The smallest KV cache that the device takes. */
static size_t smallest_kv(const struct room *r) {
    size_t i = ARRAY_LEN(small_kv) - 1;
    while (i > 0 && !r->m->ops->takes_pool(r->m->k, small_kv[i].type))
        i--;
    return i;
}

/* "; it fits with --weights-as int8 or int4, with --kv-as bf16": each choice that would do, and if
 * there is none, all together. Of two forms with as many bytes the first. */
static void say_what_fits(const struct room *r, uint64_t need, struct said *out) {
    enum kern_dtype type = r->m->pool_dtype;
    int32_t slots = r->beside->slots, fewer = fewer_slots(r, need, type);
    uint64_t smallest = need, last = 0;
    const char *name, *lead = "; it fits with --weights-as";
    int smallest_form = (int)r->m->keep;
    for (int i = 0; (name = kern_keep_name(i)) != NULL; i++) {
        uint64_t bytes = form_bytes(r, i);
        if (bytes < smallest) smallest = bytes, smallest_form = i;
        if (bytes >= need || bytes == last || !has_room(r, bytes, type, slots)) continue;
        say(out, "%s %s", lead, name);
        lead = " or";
        if (!last) last = bytes;
    }
    say_which_kv(r, need, out->at ? ", with --kv-as" : "; it fits with --kv-as", out);
    lead = out->at ? ", with" : "; it fits with";
    if (fewer) say(out, "%s --kv-tokens %d", lead, fewer);
    if (out->at) return;
    size_t kv = smallest_kv(r);
    fewer = fewer_slots(r, smallest, small_kv[kv].type);
    if (fewer || (slots && has_room(r, smallest, small_kv[kv].type, slots)))
        say(out, "%s --weights-as %s --kv-as %s --kv-tokens %d together", lead,
            kern_keep_name(smallest_form), small_kv[kv].name, fewer ? fewer : slots);
    else
        say(out, ", and no other form fits");
}

static int room_refuse(const struct room *r, uint64_t need, struct err *e) {
    struct said others = {.at = 0}, parts = {.at = 0};
    const struct model_beside *b = r->beside;
    uint64_t kv = kv_bytes(r, r->m->pool_dtype, b->slots);
    if (!r->m->learn) say_what_fits(r, need, &others);
    if (b->slots)
        say(&parts, ", %d KV slots %.1f, buffers for %d rows %.1f: %.1f MiB are needed in all",
            b->slots, in_mib(kv), b->rows, in_mib(b->buffers),
            in_mib(room_sum(room_sum(need, kv), b->buffers)));
    return err_set(e, E_NOMEM, "the weights take %.1f MiB%s, the device has %.1f MiB%s",
                   in_mib(need), parts.text, in_mib(r->most), others.text);
}

int room_check(struct model *m, struct weights *w, const struct model_beside *beside,
               uint64_t *need, struct err *e) {
    struct kern_stats s;
    m->ops->stats(m->k, &s);
    struct room r = {m, w, beside, s.most_bytes ? s.most_bytes : s.found_bytes};
    int rc = bind_count(m, w, need, e);
    if (rc || has_room(&r, *need, m->pool_dtype, beside->slots)) return rc;
    if (*need == UINT64_MAX)
        return err_set(e, E_UNSUPPORTED, "%s keeps no weights as %s", m->ops->name,
                       kern_keep_name((int)m->keep));
    if (m->keep == KERN_KEEP_OWN && !m->learn) {
        uint64_t stored;
        m->is_as_stored = 1;
        rc = bind_count(m, w, &stored, e);
        if (rc) return rc;
        if (has_room(&r, stored, m->pool_dtype, beside->slots)) {
            *need = stored;
            return 0;
        }
        m->is_as_stored = 0;
    }
    return room_refuse(&r, *need, e);
}
