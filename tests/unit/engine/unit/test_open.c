/* test_open.c - opening a unit: what does not belong together is refused by name, and nothing stays
 * behind; weights of a seed and a decoder in 8 bits answer, and are other models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/unit/unit.h"
#include "kernels/base/mem.h"
#include "tests/check.h"
#include "tests/unit/engine/eng_rig.h"

static const struct kern_ops *ops(void) {
    const struct kern_ops *found;
    CHECK_EQ(kern_find(eng_rig_backend(), &found, NULL), 0);
    return found;
}

static int open_with(struct eng_options o, struct eng **e, struct err *err) {
    *err = (struct err){0};
    o.device = eng_rig_backend();
    o.threads = 1;
    return eng_open(&o, e, err);
}

/* ---- a folder put together from two models ---- */

struct folder {
    char dir[64];
};

static void folder_link(const struct folder *f, const char *model, const char *name) {
    char here[4096], from[4200], to[128];
    CHECK(getcwd(here, sizeof here) != NULL);
    snprintf(from, sizeof from, "%s/%s/%s", here, model, name);
    snprintf(to, sizeof to, "%s/%s", f->dir, name);
    (void)unlink(to);
    CHECK_EQ(symlink(from, to), 0);
}

static void folder_make(struct folder *f, const char *model) {
    *f = (struct folder){"/tmp/lammd-open-XXXXXX"};
    CHECK(mkdtemp(f->dir) != NULL);
    folder_link(f, model, "config.json");
    folder_link(f, model, "model.safetensors");
    folder_link(f, model, "tokenizer.model");
}

static void folder_remove(const struct folder *f) {
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.model"};
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        (void)unlink(path);
    }
    CHECK_EQ(rmdir(f->dir), 0);
}

/* Fails with this code and text, with all memory given back. */
static void refuse(const char *dir, int code, const char *text) {
    struct unit *u = (struct unit *)1;
    struct err err = {0};
    struct mem_stats before, after;
    mem_stats(&before);
    CHECK_EQ(unit_open(&(struct eng_options){.model = dir, .threads = 1}, ops(), &u, &err), code);
    mem_stats(&after);
    CHECK(!u);
    CHECK_HAS(err.text, text);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

TEST(open_refuses_the_tokenizer_of_another_model) {
    struct folder f;
    folder_make(&f, TINY);
    folder_link(&f, "models/lamm-mini", "tokenizer.model");
    refuse(f.dir, E_FORMAT, "is it another model's?");
    folder_link(&f, TINY, "tokenizer.model");
    struct unit *u;
    CHECK_EQ(unit_open(&(struct eng_options){.model = f.dir, .threads = 1}, ops(), &u, NULL), 0);
    unit_close(u);
    folder_remove(&f);
}

/* A few rows more than pieces are padding, many are not. Seeded weights belong to no tokenizer. */
TEST(open_takes_padding_for_what_it_is) {
    struct folder f;
    struct unit *u;
    folder_make(&f, "models/lamm-mini");
    folder_link(&f, TINY_DIGITS, "tokenizer.model");
    refuse(f.dir, E_FORMAT, "is it another model's?");
    struct eng_options o = {.model = f.dir, .threads = 1, .is_seeded = 1};
    CHECK_EQ(unit_open(&o, ops(), &u, NULL), 0);
    CHECK(sptok_size(u->tok) + 255 < model_config(u->model)->text.vocab_size);
    unit_close(u);
    folder_remove(&f);
}

TEST(open_refuses_what_is_missing_or_no_model) {
    struct folder f;
    refuse(NULL, E_INVALID, "model folder");
    folder_make(&f, TINY);
    char path[128];
    snprintf(path, sizeof path, "%s/tokenizer.model", f.dir);
    (void)unlink(path);
    refuse(f.dir, E_NOT_FOUND, "tokenizer.model");
    folder_link(&f, TINY, "tokenizer.model");
    snprintf(path, sizeof path, "%s/model.safetensors", f.dir);
    (void)unlink(path);
    refuse(f.dir, E_NOT_FOUND, "model.safetensors");
    CHECK_EQ(symlink("config.json", path), 0);
    refuse(f.dir, E_TOO_BIG, "model.safetensors");
    unit_close(NULL);
    folder_remove(&f);
}

/* The info of a unit is that of its model and tokenizer. */
TEST(open_describes_the_model) {
    struct unit *u;
    struct eng_options o = {.model = TINY "//", .threads = 1, .kv_tokens = 700};
    CHECK_EQ(unit_open(&o, ops(), &u, NULL), 0);
    CHECK_STR(u->info.name, "tiny");
    CHECK_STR(u->info.digest, model_digest(u->model));
    CHECK_EQ(u->info.image_tokens, model_config(u->model)->n_image_tokens);
    CHECK_EQ(u->size.range_slots + u->size.single_slots, 700);
    CHECK_EQ(u->stats.kv_slots, 700);
    CHECK(u->size.tail_max >= u->pixels->text_max && u->size.tail_max > LANE_CHOICE_MAX);
    for (int k = 0; k < KIND_NUMBERS; k++)
        CHECK(u->size.answer_max >= u->kinds->g[k]->feed_max);
    unit_close(u);
}

/* ---- weights that are not the file's ---- */

TEST(open_with_seeded_weights_answers) {
    struct eng *e = NULL;
    struct err err;
    struct eng_options o = {.model = TINY, .is_seeded = 1, .seed = 4};
    struct eng_answer first[ENG_RIG_ALL], second[ENG_RIG_ALL];
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(open_with(o, &e, &err), 0);
        struct eng_picture *picture = eng_rig_picture(e, 1);
        eng_rig_ask_all(e, picture, ENG_MODE, 0, i ? second : first);
        eng_picture_put(picture);
        eng_close(e);
    }
    CHECK(eng_rig_same(first, second, ENG_RIG_ALL));
}

