/* chat.h - what the two halves of POST /v1/chat/completions share: chat_read.c understands the
 * request, chat.c answers it. Thread: as in api.h.
 */
#ifndef API_TASK_CHAT_H
#define API_TASK_CHAT_H

#include "api/call.h"
#include "api/wire/input.h"

enum { CHAT_STOPS_MAX = 4 };

struct chat {
    /* the request */
    struct eng_turn turns[ENG_TURNS_MAX];
    uint32_t n_turns;
    struct eng_generate generate;
    int is_stream, with_usage, with_logprobs, n_top;
    const char *stops[CHAT_STOPS_MAX];
    size_t n_stops;
    /* the answer */
    long long created;    /* seconds since the epoch */
    size_t told;          /* bytes that are in chunks */
    uint32_t told_tokens; /* tokens likewise */
};

/* 0, or -1 with the problem. Fills the pictures of the call, too. */
int chat_read(struct api_call *c, struct chat *q);
/* Its first half: an open body -> turns, speech, and the pictures of `in`, not decoded yet. `model`:
 * our model's name. */
extern const struct input_wants chat_wants;
int chat_understand(struct input *in, const char *model, struct chat *q);

#endif
