/* fuzz_prompt.c - bytes as what users write: sentences, questions, a chat of several turns.
 * Whatever becomes a prompt holds exactly the pictures that were sent, and a control piece only
 * where a turn ends or begins.
 *
 * The first byte picks the task, the second says how many pictures; zero bytes cut the rest into
 * texts, which are questions and answers in turn.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/files/sptok.h"
#include "kernels/base/err.h"

static const struct model_config config = {
    .text = {.bos_id = 1, .eos_id = 2}, .pixel_grid = 64, .inst_spaces = 1, .bos_count = 1};

static const struct sptok *tokenizer(void) {
    static struct sptok *t;
    struct err e = {0};
    if (!t) must(sptok_open("models/lamm-mini/tokenizer.model", &t, &e) == 0);
    return t;
}

static void check(const struct prompt *p, const struct sptok *t, uint32_t images, uint32_t turns) {
    uint32_t seen = 0, begins = 0, ends = 0;
    must(p->n > 1 && p->n <= PROMPT_MAX);
    for (int i = 0; i < p->n; i++) {
        must(p->ids[i] == PROMPT_IMAGE || (p->ids[i] >= 0 && p->ids[i] < sptok_size(t)));
        seen += p->ids[i] == PROMPT_IMAGE;
        begins += p->ids[i] == config.text.bos_id;
        ends += p->ids[i] == config.text.eos_id;
    }
    must(seen == images && begins == turns && ends == turns - 1);
}

/* What a model said has no tag any more when it comes back, and is as long as it was. */
static void check_blanked(const char *text) {
    static char said[4000];
    struct err e = {0};
    snprintf(said, sizeof(said), "%s", text);
    prompt_blank_tags(said);
    (void)prompt_check_turn(said, "it", &e);
    must(!strstr(e.text, "contains") && strlen(said) == strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { TURNS = 5, TEXT = 3000 };
    static const enum eng_task tasks[] = {ENG_REFER, ENG_DETECTION, ENG_VQA, ENG_CHAT};
    static char text[TEXT + 1];
    static struct prompt p;
    if (size < 2 || size - 2 > TEXT) return 0;
    memcpy(text, data + 2, size - 2);
    text[size - 2] = 0;
    check_blanked(text);
    struct eng_turn turns[TURNS] = {{0}};
    uint32_t n = 0;
    const char *end = text + size - 2;
    for (const char *at = text; at < end && n < TURNS; at += strlen(at) + 1) {
        if (n > 0 && !turns[n - 1].answer)
            turns[n - 1].answer = at;
        else
            turns[n++].question = at;
    }
    if (n > 1 && turns[n - 1].answer) n--;
    struct eng_ask ask = {
        .task = tasks[data[0] % 4], .n_pictures = 1, .text = text, .turns = turns, .n_turns = n};
    if (ask.task == ENG_CHAT) {
        ask.n_pictures = data[1] % (ENG_PICTURES_MAX + 2);
        turns[0].n_pictures = ask.n_pictures;
    }
    struct err e = {0};
    int rc = prompt_ask(&config, tokenizer(), &ask, &p, &e);
    must((rc == 0) == (e.code == 0) && !strchr(e.text, '\n'));
    if (!rc) check(&p, tokenizer(), ask.n_pictures, ask.task == ENG_CHAT ? n : 1);
    return 0;
}
