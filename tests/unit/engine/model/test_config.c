/* test_config.c - config.json: what is read, and what is refused with the field's name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model/internal.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

static const char good[] =
    "{\"model_type\":\"pae_lamm\",\"torch_dtype\":\"bfloat16\","
    "\"vision_config\":{\"image_size\":128,\"patch_size\":4,\"hidden_size\":128,"
    "\"num_attention_heads\":4,\"num_hidden_layers\":2,\"intermediate_size\":512,"
    "\"layer_norm_eps\":1e-6,\"image_mean\":[0.5,0.25,0],\"image_std\":[1,0.5,0.25]},"
    "\"connector_config\":{\"concat\":4,\"ln_vision_eps\":1e-5},"
    "\"text_config\":{\"hidden_size\":192,\"intermediate_size\":500,\"num_hidden_layers\":3,"
    "\"num_attention_heads\":6,\"num_key_value_heads\":6,\"vocab_size\":1200,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"max_position_embeddings\":2048,"
    "\"bos_token_id\":1,\"eos_token_id\":2,\"tie_word_embeddings\":false},"
    "\"pixel_grid\":64,\"coord_order\":\"xy\",\"inst_spaces\":2,"
    "\"colour_error_scale\":0.5,\"bos_count\":2}";

/* `good` with the first `from` replaced by `to`. */
static struct buf bend(const char *from, const char *to) {
    struct buf b;
    const char *at = strstr(good, from);
    CHECK(at != NULL);
    buf_init(&b, 4 << 20);
    buf_add(&b, good, (size_t)(at - good));
    buf_str(&b, to);
    buf_str(&b, at + strlen(from));
    CHECK(!b.bad);
    return b;
}

TEST(config_reads_what_is_there) {
    struct model_config c;
    struct err e = {0};
    CHECK_EQ(model_parse_config(good, sizeof good - 1, &c, &e), 0);
    CHECK_EQ(c.vision.image_size, 128);
    CHECK_EQ(c.vision.patch_size, 4);
    CHECK_EQ(c.vision.hidden_size, 128);
    CHECK_EQ(c.vision.heads, 4);
    CHECK_EQ(c.vision.layers, 2);
    CHECK_EQ(c.vision.intermediate_size, 512);
    CHECK(c.vision.layer_norm_eps == 1e-6f && c.ln_vision_eps == 1e-5f);
    CHECK(c.vision.mean[0] == 0.5f && c.vision.mean[1] == 0.25f && c.vision.mean[2] == 0);
    CHECK(c.vision.std[0] == 1 && c.vision.std[1] == 0.5f && c.vision.std[2] == 0.25f);
    CHECK_EQ(c.concat, 4);
    CHECK_EQ(c.text.hidden_size, 192);
    CHECK_EQ(c.text.intermediate_size, 500);
    CHECK_EQ(c.text.layers, 3);
    CHECK_EQ(c.text.heads, 6);
    CHECK_EQ(c.text.vocab_size, 1200);
    CHECK_EQ(c.text.max_positions, 2048);
    CHECK(c.text.rms_eps == 1e-5f && c.text.rope_theta == 10000.0);
    CHECK(c.text.bos_id == 1 && c.text.eos_id == 2 && !c.text.is_tied);
    CHECK_EQ(c.pixel_grid, 64);
    CHECK_EQ(c.coord_order, MODEL_COORD_XY);
    CHECK(c.inst_spaces == 2 && c.bos_count == 2 && c.colour_error_scale == 0.5);
    CHECK(c.n_patches == 1024 && c.n_image_tokens == 256);
    CHECK_EQ(model_slot_bytes(&c, KERN_F32), 3u * 2 * 192 * 4);
    CHECK_EQ(model_slot_bytes(&c, KERN_BF16), 3u * 2 * 192 * 2);
    CHECK_EQ(model_slot_bytes(&c, KERN_INT8), 3u * 2 * (192 + 4 * (unsigned)c.text.heads));
}

