/* engine.c - the engine as callers know it: one or more units, each a device with a step thread of
 * its own, and the rule that spreads jobs over them.
 *
 * The rule. A job goes to the unit that one of its pictures was sent to last, since stem and
 * features are likely still there. So the questions about one picture, and the frames of one game,
 * stay together. There are two exceptions. A job whose pictures went nowhere yet goes to the unit
 * with the smallest backlog. So does a job whose unit is behind that by more than a whole picture's
 * questions: encoding the picture again is then cheaper than waiting. Of units with equal backlogs
 * the digest of the first picture chooses one, so that an engine that is mostly idle uses the
 * caches of all, and games don't meet on one device. A table of fixed size holds where pictures
 * went. Later pictures overwrite earlier ones.
 *
 * Bands. A job of many places, a whole picture or mask, is cut up (run/band.h) among its unit and
 * those like it that have nothing to do, each as large a part as is worth another look at the
 * picture.
 * Where all are busy it stays whole: then looking twice would help nobody.
 *
 * A lost device ends the engine, not the unit alone: jobs on other devices may end, new ones are
 * refused, and the process exits. Its supervisor starts it again with the devices that are left.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/unit/unit.h"
#include "kernels/base/cgroup.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

enum {
    SENT = 4096,
    BAND_ROWS = 2048, /* of its own, that a band has at least: a few passes, */
    BAND_LOOKS = 4    /* and so many times the rows of a picture's stem and look */
};

struct sent {
    uint64_t picture; /* the first 64 bits of its digest; 0: nothing here */
    int unit;
};

struct eng {
    struct unit *unit[ENG_DEVICES_MAX];
    int n;
    struct eng_info info;
    struct berths *berths; /* those of all units have the same numbers */
    uint64_t spill;        /* cost of a whole picture's questions: how far a unit may be behind */

    pthread_mutex_t mutex; /* of what follows */
    struct sent sent[SENT];
};

/* ---- opening ---- */

struct devices {
    struct kern_choice at[ENG_DEVICES_MAX];
    int n, on_host; /* of them, how many compute with the host's threads */
};

/* One entry of the list, `len` bytes. */
static int add_device(struct devices *d, const char *spec, size_t len, const char *plugin,
                      struct err *err) {
    char one[64];
    struct kern_choice c;
    if (d->n == ENG_DEVICES_MAX)
        return err_set(err, E_INVALID, "at most %d devices", ENG_DEVICES_MAX);
    if (len == 0 || len >= sizeof one)
        return err_set(err, E_INVALID, "an entry of the list of devices is %s",
                       len ? "too long" : "empty");
    (void)snprintf(one, sizeof one, "%.*s", (int)len, spec);
    int rc = kern_choose(one, plugin, &c, err);
    if (rc) return rc;
    int is_host = strcmp(c.ops->name, "cuda") != 0;
    for (int i = 0; i < d->n && !is_host; i++)
        if (d->at[i].ops == c.ops && d->at[i].device == c.device)
            return err_set(err, E_INVALID, "%s is named twice", one);
    d->on_host += is_host;
    d->at[d->n++] = c;
    return 0;
}

/* "cpu", "auto", "cuda:0,cuda:1". */
static int read_devices(const char *list, const char *plugin, struct devices *d, struct err *err) {
    int is_single = !strchr(list, ',');
    for (;;) {
        size_t len = strcspn(list, ",");
        if (!is_single && len == 4 && !memcmp(list, "auto", 4))
            return err_set(err, E_INVALID, "auto stands alone, not in a list of devices");
        int rc = add_device(d, list, len, plugin, err);
        if (rc || !list[len]) return rc;
        list += len + 1;
    }
}

/* What each unit is opened with: the host's threads are shared out. */
static struct eng_options options_of(const struct eng_options *opt, const struct devices *d,
                                     int i) {
    struct eng_options o = *opt;
    o.device_index = d->at[i].device;
    if (d->on_host > 1 && strcmp(d->at[i].ops->name, "cuda") != 0) {
        int all = opt->threads > 0 ? opt->threads : cgroup_processors();
        o.threads = all > d->on_host ? all / d->on_host : 1;
    }
    return o;
}

/* The info of the first unit, but with all devices named. */
static void engine_describe(struct eng *e, const char *note) {
    size_t at = 0;
    e->info = e->unit[0]->info;
    for (int i = 0; i < e->n && at < sizeof e->info.backend; i++)
        at += (size_t)snprintf(e->info.backend + at, sizeof e->info.backend - at, "%s%s",
                               i ? "; " : "", e->unit[i]->info.backend);
    (void)snprintf(e->info.note, sizeof e->info.note, "%s", note);
    const struct questions *q = &e->unit[0]->pixels->questions;
    e->berths = berths_new(e->info.adapters, e->info.adapter_overlays);
    e->spill = e->unit[0]->pixels->tree_tokens + (uint64_t)q->n_texts * (uint64_t)q->answer_max +
               (uint64_t)q->picture_rows;
}

