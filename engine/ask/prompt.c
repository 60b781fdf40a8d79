/* prompt.c - the canonical turns of docs/model.md sections 4.1, 4.3 and 4.5.
 *
 * TRAPS (each has a case in test_prompt.c):
 *   - the text is cut at pictures, and each piece is tokenized on its own, with its own dummy
 *     space;
 *   - there is no space between `rgb:` and what `inst_spaces` puts before [/INST];
 *   - between two pictures stands `</Img><Img>`, without a space and as one piece;
 *   - the two numbers are row, column unless the model says otherwise.
 * The instructions of the games are in engine/sample.c. Those of
 * caption and grounding are the first ones of MiniGPT-v2's lists.
 */
#include "engine/ask/prompt.h"

#include <stdio.h>
#include <string.h>

#include "engine/sample.h"
#include "kernels/base/mem.h"

/* What begins or ends something in a prompt; what looks so, in texts that are to be learnt; and the
 * tags of the tasks. */
static const char *const structure[] = {"[INST]", "[/INST]", "<Img>", "</Img>", "<ImageHere>"};
static const char *const slips[] = {"<s>", "</s>", "<unk>", "<<SYS>>"};
static const char *const tags[] = {"[reconstruct]", "[segmentation]",  "[refer]",     "[identify]",
                                   "[vqa]",         "[caption]",       "[grounding]", "[detection]",
                                   "[CarRacing]",   "[Space Invaders]"};

/* ---- what users write ---- */

/* Bytes of the UTF-8 character at `s`; 0: none. Strict: no overlong forms, no surrogates. */
static int character(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0;
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return n;
}

/* C0 and C1 controls; line breaks and tabs are legal in a chat. */
static int prompt_is_control(const unsigned char *s, int may_break) {
    if (may_break && (*s == '\n' || *s == '\t')) return 0;
    return *s < 0x20 || *s == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

static int check_characters(const char *text, const char *what, int may_break, struct err *e) {
    int is_blank = 1;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n = character(s);
        if (n == 0) return err_set(e, E_INVALID, "%s is not UTF-8", what);
        if (prompt_is_control(s, may_break))
            return err_set(e, E_INVALID, "%s has a control character (0x%02x)", what, s[n - 1]);
        is_blank &= *s == ' ' || *s == '\n' || *s == '\t';
        s += n;
    }
    return is_blank ? err_set(e, E_INVALID, "%s is empty", what) : 0;
}

static int check_tags(const char *text, const char *what, const char *const *list, size_t n,
                      struct err *e) {
    for (size_t i = 0; i < n; i++)
        if (strstr(text, list[i]))
            return err_set(e, E_INVALID, "%s contains %s, which is the model's own: leave it out",
                           what, list[i]);
    return 0;
}

int prompt_check(const char *text, const char *what, struct err *e) {
    size_t n = strlen(text);
    if (n > PROMPT_SENTENCE_MAX)
        return err_set(e, E_TOO_BIG, "%s has %zu bytes, at most %d", what, n, PROMPT_SENTENCE_MAX);
    int rc = check_characters(text, what, 0, e);
    if (!rc) rc = check_tags(text, what, structure, ARRAY_LEN(structure), e);
    return rc ? rc : check_tags(text, what, tags, ARRAY_LEN(tags), e);
}

int prompt_check_turn(const char *text, const char *what, struct err *e) {
    int rc = check_characters(text, what, 1, e);
    return rc ? rc : check_tags(text, what, structure, ARRAY_LEN(structure), e);
}

int prompt_check_learnt(const char *text, int in_chat, const char *what, struct err *e) {
    int rc = in_chat ? prompt_check_turn(text, what, e) : prompt_check(text, what, e);
    return rc ? rc : check_tags(text, what, slips, ARRAY_LEN(slips), e);
}

/* No tag holds another, and a blank makes none: one walk is enough. */
void prompt_blank_tags(char *text) {
    for (size_t i = 0; i < ARRAY_LEN(structure); i++) {
        size_t n = strlen(structure[i]);
        for (char *at = text; (at = strstr(at, structure[i])) != NULL; at += n)
            at[0] = at[n - 1] = ' ';
    }
}

/* ---- pieces ---- */

/* A prompt being written. Texts are put together in `text` first. */
struct writer {
    const struct model_config *c;
    const struct sptok *t;
    struct prompt *p;
    char *text;
    struct err *e;
};
enum { TEXT_MAX = 8 * PROMPT_MAX };

static int too_big(const struct writer *w) {
    return err_set(w->e, E_TOO_BIG, "the prompt has over %d tokens", PROMPT_MAX);
}

static int prompt_put_id(struct writer *w, int32_t id) {
    if (w->p->n == PROMPT_MAX) return too_big(w);
    w->p->ids[w->p->n++] = id;
    return 0;
}

