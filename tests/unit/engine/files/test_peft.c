/* test_peft.c - what peft saves is read, and nothing that would compute something else. */
#include "tests/unit/engine/files/peft_rig.h"

/* ---- the config ---- */

static int try_config(const char *text, struct peft_config *c, struct err *e) {
    *e = (struct err){0};
    return peft_parse_config(text, strlen(text), c, e);
}

TEST(peft_config_as_peft_writes_it) {
    /* what peft 0.21.2 saved, all of its fields */
    static const char text[] =
        "{\"alora_invocation_tokens\":null,\"alpha_pattern\":{},\"arrow_config\":null,"
        "\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\","
        "\"corda_config\":null,\"ensure_weight_tying\":false,\"eva_config\":null,"
        "\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true,"
        "\"init_lora_weights\":true,\"kasa_config\":null,\"layer_replication\":null,"
        "\"layers_pattern\":null,\"layers_to_transform\":null,\"loftq_config\":{},"
        "\"lora_alpha\":8,\"lora_bias\":false,\"lora_dropout\":0.05,\"lora_ga_config\":null,"
        "\"megatron_config\":null,\"megatron_core\":\"megatron.core\",\"modules_to_save\":null,"
        "\"monteclora_config\":null,\"peft_type\":\"LORA\",\"peft_version\":\"0.21.2\","
        "\"qalora_group_size\":16,\"r\":4,\"rank_pattern\":{},\"revision\":null,"
        "\"target_modules\":[\"q_proj\",\"v_proj\"],\"target_parameters\":null,"
        "\"task_type\":\"CAUSAL_LM\",\"trainable_token_indices\":null,\"use_bdlora\":null,"
        "\"use_dora\":false,\"use_qalora\":false,\"use_rslora\":false,\"velora_config\":null}";
    struct peft_config c;
    struct err e;
    CHECK_EQ(try_config(text, &c, &e), 0);
    CHECK_EQ(c.r, 4);
    CHECK_NEAR(c.alpha, 8, 0);
    CHECK_NEAR(c.dropout, 0.05, 0);
    CHECK_NEAR(peft_scale(&c), 2, 0);
    CHECK_EQ(c.places, 1u << PEFT_Q | 1u << PEFT_V);
    CHECK_STR(c.base, "");
}

TEST(peft_scale_of_rslora) {
    struct peft_config c;
    struct err e;
    CHECK_EQ(
        try_config(RIG_CONFIG(",\"use_rslora\":true,\"base_model_name_or_path\":\"x/y\""), &c, &e),
        0);
    CHECK_NEAR(peft_scale(&c), 4 / sqrt(2.0), 1e-15);
    CHECK_STR(c.base, "x/y");
}

TEST(peft_patterns_are_told_by_the_tensors) {
    static const char *const patterns[] = {
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":\".*attn.*\"}",
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":\"all-linear\"}",
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":null}",
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,"
        "\"target_modules\":[\"model.layers.0.self_attn.q_proj\",\"v_proj\"]}",
        RIG_CONFIG(",\"layers_to_transform\":[1]"),
        RIG_CONFIG(",\"exclude_modules\":\"x\""),
    };
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct peft_config c;
        struct err e;
        CHECK_EQ(try_config(patterns[i], &c, &e), 0);
        CHECK_EQ(c.places, 0u);
    }
}