/* Other answers, the same on each backend but for rounding; another digest; named in the log's
 * line. */
TEST(open_with_fp8_is_another_model) {
    struct eng *plain, *fp8;
    struct err err;
    struct eng_answer a[ENG_RIG_ALL], b[ENG_RIG_ALL], c[ENG_RIG_ALL];
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, &plain, &err), 0);
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .weights_as = "fp8"}, &fp8, &err), 0);
    CHECK(strcmp(eng_info(plain)->digest, eng_info(fp8)->digest) != 0);
    CHECK_EQ(strlen(eng_info(fp8)->digest), 64);
    CHECK_HAS(eng_info(fp8)->backend, "fp8");
    CHECK_EQ(eng_info(plain)->parameters, eng_info(fp8)->parameters);
    struct eng_picture *picture = eng_rig_picture(fp8, 1);
    eng_rig_ask_all(plain, picture, ENG_MODE, 1, a);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, b);
    CHECK(!eng_rig_same(a, b, ENG_RIG_ALL));
    eng_close(fp8);
    struct eng_options one = {.model = TINY, .weights_as = "fp8", .lanes = 1};
    CHECK_EQ(open_with(one, &fp8, &err), 0);
    eng_rig_ask_all(fp8, picture, ENG_MODE, 1, c); /* by itself or among others */
    CHECK(eng_rig_same(b, c, ENG_RIG_ALL));
    eng_picture_put(picture);
    eng_close(fp8);
    eng_close(plain);
}

/* The model's matrices are bf16: to keep them so, or as f32, changes nothing. In fewer bits it is
 * another model, named in the log's line, and answers alike alone and in company. */
TEST(open_with_weights_in_fewer_bits) {
    static const char *const forms[] = {"auto",   "f32",  "bf16",   "int8",
                                        "int8x8", "int4", "int4x8", "f16"};
    struct eng *plain, *e;
    struct err err;
    struct eng_answer a[ENG_RIG_ALL], b[ENG_RIG_ALL], c[ENG_RIG_ALL];
    CHECK_EQ(open_with((struct eng_options){.model = TINY}, &plain, &err), 0);
    struct eng_picture *picture = eng_rig_picture(plain, 1);
    eng_rig_ask_all(plain, picture, ENG_MODE, 1, a);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct eng_options o = {.model = TINY, .weights_as = forms[i]};
        CHECK_EQ(open_with(o, &e, &err), 0);
        CHECK_EQ(strcmp(eng_info(plain)->digest, eng_info(e)->digest) == 0, i < 2);
        if (i) CHECK_HAS(eng_info(e)->backend, forms[i]);
        eng_rig_ask_all(e, picture, ENG_MODE, 1, b);
        if (i < 5) CHECK_EQ(eng_rig_same(a, b, ENG_RIG_ALL), i < 3);
        eng_close(e);
        o.lanes = 1;
        CHECK_EQ(open_with(o, &e, &err), 0);
        eng_rig_ask_all(e, picture, ENG_MODE, 1, c);
        CHECK(eng_rig_same(b, c, ENG_RIG_ALL));
        eng_close(e);
    }
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .weights_as = "int7"}, &e, &err),
             E_INVALID);
    CHECK_HAS(err.text, "weights as \"int7\"");
    eng_picture_put(picture);
    eng_close(plain);
}

/* A KV cache in fewer bits is named, and answers alike alone and in company. */
static void check_kv(const char *form) {
    struct eng *plain, *e;
    struct err err;
    struct eng_answer a[ENG_RIG_ALL], b[ENG_RIG_ALL], c[ENG_RIG_ALL];
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .kv_as = "f32"}, &plain, &err), 0);
    int rc = open_with((struct eng_options){.model = TINY, .kv_as = form}, &e, &err);
    if (rc == E_UNSUPPORTED) skip("%s", err.text);
    CHECK_EQ(rc, 0);
    CHECK_HAS(eng_info(e)->backend, "KV cache as ");
    CHECK_HAS(eng_info(e)->backend, form);
    CHECK(strcmp(eng_info(plain)->digest, eng_info(e)->digest) != 0);
    struct eng_picture *picture = eng_rig_picture(plain, 1);
    eng_rig_ask_all(plain, picture, ENG_MODE, 1, a);
    eng_rig_ask_all(e, picture, ENG_MODE, 1, b);
    CHECK(!eng_rig_same(a, b, ENG_RIG_ALL));
    eng_close(e);
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .kv_as = form, .lanes = 1}, &e, &err),
             0);
    eng_rig_ask_all(e, picture, ENG_MODE, 1, c);
    CHECK(eng_rig_same(b, c, ENG_RIG_ALL));
    eng_picture_put(picture);
    eng_close(e);
    eng_close(plain);
}

TEST(open_with_a_kv_cache_in_16_bits) { check_kv("bf16"); }

TEST(open_with_a_kv_cache_in_8_bits) { check_kv("int8"); }

TEST(open_refuses_unknown_forms_of_the_kv_cache) {
    struct eng *e;
    struct err err;
    CHECK_EQ(open_with((struct eng_options){.model = TINY, .kv_as = "int7"}, &e, &err), E_INVALID);
    CHECK_HAS(err.text, "KV cache as \"int7\"");
}