static int put_text(struct writer *w, const char *text) {
    size_t n;
    int rc = sptok_encode(w->t, text, strlen(text), SPTOK_PREFIX, w->p->ids + w->p->n,
                          (size_t)(PROMPT_MAX - w->p->n), &n, NULL);
    if (rc == E_TOO_BIG) return too_big(w);
    if (rc) return err_set(w->e, rc, "no memory for a prompt");
    w->p->n += (int)n;
    return 0;
}

static int put_bos(struct writer *w) {
    int rc = 0;
    for (int i = 0; i < w->c->bos_count && !rc; i++)
        rc = prompt_put_id(w, w->c->text.bos_id);
    return rc;
}

/* `[INST] <Img>#</Img><Img>#</Img> question [/INST]`, or `[INST] question [/INST]`. */
static int put_question(struct writer *w, const char *question, uint32_t pictures) {
    int rc = put_bos(w);
    for (uint32_t i = 0; i < pictures && !rc; i++) {
        rc = put_text(w, i == 0 ? "[INST] <Img>" : "</Img><Img>");
        if (!rc) rc = prompt_put_id(w, PROMPT_IMAGE);
    }
    if (rc) return rc;
    int n = snprintf(w->text, TEXT_MAX, "%s %s%*s[/INST]", pictures ? "</Img>" : "[INST]", question,
                     w->c->inst_spaces, "");
    if (n < 0 || n >= TEXT_MAX)
        return err_set(w->e, E_TOO_BIG, "a question has over %d bytes", TEXT_MAX - 32);
    return put_text(w, w->text);
}

/* answers: where they are to be told; NULL: nowhere. */
static int put_turns(struct writer *w, const struct eng_turn *turns, uint32_t n,
                     struct prompt_answer *answers) {
    int rc = 0;
    for (uint32_t i = 0; i < n && !rc; i++) {
        rc = put_question(w, turns[i].question, turns[i].n_pictures);
        if (rc || !turns[i].answer) continue;
        int at = w->p->n;
        rc = put_text(w, turns[i].answer);
        if (!rc) rc = prompt_put_id(w, w->c->text.eos_id);
        if (answers) answers[i] = (struct prompt_answer){at, w->p->n - at};
    }
    return rc;
}

static int write_turns(const struct model_config *c, const struct sptok *t,
                       const struct eng_turn *turns, uint32_t n, struct prompt *out,
                       struct prompt_answer *answers, struct err *e) {
    struct writer w = {c, t, mem_try(sizeof *w.p), mem_try(TEXT_MAX), e};
    int rc = w.p && w.text ? put_turns(&w, turns, n, answers)
                           : err_set(e, E_NOMEM, "no memory for a prompt");
    if (!rc) {
        memcpy(out->ids, w.p->ids, (size_t)w.p->n * sizeof out->ids[0]);
        out->n = w.p->n;
    }
    mem_free(w.p);
    mem_free(w.text);
    return rc;
}

/* ---- tasks ---- */

/* An instruction about one picture. */
static int prompt_text(const struct model_config *c, const struct sptok *t, const char *instruction,
                       struct prompt *out, struct err *e) {
    return write_turns(c, t, &(struct eng_turn){.n_pictures = 1, .question = instruction}, 1, out,
                       NULL, e);
}

static int prompt_place(const struct model_config *c, const struct sptok *t, const char *before,
                        const char *behind, int x, int y, struct prompt *out, struct err *e) {
    if (x < 0 || y < 0 || x >= c->pixel_grid || y >= c->pixel_grid)
        return err_set(e, E_INVALID, "place (%d,%d) is outside the grid of %d", x, y,
                       c->pixel_grid);
    int is_yx = c->coord_order == MODEL_COORD_YX;
    char text[PROMPT_SENTENCE_MAX + 96];
    int n = snprintf(text, sizeof text, "%s loc: [%d,%d] %s:", before, is_yx ? y : x, is_yx ? x : y,
                     behind);
    if (n < 0 || n >= (int)sizeof text) return err_set(e, E_TOO_BIG, "the sentence is too long");
    return prompt_text(c, t, text, out, e);
}

int prompt_pixel(const struct model_config *c, const struct sptok *t, int x, int y,
                 struct prompt *out, struct err *e) {
    return prompt_place(c, t, "[reconstruct]", "rgb", x, y, out, e);
}

int prompt_mask(const struct model_config *c, const struct sptok *t, const char *sentence, int x,
                int y, struct prompt *out, struct err *e) {
    char before[PROMPT_SENTENCE_MAX + 32];
    int n = snprintf(before, sizeof before, "[segmentation] %s", sentence);
    if (n < 0 || n >= (int)sizeof before) return err_set(e, E_TOO_BIG, "the sentence is too long");
    return prompt_place(c, t, before, "mask", x, y, out, e);
}