/* An answer of theirs may depend on which of them gives it. */
static void engine_warn(const struct eng *e) {
    for (int i = 1; i < e->n; i++)
        if (!unit_is_like(e->unit[0], e->unit[i]))
            log_event(
                LOG_LEVEL_WARN, "devices_differ",
                "devices=0,%d first=\"%s\" other=\"%s\" hint=\"their answers may differ in "
                "last bits, and they share no picture: use cards of one kind with one release "
                "of cuBLAS\"",
                i, e->unit[0]->info.backend, e->unit[i]->info.backend);
}

static int engine_check_sizes(const struct eng_options *o, struct err *err) {
    const struct {
        const char *name;
        int value, most;
    } all[] = {{"threads", o->threads, ENG_THREADS_MAX},
               {"lanes", o->lanes, ENG_ROWS_MAX},
               {"rows", o->rows, ENG_ROWS_MAX},
               {"KV tokens", o->kv_tokens, ENG_KV_TOKENS_MAX},
               {"cached pictures", o->cached_images, ENG_CACHED_IMAGES_MAX},
               {"adapters", o->adapters, ENG_ADAPTERS_MAX},
               {"ranks of an adapter", o->adapter_rank, PEFT_RANK_MAX}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].value > all[i].most)
            return err_set(err, E_INVALID, "%d %s are too many: at most %d", all[i].value,
                           all[i].name, all[i].most);
    return 0;
}

static int engine_open_all(const struct eng_options *opt, const struct devices *d, struct eng **out,
                           struct err *err) {
    if (engine_check_sizes(opt, err)) return E_INVALID;
    if (opt->profile && d->n > 1)
        return err_set(err, E_INVALID, "one device at a time can be profiled");
    struct eng *e = mem_must(sizeof *e);
    int rc = pthread_mutex_init(&e->mutex, NULL);
    must(rc == 0);
    for (int i = 0; i < d->n && !rc; i++) {
        struct eng_options o = options_of(opt, d, i);
        rc = unit_open(&o, d->at[i].ops, &e->unit[i], err);
        e->n += !rc;
        if (!rc && strcmp(e->unit[i]->info.digest, e->unit[0]->info.digest) != 0)
            rc = err_set(err, E_FORMAT, "the folder holds another model than a moment ago");
        if (rc && d->n > 1) (void)err_in(err, "%s:%d", d->at[i].ops->name, d->at[i].device);
    }
    if (rc) {
        eng_close(e);
        return rc;
    }
    engine_describe(e, d->at[0].note);
    engine_warn(e);
    *out = e;
    return 0;
}

int eng_open_on(const struct eng_options *opt, const struct kern_ops *const *ops, int n,
                struct eng **out, struct err *err) {
    struct devices d = {.n = n, .on_host = n};
    *out = NULL;
    must(n >= 1 && n <= ENG_DEVICES_MAX);
    for (int i = 0; i < n; i++)
        d.at[i] = (struct kern_choice){.ops = ops[i], .device = opt->device_index};
    return engine_open_all(opt, &d, out, err);
}

int eng_open(const struct eng_options *opt, struct eng **out, struct err *err) {
    struct devices d = {0};
    *out = NULL;
    int rc = read_devices(opt->device ? opt->device : "auto", opt->plugin, &d, err);
    return rc ? rc : engine_open_all(opt, &d, out, err);
}

void eng_close(struct eng *e) {
    if (!e) return;
    for (int i = 0; i < e->n; i++)
        unit_close(e->unit[i]);
    berths_put(e->berths);
    (void)pthread_mutex_destroy(&e->mutex);
    mem_free(e);
}

/* ---- spreading ---- */