TEST(config_defaults_and_strangers) {
    static const char *const gone[][2] = {
        {",\"coord_order\":\"xy\",\"inst_spaces\":2,\"colour_error_scale\":0.5,\"bos_count\":2",
         ""},
        {",\"rope_theta\":10000.0", ""},
        {",\"num_key_value_heads\":6", ""},
        {",\"tie_word_embeddings\":false", ",\"rope_scaling\":null"},
        {"\"pixel_grid\"", "\"extra\":{\"deep\":[1,2,{}]},\"pixel_grid\""},
        {"\"image_std\":[1,", "\"image_std\":[1.0,"},
        {"\"torch_dtype\":\"bfloat16\",", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(gone); i++) {
        struct buf b = bend(gone[i][0], gone[i][1]);
        struct model_config c;
        struct err e = {0};
        CHECK_EQ(model_parse_config(b.p, b.len, &c, &e), 0);
        CHECK(c.text.rope_theta == 10000.0 && !c.text.is_tied);
        if (i == 0)
            CHECK(c.coord_order == MODEL_COORD_YX && c.inst_spaces == 1 && c.bos_count == 1 &&
                  c.colour_error_scale == 1);
        buf_clear(&b);
    }
    struct buf b = bend("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true");
    struct model_config c;
    CHECK_EQ(model_parse_config(b.p, b.len, &c, NULL), 0);
    CHECK(c.text.is_tied);
    buf_clear(&b);
}

struct bad {
    const char *from, *to;
    int code;
    const char *says;
};
static const struct bad bad_fields[] = {
    {"\"model_type\":\"pae_lamm\"", "\"model_type\":\"llama\"", E_UNSUPPORTED, "model_type"},
    {"\"model_type\":\"pae_lamm\",", "", E_FORMAT, "model_type"},
    {"\"pae_lamm\"", "7", E_FORMAT, "model_type"},
    {"\"vision_config\"", "\"vision\"", E_FORMAT, "vision_config: missing"},
    {"\"connector_config\":{\"concat\":4,\"ln_vision_eps\":1e-5}", "\"connector_config\":[4]",
     E_FORMAT, "connector_config: not an object"},
    {"\"text_config\"", "\"text\"", E_FORMAT, "text_config: missing"},
    {"\"image_size\":128,", "", E_FORMAT, "vision_config.image_size: missing"},
    {"\"image_size\":128", "\"image_size\":128.0", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":\"128\"", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":null", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":true", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":[128]", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":0", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":-128", E_FORMAT, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":9223372036854775807", E_TOO_BIG, "image_size"},
    {"\"image_size\":128", "\"image_size\":9223372036854775808", E_FORMAT, "not JSON"},
    {"\"image_size\":128", "\"image_size\":8192", E_TOO_BIG, "vision_config.image_size"},
    {"\"image_size\":128", "\"image_size\":130", E_FORMAT, "vision_config.patch_size"},
    {"\"image_size\":128", "\"image_size\":120", E_FORMAT, "connector_config.concat"},
    {"\"image_size\":128,\"patch_size\":4", "\"image_size\":4096,\"patch_size\":1", E_TOO_BIG,
     "patch_size"},
    {"\"patch_size\":4", "\"patch_size\":0", E_FORMAT, "vision_config.patch_size"},
    {"\"num_attention_heads\":4", "\"num_attention_heads\":3", E_FORMAT,
     "vision_config.num_attention_heads"},
    {"\"num_hidden_layers\":2", "\"num_hidden_layers\":0", E_FORMAT, "vision_config.num_hidden"},
    {"\"num_hidden_layers\":2", "\"num_hidden_layers\":1000", E_TOO_BIG, "num_hidden_layers"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":0", E_FORMAT, "vision_config.layer_norm_eps"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":-1e-6", E_FORMAT, "layer_norm_eps"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":1", E_TOO_BIG, "layer_norm_eps"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":\"1e-6\"", E_FORMAT, "layer_norm_eps"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":1e999", E_FORMAT, "not JSON"},
    {"\"layer_norm_eps\":1e-6", "\"layer_norm_eps\":NaN", E_FORMAT, "not JSON"},
    {"[0.5,0.25,0]", "[0.5,0.25]", E_FORMAT, "vision_config.image_mean"},
    {"[0.5,0.25,0]", "[0.5,0.25,0,0]", E_FORMAT, "vision_config.image_mean"},
    {"[0.5,0.25,0]", "[0.5,0.25,\"0\"]", E_FORMAT, "vision_config.image_mean"},
    {"[0.5,0.25,0]", "[0.5,0.25,1e9]", E_TOO_BIG, "vision_config.image_mean"},
    {"[0.5,0.25,0]", "0.5", E_FORMAT, "vision_config.image_mean"},
    {",\"image_std\":[1,0.5,0.25]", "", E_FORMAT, "vision_config.image_std"},
    {"[1,0.5,0.25]", "[1,0,0.25]", E_FORMAT, "vision_config.image_std"},
    {"[1,0.5,0.25]", "[1,-1,0.25]", E_FORMAT, "vision_config.image_std"},
    {"\"concat\":4", "\"concat\":5", E_FORMAT, "connector_config.concat"},
    {"\"concat\":4", "\"concat\":0", E_FORMAT, "connector_config.concat"},
    {"\"concat\":4", "\"concat\":128", E_TOO_BIG, "connector_config.concat"},
    {"\"ln_vision_eps\":1e-5", "\"eps\":1e-5", E_FORMAT, "connector_config.ln_vision_eps: missing"},
    {"\"hidden_size\":192", "\"hidden_size\":190", E_FORMAT, "text_config.num_attention_heads"},
    {"\"hidden_size\":192", "\"hidden_size\":90", E_FORMAT, "odd size"},
    {"\"hidden_size\":192", "\"hidden_size\":1548", E_UNSUPPORTED,
     "text_config.num_attention_heads: heads of more than 256"},
    {"\"hidden_size\":192", "\"hidden_size\":1000000", E_TOO_BIG, "text_config.hidden_size"},
    {"\"intermediate_size\":500", "\"intermediate_size\":-1", E_FORMAT, "text_config.intermediate"},
    {"\"num_key_value_heads\":6", "\"num_key_value_heads\":2", E_UNSUPPORTED,
     "num_key_value_heads"},
    {"\"num_key_value_heads\":6", "\"num_key_value_heads\":\"6\"", E_FORMAT, "num_key_value_heads"},
    {"\"vocab_size\":1200", "\"vocab_size\":2", E_FORMAT, "text_config.vocab_size"},
    {"\"vocab_size\":1200", "\"vocab_size\":100000000", E_TOO_BIG, "text_config.vocab_size"},
    {"\"bos_token_id\":1", "\"bos_token_id\":1200", E_FORMAT, "text_config.bos_token_id"},
    {"\"bos_token_id\":1", "\"bos_token_id\":-1", E_FORMAT, "text_config.bos_token_id"},
    {"\"eos_token_id\":2", "\"eos_token_id\":5000", E_FORMAT, "text_config.eos_token_id"},
    {"\"eos_token_id\":2", "\"eos_token_id\":[2]", E_FORMAT, "text_config.eos_token_id"},
    {"\"rope_theta\":10000.0", "\"rope_theta\":0", E_FORMAT, "text_config.rope_theta"},
    {"\"rope_theta\":10000.0", "\"rope_theta\":null", E_FORMAT, "text_config.rope_theta"},
    {"\"rope_theta\":10000.0", "\"rope_scaling\":{\"factor\":2}", E_UNSUPPORTED, "rope_scaling"},
    {"\"max_position_embeddings\":2048", "\"max_position_embeddings\":256", E_FORMAT,
     "text_config.max_position_embeddings"},
    {"\"tie_word_embeddings\":false", "\"tie_word_embeddings\":0", E_FORMAT, "tie_word_embeddings"},
    {"\"pixel_grid\":64,", "", E_FORMAT, "pixel_grid: missing"},
    {"\"pixel_grid\":64", "\"pixel_grid\":0", E_FORMAT, "pixel_grid"},
    {"\"colour_error_scale\":0.5", "\"colour_error_scale\":0", E_FORMAT, "colour_error_scale"},
    {"\"colour_error_scale\":0.5", "\"colour_error_scale\":1e9", E_TOO_BIG, "colour_error_scale"},
    {"\"pixel_grid\":64", "\"pixel_grid\":100000", E_TOO_BIG, "pixel_grid"},
    {"\"coord_order\":\"xy\"", "\"coord_order\":\"YX\"", E_FORMAT, "coord_order"},
    {"\"coord_order\":\"xy\"", "\"coord_order\":1", E_FORMAT, "coord_order"},
    {"\"inst_spaces\":2", "\"inst_spaces\":3", E_TOO_BIG, "inst_spaces"},
    {"\"inst_spaces\":2", "\"inst_spaces\":0", E_FORMAT, "inst_spaces"},
    {"\"bos_count\":2", "\"bos_count\":2.5", E_FORMAT, "bos_count"},
    {"\"bos_count\":2", "\"bos_count\":2,\"bos_count\":2", E_FORMAT, "not JSON"},
    {"\"bos_count\":2}", "\"bos_count\":2", E_FORMAT, "not JSON"},
    {"\"bos_count\":2}", "\"bos_count\":2} x", E_FORMAT, "not JSON"},
    {"\"bos_count\":2}", "\"x\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}", E_TOO_BIG, "nests deeper"},
    {"{\"model_type\"", "[{\"model_type\"", E_FORMAT, "not JSON"},
};

TEST(config_refuses_bad_fields) {
    for (size_t i = 0; i < ARRAY_LEN(bad_fields); i++) {
        const struct bad *c = &bad_fields[i];
        struct buf b = bend(c->from, c->to);
        struct model_config out, before;
        memset(&out, 0x5a, sizeof out);
        before = out;
        struct err e = {0};
        int rc = model_parse_config(b.p, b.len, &out, &e);
        if (rc != c->code) printf("case %zu, %s: %s\n", i, c->to, e.text);
        CHECK_EQ(rc, c->code);
        CHECK_HAS(e.text, c->says);
        CHECK(!memcmp(&out, &before, sizeof out)); /* untouched on failure */
        buf_clear(&b);
    }
}

TEST(config_refuses_other_json) {
    static const char *const texts[] = {
        "", "null", "[]", "7", "\"pae_lamm\"", "{}", "\xff", "{\"a\":\"\xff\"}"};
    struct model_config c;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        CHECK_EQ(model_parse_config(texts[i], strlen(texts[i]), &c, NULL), E_FORMAT);
    struct buf b;
    buf_init(&b, 4 << 20);
    while (b.len <= 1 << 20)
        buf_str(&b, "        ");
    CHECK_EQ(model_parse_config(b.p, b.len, &c, NULL), E_TOO_BIG);
    buf_clear(&b);
    buf_str(&b, "{\"a\":[");
    for (int i = 0; i < 20000; i++)
        buf_str(&b, "0,");
    buf_str(&b, "0]}");
    CHECK_EQ(model_parse_config(b.p, b.len, &c, NULL), E_TOO_BIG);
    buf_clear(&b);
}

TEST(config_refuses_every_truncation) {
    struct model_config c;
    for (size_t n = 0; n < sizeof good - 1; n++) {
        char *copy = mem_must(n + 1);
        memcpy(copy, good, n);
        CHECK(model_parse_config(copy, n, &c, NULL) != 0);
        mem_free(copy);
    }
}

TEST(config_files) {
    char dir[] = "/tmp/lammd-config-XXXXXX", path[64];
    struct model_config c;
    struct err e = {0};
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/config.json", dir);
    CHECK_EQ(model_read_config(dir, &c, &e), E_NOT_FOUND);
    CHECK_HAS(e.text, path);
    CHECK_EQ(model_read_config(dir, &c, NULL), E_NOT_FOUND);
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(model_read_config(dir, &c, NULL), E_FORMAT);
    CHECK_EQ(rmdir(path), 0);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    fputs(good, f);
    fclose(f);
    CHECK_EQ(model_read_config(dir, &c, NULL), 0);
    CHECK_EQ(c.n_image_tokens, 256);
    CHECK_EQ(truncate(path, 100), 0);
    e = (struct err){0};
    CHECK_EQ(model_read_config(dir, &c, &e), E_FORMAT);
    CHECK_HAS(e.text, path);
    CHECK_EQ(truncate(path, 2 << 20), 0);
    CHECK_EQ(model_read_config(dir, &c, NULL), E_TOO_BIG);
    unlink(path);
    rmdir(dir);
    char longer[5000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK_EQ(model_read_config(longer, &c, NULL), E_INVALID);
}