static int check_box(const int *b, struct err *e) {
    for (int i = 0; i < 4; i++)
        if (b[i] < 0 || b[i] > 100)
            return err_set(e, E_INVALID, "a box is x1,y1,x2,y2 in 0..100, not %d", b[i]);
    if (b[0] > b[2] || b[1] > b[3])
        return err_set(e, E_INVALID, "the box ends before it begins: %d,%d,%d,%d", b[0], b[1], b[2],
                       b[3]);
    return 0;
}

/* The instruction of a task about one picture, or of a game. */
static int instruct(const struct eng_ask *a, char *text, size_t cap, struct err *e) {
    static const char *const wrap[ENG_TASKS] = {
        [ENG_REFER] = "[refer] give me the location of %s",
        [ENG_DETECTION] = "[detection] %s",
        [ENG_VQA] = "[vqa] Based on the image, respond to this question with a short answer: %s",
        [ENG_CAPTION] = "[caption] Briefly describe this image.%s",
        [ENG_GROUNDING] = "[grounding] please describe this image in details%s",
        [ENG_DRIVE] = "%s",
        [ENG_SHOOT] = "%s",
    };
    const char *what = a->text ? a->text : "";
    int rc = 0, n;
    if (a->task == ENG_REFER || a->task == ENG_DETECTION || a->task == ENG_VQA)
        rc = prompt_check(what, a->task == ENG_VQA ? "the question" : "the sentence", e);
    else if (a->text)
        rc = err_set(e, E_INVALID, "this task takes no text");
    if (a->task == ENG_DRIVE) what = sample_drive_text;
    if (a->task == ENG_SHOOT) what = sample_shoot_text;
    if (!rc && a->task == ENG_IDENTIFY) rc = check_box(a->box, e);
    if (rc) return rc;
    if (a->task == ENG_IDENTIFY)
        n = snprintf(text, cap, "[identify] {<%d><%d><%d><%d>}", a->box[0], a->box[1], a->box[2],
                     a->box[3]);
    else
        n = snprintf(text, cap, wrap[a->task], what);
    must(n >= 0 && (size_t)n < cap);
    return 0;
}

static int check_turns(const struct eng_ask *a, struct err *e) {
    uint32_t pictures = 0;
    int rc = 0;
    if (a->n_turns == 0 || !a->turns) return err_set(e, E_INVALID, "a chat without a question");
    if (a->n_turns > ENG_TURNS_MAX)
        return err_set(e, E_TOO_BIG, "%u turns, at most %d", a->n_turns, ENG_TURNS_MAX);
    for (uint32_t i = 0; i < a->n_turns && !rc; i++) {
        const struct eng_turn *t = &a->turns[i];
        int is_last = i + 1 == a->n_turns;
        if (!t->question || (t->answer != NULL) == is_last)
            return err_set(e, E_INVALID,
                           "turns are a question and its answer, and a question last");
        pictures = t->n_pictures <= ENG_PICTURES_MAX ? pictures + t->n_pictures : UINT32_MAX;
        if (pictures > a->n_pictures)
            return err_set(e, E_INVALID, "the turns have more pictures than were sent");
        rc = prompt_check_turn(t->question, "a question", e);
        /* The answer of an earlier turn may be empty. */
        if (!rc && t->answer && t->answer[0]) rc = prompt_check_turn(t->answer, "an answer", e);
    }
    if (!rc && pictures != a->n_pictures)
        rc = err_set(e, E_INVALID, "%u pictures were sent, the turns have %u", a->n_pictures,
                     pictures);
    return rc;
}

int prompt_ask(const struct model_config *c, const struct sptok *t, const struct eng_ask *ask,
               struct prompt *out, struct err *e) {
    if (ask->task == ENG_CHAT) {
        int rc = check_turns(ask, e);
        return rc ? rc : write_turns(c, t, ask->turns, ask->n_turns, out, NULL, e);
    }
    char text[PROMPT_SENTENCE_MAX + 512];
    int rc = instruct(ask, text, sizeof text, e);
    struct eng_turn turn = {.n_pictures = ask->n_pictures, .question = text};
    return rc ? rc : write_turns(c, t, &turn, 1, out, NULL, e);
}

int prompt_learn(const struct model_config *c, const struct sptok *t, const struct eng_turn *turns,
                 uint32_t n, struct prompt *out, struct prompt_answer *answers, struct err *e) {
    int rc = n ? 0 : err_set(e, E_INVALID, "a talk without a question");
    for (uint32_t i = 0; i < n && !rc; i++) {
        if (!turns[i].question || !turns[i].answer)
            return err_set(e, E_INVALID, "each question that is learnt has its answer");
        rc = prompt_check_learnt(turns[i].question, 1, "a question", e);
        if (!rc) rc = prompt_check_learnt(turns[i].answer, 1, "an answer", e);
    }
    return rc ? rc : write_turns(c, t, turns, n, out, answers, e);
}