/* The first 16 hex digits of a digest; 0 would be no picture. */
static uint64_t engine_key_of(const struct eng_picture *picture) {
    const char *hex = eng_picture_digest(picture);
    uint64_t key = 0;
    for (int i = 0; i < 16 && hex[i]; i++)
        key = key << 4 | (uint64_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
    return key ? key : 1;
}

/* Keys of the ask's pictures; returns how many. The unit checks the pictures later. */
static int keys_of(const struct eng_ask *ask, uint64_t keys[ENG_PICTURES_MAX]) {
    int n = 0;
    for (uint32_t i = 0; ask->pictures && i < ask->n_pictures && i < ENG_PICTURES_MAX; i++)
        if (ask->pictures[i]) keys[n++] = engine_key_of(ask->pictures[i]) ^ ask->owner;
    return n;
}

/* The unit with the smallest backlog; `first`, if no other has less. */
static int least_busy(const struct eng *e, int first) {
    int least = first;
    for (int i = 0; i < e->n; i++)
        if (unit_backlog(e->unit[i]) < unit_backlog(e->unit[least])) least = i;
    return least;
}

/* The unit for the ask, by the rule. Its pictures are noted as sent there. */
static int engine_choose(struct eng *e, const struct eng_ask *ask) {
    if (e->n == 1) return 0;
    uint64_t keys[ENG_PICTURES_MAX];
    int n = keys_of(ask, keys), home = -1;
    int least = least_busy(e, n > 0 ? (int)(keys[0] % (uint64_t)e->n) : 0);
    (void)pthread_mutex_lock(&e->mutex);
    for (int i = n; i-- > 0 && home < 0;) { /* the last frame of a game is the newest */
        const struct sent *s = &e->sent[keys[i] % SENT];
        if (s->picture == keys[i]) home = s->unit;
    }
    if (home < 0 || unit_backlog(e->unit[home]) > unit_backlog(e->unit[least]) + e->spill)
        home = least;
    for (int i = 0; i < n; i++)
        e->sent[keys[i] % SENT] = (struct sent){keys[i], home};
    (void)pthread_mutex_unlock(&e->mutex);
    return home;
}

/* The units that may share the ask with `home`, which is the first of them. Returns how many. */
static int engine_idle(const struct eng *e, const struct eng_ask *ask, int home,
                       struct unit *units[ENG_DEVICES_MAX]) {
    const struct questions *q = &e->unit[0]->pixels->questions;
    uint64_t look = (uint64_t)q->stem_tokens + (uint64_t)q->picture_rows;
    uint64_t least = BAND_LOOKS * look > BAND_ROWS ? BAND_LOOKS * look : BAND_ROWS;
    uint64_t rows = (uint64_t)ask->n_points * ((uint64_t)q->answer_max + 1);
    int n = 1;
    units[0] = e->unit[home];
    if (ask->task != ENG_PIXELS && ask->task != ENG_SEGMENT) return n;
    if (unit_backlog(e->unit[home]) > look) return n;
    for (int i = 0; i < e->n && rows / (uint64_t)(n + 1) >= least; i++)
        if (i != home && unit_backlog(e->unit[i]) <= look && /* a band has its pace and its bits */
            unit_is_like(e->unit[i], e->unit[home]))
            units[n++] = e->unit[i];
    return n;
}

static int check_adapter(const struct eng *e, const struct eng_adapter *a, struct err *err) {
    if (a->berths != e->berths) return err_set(err, E_INVALID, "an adapter of another engine");
    if (eng_adapter_state(a) == ENG_DONE) return 0;
    return err_set(err, E_INVALID, "the adapter isn't loaded");
}

int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err) {
    *out = NULL;
    int rc = eng_health(e);
    if (rc) return err_set(err, rc, "the device was lost");
    if (ask->adapter) rc = check_adapter(e, ask->adapter, err);
    if (rc) return rc;
    struct unit *units[ENG_DEVICES_MAX];
    int n = engine_idle(e, ask, engine_choose(e, ask), units);
    if (n > 1) rc = unit_submit_bands(units, n, ask, out, err);
    return rc || *out ? rc : unit_submit(units[0], ask, out, err);
}

/* ---- adapters ---- */

int eng_adapter_load(struct eng *e, const char *folder,
                     void (*wake)(void *ud, struct eng_adapter *adapter), void *ud,
                     struct eng_adapter **out, struct err *err) {
    *out = NULL;
    int rc = eng_health(e);
    if (rc) return err_set(err, rc, "the device was lost");
    if (!e->berths->n)
        return err_set(err, E_UNSUPPORTED, "this engine was started without room for adapters");
    struct eng_adapter *a;
    rc = unit_open_adapter(e->unit[0], folder, e->berths, e->n, &a, err);
    if (rc) return rc;
    a->wake = wake;
    a->ud = ud;
    *out = a; /* before wake may be called */
    for (int i = 0; i < e->n; i++)
        unit_bring(e->unit[i], a);
    return 0;
}

/* ---- the other functions of the door ---- */

const struct eng_info *eng_info(const struct eng *e) { return &e->info; }

int eng_health(const struct eng *e) {
    int rc = 0;
    for (int i = 0; i < e->n && !rc; i++)
        rc = unit_health(e->unit[i]);
    return rc;
}

uint64_t eng_stuck_ns(struct eng *e) {
    uint64_t most = 0;
    for (int i = 0; i < e->n; i++) {
        uint64_t one = unit_stuck_ns(e->unit[i]);
        if (one > most) most = one;
    }
    return most;
}

const char *eng_lost(const struct eng *e) {
    const char *why = "";
    for (int i = 0; i < e->n && !why[0]; i++)
        why = unit_lost(e->unit[i]);
    return why;
}

