/* speak.h - answers in text: how they are asked for, and how they are told, whole or as a stream.
 *
 * An endpoint's state begins with a struct speaking. It reads the fields that shape the text with
 * speak_read and makes one job; speak_answer and speak_event are its row's `answer` and `next`:
 * JSON when the job is done, or events, `token` for what was spoken, `done` with everything else.
 * Thread: as in api.h.
 */
#ifndef API_TASK_SPEAK_H
#define API_TASK_SPEAK_H

#include "api/call.h"
#include "api/wire/input.h"

#define SPEAK_SURE  0.5 /* the least probability of what is no guess */
#define SPEAK_SHORT 16  /* the most tokens of an answer that is judged as a whole */

struct speaking {
    struct eng_generate generate;
    size_t told; /* bytes that are in events */
    /* Fields of the answer, without a comma at either end. The job is done. */
    void (*write)(struct api_call *c, struct buf *b);
};

/* Names of the fields that speak_read takes, for lists of known ones. */
#define SPEAK_FIELDS "max_tokens", "temperature", "top_p", "seed"
int speak_read(struct input *in, uint32_t max_tokens, struct eng_generate *out);
/* The most tokens of an answer, under this name. Who asks for more than there can be gets as many
 * as there can be: clients send numbers that other models have room for. */
int speak_read_most(struct input *in, const char *name, int *out);
int speak_answer(struct api_call *c);
void speak_event(struct api_call *c);
/* "stop" or "length" */
const char *speak_finish(const struct eng_job *job);
/* Natural log of the likelihood of all that was spoken, end of text left out. */
double speak_logprob(const struct eng_job *job);
/* Is it a guess? A short answer is one where others together were likelier than it. Of a longer one
 * any wording is improbable, so there the tokens' probability counts, by their geometric mean. */
int speak_is_unsure(const struct eng_job *job);

#endif
