/* fake_engine.c - see fake_engine.h. Thread: one turns the crank (fake_*), another
 * may be the asker at the same time. */
#include "tests/unit/api/fake_engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "media/head.h"

struct eng_picture {
    struct eng *eng;
    atomic_int refs;
    char digest[65];
    int w, h;
    uint8_t *truth;
};

enum { JOBS_MAX = 256, TOKENS_MAX = 512 };

struct eng_job {
    struct eng *eng;
    atomic_int refs; /* the asker's, the fake's own, and, while it runs, the engine's */
    atomic_int state, cancelled;
    pthread_mutex_t gate; /* of wake: held while it is called */
    int is_put;           /* the asker's reference is back. Lock: gate */
    struct eng_ask ask;
    struct eng_picture *pictures[ENG_PICTURES_MAX]; /* one reference each */
    struct eng_point *points;
    struct eng_turn turns[ENG_TURNS_MAX];
    struct eng_answer *answers;
    uint32_t n_answers; /* there will be */
    _Atomic uint32_t ready;
    char text[2048];
    struct eng_token tokens[TOKENS_MAX];
    uint32_t n_tokens; /* there will be */
    _Atomic uint32_t spoken;
    enum eng_finish finish;
    struct err error;
    uint64_t born_ns, first_ns, end_ns;
};

struct eng {
    struct eng_info info;
    struct eng_stats stats;
    int devices;
    pthread_mutex_t mu;             /* guards the two below */
    struct eng_job *held[JOBS_MAX]; /* one reference each, oldest first */
    int n_held;
    char text[2048];
    int values[ENG_VALUES];
    int at_once, refuse, full_at, health;
    double pace;
    atomic_int pictures, jobs;
    struct fake_adapters adapters;
};

struct eng *fake_open(int grid) {
    struct eng *e = mem_must(sizeof(*e));
    snprintf(e->info.name, sizeof(e->info.name), "fake \"mini\"");
    snprintf(e->info.backend, sizeof(e->info.backend), "fake");
    memset(e->info.digest, 'f', 64);
    e->info.grid = grid;
    e->info.image_size = grid;
    e->info.parameters = 1234567;
    pthread_mutex_init(&e->mu, NULL);
    e->info.positions = 512;
    e->info.image_tokens = 20;
    e->stats.queue_tokens_max = 1000;
    e->devices = 2;
    e->stats.answers[ENG_SEGMENT] = 7; /* for whoever looks at counters */
    snprintf(e->text, sizeof(e->text), "a fake answer");
    return e;
}

static void job_put(struct eng_job *j) {
    if (!j || atomic_fetch_sub(&j->refs, 1) > 1) return;
    j->eng->jobs--;
    for (uint32_t i = 0; i < j->ask.n_pictures; i++)
        eng_picture_put(j->pictures[i]);
    eng_adapter_put(j->ask.adapter);
    pthread_mutex_destroy(&j->gate);
    mem_free(j->points);
    mem_free(j->answers);
    mem_free(j);
}

static void wake(struct eng_job *j) {
    pthread_mutex_lock(&j->gate);
    if (j->ask.wake && !j->is_put) j->ask.wake(j->ask.ud, j);
    pthread_mutex_unlock(&j->gate);
}

static void end(struct eng_job *j, enum eng_state state) {
    j->end_ns = clock_ns();
    atomic_store(&j->state, state);
    wake(j);
    job_put(j);
}

/* Let go of what has ended. Under the lock. */
static void sweep(struct eng *e) {
    int n = 0;
    for (int i = 0; i < e->n_held; i++) {
        if (atomic_load(&e->held[i]->state) < ENG_DONE)
            e->held[n++] = e->held[i];
        else
            job_put(e->held[i]);
    }
    e->n_held = n;
}

void fake_close(struct eng *e) {
    for (int i = 0; i < e->n_held; i++) {
        if (atomic_load(&e->held[i]->state) < ENG_DONE) end(e->held[i], ENG_CANCELLED);
    }
    sweep(e);
    must(e->pictures == 0 && e->jobs == 0 && e->adapters.alive == 0);
    pthread_mutex_destroy(&e->mu);
    mem_free(e);
}

struct fake_adapters *fake_adapters(struct eng *e) {
    return &e->adapters;
}