const char *eng_piece(const struct eng *e, int32_t token) {
    return sptok_piece(e->unit[0]->tok, token);
}

int eng_check_text(const char *text, int in_chat, const char *what, struct err *e) {
    return in_chat ? prompt_check_turn(text, what, e) : prompt_check(text, what, e);
}

int eng_check_learnt(const char *text, int in_chat, const char *what, struct err *e) {
    return prompt_check_learnt(text, in_chat, what, e);
}

void eng_blank_tags(char *text) { prompt_blank_tags(text); }

int eng_picture_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_picture **out,
                    struct err *err) {
    return picture_new(&e->unit[0]->picture_sizes, rgb, w, h, out, err);
}

int eng_check_pictures(const struct eng *e, uint32_t n, struct err *err) {
    int64_t tokens = (int64_t)n * e->info.image_tokens;
    int32_t room = unit_stem_max(e->unit[0]);
    if (tokens >= e->info.positions)
        return err_set(err, E_TOO_BIG,
                       "they take %lld tokens, and a prompt of this model at most %d: send fewer",
                       (long long)tokens, e->info.positions - 1);
    if (tokens <= room) return 0;
    return err_set(err, E_TOO_BIG,
                   "they take %lld tokens, and the KV cache has room for %d in one prompt: raise "
                   "--kv-tokens, or send fewer",
                   (long long)tokens, room);
}

int eng_intake_open(struct eng *e, int w, int h, int orientation, int truth, struct eng_intake **in,
                    struct err *err) {
    struct picture_sizes sizes = e->unit[0]->picture_sizes;
    if (truth < 0 || truth > ENG_TRUTH_MAX) {
        *in = NULL;
        return err_set(err, E_INVALID, "a truth of %d, at most %d", truth, ENG_TRUTH_MAX);
    }
    if (truth) sizes.grid = truth;
    return picture_open(&sizes, w, h, orientation, in, err);
}

unsigned eng_retry_after(const struct eng *e) {
    unsigned least = unit_retry_after(e->unit[0]);
    for (int i = 1; i < e->n; i++) {
        unsigned one = unit_retry_after(e->unit[i]);
        if (one < least) least = one;
    }
    return least;
}

uint64_t eng_picture_cost(const struct eng *e) { return e->spill; }

double eng_pace(const struct eng *e) {
    double sum = 0;
    for (int i = 0; i < e->n; i++)
        sum += unit_pace(e->unit[i]);
    return sum;
}

int eng_limit_rows(struct eng *e, int n) {
    int least = unit_limit_rows(e->unit[0], n);
    for (int i = 1; i < e->n; i++) {
        int one = unit_limit_rows(e->unit[i], n);
        if (one < least) least = one;
    }
    return least;
}

int eng_devices(const struct eng *e) { return e->n; }

void eng_device_stats(const struct eng *e, int device, struct eng_stats *out) {
    must(device >= 0 && device < e->n);
    unit_stats(e->unit[device], out);
    out->adapters = (uint64_t)berths_taken(e->berths);
}

static void engine_add(struct eng_stats *sum, const struct eng_stats *s) {
    sum->passes += s->passes;
    sum->rows += s->rows;
    sum->picks += s->picks;
    sum->pixels += s->pixels;
    sum->pictures += s->pictures;
    for (int i = 0; i < ENG_TASKS; i++)
        sum->answers[i] += s->answers[i];
    sum->tokens += s->tokens;
    sum->pass_ns += s->pass_ns;
    sum->vision_ns += s->vision_ns;
    sum->jobs_done += s->jobs_done;
    sum->jobs_failed += s->jobs_failed;
    sum->jobs_cancelled += s->jobs_cancelled;
    sum->jobs_refused += s->jobs_refused;
    sum->stem_hits += s->stem_hits;
    sum->stem_misses += s->stem_misses;
    sum->stem_evicted += s->stem_evicted;
    sum->jobs_waiting += s->jobs_waiting;
    sum->jobs_running += s->jobs_running;
    sum->lanes += s->lanes;
    sum->kv_slots += s->kv_slots;
    sum->kv_used += s->kv_used;
    sum->kv_cached += s->kv_cached;
    sum->queue_tokens += s->queue_tokens;
    sum->queue_tokens_max += s->queue_tokens_max;
    if (s->queue_seconds < sum->queue_seconds) sum->queue_seconds = s->queue_seconds;
    sum->allocations_in_step += s->allocations_in_step;
    sum->pixels_per_second += s->pixels_per_second;
}

void eng_stats(const struct eng *e, struct eng_stats *out) {
    unit_stats(e->unit[0], out);
    for (int i = 1; i < e->n; i++) {
        struct eng_stats one;
        unit_stats(e->unit[i], &one);
        engine_add(out, &one);
    }
    out->adapters = (uint64_t)berths_taken(e->berths);
}
