/* talk.c - a talk as tokens, and where its answers lie.
 *
 * ask/prompt.c writes the turns, as it does for answering. Here the pictures become their rows, and
 * what a caller may have got wrong is said with the number of the talk.
 */
#include <math.h>
#include <string.h>

#include "engine/ask/prompt.h"
#include "engine/train/internal.h"

static int check_talk(const struct sample_talk *talk, const struct sample *s, int32_t *pictures,
                      struct err *e) {
    uint32_t n = 0;
    if (!talk->turns || talk->n_turns < 1 || talk->n_turns > SAMPLE_TURNS_MAX)
        return err_set(e, E_INVALID, "it has %u turns, 1 to %d are legal", talk->n_turns,
                       SAMPLE_TURNS_MAX);
    if (talk->task < 0 || talk->task >= SAMPLE_TASKS)
        return err_set(e, E_INVALID, "there is no task %d", (int)talk->task);
    if (!(talk->weight > 0) || !isfinite(talk->weight))
        return err_set(e, E_INVALID, "its weight is %g, not above 0", (double)talk->weight);
    for (uint32_t i = 0; i < talk->n_turns; i++)
        n = talk->turns[i].n_pictures <= s->n_pictures ? n + talk->turns[i].n_pictures : UINT32_MAX;
    if (n > s->n_pictures)
        return err_set(e, E_INVALID, "it asks about more pictures than the sample has (%u)",
                       s->n_pictures);
    *pictures = (int32_t)n;
    return 0;
}

/* The pictures of a prompt become rows of the features; answers move along. */
static void talk_expand(struct talk *out, const struct prompt *p,
                        const struct prompt_answer *answers, int image_tokens) {
    int32_t picture = 0, turn = 0;
    for (int i = 0; i < p->n; i++) {
        if (turn < out->n_answers && answers[turn].at == i) {
            out->answers[turn] = (struct talk_answer){out->n, answers[turn].n};
            turn++;
        }
        if (p->ids[i] >= 0) out->ids[out->n++] = p->ids[i];
        for (int j = 0; p->ids[i] < 0 && j < image_tokens; j++)
            out->ids[out->n++] = ~(picture * image_tokens + j);
        picture += p->ids[i] < 0;
    }
}

static int read_turns(struct talk *out, struct arena *mem, const struct train *t,
                      const struct sample_talk *talk, struct prompt *p, struct err *e) {
    const struct model_config *c = model_config(t->m);
    struct eng_turn turns[SAMPLE_TURNS_MAX];
    struct prompt_answer answers[SAMPLE_TURNS_MAX];
    for (uint32_t i = 0; i < talk->n_turns; i++)
        turns[i] = (struct eng_turn){talk->turns[i].n_pictures, talk->turns[i].question,
                                     talk->turns[i].answer};
    int rc = prompt_learn(c, t->tok, turns, talk->n_turns, p, answers, e);
    if (rc) return rc;
    int32_t n = p->n + out->pictures * (c->n_image_tokens - 1);
    if (n > c->text.max_positions)
        return err_set(e, E_TOO_BIG, "it takes %d positions, the model has %d", n,
                       c->text.max_positions);
    out->n_answers = (int32_t)talk->n_turns;
    out->ids = arena_take(mem, (size_t)n * sizeof *out->ids);
    out->answers = arena_take(mem, talk->n_turns * sizeof *out->answers);
    if (!out->ids || !out->answers) return err_set(e, E_NOMEM, "no memory for a talk");
    talk_expand(out, p, answers, c->n_image_tokens);
    must(out->n == n);
    return 0;
}

int talk_read(struct talk *out, struct arena *mem, const struct train *t, const struct sample *s,
              uint32_t i, struct err *e) {
    const struct sample_talk *talk = &s->talks[i];
    struct prompt *p = mem_try(sizeof *p);
    *out = (struct talk){0};
    int rc =
        p ? check_talk(talk, s, &out->pictures, e) : err_set(e, E_NOMEM, "no memory for a prompt");
    if (!rc) rc = read_turns(out, mem, t, talk, p, e);
    mem_free(p);
    if (rc) (void)err_in(e, "talk %u", i);
    return rc;
}
