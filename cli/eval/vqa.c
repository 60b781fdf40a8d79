/* vqa.c - `lammd eval vqa`: questions about pictures (docs/model.md section 7.4).
 *
 * Answers are greedy, at most 20 tokens, and compared in the form of questions_plain. Choices are
 * ranked by the likelihood of the whole choice with its end of text: the lowest total NLL wins.
 * GQA, choices and names use the long [vqa] prompt; VSR, VizWiz and HM have prompts of their own.
 * Names without a question are asked for a caption, of at most 40 tokens. Of names one must be said
 * in the answer. Beside each score stands that of the best constant answer for the type, chosen
 * with the truth at hand; for choices also that of chance.
 */
#include <stdio.h>
#include <string.h>

#include "cli/eval/eval.h"
#include "cli/eval/metric.h"
#include "data/questions.h"
#include "kernels/base/mem.h"

_Static_assert((int)QUESTIONS_CHOICES_MAX == ENG_CHOICES_MAX, "as many as the engine scores");
enum {
    RIGHT,
    CHANCE,
    SUMS,
    TOKENS = 20,
    CAPTION_TOKENS = 40,
    PROMPT_MAX = 4096,
    ANSWER_MAX = 4096
};

struct vqa {
    struct eval *eval;
    struct questions questions;
    struct eval_groups types;
    struct metric_vote *votes;
    size_t n_votes;
};

static const char *const set_names[] = {
    [SET_GQA] = "GQA",         [SET_VSR] = "VSR", [SET_VIZWIZ] = "VizWiz",
    [SET_CHOICES] = "choices", [SET_HM] = "HM",   [SET_NAMES] = "names"};

/* ---- asking ---- */

static int vqa_start(void *ud, uint32_t i, int phase, struct eng_job **job, struct err *e) {
    struct vqa *v = ud;
    const struct question *q = &v->questions.at[i];
    struct eng_picture *picture;
    char prompt[PROMPT_MAX];
    int w, h, rc = eval_picture(v->eval, q->file, &picture, &w, &h, e);
    (void)phase;
    if (rc) return rc;
    struct eng_turn turn = {.n_pictures = 1, .question = prompt};
    struct eng_ask ask = {.task = q->text ? ENG_VQA : ENG_CAPTION,
                          .pictures = &picture,
                          .n_pictures = 1,
                          .text = q->text,
                          .choices = q->choices,
                          .n_choices = q->n_choices,
                          .generate = {.max_tokens = q->text ? TOKENS : CAPTION_TOKENS},
                          .urgency = ENG_ANSWER};
    static const char *const own[SET_NAMES + 1] = {
        [SET_VSR] = "[vqa] Based on the image, is this statement true or false? %s",
        [SET_VIZWIZ] = "[vqa] The question is '%s' Based on the image, answer the question with a "
                       "single word or phrase. and reply 'unanswerable' when the provided "
                       "information is insufficient",
        [SET_HM] = "This is an image writting '%s'. Is this image hateful? Answer yes or no. "
                   "Answer:"};
    if (own[v->questions.set]) {
        ask.task = ENG_CHAT;
        ask.text = NULL;
        ask.turns = &turn;
        ask.n_turns = 1;
        int n = snprintf(prompt, sizeof(prompt), own[v->questions.set], q->text);
        if (n < 0 || (size_t)n >= sizeof(prompt)) {
            v->eval->refused++;
            return 0;
        }
    }
    return eval_submit(v->eval, &ask, job, e);
}

/* ---- judging ---- */

static uint32_t likeliest(const struct eng_answer *a, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (a[i].logprob > a[best].logprob) best = i;
    return a[best].point;
}

static int says_one(const struct question *q, const char *said) {
    for (uint32_t i = 0; i < q->n; i++)
        if (metric_says(said, q->answers[i])) return 1;
    return 0;
}

static double vqa_judge(const struct vqa *v, const struct question *q, struct eng_job *job,
                        char said[ANSWER_MAX]) {
    if (q->n_choices) {
        uint32_t n, chosen = likeliest(eng_job_answers(job, &n), q->n_choices);
        snprintf(said, ANSWER_MAX, "%s", q->choices[chosen]);
        return chosen == q->right;
    }
    size_t len;
    const char *text = eng_job_text(job, &len);
    questions_plain(text, len < ANSWER_MAX ? len : ANSWER_MAX - 1, said);
    if (v->questions.set == SET_NAMES) return says_one(q, said);
    return v->questions.set == SET_VIZWIZ ? metric_vizwiz(said, q->answers, q->n)
                                          : strcmp(said, q->answers[0]) == 0;
}

