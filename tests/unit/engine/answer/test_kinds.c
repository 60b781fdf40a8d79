/* test_kinds.c - grammars side by side: the same choices in one head's columns. */
#include "engine/answer/kinds.h"
#include "tests/unit/engine/text_rig.h"

static void check_kinds(const char *path, int padding) {
    struct sptok *t = text_open(path);
    struct kinds *f;
    struct err e = {0};
    int vocab = sptok_size(t) + padding;
    CHECK_EQ(kinds_new(t, vocab, &f, &e), 0);
    for (int i = 1; i < f->n_head; i++)
        CHECK(f->head_ids[i - 1] < f->head_ids[i]);
    int sets = 0;
    for (int k = 0; k < KIND_NUMBERS; k++) {
        const struct grammar *g = f->g[k];
        CHECK_EQ(f->set0[k], sets);
        sets += g->n_sets;
        for (int s = 0; s < g->n_sets; s++) {
            const int32_t *off = &f->col_off[f->set0[k] + s];
            int32_t n = g->col_off[s + 1] - g->col_off[s];
            CHECK_EQ(off[1] - off[0], n);
            CHECK(n <= f->max_number_set);
            for (int32_t i = 0; i < n; i++)
                CHECK_EQ(f->head_ids[f->cols[off[0] + i]], g->head_ids[g->cols[g->col_off[s] + i]]);
        }
    }
    CHECK_EQ(f->n_number_sets, sets);
    CHECK_EQ(f->text_set, sets);
    CHECK_EQ(f->n_text, vocab); /* a row of the head each; padding is in no set */
    CHECK_EQ(f->col_off[sets + 1] - f->col_off[sets], sptok_size(t));
    CHECK_EQ(f->cols[f->col_off[sets]], 0);
    CHECK_EQ(f->text_ids[vocab - 1], vocab - 1);
    CHECK_EQ(f->eos, sptok_eos(t));
    kinds_free(f);
    sptok_close(t);
}

TEST(kinds_of_whole_numbers) { check_kinds(MINI_TOKENIZER, 5); }
TEST(kinds_of_digits) { check_kinds(DIGITS_TOKENIZER, 0); }

TEST(kinds_need_every_number) {
    struct buf b;
    proto_special(&b, 0); /* has colours, and no braces for a box */
    proto_piece(&b, "\xe2\x96\x81", -100, PIECE_NORMAL);
    for (const char *c = "0123456789[],"; *c; c++)
        proto_piece(&b, (const char[]){*c, '\0'}, -100, PIECE_NORMAL);
    proto_specs(&b, 2, 0, 0);
    struct sptok *t;
    struct kinds *f;
    struct err e = {0};
    CHECK_EQ(sptok_parse(b.p, b.len, &t, &e), 0);
    CHECK_EQ(kinds_new(t, sptok_size(t), &f, &e), E_UNSUPPORTED);
    CHECK(f == NULL);
    sptok_close(t);
    buf_clear(&b);
}
