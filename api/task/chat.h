/* chat.h - what the files of POST /v1/chat/completions share: chat_read.c understands the request,
 * chat_turns.c its messages, chat.c answers. Thread: as in api.h.
 */
#ifndef API_TASK_CHAT_H
#define API_TASK_CHAT_H

#include "api/wire/input.h"

enum { CHAT_STOPS_MAX = 4 };

/* The request. */
struct chat {
    struct eng_turn turns[ENG_TURNS_MAX];
    uint32_t n_turns;
    struct eng_generate generate;
    int is_stream, with_usage, with_logprobs, n_top;
    const char *stops[CHAT_STOPS_MAX];
    size_t n_stops;
};

extern const struct input_wants chat_wants;
/* An open body -> turns, speech, and the pictures of `in`, not decoded yet. 0, or -1 with the
 * problem. */
int chat_read(struct input *in, struct chat *q);
/* The part of it that is about messages. */
int chat_turns(struct input *in, struct chat *q);

#endif
