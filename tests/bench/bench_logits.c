/* bench_logits.c - what each form does to the logits of a large model, whose weights aren't here.
 *
 *     make bench, or build/release/tests/bench_logits [layers, default 2 [shape's folder]]
 *
 * A model of models/shapes/pae-lamm-7b's widths with so many layers of tower and decoder, and
 * weights drawn from a seed, sees a drawn picture and TOKENS drawn tokens behind it, once for each
 * form of the weights and of the KV cache. Printed is, over the logits of those tokens, the root of
 * the mean square of the difference to f32's, in per cent of that of f32's own; the largest
 * difference in the same unit; and how many tokens keep their likeliest successor. Drawn weights
 * have no outliers, as trained ones have, and few layers add up less: a first look, not a price.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/model.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/kern.h"

enum { TOKENS = 48 };
#define SHAPE "models/shapes/pae-lamm-7b"

static const struct {
    enum kern_keep keep;
    int kv_bits;
} forms[] = {{KERN_KEEP_F32, 32},    {KERN_KEEP_BF16, 32},   {KERN_KEEP_F16, 32},
             {KERN_KEEP_INT8, 32},   {KERN_KEEP_INT8X8, 32}, {KERN_KEEP_INT4, 32},
             {KERN_KEEP_INT4X8, 32}, {KERN_KEEP_F32, 16},    {KERN_KEEP_F32, 8}};

struct logits {
    float *x; /* (TOKENS, n) */
    size_t n;
};

/* A model_tap_fn; ud is the logits. */
static void logits_keep(void *ud, const char *name, const float *data, int rows, int cols) {
    struct logits *l = ud;
    if (strcmp(name, "logits") != 0) return;
    must(rows == TOKENS);
    l->n = (size_t)cols;
    l->x = mem_must(TOKENS * l->n * sizeof *l->x);
    memcpy(l->x, data, TOKENS * l->n * sizeof *l->x);
}

/* The shape with fewer layers, as a folder. */
static void write_shape(const char *shape, int layers, const char *dir) {
    static const char *const parts[] = {"vision_config", "text_config"};
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/config.json", shape);
    json_t *o = json_load_file(path, 0, NULL);
    if (!o) {
        fprintf(stderr, "%s: no such shape\n", path);
        exit(1);
    }
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        (void)json_object_set_new(json_object_get(o, parts[i]), "num_hidden_layers",
                                  json_integer(layers));
    (void)snprintf(path, sizeof path, "%s/config.json", dir);
    must(json_dump_file(o, path, 0) == 0);
    json_decref(o);
}

static void logits_ask(struct model *m, const struct model_head *head, struct err *e) {
    const struct model_config *c = model_config(m);
    size_t side = (size_t)c->vision.image_size, pixels = 3 * side * side;
    int rows = c->n_image_tokens + TOKENS, vocab = c->text.vocab_size;
    uint8_t *rgb = mem_must(pixels);
    for (size_t i = 0; i < pixels; i++) /* patches of colours, with some noise */
        rgb[i] =
            (uint8_t)(rng_u64(3, i / 3 / 28 % 16 + i / 3 / side / 28 * 16 + i % 3 * 256) % 224 +
                      rng_u64(4, i) % 32);
    model_encode(m, MODEL_BASE, rgb, 0);
    int32_t *src = mem_must((size_t)rows * sizeof *src), *at = mem_must((size_t)rows * sizeof *at);
    int32_t *zeros = mem_must((size_t)(rows + 1) * sizeof *zeros), best[TOKENS];
    int32_t col_off[2] = {0, 1}, cols[1] = {0};
    memset(zeros, 0, (size_t)(rows + 1) * sizeof *zeros);
    for (int i = 0; i < rows; i++) {
        at[i] = i;
        src[i] = i < c->n_image_tokens ? ~i : (int32_t)(rng_u64(5, (uint64_t)i) % (uint64_t)vocab);
    }
    struct kern_attn_group group = {.rows = rows};
    struct kern_attn_span no_span = {0};
    struct model_pick_group picks = {.head = head, .picks = TOKENS, .ldp = 1};
    struct model_pass pass = {.rows = rows,
                              .src = src,
                              .pos = at,
                              .slot = at,
                              .groups = &group,
                              .n_groups = 1,
                              .spans = &no_span,
                              .tail_off = zeros,
                              .tail = zeros,
                              .picks = TOKENS,
                              .pick_row = at + c->n_image_tokens,
                              .pick_groups = &picks,
                              .n_pick_groups = 1,
                              .pick_set = zeros,
                              .col_off = col_off,
                              .cols = cols,
                              .n_sets = 1,
                              .best = best};
    must(model_run(m, &pass, e) == 0);
    mem_free(rgb);
    mem_free(src);
    mem_free(at);
    mem_free(zeros);
}

