/* test_berth.c - adapters in berths: they answer as peft does, in any company with the same bits,
 * beside a base that stays as it is; an overlay sees as the model does that it was taken from; and
 * what is reserved is counted, filled without an allocation, and given back. */
#include "engine/model/berth.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/files/st_write.h"
#include "engine/model/overlay.h"
#include "tests/unit/engine/model/model_rig.h"

#define GOLDEN "tests/golden/peft/"
static const char *const golden[] = {"plain", "rslora", "pattern"};
enum { GOLDEN_N = 3, RANK = 8 };

static struct model_plan plan_of(int berths, int overlays) {
    return (struct model_plan){.rows_max = RIG_ROWS,
                               .picks_max = RIG_ROWS,
                               .kv_slots = 512,
                               .feats_max = 2,
                               .berths = berths,
                               .berth_rank = RANK,
                               .berth_overlays = overlays};
}

static void fill_berth(struct rig *r, int berth, const struct adapter *a) {
    struct cargo *cargo;
    struct err e = {0};
    if (cargo_new(model_config(r->m), a, 1, &cargo, &e))
        test_failed(__FILE__, __LINE__, "%s", e.text);
    struct kern_stats before, after;
    struct mem_stats host, host_after;
    r->ops->stats(r->k, &before);
    mem_stats(&host);
    model_berth_clear(r->m, berth);
    for (int i = 0; i < cargo_layers(cargo); i++) {
        model_berth_fill(r->m, berth, cargo, i);
        cargo_landed(cargo, i);
    }
    r->ops->stats(r->k, &after);
    mem_stats(&host_after);
    CHECK_EQ(after.allocations, before.allocations);
    CHECK_EQ(host_after.allocations, host.allocations);
    cargo_free(cargo);
}

