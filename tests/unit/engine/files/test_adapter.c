/* test_adapter.c - adapter folders, opened strictly. */
#include "tests/unit/engine/files/peft_rig.h"

#define HEX   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CARD(more)                                                               \
    "{\"format\":1,\"program\":\"0.1.0\",\"base\":\"" HEX "\",\"vision\":\"" HEX \
    "\",\"text\":\"" HEX "\",\"seed\":\"18446744073709551615\",\"steps\":\"7\"" more "}"

TEST(adapter_card_is_read) {
    struct adapter_card c;
    struct err e = {0};
    static const char text[] = CARD(",\"data\":\"" OTHER "\",\"later\":[1]");
    CHECK_EQ(adapter_parse_card(text, sizeof text - 1, &c, &e), 0);
    CHECK_STR(c.base, HEX);
    CHECK_STR(c.data, OTHER);
    CHECK_STR(c.recipe, "");
    CHECK_STR(c.program, "0.1.0");
    CHECK(c.seed == UINT64_MAX && c.steps == 7);
    char *again;
    size_t len;
    struct adapter_card back;
    CHECK_EQ(adapter_print_card(&c, &again, &len, &e), 0);
    CHECK_EQ(adapter_parse_card(again, len, &back, &e), 0);
    CHECK_STR(back.data, OTHER);
    CHECK_STR(back.recipe, "");
    CHECK(back.seed == UINT64_MAX && back.steps == 7);
    mem_free(again);
}