void fake_set_slots(struct eng *e, int n) { e->info.adapters = n; }

static struct eng_job *last(struct eng *e) {
    must(e->n_held > 0);
    return e->held[e->n_held - 1];
}

void fake_answer_at_once(struct eng *e, int is_on) { e->at_once = is_on; }

void fake_refuse(struct eng *e, int code) { e->refuse = code; }

void fake_full_at(struct eng *e, int jobs) { e->full_at = jobs; }

void fake_say(struct eng *e, const char *text) { snprintf(e->text, sizeof(e->text), "%s", text); }

void fake_values(struct eng *e, int a, int b, int c, int d) {
    e->values[0] = a;
    e->values[1] = b;
    e->values[2] = c;
    e->values[3] = d;
}

void fake_break(struct eng *e, int code) { e->health = code; }

void fake_queue(struct eng *e, uint64_t tokens, uint64_t max) {
    e->stats.queue_tokens = tokens;
    e->stats.queue_tokens_max = max;
}

void fake_pace(struct eng *e, double rows_a_second) { e->pace = rows_a_second; }

int fake_pictures(const struct eng *e) { return e->pictures; }

int fake_jobs(const struct eng *e) { return e->jobs; }

const struct eng_ask *fake_asked(struct eng *e) { return &last(e)->ask; }

int fake_is_cancelled(struct eng *e) { return atomic_load(&last(e)->cancelled); }

void fake_rgb(const uint8_t truth[3], uint8_t rgb[3]) {
    rgb[0] = (uint8_t)(truth[0] ^ 1);
    rgb[1] = truth[1];
    rgb[2] = (uint8_t)(truth[2] > 250 ? 250 : truth[2] + 5);
}

/* ---- the engine's door ---- */

const struct eng_info *eng_info(const struct eng *e) { return &e->info; }

int eng_health(const struct eng *e) { return e->health; }

unsigned eng_retry_after(const struct eng *e) {
    (void)e;
    return 7;
}

void eng_stats(const struct eng *e, struct eng_stats *out) { *out = e->stats; }

uint64_t eng_picture_cost(const struct eng *e) {
    return (uint64_t)e->info.grid * (uint64_t)e->info.grid;
}

double eng_pace(const struct eng *e) { return e->pace; }

int eng_devices(const struct eng *e) { return e->devices; }

void eng_device_stats(const struct eng *e, int device, struct eng_stats *out) {
    *out = e->stats;
    out->rows += (uint64_t)device; /* to tell them apart */
}

static int make_picture(struct eng *e, const uint8_t *rgb, int w, int h, int g,
                        struct eng_picture **out, struct err *err) {
    *out = NULL;
    struct eng_picture *i = mem_try(sizeof(*i));
    uint8_t *truth = i ? mem_try((size_t)g * (size_t)g * 3) : NULL;
    if (!truth) {
        mem_free(i);
        return err_set(err, E_NOMEM, "no memory");
    }
    uint64_t hash = 14695981039346656037u + (uint64_t)w * 65536 + (uint64_t)h;
    for (size_t k = 0; k < (size_t)w * (size_t)h * 3; k++)
        hash = (hash ^ rgb[k]) * 1099511628211u;
    for (int k = 0; k < 4; k++)
        snprintf(i->digest + 16 * k, 17, "%016llx", (unsigned long long)(hash + (uint64_t)k));
    for (int y = 0; y < g; y++) {
        for (int x = 0; x < g; x++)
            memcpy(truth + 3 * (y * g + x),
                   rgb + 3 * ((size_t)(y * h / g) * (size_t)w + (size_t)(x * w / g)), 3);
    }
    i->eng = e;
    i->truth = truth;
    i->w = w;
    i->h = h;
    atomic_init(&i->refs, 1);
    e->pictures++;
    *out = i;
    return 0;
}

int eng_picture_new(struct eng *e, const uint8_t *rgb, int w, int h, struct eng_picture **out,
                    struct err *err) {
    return make_picture(e, rgb, w, h, e->info.grid, out, err);
}

/* All rows are kept, and turned at the end. */
struct eng_intake {
    struct eng *eng;
    int w, h, orientation, truth, rows;
    uint8_t *rgb;
};