static void fill_golden(struct rig *r, int berth, const char *name) {
    const struct model_text *t = &model_config(r->m)->text;
    struct peft_sizes sizes = {t->layers, t->hidden_size, t->intermediate_size};
    struct adapter *a;
    char folder[64];
    struct err e = {0};
    snprintf(folder, sizeof folder, GOLDEN "%s", name);
    if (adapter_open(folder, &sizes, "", &a, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    fill_berth(r, berth, a);
    adapter_close(a);
}

/* Peft's tokens as one more group of the pass, each row picked; in slots of their own. */
static void add_talk(struct rig_pass *p, const int32_t *ids, int n, int slot0) {
    for (int i = 0; i < n; i++) {
        rig_row(p, ids[i], i, slot0 + i);
        rig_pick(p, p->p.rows - 1);
    }
    rig_group(p, slot0, 0, 0);
}

struct talk {
    struct gold g;
    const int32_t *ids;
    int n;
    const float *probs; /* peft's */
};

static struct talk talk_open(const char *name) {
    struct talk t;
    char path[96];
    snprintf(path, sizeof path, GOLDEN "%s/answers.safetensors", name);
    CHECK_EQ(gold_open(&t.g, path, NULL), 0);
    t.ids = gold_ids(&t.g, &t.n);
    t.probs = st_find(t.g.st, "probs")->data;
    return t;
}

/* What it says alone, by that berth. mem_free. */
static float *alone(struct rig *r, const struct talk *t, int berth) {
    struct rig_pass *p = mem_must(sizeof *p);
    struct model_section s = {0, t->n, berth};
    rig_begin(r, p);
    add_talk(p, t->ids, t->n, 0);
    p->p.sections = &s;
    p->p.n_sections = berth != MODEL_BASE;
    float *probs = rig_run(r, p);
    mem_free(p);
    return probs;
}

static double apart(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void answers_of_peft(const char *backend) {
    struct rig r;
    rig_open(&r, backend, RIG_TINY);
    struct model_plan plan = plan_of(GOLDEN_N, 0);
    rig_ready_for(&r, &plan);
    double most = strstr(backend, "tile") ? 0.1 : 1e-5; /* the base itself is in 16 bits there */
    for (int i = 0; i < GOLDEN_N; i++)
        fill_golden(&r, i, golden[i]);
    for (int i = 0; i < GOLDEN_N; i++) {
        struct talk t = talk_open(golden[i]);
        size_t n = (size_t)t.n * (size_t)r.col_off[1];
        float *got = alone(&r, &t, i), *base = alone(&r, &t, MODEL_BASE);
        double d = apart(got, t.probs, n);
        printf("%s: %s: %.1e from peft's forward; the base alone %.2f\n", backend, golden[i], d,
               apart(base, t.probs, n));
        CHECK(d <= most);
        CHECK(apart(base, t.probs, n) > 0.1);
        mem_free(got);
        mem_free(base);
        st_close(t.g.st);
    }
    rig_close(&r);
}

/* All adapters and the base in one pass, in this order of berths. */
static void in_company(const char *backend, const int *order, int n_order) {
    struct rig r, bare;
    rig_open(&r, backend, RIG_TINY);
    struct model_plan plan = plan_of(GOLDEN_N, 0);
    rig_ready_for(&r, &plan);
    rig_open(&bare, backend, RIG_TINY);
    rig_ready(&bare, RIG_ROWS, 512);
    for (int i = 0; i < GOLDEN_N; i++)
        fill_golden(&r, i, golden[i]);
    struct talk t = talk_open(golden[0]);
    struct rig_pass *p = mem_must(sizeof *p);
    struct model_section s[8];
    rig_begin(&r, p);
    p->p.sections = s;
    for (int i = 0; i < n_order; i++) {
        if (order[i] != MODEL_BASE)
            s[p->p.n_sections++] = (struct model_section){p->p.rows, t.n, order[i]};
        add_talk(p, t.ids, t.n, i * t.n);
    }
    float *all = rig_run(&r, p);
    size_t n = (size_t)t.n * (size_t)r.col_off[1];
    for (int i = 0; i < n_order; i++) {
        float *want = alone(order[i] == MODEL_BASE ? &bare : &r, &t, order[i]);
        CHECK_MEM(all + (size_t)i * n, want, n * sizeof *want);
        mem_free(want);
    }
    mem_free(all);
    mem_free(p);
    st_close(t.g.st);
    rig_close(&r);
    rig_close(&bare);
}

TEST(berth_answers_as_peft_does) {
    answers_of_peft("ref");
    answers_of_peft("cpu");
}
TEST(berth_answers_as_peft_does_cuda_strict) { answers_of_peft("cuda-strict"); }
TEST(berth_answers_as_peft_does_cuda) { answers_of_peft("cuda-tile"); }

static void in_all_company(const char *backend) {
    static const int orders[][5] = {{MODEL_BASE, 0, 1, 2, MODEL_BASE}, {2, MODEL_BASE, 1, 0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(orders); i++)
        in_company(backend, orders[i], 5);
}
TEST(berth_rows_have_the_same_bits_in_any_company) {
    in_all_company("ref");
    in_all_company("cpu");
}
TEST(berth_rows_have_the_same_bits_in_any_company_cuda) { in_all_company("cuda-tile"); }
TEST(berth_rows_have_the_same_bits_in_any_company_graphs) { in_all_company("cuda-tile+graphs"); }

/* An adapter sees x as it is, where the base's products get it in 16 bits, too. */
TEST(berth_sees_what_is_not_rounded_cuda) {
    struct rig r[2];
    struct model_plan plan = plan_of(GOLDEN_N, 0);
    for (int i = 0; i < 2; i++) {
        struct err e = {0};
        rig_kern(&r[i], "cuda-tile");
        if (i) rig_wide(&r[i], rig_f32);
        CHECK_EQ(model_open(RIG_TINY, NULL, r[i].ops, r[i].k, &r[i].m, &e), 0);
        rig_ready_for(&r[i], &plan);
        for (int b = 0; b < GOLDEN_N; b++)
            fill_golden(&r[i], b, golden[b]);
    }
    struct talk t = talk_open(golden[0]);
    for (int b = MODEL_BASE; b < GOLDEN_N; b++) {
        float *got = alone(&r[0], &t, b), *want = alone(&r[1], &t, b);
        CHECK_MEM(got, want, (size_t)t.n * (size_t)r[0].col_off[1] * sizeof *got);
        mem_free(got);
        mem_free(want);
    }
    st_close(t.g.st);
    rig_close(&r[0]);
    rig_close(&r[1]);
}

/* Refilled, a berth is as new, though the earlier one had more places. */
TEST(berth_forgets_what_it_held) {
    struct rig r;
    rig_open(&r, "cpu", RIG_TINY);
    struct model_plan plan = plan_of(2, 0);
    rig_ready_for(&r, &plan);
    struct talk t = talk_open("pattern");
    fill_golden(&r, 0, "pattern");
    float *want = alone(&r, &t, 0);
    fill_golden(&r, 1, "rslora");
    fill_golden(&r, 1, "pattern");
    float *got = alone(&r, &t, 1);
    CHECK_MEM(got, want, (size_t)t.n * (size_t)r.col_off[1] * sizeof *got);
    mem_free(want);
    mem_free(got);
    st_close(t.g.st);
    rig_close(&r);
}

/* What the plan counts is what is taken, up to how blocks are rounded. */
static void counted(const char *backend) {
    struct rig r;
    struct kern_stats before, after;
    rig_open(&r, backend, RIG_TINY);
    struct model_plan plan = plan_of(3, 2), without = plan_of(0, 0);
    uint64_t bytes = model_plan_bytes(r.m, &plan) - model_plan_bytes(r.m, &without);
    uint64_t inside = sizeof(float) * 3 * RANK * RIG_ROWS;
    CHECK_EQ(bytes, model_berth_bytes(r.m, &plan) + inside);
    r.ops->stats(r.k, &before);
    rig_ready_for(&r, &plan);
    r.ops->stats(r.k, &after);
    double taken = (double)(after.live_bytes - before.live_bytes);
    uint64_t head =
        2 * sizeof(float) * RIG_ROWS * (uint64_t)r.col_off[1]; /* logits, and its rows */
    uint64_t all = model_plan_bytes(r.m, &plan);
    CHECK(taken >= (double)all && taken <= 1.15 * (double)all + (double)head);
    rig_close(&r);
}
TEST(berth_bytes_are_counted) {
    counted("ref");
    counted("cpu");
}

/* ---- overlays ---- */

struct overlay {
    char path[64];
    struct st *st;
};

/* Tensors of a model's file whose names begin with `prefix` ("": all of the vision side). */
static struct overlay overlay_of(const struct st *file, const char *prefix) {
    struct overlay o = {.path = "/tmp/overlay-XXXXXX"};
    struct st_tensor *tensors = mem_must(st_count(file) * sizeof *tensors);
    size_t n = 0;
    int fd = mkstemp(o.path);
    CHECK(fd >= 0);
    close(fd);
    for (size_t i = 0; i < st_count(file); i++) {
        const struct st_tensor *t = st_at(file, i);
        int block = 0, row = 0;
        if (strncmp(t->name, prefix, strlen(prefix)) || !adapter_is_vision(t->name)) continue;
        struct model_config c;
        CHECK_EQ(model_read_config(RIG_TINY, &c, NULL), 0);
        if (overlay_find(&c, t->name, &block, &row)) continue; /* one that no network uses */
        tensors[n++] = *t;
    }
    CHECK(n > 0);
    CHECK_EQ(st_write(o.path, &(struct st_new){.tensors = tensors, .n = n}, NULL), 0);
    CHECK_EQ(st_open(o.path, &o.st, NULL), 0);
    mem_free(tensors);
    return o;
}

static void overlay_drop(struct overlay *o) {
    st_close(o->st);
    CHECK_EQ(remove(o->path), 0);
}

static float *feats_of(struct rig *r, int berth, size_t *n) {
    static uint8_t rgb[32 * 32 * 3];
    const struct model_config *c = model_config(r->m);
    FILE *f = fopen("tests/golden/pictures/32.rgb", "rb");
    CHECK(f && fread(rgb, 1, sizeof rgb, f) == sizeof rgb);
    fclose(f);
    *n = (size_t)c->n_image_tokens * (size_t)c->text.hidden_size;
    float *out = mem_must(*n * sizeof *out);
    model_encode(r->m, berth, rgb, 0);
    CHECK_EQ(r->ops->get(r->k, out, r->m->feats, *n * sizeof *out, NULL), 0);
    return out;
}

static void check_feats(struct rig *a, int berth_a, struct rig *b, int berth_b, int is_same) {
    size_t n, m;
    float *x = feats_of(a, berth_a, &n), *y = feats_of(b, berth_b, &m);
    CHECK_EQ(n, m);
    CHECK_EQ(memcmp(x, y, n * sizeof *x) == 0, is_same);
    mem_free(x);
    mem_free(y);
}

/* A made model with another's tower over it sees as that other one; its own tower is as it was. */
static void sees_as(const char *backend) {
    struct rig_file file;
    struct rig made, other;
    struct st *st;
    CHECK_EQ(st_open(RIG_TINY "/model.safetensors", &st, NULL), 0);
    rig_make(&file, RIG_TINY, ST_F32);
    rig_open_file(&made, backend, &file);
    rig_open(&other, backend, RIG_TINY);
    struct model_plan plan = plan_of(2, 1);
    rig_ready_for(&made, &plan);
    rig_ready(&other, RIG_ROWS, 512);
    struct overlay all = overlay_of(st, ""), part = overlay_of(st, "llama_proj.");
    struct overlay back = overlay_of(file.st, "");
    size_t n;
    float *before = feats_of(&made, MODEL_BASE, &n);
    fill_berth(&made, 0, &(struct adapter){.overlay = all.st});
    check_feats(&made, 0, &other, MODEL_BASE, 1);
    fill_berth(&made, 0, &(struct adapter){.overlay = part.st});
    check_feats(&made, 0, &other, MODEL_BASE, 0);
    check_feats(&made, 0, &made, MODEL_BASE, 0);
    fill_berth(&made, 0, &(struct adapter){.overlay = back.st});
    check_feats(&made, 0, &made, MODEL_BASE, 1);
    float *after = feats_of(&made, MODEL_BASE, &n);
    CHECK_MEM(before, after, n * sizeof *before);
    mem_free(before);
    mem_free(after);
    overlay_drop(&all);
    overlay_drop(&part);
    overlay_drop(&back);
    rig_close(&made);
    rig_close(&other);
    rig_drop(&file);
    st_close(st);
}
TEST(berth_overlay_sees_as_its_model) {
    sees_as("ref");
    sees_as("cpu");
}
TEST(berth_overlay_sees_as_its_model_cuda) { sees_as("cuda-strict"); }

/* Every tensor of the vision side has its row: none of a model's file is left without. */
TEST(berth_overlay_knows_all_names) {
    struct model_config c;
    struct rig_file file;
    size_t n = 0;
    CHECK_EQ(model_read_config(RIG_TINY, &c, NULL), 0);
    rig_make(&file, RIG_TINY, ST_F32);
    for (size_t i = 0; i < st_count(file.st); i++) {
        int block, row;
        n += adapter_is_vision(st_at(file.st, i)->name) &&
             overlay_find(&c, st_at(file.st, i)->name, &block, &row) == 0;
    }
    CHECK(n >= (size_t)(OVERLAY_TOWER_ROWS - 2 + c.vision.layers * OVERLAY_BLOCK_ROWS));
    int block, row;
    CHECK_EQ(overlay_find(&c, "visual_encoder.blocks.2.norm1.weight", &block, &row), E_NOT_FOUND);
    CHECK_EQ(overlay_find(&c, "visual_encoder.blocks.01.norm1.weight", &block, &row), E_NOT_FOUND);
    CHECK_EQ(overlay_find(&c, "visual_encoder.norm.weight", &block, &row), E_NOT_FOUND);
    rig_drop(&file);
}

static void refused(const char *name, int rows, float value, const char *says) {
    static float data[4096];
    struct model_config c;
    struct cargo *cargo = NULL;
    struct err e = {0};
    char path[] = "/tmp/overlay-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    data[rows - 1] = value;
    struct st_tensor t = {.name = name, .dtype = ST_F32, .ndim = 1, .shape = {rows}, .data = data};
    struct st *st;
    CHECK_EQ(model_read_config(RIG_TINY, &c, NULL), 0);
    CHECK_EQ(st_write(path, &(struct st_new){.tensors = &t, .n = 1}, NULL), 0);
    CHECK_EQ(st_open(path, &st, NULL), 0);
    CHECK_EQ(cargo_new(&c, &(struct adapter){.overlay = st}, 1, &cargo, &e), E_FORMAT);
    CHECK_HAS(e.text, says);
    CHECK_HAS(e.text, name);
    CHECK(cargo == NULL);
    st_close(st);
    remove(path);
}
TEST(berth_overlay_refuses_by_name) {
    refused("ln_vision.wait", 32, 0, "the model has none of that name");
    refused("visual_encoder.blocks.7.norm1.bias", 32, 0, "the model has none of that name");
    refused("ln_vision.weight", 33, 0, "hasn't the shape");
    refused("ln_vision.weight", 32, INFINITY, "infinite or not a number");
}
