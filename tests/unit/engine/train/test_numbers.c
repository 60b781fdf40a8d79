/* test_numbers.c - which tokens are numbers, of three tokenizers. */
#include "tests/unit/engine/train/train_rig.h"

struct found {
    struct sptok *t;
    struct train_numbers n;
};

static struct found find(const char *path, int vocab) {
    struct found f = {0};
    CHECK_EQ(sptok_open(path, &f.t, NULL), 0);
    CHECK_EQ(numbers_find(&f.n, f.t, vocab, NULL), 0);
    return f;
}

static void drop(struct found *f) {
    numbers_clear(&f->n);
    sptok_close(f->t);
}

/* Every token of an answer that is a number, with its end. */
static void spells(const struct found *f, const char *text, const int *values,
                   const char *const *ends, int n) {
    int32_t ids[64];
    size_t count;
    int seen = 0;
    CHECK_EQ(sptok_encode(f->t, text, strlen(text), SPTOK_PREFIX, ids, 64, &count, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        if (f->n.value[ids[i]] < 0) continue;
        CHECK(seen < n);
        CHECK_EQ(f->n.value[ids[i]], values[seen]);
        CHECK_STR(f->n.families[f->n.family[ids[i]]].end, ends[seen]);
        seen++;
    }
    CHECK_EQ(seen, n);
}

TEST(numbers_of_the_default_model_have_their_ends) {
    struct found f = find("models/lamm-mini/tokenizer.model", 3474);
    static const char *const colour[] = {",", ",", ""}, *const box[] = {"><", "><", "><", ">}"};
    spells(&f, "[31,6,108]", (int[]){31, 6, 108}, colour, 3);
    spells(&f, "{<12><3><100><99>}", (int[]){12, 3, 100, 99}, box, 4);
    CHECK_STR(f.n.families[f.n.box].end, "><");
    CHECK_STR(f.n.families[f.n.box_end].end, ">}");
    CHECK(f.n.families[f.n.box].n > 100 && f.n.families[f.n.box_end].n > 100);
    drop(&f);
}

TEST(numbers_may_be_tokens_or_digits) {
    struct found f = find(RIG_TINY "/tokenizer.model", 642);
    static const char *const bare[] = {"", "", "", "", "", ""};
    spells(&f, "[31,6,108]", (int[]){31, 6, 108}, bare, 3);
    CHECK(f.n.box >= 0 && f.n.box == f.n.box_end);
    drop(&f);
    f = find(RIG_DIGITS "/tokenizer.model", 379);
    spells(&f, "[31,6,108]", (int[]){3, 1, 6, 1, 0, 8}, bare, 6);
    CHECK_EQ(f.n.box, -1);
    drop(&f);
}

TEST(numbers_want_a_vocabulary_that_holds_the_pieces) {
    struct sptok *t;
    struct train_numbers n = {0};
    struct err e = {0};
    CHECK_EQ(sptok_open(RIG_TINY "/tokenizer.model", &t, NULL), 0);
    CHECK_EQ(numbers_find(&n, t, 641, &e), E_FORMAT);
    CHECK_HAS(e.text, "642 pieces, the model 641");
    numbers_clear(&n);
    sptok_close(t);
}