struct bad {
    const char *text;
    int code;
    const char *says;
};
static const struct bad bad_configs[] = {
    {"", E_FORMAT, "line 1"},
    {"[]", E_FORMAT, "not a JSON object"},
    {"{\"r\":1,\"r\":1}", E_FORMAT, "not JSON"},
    {"{}", E_UNSUPPORTED, "peft_type"},
    {"{\"peft_type\":\"IA3\"}", E_UNSUPPORTED, "peft_type: \"IA3\""},
    {"{\"peft_type\":1}", E_FORMAT, "peft_type: not a text"},
    {"{\"peft_type\":\"LORA\"}", E_FORMAT, "r: missing"},
    {"{\"peft_type\":\"LORA\",\"r\":2.0}", E_FORMAT, "r: not a whole number"},
    {"{\"peft_type\":\"LORA\",\"r\":0}", E_FORMAT, "r: 0"},
    {"{\"peft_type\":\"LORA\",\"r\":513}", E_TOO_BIG, "r: 513"},
    {"{\"peft_type\":\"LORA\",\"r\":2}", E_FORMAT, "lora_alpha: missing"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":\"4\"}", E_FORMAT, "lora_alpha"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":-4}", E_FORMAT, "lora_alpha: -4"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[]}", E_FORMAT, "empty"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":4}", E_FORMAT, "neither"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[1]}", E_FORMAT, "texts"},
    {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[\"lm_head\"]}",
     E_UNSUPPORTED, "\"lm_head\""},
    {RIG_CONFIG(",\"lora_dropout\":1.5"), E_FORMAT, "lora_dropout"},
    {RIG_CONFIG(",\"use_rslora\":1"), E_FORMAT, "use_rslora"},
    {RIG_CONFIG(",\"bias\":\"all\""), E_UNSUPPORTED, "bias: \"all\""},
    {RIG_CONFIG(",\"bias\":\"lora_only\""), E_UNSUPPORTED, "bias"},
    {RIG_CONFIG(",\"use_dora\":true"), E_UNSUPPORTED, "use_dora"},
    {RIG_CONFIG(",\"rank_pattern\":{\"q_proj\":8}"), E_UNSUPPORTED, "rank_pattern"},
    {RIG_CONFIG(",\"alpha_pattern\":{\"q_proj\":8}"), E_UNSUPPORTED, "alpha_pattern"},
    {RIG_CONFIG(",\"fan_in_fan_out\":true"), E_UNSUPPORTED, "fan_in_fan_out"},
    {RIG_CONFIG(",\"layer_replication\":[[0,1],[0,1]]"), E_UNSUPPORTED, "layer_replication"},
    {RIG_CONFIG(",\"modules_to_save\":[\"lm_head\"]"), E_UNSUPPORTED, "modules_to_save"},
    {RIG_CONFIG(",\"lora_bias\":true"), E_UNSUPPORTED, "lora_bias"},
    {RIG_CONFIG(",\"trainable_token_indices\":[1]"), E_UNSUPPORTED, "trainable_token_indices"},
    {RIG_CONFIG(",\"alora_invocation_tokens\":[1]"), E_UNSUPPORTED, "alora_invocation_tokens"},
    {RIG_CONFIG(",\"init_lora_weights\":\"pissa\""), E_UNSUPPORTED, "init_lora_weights: \"pissa\""},
    {RIG_CONFIG(",\"init_lora_weights\":7"), E_UNSUPPORTED, "init_lora_weights"},
    {RIG_CONFIG(",\"a_field_of_next_year\":0.5"), E_UNSUPPORTED, "a_field_of_next_year"},
    {RIG_CONFIG(",\"new\\nline\":1"), E_UNSUPPORTED, "new?line"},
    {RIG_CONFIG(",\"a_field_of_next_year\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"), E_TOO_BIG,
     "nests"},
};

TEST(peft_configs_that_compute_something_else_are_refused) {
    for (size_t i = 0; i < ARRAY_LEN(bad_configs); i++) {
        const struct bad *b = &bad_configs[i];
        struct peft_config c = {.r = 77};
        struct err e;
        if (try_config(b->text, &c, &e) != b->code || !strstr(e.text, b->says))
            test_failed(__FILE__, __LINE__, "%s: %s", b->text, e.text);
        CHECK_EQ(c.r, 77); /* untouched */
    }
}

TEST(peft_config_is_printed_and_read) {
    struct peft_config c = {.r = 64, .alpha = 16, .dropout = 0.05, .is_rslora = 1, .places = 127},
                       back;
    snprintf(c.base, sizeof c.base, "pae-\"lamm\"");
    for (int i = 0; i < 2; i++, c.alpha = 12.5) {
        char *text;
        size_t len;
        CHECK_EQ(peft_print_config(&c, &text, &len, NULL), 0);
        CHECK_EQ(peft_parse_config(text, len, &back, NULL), 0);
        CHECK(back.r == 64 && back.is_rslora && back.places == 127);
        CHECK_NEAR(back.alpha, c.alpha, 0);
        CHECK_NEAR(back.dropout, 0.05, 1e-9);
        CHECK_STR(back.base, c.base);
        mem_free(text);
    }
    char *text;
    size_t len;
    struct err e = {0};
    snprintf(c.base, sizeof c.base, "\xff");
    CHECK_EQ(peft_print_config(&c, &text, &len, &e), E_INVALID);
}

/* ---- the tensors ---- */

static void check_open(struct rig_folder *f, int code, const char *says) {
    struct peft *p = (struct peft *)(void *)f; /* anything but NULL */
    struct err e = {0};
    int rc = peft_open(f->path, &rig_sizes, &p, &e);
    if (rc != code || !strstr(e.text, says))
        test_failed(__FILE__, __LINE__, "%d, not %d: %s", rc, code, e.text);
    CHECK(rc == 0 || (p == NULL && !strchr(e.text, '\n')));
    peft_close(p);
    rig_folder_drop(f);
}