TEST(adapter_cards_that_are_broken) {
    static const struct {
        const char *text;
        int code;
        const char *says;
    } bad[] = {
        {"", E_FORMAT, "not JSON"},
        {"[]", E_FORMAT, "not a JSON object"},
        {"{}", E_FORMAT, "format"},
        {"{\"format\":2}", E_UNSUPPORTED, "format: 2"},
        {"{\"format\":1}", E_FORMAT, "base"},
        {"{\"format\":1,\"base\":\"abc\"}", E_FORMAT, "base"},
        {"{\"format\":1,\"base\":\"X" HEX "\"}", E_FORMAT, "base"},
        {CARD(",\"data\":7"), E_FORMAT, "data"},
        {CARD(",\"recipe\":\"\""), E_FORMAT, "recipe"},
        {CARD(",\"a\":[[[[[[[[1]]]]]]]]"), E_TOO_BIG, "nests"},
        {"{\"format\":1,\"base\":\"" HEX "\",\"vision\":\"" HEX "\",\"text\":\"" HEX
         "\",\"seed\":7}",
         E_FORMAT, "seed"},
        {"{\"format\":1,\"base\":\"" HEX "\",\"vision\":\"" HEX "\",\"text\":\"" HEX
         "\",\"seed\":\"18446744073709551616\"}",
         E_FORMAT, "seed"},
        {"{\"format\":1,\"base\":\"" HEX "\",\"vision\":\"" HEX "\",\"text\":\"" HEX
         "\",\"seed\":\"1\",\"steps\":\"-1\"}",
         E_FORMAT, "steps"},
        {"{\"format\":1,\"base\":\"" HEX "\",\"vision\":\"" HEX "\",\"text\":\"" HEX
         "\",\"seed\":\"1\",\"steps\":\"1\"}",
         E_FORMAT, "program"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct adapter_card c = {.steps = 77};
        struct err e = {0};
        int rc = adapter_parse_card(bad[i].text, strlen(bad[i].text), &c, &e);
        if (rc != bad[i].code || !strstr(e.text, bad[i].says))
            test_failed(__FILE__, __LINE__, "%s: %s", bad[i].text, e.text);
        CHECK_EQ(c.steps, 77u);
    }
}

/* ---- folders ---- */

static void add_lora(struct rig_folder *f) {
    rig_write_text(f, PEFT_CONFIG, RIG_CONFIG(""));
    rig_pairs(f, 1u << PEFT_Q | 1u << PEFT_V);
    rig_write_tensors(f, PEFT_MODEL);
}

static void add_overlay(struct rig_folder *f, const char *name) {
    rig_tensor(f, name, 3, 4);
    rig_write_tensors(f, ADAPTER_OVERLAY);
}

/* The card that is right for what lies there. */
static void add_card(struct rig_folder *f, const char *base) {
    struct adapter_card c = {.program = "1"};
    struct peft *p = NULL;
    struct st *st = NULL;
    char *text;
    size_t len;
    if (access(rig_file(f, PEFT_MODEL), F_OK) == 0)
        CHECK_EQ(peft_open(f->path, &rig_sizes, &p, NULL), 0);
    if (access(rig_file(f, ADAPTER_OVERLAY), F_OK) == 0)
        CHECK_EQ(st_open(rig_file(f, ADAPTER_OVERLAY), &st, NULL), 0);
    snprintf(c.base, sizeof c.base, "%s", base);
    CHECK_EQ(adapter_vision_digest(base, st, c.vision, NULL), 0);
    CHECK_EQ(adapter_text_digest(base, p, c.text, NULL), 0);
    CHECK_EQ(strcmp(c.vision, base) == 0, st == NULL); /* alone it is the base's */
    CHECK_EQ(strcmp(c.text, base) == 0, p == NULL);
    CHECK_EQ(adapter_print_card(&c, &text, &len, NULL), 0);
    CHECK_EQ(newfile_write(rig_file(f, ADAPTER_CARD), text, len, NULL), 0);
    mem_free(text);
    peft_close(p);
    st_close(st);
}

static void check_open(struct rig_folder *f, int code, const char *says) {
    struct adapter *a = (struct adapter *)(void *)f;
    struct err e = {0};
    int rc = adapter_open(f->path, &rig_sizes, HEX, &a, &e);
    if (rc != code || !strstr(e.text, says))
        test_failed(__FILE__, __LINE__, "%d, not %d: %s", rc, code, e.text);
    CHECK(rc == 0 || a == NULL);
    adapter_close(a);
    rig_folder_drop(f);
}

TEST(adapter_of_peft_alone) {
    struct rig_folder *f = rig_folder_new();
    add_lora(f);
    struct adapter *a;
    CHECK_EQ(adapter_open(f->path, &rig_sizes, HEX, &a, NULL), 0);
    CHECK(a->peft && !a->overlay && !a->has_card);
    adapter_close(a);
    rig_folder_drop(f);
    adapter_close(NULL);
}

TEST(adapter_with_all_files) {
    struct rig_folder *f = rig_folder_new();
    add_lora(f);
    add_overlay(f, "visual_encoder.blocks.0.attn.proj.weight");
    add_card(f, HEX);
    struct adapter *a;
    CHECK_EQ(adapter_open(f->path, &rig_sizes, HEX, &a, NULL), 0);
    CHECK(a->peft && a->overlay && a->has_card);
    adapter_close(a);
    rig_folder_drop(f);
}

TEST(adapter_of_an_overlay_alone) {
    struct rig_folder *f = rig_folder_new();
    add_overlay(f, "llama_proj.weight");
    add_card(f, HEX);
    check_open(f, 0, "");
}

TEST(adapter_digests_are_of_content) {
    struct rig_folder *f = rig_folder_new();
    struct st *st[2];
    char a[ADAPTER_DIGEST], b[ADAPTER_DIGEST];
    for (int i = 0; i < 2; i++) {
        rig_tensor(f, i ? "ln_vision.b" : "ln_vision.a", 1, 1);
        rig_write_tensors(f, ADAPTER_OVERLAY);
        CHECK_EQ(st_open(rig_file(f, ADAPTER_OVERLAY), &st[i], NULL), 0);
    }
    CHECK_EQ(adapter_vision_digest(HEX, st[0], a, NULL), 0);
    CHECK_EQ(adapter_vision_digest(HEX, st[0], b, NULL), 0);
    CHECK_STR(a, b);
    CHECK_EQ(adapter_vision_digest(HEX, st[1], b, NULL), 0);
    CHECK(strcmp(a, b) != 0);
    CHECK_EQ(adapter_vision_digest(OTHER, st[0], b, NULL), 0);
    CHECK(strcmp(a, b) != 0);
    st_close(st[0]);
    st_close(st[1]);
    rig_folder_drop(f);
}

TEST(adapter_folders_that_are_wrong) {
    struct rig_folder *f = rig_folder_new();
    check_open(f, E_NOT_FOUND, "neither");
    f = rig_folder_new();
    add_card(f, HEX); /* a card alone */
    check_open(f, E_NOT_FOUND, "neither");
    f = rig_folder_new();
    add_overlay(f, "llama_proj.weight");
    check_open(f, E_FORMAT, "nobody knows what it fits");
    f = rig_folder_new();
    add_overlay(f, "model.norm.weight");
    add_card(f, HEX);
    check_open(f, E_FORMAT, "not of tower");
    f = rig_folder_new();
    rig_write_tensors(f, ADAPTER_OVERLAY);
    add_card(f, HEX);
    check_open(f, E_FORMAT, "no tensors");
    f = rig_folder_new();
    add_lora(f);
    add_card(f, OTHER);
    check_open(f, E_FORMAT, "for the base model 112345");
    f = rig_folder_new();
    rig_write_text(f, PEFT_CONFIG, RIG_CONFIG("")); /* its tensors were lost */
    check_open(f, E_FORMAT, PEFT_MODEL);
    f = rig_folder_new();
    add_lora(f);
    rig_write_text(f, ADAPTER_CARD, "{");
    check_open(f, E_FORMAT, ADAPTER_CARD);
}

TEST(adapter_that_was_changed_under_its_card) {
    struct rig_folder *f = rig_folder_new();
    add_lora(f);
    add_card(f, HEX);
    add_overlay(f, "llama_proj.weight");
    check_open(f, E_FORMAT, ADAPTER_OVERLAY " isn't what");
    f = rig_folder_new();
    add_lora(f);
    add_overlay(f, "llama_proj.weight");
    add_card(f, HEX);
    unlink(rig_file(f, ADAPTER_OVERLAY)); /* lost */
    check_open(f, E_FORMAT, ADAPTER_OVERLAY " isn't what");
    f = rig_folder_new();
    add_lora(f);
    add_card(f, HEX);
    rig_pair(f, 0, PEFT_V);
    rig_pair(f, 0, PEFT_Q);
    rig_pair(f, 1, PEFT_Q);
    rig_pair(f, 1, PEFT_V);
    rig_write_tensors(f, PEFT_MODEL); /* other numbers */
    check_open(f, E_FORMAT, PEFT_MODEL " isn't what");
    f = rig_folder_new();
    add_lora(f);
    add_card(f, HEX); /* the scale is content, too */
    rig_write_text(f, PEFT_CONFIG, RIG_CONFIG(",\"use_rslora\":true"));
    check_open(f, E_FORMAT, PEFT_MODEL " isn't what");
}
