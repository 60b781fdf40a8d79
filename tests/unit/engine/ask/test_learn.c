/* test_learn.c - turns that are learnt are the tokens that are asked, and their answers lie where
 * it is said. */
#include "engine/ask/prompt.h"
#include "kernels/base/mem.h"
#include "tests/check.h"

#define TINY "tests/golden/tiny"

TEST(prompt_learn_writes_what_is_asked_and_answered) {
    static const struct eng_turn turns[] = {
        {1, "[vqa] what is it?", "a dog"}, {0, "red?", "no"}, {1, "and this?", "a cat"}};
    struct model_config c;
    struct sptok *t;
    struct prompt *whole = mem_must(sizeof *whole), *asked = mem_must(sizeof *asked);
    struct prompt_answer at[3];
    CHECK_EQ(model_read_config(TINY, &c, NULL), 0);
    CHECK_EQ(sptok_open(TINY "/tokenizer.model", &t, NULL), 0);
    CHECK_EQ(prompt_learn(&c, t, turns, 3, whole, at, NULL), 0);
    for (uint32_t i = 0; i < 3; i++) { /* the prompt of turn i is what lies before answer i */
        struct eng_turn said[3];
        struct eng_ask ask = {.task = ENG_CHAT, .turns = said, .n_turns = i + 1};
        int32_t ids[32];
        size_t n;
        memcpy(said, turns, sizeof said);
        said[i].answer = NULL;
        for (uint32_t k = 0; k <= i; k++)
            ask.n_pictures += said[k].n_pictures;
        CHECK_EQ(prompt_ask(&c, t, &ask, asked, NULL), 0);
        CHECK_EQ(asked->n, at[i].at);
        CHECK_MEM(asked->ids, whole->ids, (size_t)asked->n * sizeof asked->ids[0]);
        CHECK_EQ(sptok_encode(t, turns[i].answer, strlen(turns[i].answer), SPTOK_PREFIX, ids, 32,
                              &n, NULL),
                 0);
        CHECK_EQ(at[i].n, (int)n + 1);
        CHECK_MEM(ids, whole->ids + at[i].at, n * sizeof ids[0]);
        CHECK_EQ(whole->ids[at[i].at + at[i].n - 1], c.text.eos_id);
    }
    CHECK_EQ(whole->n, at[2].at + at[2].n);
    CHECK_EQ(prompt_learn(&c, t, turns, 0, whole, at, NULL), E_INVALID);
    sptok_close(t);
    mem_free(whole);
    mem_free(asked);
}