static int vqa_done(void *ud, uint32_t i, int phase, struct eng_job *job, int *more,
                    struct err *e) {
    struct vqa *v = ud;
    const struct question *q = &v->questions.at[i];
    char said[ANSWER_MAX] = "";
    double figures[SUMS] = {job ? vqa_judge(v, q, job, said) : 0,
                            q->n_choices ? 1.0 / q->n_choices : 0};
    (void)phase, (void)more, (void)e;
    eval_count(&v->types, q->type, figures, SUMS);
    eval_item(v->eval, i,
              json_pack("{s:s, s:s?, s:s, s:s?, s:f}", "file", q->file, "question", q->text, "said",
                        said, "type", q->type, "score", figures[RIGHT]));
    return 0;
}

static void vqa_say(void *ud, char *to, size_t cap) {
    const struct eval_group *g = &((struct vqa *)ud)->types.all;
    snprintf(to, cap, "right %.2f %%", 100 * g->sum[RIGHT] / g->n);
}

/* The score of each known answer, question by question. */
static void vote(struct vqa *v) {
    const struct questions *q = &v->questions;
    size_t n = 0;
    for (uint32_t i = 0; i < q->n; i++)
        n += q->at[i].n;
    v->votes = mem_must((n + 1) * sizeof(*v->votes));
    for (uint32_t i = 0; i < q->n; i++) {
        const struct question *at = &q->at[i];
        for (uint32_t k = 0; k < at->n; k++) {
            int before = 0;
            for (uint32_t j = 0; j < k; j++)
                before |= strcmp(at->answers[j], at->answers[k]) == 0;
            if (before) continue; /* people agree: counted with the first of them */
            double score =
                q->set == SET_VIZWIZ ? metric_vizwiz(at->answers[k], at->answers, at->n) : 1;
            v->votes[v->n_votes++] =
                (struct metric_vote){at->type ? at->type : "", at->answers[k], score};
        }
    }
}

/* ---- the figures ---- */

static void vqa_row(struct vqa *v, const struct eval_group *g, const char *group, json_t *o) {
    const char *constant;
    int is_choice = v->questions.set == SET_CHOICES;
    double best = metric_best_constant(v->votes, v->n_votes, group, &constant);
    json_t *figures = json_object();
    const char *name = group ? g->name : "all";
    json_object_set_new(figures, "questions", json_integer(g->n));
    eval_set(figures, "accuracy", 100 * g->sum[RIGHT] / g->n);
    eval_set(figures, "best_constant", 100 * best / g->n);
    json_object_set_new(figures, "constant", json_string(constant));
    if (is_choice) eval_set(figures, "chance", 100 * g->sum[CHANCE] / g->n);
    json_object_set_new(o, name, figures);
    if (!eval_prints(v->eval)) return;
    printf("  %-22.22s %8u %9.2f ", group ? name : "together", g->n, 100 * g->sum[RIGHT] / g->n);
    if (is_choice)
        printf("%8.2f ", 100 * g->sum[CHANCE] / g->n);
    else
        printf("%8s ", "");
    printf("%9.2f  %.24s\n", 100 * best / g->n, constant);
}

static void vqa_report(struct vqa *v) {
    const struct questions *q = &v->questions;
    eval_head(v->eval, q->n, "questions");
    json_object_set_new(v->eval->report, "set", json_string(set_names[q->set]));
    if (eval_prints(v->eval))
        printf("  %-22s %8s %9s %8s %9s\n", set_names[q->set], "n", "accuracy",
               q->set == SET_CHOICES ? "chance" : "", "constant");
    json_t *types = json_object();
    for (int i = 0; i < v->types.n; i++)
        vqa_row(v, &v->types.at[i], v->types.at[i].name, types);
    json_object_set_new(v->eval->report, "types", types);
    vqa_row(v, &v->types.all, NULL, v->eval->report);
    if (eval_prints(v->eval))
        puts("\n  PAE-LaMM (7B): GQA 57.7, VSR 59.2, IconVQA 49.7, VizWiz 56.4, HM 57.2");
}

int eval_vqa(struct eval *eval, const char *path, struct err *e) {
    static const struct eval_flow flow = {vqa_start, vqa_done, vqa_say};
    struct vqa *v = mem_must(sizeof(*v));
    v->eval = eval;
    int rc = questions_open(path, eval->cfg->limit, &v->questions, e);
    if (rc == 0) vote(v);
    if (rc == 0) rc = eval_run(eval, &flow, v, v->questions.n, e);
    if (rc == 0) vqa_report(v);
    mem_free(v->votes);
    questions_close(&v->questions);
    mem_free(v);
    return rc;
}