int eng_intake_open(struct eng *e, int w, int h, int orientation, int truth, struct eng_intake **in,
                    struct err *err) {
    *in = mem_try(sizeof(**in));
    uint8_t *rgb = *in ? mem_try((size_t)w * (size_t)h * 3) : NULL;
    if (!rgb) {
        mem_free(*in);
        *in = NULL;
        return err_set(err, E_NOMEM, "no memory");
    }
    **in = (struct eng_intake){e, w, h, orientation, truth ? truth : e->info.grid, 0, rgb};
    return 0;
}

void eng_intake_row(struct eng_intake *in, const uint8_t *rgb) {
    memcpy(in->rgb + (size_t)in->rows++ * (size_t)in->w * 3, rgb, (size_t)in->w * 3);
}

int eng_intake_close(struct eng_intake *in, struct eng_picture **out, struct err *err) {
    int rc = 0;
    if (out) {
        must(in->rows == in->h);
        int is_crossed = in->orientation >= 5;
        uint8_t *turned = mem_must((size_t)in->w * (size_t)in->h * 3);
        head_turn(in->rgb, in->w, in->h, 3, in->orientation, turned);
        rc = make_picture(in->eng, turned, is_crossed ? in->h : in->w, is_crossed ? in->w : in->h,
                          in->truth, out, err);
        mem_free(turned);
    }
    mem_free(in->rgb);
    mem_free(in);
    return rc;
}

/* As in the engine: less than its positions. */
int eng_check_pictures(const struct eng *e, uint32_t n, struct err *err) {
    if (n * (uint32_t)e->info.image_tokens < (uint32_t)e->info.positions) return 0;
    return err_set(err, E_TOO_BIG, "too many pictures");
}

