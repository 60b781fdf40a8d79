/* test_tied.c - tied embeddings: the table and lm_head are one parameter, with one gradient. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/golden/maker.h"
#include "tests/unit/engine/train/train_rig.h"

struct folder {
    char path[32];
};

static void put_file(const struct folder *f, const char *name, const void *bytes, size_t n) {
    char path[96];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *to = fopen(path, "wb");
    CHECK(to && fwrite(bytes, 1, n, to) == n && fclose(to) == 0);
}

/* A file of the tiny model, with a NUL behind it. */
static char *get_file(const char *name, size_t *n) {
    char path[96], *text = mem_must(1 << 16);
    snprintf(path, sizeof path, RIG_TINY "/%s", name);
    FILE *from = fopen(path, "rb");
    CHECK(from != NULL);
    *n = fread(text, 1, (1 << 16) - 1, from);
    fclose(from);
    return text;
}

static struct folder make_model(int is_tied) {
    struct folder f = {"/tmp/lammd-tied-XXXXXX"};
    struct model_config c;
    size_t n;
    CHECK(mkdtemp(f.path) != NULL);
    char *text = get_file("tokenizer.model", &n);
    put_file(&f, "tokenizer.model", text, n);
    mem_free(text);
    text = get_file("config.json", &n);
    char *at = strstr(text, "\"tie_word_embeddings\": false");
    CHECK(at != NULL);
    if (is_tied) memcpy(at, "\"tie_word_embeddings\": true ", 28);
    put_file(&f, "config.json", text, n);
    mem_free(text);
    CHECK_EQ(model_read_config(f.path, &c, NULL), 0);
    struct maker *m = mem_must(sizeof *m);
    maker_model(m, &c, ST_F32);
    if (is_tied) maker_drop(m, "lm_head.weight");
    uint8_t *bytes = maker_file(m, &n);
    put_file(&f, "model.safetensors", bytes, n);
    mem_free(bytes);
    mem_free(m);
    return f;
}

static void drop_model(const struct folder *f) {
    static const char *const names[] = {"tokenizer.model", "config.json", "model.safetensors"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(f->path);
}

TEST(tied_embeddings_have_the_gradient_of_both) {
    struct folder tied = make_model(1), plain = make_model(0);
    struct train_options o = rig_options("cpu");
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 6);
    o.model = tied.path;
    struct train *t = rig_open(&o, 1);
    o.model = plain.path;
    struct train *u = rig_open(&o, 1);
    const struct param *table = params_find(&u->params, "model.embed_tokens.weight");
    const struct param *head = params_find(&u->params, "lm_head.weight");
    const struct param *both = params_find(&t->params, "model.embed_tokens.weight");
    CHECK(!params_find(&t->params, "lm_head.weight"));
    CHECK(both->mat && both->vec.addr);
    u->ops->copy(u->k, kern_at(u->params.value, head->at * sizeof(float)),
                 kern_at(u->params.value, table->at * sizeof(float)), head->n * sizeof(float));
    params_settle(u);
    struct train_loss a, b;
    rig_add(t, &r->s, &a);
    rig_add(u, &r->s, &b);
    CHECK(rig_mean(&a) == rig_mean(&b));
    float *got = rig_grad(t), *want = rig_grad(u);
    double diff = 0, norm = 0;
    for (size_t i = 0; i < both->n; i++) {
        double w = (double)want[table->at + i] + (double)want[head->at + i];
        diff += pow((double)got[both->at + i] - w, 2);
        norm += w * w;
    }
    CHECK(sqrt(diff) <= 1e-6 * sqrt(norm));
    struct train_loss after;
    (void)rig_step(t); /* table and head stay one */
    CHECK_EQ(train_judge(t, &r->s, &after, NULL), 0);
    CHECK(rig_mean(&after) < rig_mean(&a));
    train_close(t);
    train_close(u);
    drop_model(&tied);
    drop_model(&plain);
    mem_free(got);
    mem_free(want);
    mem_free(r);
}
