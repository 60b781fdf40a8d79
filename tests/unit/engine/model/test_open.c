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