struct eng_picture *eng_picture_get(struct eng_picture *i) {
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void eng_picture_put(struct eng_picture *i) {
    if (!i || atomic_fetch_sub(&i->refs, 1) > 1) return;
    i->eng->pictures--;
    mem_free(i->truth);
    mem_free(i);
}

const char *eng_picture_digest(const struct eng_picture *i) { return i->digest; }

const uint8_t *eng_picture_truth(const struct eng_picture *i) { return i->truth; }

size_t eng_picture_bytes(const struct eng_picture *i) {
    size_t g = (size_t)i->eng->info.grid;
    return sizeof(*i) + 3 * g * g;
}

void eng_picture_size(const struct eng_picture *i, int *w, int *h) {
    *w = i->w;
    *h = i->h;
}

float fake_chance(int x, int y) { return (float)((x * 3 + y * 5) % 11) / 10; }

/* ---- what the model would say ---- */

static int is_text(const struct eng_ask *a) { return a->task >= ENG_IDENTIFY && a->n_choices == 0; }

/* Tokens of three bytes, or of more where a character would be cut. */
static void prepare_text(struct eng_job *j) {
    char by[80];
    const char *text = j->eng->text;
    if (j->ask.adapter) {
        snprintf(by, sizeof(by), "by %s", eng_adapter_info(j->ask.adapter)->digest);
        text = by;
    }
    size_t len = strlen(text), at = 0;
    uint32_t most = j->ask.generate.max_tokens ? j->ask.generate.max_tokens : 64;
    snprintf(j->text, sizeof(j->text), "%s", text);
    while (at < len && j->n_tokens < most) {
        at = at + 3 < len ? at + 3 : len;
        while (at < len && (text[at] & 0xc0) == 0x80)
            at++;
        struct eng_token *t = &j->tokens[j->n_tokens];
        *t = (struct eng_token){.id = (int32_t)(j->n_tokens % 4), .end = (uint32_t)at};
        t->logprob = -0.25f;
        for (int k = 0; k < ENG_TOP; k++) {
            t->top[k] = k < 3 ? t->id + k : -1;
            t->top_logprob[k] = -0.25f - (float)k;
        }
        j->n_tokens++;
    }
    j->finish = at < len ? ENG_CUT : ENG_STOPPED;
}

static void answer_pixel(struct eng_job *j, struct eng_answer *a, uint32_t p) {
    int g = j->eng->info.grid;
    fake_rgb(j->pictures[0]->truth + 3 * (j->points[p].y * g + j->points[p].x), a->rgb);
    for (int c = 0; c < 3 && j->ask.distribution; c++) {
        a->prob[c] = 0.25f;
        a->entropy[c] = (float)(p % 9);
        a->mean_abs[c] = 1.5f;
    }
}

static void answer_one(struct eng_job *j, struct eng_answer *a, uint32_t p) {
    *a = (struct eng_answer){.point = p};
    if (j->ask.n_choices) {
        a->logprob = -1.0 - (double)((p + 1) % j->ask.n_choices);
    } else if (j->ask.task == ENG_PIXELS) {
        answer_pixel(j, a, p);
    } else if (j->ask.task == ENG_SEGMENT) {
        float chance = fake_chance(j->points[p].x, j->points[p].y);
        a->value[0] = chance > 0.5f;
        a->prob[0] = a->value[0] ? chance : 1 - chance;
    } else {
        for (int k = 0; k < ENG_VALUES; k++) {
            a->value[k] = (uint8_t)j->eng->values[k];
            a->prob[k] = j->ask.distribution ? 0.5f : 0;
        }
    }
}

static int check_ask(const struct eng *e, const struct eng_ask *ask, struct err *err) {
    if (e->refuse) return err_set(err, e->refuse, "/a/path at 0x1234 that no client may see");
    if (e->full_at && e->jobs >= e->full_at) return err_set(err, E_BUSY, "full");
    const char *text = ask->n_turns ? ask->turns[0].question : ask->text;
    if (text && strstr(text, "far too long")) return err_set(err, E_TOO_BIG, "too many tokens");
    return 0;
}

static int answer(struct eng_job *j, uint32_t n) {
    must(atomic_load(&j->state) < ENG_DONE);
    if (atomic_load(&j->cancelled)) {
        end(j, ENG_CANCELLED);
        return 1;
    }
    if (!j->first_ns) j->first_ns = clock_ns();
    uint32_t ready = atomic_load(&j->ready), spoken = atomic_load(&j->spoken);
    for (; n > 0 && ready < j->n_answers; n--) {
        /* in pairs the wrong way round: answers come in the order they were found */
        uint32_t p = (ready ^ 1) < j->n_answers ? ready ^ 1 : ready;
        answer_one(j, &j->answers[ready], p);
        atomic_store(&j->ready, ++ready);
    }
    for (; n > 0 && spoken < j->n_tokens; n--)
        atomic_store(&j->spoken, ++spoken);
    int is_over = ready == j->n_answers && spoken == j->n_tokens;
    if (is_over)
        end(j, ENG_DONE);
    else
        wake(j);
    return is_over;
}

int eng_submit(struct eng *e, const struct eng_ask *ask, struct eng_job **out, struct err *err) {
    *out = NULL;
    pthread_mutex_lock(&e->mu);
    sweep(e);
    pthread_mutex_unlock(&e->mu);
    int rc = check_ask(e, ask, err);
    if (rc) return rc;
    struct eng_job *j = mem_must(sizeof(*j));
    j->eng = e;
    j->ask = *ask;
    if (ask->adapter) eng_adapter_get(ask->adapter);
    pthread_mutex_init(&j->gate, NULL);
    for (uint32_t i = 0; i < ask->n_pictures; i++)
        j->pictures[i] = eng_picture_get(ask->pictures[i]);
    j->ask.pictures = j->pictures;
    j->points = mem_must((ask->n_points + 1) * sizeof(j->points[0]));
    if (ask->n_points) memcpy(j->points, ask->points, ask->n_points * sizeof(j->points[0]));
    j->ask.points = j->points;
    if (ask->n_turns) memcpy(j->turns, ask->turns, ask->n_turns * sizeof(j->turns[0]));
    j->ask.turns = j->turns;
    if (is_text(ask)) prepare_text(j);
    j->n_answers = ask->n_points    ? ask->n_points
                   : ask->n_choices ? ask->n_choices
                   : is_text(ask)   ? 0
                                    : 1;
    j->answers = mem_must((j->n_answers + 1) * sizeof(j->answers[0]));
    j->born_ns = clock_ns();
    atomic_init(&j->refs, 3);
    e->jobs++;
    if (e->at_once) answer(j, UINT32_MAX);
    pthread_mutex_lock(&e->mu);
    must(e->n_held < JOBS_MAX);
    e->held[e->n_held++] = j;
    pthread_mutex_unlock(&e->mu);
    *out = j;
    return 0;
}

int fake_answer(struct eng *e, uint32_t n) { return answer(last(e), n); }

void fake_answer_some(struct eng *e, uint32_t n) {
    for (int i = 0; i < e->n_held; i++) {
        if (atomic_load(&e->held[i]->state) >= ENG_DONE) continue;
        (void)answer(e->held[i], n);
        return;
    }
}

void fake_answer_all(struct eng *e) {
    struct eng_job *live[JOBS_MAX];
    int n = 0;
    pthread_mutex_lock(&e->mu);
    for (int i = 0; i < e->n_held; i++) {
        if (atomic_load(&e->held[i]->state) >= ENG_DONE) continue;
        atomic_fetch_add(&e->held[i]->refs, 1);
        live[n++] = e->held[i];
    }
    pthread_mutex_unlock(&e->mu);
    for (int i = 0; i < n; i++) {
        answer(live[i], UINT32_MAX);
        job_put(live[i]);
    }
}

int fake_live(const struct eng *e) {
    int n = 0;
    for (int i = 0; i < e->n_held; i++)
        n += atomic_load(&e->held[i]->state) < ENG_DONE && !atomic_load(&e->held[i]->cancelled);
    return n;
}

void fake_fail(struct eng *e, int code) {
    err_set(&last(e)->error, code, "/a/path at 0x1234 that no client may see");
    end(last(e), ENG_FAILED);
}

enum eng_state eng_job_state(const struct eng_job *j) {
    return (enum eng_state)atomic_load(&j->state);
}

const struct eng_answer *eng_job_answers(const struct eng_job *j, uint32_t *n_ready) {
    *n_ready = atomic_load(&j->ready);
    return j->answers;
}

const char *eng_job_text(const struct eng_job *j, size_t *len) {
    uint32_t n = atomic_load(&j->spoken);
    *len = n ? j->tokens[n - 1].end : 0;
    return j->text;
}

const struct eng_token *eng_job_tokens(const struct eng_job *j, uint32_t *n_ready) {
    *n_ready = atomic_load(&j->spoken);
    return j->tokens;
}

enum eng_finish eng_job_finish(const struct eng_job *j) {
    return atomic_load(&j->state) == ENG_DONE ? j->finish : ENG_GOES_ON;
}

uint64_t eng_job_cost(const struct eng_job *j) { return 100 + j->ask.n_points; }

uint32_t eng_job_prompt_tokens(const struct eng_job *j) { return 20 * j->ask.n_pictures + 7; }

const char *eng_piece(const struct eng *e, int32_t token) {
    static const char *const pieces[] = {"\xe2\x96\x81the", "<0xE2>", "a\"b", "\\"};
    (void)e;
    return token >= 0 && token < 4 ? pieces[token] : NULL;
}

int eng_check_text(const char *text, int in_chat, const char *what, struct err *e) {
    if (strstr(text, "[INST]")) return err_set(e, E_INVALID, "%s has a tag: [INST]", what);
    if (!in_chat && strstr(text, "[vqa]"))
        return err_set(e, E_INVALID, "%s has a tag: [vqa]", what);
    return 0;
}

void eng_blank_tags(char *text) {
    for (; (text = strstr(text, "[INST]")) != NULL; text++)
        text[0] = text[5] = ' ';
}

const struct err *eng_job_error(const struct eng_job *j) { return &j->error; }

void eng_job_cancel(struct eng_job *j) { atomic_store(&j->cancelled, 1); }

void eng_job_put(struct eng_job *j) {
    if (!j) return;
    eng_job_cancel(j);
    pthread_mutex_lock(&j->gate);
    j->is_put = 1;
    pthread_mutex_unlock(&j->gate);
    job_put(j);
}

void eng_job_stats(const struct eng_job *j, struct eng_job_stats *out) {
    *out = (struct eng_job_stats){.queued_ns = j->born_ns,
                                  .first_ns = j->first_ns,
                                  .end_ns = j->end_ns,
                                  .vision_ns = 2000000,
                                  .stem_tokens = 20,
                                  .stem_cached = 20,
                                  .rows = 100,
                                  .rows_plain = 900};
}