static struct rig_folder *folder_with(const char *config) {
    struct rig_folder *f = rig_folder_new();
    rig_write_text(f, PEFT_CONFIG, config);
    return f;
}

TEST(peft_opens_what_is_whole) {
    struct rig_folder *f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
    rig_write_tensors(f, PEFT_MODEL);
    struct peft *p;
    CHECK_EQ(peft_open(f->path, &rig_sizes, &p, NULL), 0);
    CHECK_EQ(p->n_pairs, 4);
    for (int i = 0; i < RIG_LAYERS * PEFT_PLACES; i++) {
        int place = i % PEFT_PLACES, is_there = place == PEFT_Q || place == PEFT_V;
        CHECK_EQ(p->pairs[i].a != NULL, is_there);
        CHECK_EQ(p->pairs[i].b != NULL, is_there);
    }
    CHECK_STR(p->pairs[PEFT_PLACES + PEFT_V].b->name,
              "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
    peft_close(p);
    rig_folder_drop(f);
    peft_close(NULL);
}

TEST(peft_opens_all_places) {
    struct rig_folder *f = folder_with(
        "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":\"all-linear\"}");
    rig_pairs(f, 127);
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, 0, "");
}

TEST(peft_opens_what_a_pattern_left) {
    struct rig_folder *f = folder_with(RIG_CONFIG(",\"layers_to_transform\":[1]"));
    rig_pair(f, 1, PEFT_Q);
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, 0, "");
}

TEST(peft_refuses_a_tensor_too_many) {
    static const char *const names[] = {
        "x",
        "base_model.model.lm_head.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.-1.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.9999999999.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\n",
        "base_model.model.model.layers.0.cross_attn.q_proj.lora_A.weight",
        "base_model.model.llama.layers.0.self_attn.q_proj.lora_A.weight"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct rig_folder *f = folder_with(RIG_CONFIG(""));
        rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
        rig_tensor(f, names[i], RIG_R, RIG_WIDTH);
        rig_write_tensors(f, PEFT_MODEL);
        check_open(f, E_FORMAT, "stands beside no matrix");
    }
    struct rig_folder *f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_K | 1u << PEFT_V);
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "not among target_modules");
    f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
    rig_pair(f, RIG_LAYERS, PEFT_Q);
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "the model has 2 layers");
}

TEST(peft_refuses_a_tensor_too_few) {
    struct rig_folder *f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
    f->n--; /* the last B */
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "model.layers.1.self_attn.v_proj.lora_B.weight: missing");
    f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q); /* no v at all */
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "model.layers.0.self_attn.v_proj.lora_A.weight: missing");
    f = folder_with(RIG_CONFIG(",\"layers_to_transform\":[1]"));
    rig_one(f, 1, PEFT_Q, 1);
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "q_proj.lora_A.weight: missing");
    f = folder_with(RIG_CONFIG(",\"layers_to_transform\":[1]")); /* zero matches */
    rig_write_tensors(f, PEFT_MODEL);
    check_open(f, E_FORMAT, "nothing matches");
}

TEST(peft_refuses_other_shapes_and_types) {
    for (int i = 0; i < 4; i++) {
        struct rig_folder *f = folder_with(RIG_CONFIG(""));
        rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
        struct st_tensor *t = &f->tensors[i % 2];
        if (i < 2)
            t->shape[i]++;
        else
            t->ndim = 1;
        rig_write_tensors(f, PEFT_MODEL);
        check_open(f, E_FORMAT, "its shape is not [");
    }
}

TEST(peft_refuses_half_a_folder) {
    struct rig_folder *f = rig_folder_new();
    check_open(f, E_NOT_FOUND, PEFT_CONFIG);
    f = folder_with(RIG_CONFIG(""));
    check_open(f, E_FORMAT, PEFT_MODEL);
    f = folder_with(RIG_CONFIG(""));
    rig_write_text(f, PEFT_MODEL, "not a file of tensors");
    check_open(f, E_TOO_BIG, PEFT_MODEL);
    f = folder_with(RIG_CONFIG(",\"use_dora\":true"));
    check_open(f, E_UNSUPPORTED, PEFT_CONFIG ": use_dora");
}

TEST(peft_without_memory) {
    struct rig_folder *f = folder_with(RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
    rig_write_tensors(f, PEFT_MODEL);
    int n = 0, rc = E_NOMEM;
    for (; rc; n++) {
        struct peft *p;
        struct err e = {0};
        mem_fail_at((uint64_t)n + 1);
        rc = peft_open(f->path, &rig_sizes, &p, &e);
        CHECK(rc == 0 || rc == E_NOMEM);
        peft_close(p);
    }
    CHECK(n > 4);
    mem_fail_at(0);
    rig_folder_drop(f);
}