/* The logits of one form, and the bytes of its weights. */
static int logits_of(const char *dir, size_t form, struct logits *out, uint64_t *bytes,
                     struct err *e) {
    const struct kern_ops *ops;
    struct kern *k = NULL;
    struct model *m = NULL;
    struct model_head *head = NULL;
    struct model_how how = {
        .keep = forms[form].keep, .kv_bits = forms[form].kv_bits, .is_seeded = 1, .seed = 1};
    int rc = kern_find("cpu", &ops, e);
    if (!rc) rc = ops->open(&(struct kern_config){0}, &k, e);
    if (!rc) rc = model_open(dir, &how, ops, k, &m, e);
    if (rc) return rc;
    struct kern_stats s;
    ops->stats(k, &s);
    *bytes = s.live_bytes;
    const struct model_config *c = model_config(m);
    int rows = c->n_image_tokens + TOKENS, vocab = c->text.vocab_size;
    int32_t *all = mem_must((size_t)vocab * sizeof *all);
    for (int i = 0; i < vocab; i++)
        all[i] = i;
    struct model_plan plan = {
        .rows_max = rows, .picks_max = TOKENS, .kv_slots = rows, .feats_max = 1};
    rc = model_head_new(m, all, vocab, &head, e);
    if (!rc) rc = model_plan(m, &plan, e);
    if (!rc) model_set_tap(m, logits_keep, out);
    if (!rc) logits_ask(m, head, e);
    if (head) model_head_free(m, head);
    mem_free(all);
    model_close(m);
    ops->close(k);
    return rc;
}

static size_t best_of(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void logits_print(size_t form, uint64_t bytes, const struct logits *a,
                         const struct logits *b) {
    double all = 0, off = 0, most = 0;
    int same = 0;
    for (size_t i = 0; i < TOKENS * a->n; i++) {
        double d = fabs((double)a->x[i] - (double)b->x[i]);
        all += (double)a->x[i] * (double)a->x[i];
        off += d * d;
        if (d > most) most = d;
    }
    for (size_t t = 0; t < TOKENS; t++)
        same += best_of(a->x + t * a->n, a->n) == best_of(b->x + t * b->n, b->n);
    double size = sqrt(all / (double)(TOKENS * a->n));
    printf("| %s | %d bits | %.0f | %.4f | %.3f | %d of %d |\n",
           kern_keep_name((int)forms[form].keep), forms[form].kv_bits, (double)bytes / 1048576,
           100 * sqrt(off / all), 100 * most / size, same, TOKENS);
    fflush(stdout);
}

int main(int argc, char **argv) {
    char dir[] = "/tmp/lammd-shape-XXXXXX", path[64];
    int layers = argc > 1 ? atoi(argv[1]) : 2;
    struct logits plain = {0};
    if (!mkdtemp(dir)) return 1;
    write_shape(argc > 2 ? argv[2] : SHAPE, layers, dir);
    printf("logits of %s, %d layers\n\n| weights | KV | MiB | error, %% of their size | largest | "
           "same "
           "token |\n|---|---|---|---|---|---|\n",
           argc > 2 ? argv[2] : SHAPE, layers);
    int rc = 0;
    for (size_t f = 0; f < ARRAY_LEN(forms) && !rc; f++) {
        struct logits now = {0};
        struct err e = {0};
        uint64_t bytes = 0;
        rc = logits_of(dir, f, &now, &bytes, &e);
        if (rc) fprintf(stderr, "%s\n", e.text);
        if (!rc && f == 0) plain = now;
        if (!rc) logits_print(f, bytes, &plain, &now);
        if (f) mem_free(now.x);
    }
    mem_free(plain.x);
    (void)snprintf(path, sizeof path, "%s/config.json", dir);
    (void)unlink(path);
    (void)rmdir(dir);
    return rc;
}
