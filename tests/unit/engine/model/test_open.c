/* test_open.c - a model's folder: what opens, what is missing, and the digest that names it. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/engine/model/model_rig.h"

static char *read_all(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    char *bytes = mem_must(4 << 20);
    *len = fread(bytes, 1, 4 << 20, f);
    fclose(f);
    return bytes;
}

static void write_all(const char *path, const char *bytes, size_t len) {
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL);
    CHECK_EQ(fwrite(bytes, 1, len, f), len);
    CHECK_EQ(fclose(f), 0);
}

TEST(model_open_of_folders) {
    struct rig r;
    size_t len;
    unsigned char sum[32];
    char hex[65];
    rig_open(&r, "ref", "tests/golden/tiny");
    char *bytes = read_all("tests/golden/tiny/model.safetensors", &len);
    CHECK(EVP_Digest(bytes, len, sum, NULL, EVP_sha256(), NULL));
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    CHECK_STR(model_digest(r.m), hex);
    CHECK(model_parameters(r.m) > 200000 && model_parameters(r.m) * 2 < len + 20000);
    rig_close(&r);

    char dir[] = "/tmp/lammd-model-XXXXXX", config[64], weights[64];
    struct err e = {0};
    rig_kern(&r, "ref");
    CHECK(mkdtemp(dir) != NULL);
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    CHECK_EQ(model_open(dir, NULL, r.ops, r.k, &r.m, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "config.json");
    size_t config_len;
    char *config_bytes = read_all("tests/golden/tiny/config.json", &config_len);
    write_all(config, config_bytes, config_len);
    e = (struct err){0};
    CHECK_EQ(model_open(dir, NULL, r.ops, r.k, &r.m, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, "model.safetensors");
    write_all(weights, bytes, len - 1);
    e = (struct err){0};
    CHECK_EQ(model_open(dir, NULL, r.ops, r.k, &r.m, &e), E_FORMAT);
    CHECK_HAS(e.text, "truncated");
    CHECK_EQ(model_open(dir, NULL, r.ops, r.k, &r.m, NULL),
             E_FORMAT); /* an error struct is optional */
    CHECK(r.m == NULL);
    write_all(weights, bytes, len);
    CHECK_EQ(model_open(dir, NULL, r.ops, r.k, &r.m, NULL), 0);
    rig_close(&r);
    unlink(config);
    unlink(weights);
    rmdir(dir);
    mem_free(bytes);
    mem_free(config_bytes);
}

/* Digests of the tiny model with one byte of a tensor changed; NULL: of none. */
static void digests_with(const char *tensor, char all[65], char vision[65]) {
    char dir[] = "/tmp/lammd-model-XXXXXX", from[64], config[64], weights[64];
    struct rig r;
    struct st *st;
    size_t len, n;
    CHECK(mkdtemp(dir) != NULL);
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(weights, sizeof weights, "%s/model.safetensors", dir);
    snprintf(from, sizeof from, "tests/golden/tiny/config.json");
    char *text = read_all(from, &n), *bytes = read_all("tests/golden/tiny/model.safetensors", &len);
    write_all(config, text, n);
    CHECK_EQ(st_open("tests/golden/tiny/model.safetensors", &st, NULL), 0);
    if (tensor) {
        const struct st_tensor *t = st_find(st, tensor);
        CHECK(t != NULL);
        bytes[(const char *)t->data - (const char *)st_bytes(st, &n)] ^= 1;
    }
    st_close(st);
    write_all(weights, bytes, len);
    rig_open(&r, "ref", dir);
    snprintf(all, 65, "%s", model_digest(r.m));
    snprintf(vision, 65, "%s", model_vision_digest(r.m));
    rig_close(&r);
    mem_free(text);
    mem_free(bytes);
    remove(config);
    remove(weights);
    remove(dir);
}

/* Features stay as they are when only the decoder changes. */
TEST(model_digest_of_the_tower) {
    static const struct {
        const char *tensor;
        int is_vision;
    } cases[] = {{"model.norm.weight", 0},
                 {"model.layers.0.self_attn.o_proj.weight", 0},
                 {"ln_vision.weight", 1},
                 {"llama_proj.weight", 1},
                 {"visual_encoder.patch_embed.proj.bias", 1}};
    char all[65], vision[65], a[65], v[65];
    digests_with(NULL, all, vision);
    CHECK_EQ(strlen(vision), 64);
    CHECK(strcmp(all, vision) != 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        digests_with(cases[i].tensor, a, v);
        CHECK(strcmp(a, all) != 0);
        CHECK_EQ(strcmp(v, vision) != 0, cases[i].is_vision);
    }
}
