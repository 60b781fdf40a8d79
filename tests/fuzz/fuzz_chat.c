/* fuzz_chat.c - bytes as the JSON body of /v1/chat/completions. What is understood has turns that
 * an engine may be asked; what is refused becomes a problem that is itself valid JSON. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "api/task/chat.h"
#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_chat(const struct chat *q, int n_pictures) {
    uint32_t n = 0;
    must(q->n_turns >= 1 && q->n_turns <= ENG_TURNS_MAX && q->n_stops <= CHAT_STOPS_MAX);
    for (uint32_t i = 0; i < q->n_turns; i++) {
        must(q->turns[i].question[0] != 0);
        must((q->turns[i].answer == NULL) == (i + 1 == q->n_turns));
        n += q->turns[i].n_pictures;
    }
    must((int)n == n_pictures && q->n_top >= 0 && q->n_top <= ENG_TOP);
    must(q->generate.max_tokens >= 1 && q->generate.max_tokens <= ENG_TOKENS_MAX);
    must(q->generate.temperature >= 0 && q->generate.temperature <= 2);
    must(q->generate.top_p > 0 && q->generate.top_p <= 1);
    for (size_t i = 0; i < q->n_stops; i++)
        must(q->stops[i][0] != 0);
}

static void check_problem(const struct problem *p) {
    struct buf b;
    buf_init(&b, 8192);
    must(problem_write(p, "fuzz", &b) == 0);
    json_t *root = json_loadb((const char *)b.p, b.len, JSON_REJECT_DUPLICATES, NULL);
    must(json_is_object(root));
    json_decref(root);
    buf_clear(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct chat q;
    struct problem problem = {0};
    struct api_input from = {.content_type = "application/json", .body = data, .body_len = size};
    struct arena *texts = arena_new(1 << 20);
    struct input in = {.from = &from,
                       .wants = &chat_wants,
                       .picture_max = 1 << 16,
                       .texts = texts,
                       .problem = &problem};
    q = (struct chat){.n_turns = 0};
    int rc = input_open(&in);
    if (!rc) rc = chat_read(&in, &q);
    must((rc == 0) == (problem.code == PROBLEM_NONE));
    if (rc == 0)
        check_chat(&q, in.n_pictures);
    else
        check_problem(&problem);
    input_close(&in);
    arena_free(texts);
    return 0;
}
