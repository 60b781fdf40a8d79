/* test_teach.c - a teacher's answers: what is made of them, who may teach, and that nothing else
 * changes. Gradients are held against PyTorch's in test_golden.c. */
#include "engine/train/losses/teach.h"
#include "tests/unit/engine/train/teach_rig.h"

static void teach_all(struct train_options *o, const char *teacher, float share, int top) {
    o->teacher = teacher;
    o->teach_top = top;
    for (int i = 0; i < SAMPLE_TASKS; i++)
        o->teach[i] = share;
}

/* Who learns from itself has nothing to learn. */
TEST(teach_by_oneself_has_no_gradient) {
    struct rig_sample *r = mem_must(sizeof *r);
    rig_mixed(r, 5);
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++) {
        struct train_options o = rig_options(rig_backends[i]);
        struct train *t = rig_open(&o, 1);
        rig_add(t, &r->s, NULL);
        float *plain = rig_grad(t);
        train_close(t);
        teach_all(&o, RIG_TINY, 1, 1000); /* more than there are tokens */
        t = rig_open(&o, 1);
        rig_add(t, &r->s, NULL);
        float *none = rig_grad(t);
        double a = 0, b = 0;
        for (size_t k = 0; k < t->params.floats; k++) {
            a += (double)none[k] * (double)none[k];
            b += (double)plain[k] * (double)plain[k];
        }
        printf("%s: %.1e of the gradient\n", rig_backends[i], sqrt(a / b));
        CHECK(sqrt(a / b) < 1e-5);
        train_close(t);
        mem_free(plain);
        mem_free(none);
    }
    mem_free(r);
}

/* Talks with stand-ins for answers are taught whatever their task is, by the model itself where
 * nobody else is named; others are learnt as ever. */
TEST(teach_of_stand_ins_is_the_model_itself) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct train_options o = rig_options("cpu");
    double size[2] = {0};
    rig_mixed(r, 5);
    o.has_taught = 1;
    o.teach_top = 1000;
    for (int one = 0; one < 2; one++) { /* all are taught; all but one */
        for (uint32_t i = 0; i < r->s.n_talks; i++)
            ((struct sample_talk *)r->s.talks)[i].is_taught = i > 0 || !one;
        struct train *t = rig_open(&o, 1);
        rig_add(t, &r->s, NULL);
        CHECK_STR(teach_digest(t), model_digest(t->m));
        float *grad = rig_grad(t);
        for (size_t k = 0; k < t->params.floats; k++)
            size[one] += (double)grad[k] * (double)grad[k];
        train_close(t);
        mem_free(grad);
    }
    CHECK(size[1] > 0 && sqrt(size[0] / size[1]) < 1e-4);
    mem_free(r);
}

/* The shares of each row sum to 1, ascending by token, soft numbers among them. */
TEST(teach_targets_are_a_distribution) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct rig_teacher teacher = rig_teacher_make();
    struct train_options o = rig_options("cpu");
    teach_all(&o, teacher.folder, 0.5f, 7);
    o.teach[SAMPLE_MASK] = 0;
    o.teach[SAMPLE_VQA] = 1;
    o.soft[SAMPLE_PIXELS] = 1.5f;
    rig_mixed(r, 5);
    struct train *t = rig_open(&o, 1);
    struct arena *mem = arena_new(1 << 26);
    struct mix x;
    struct err e = {0};
    CHECK_EQ(mix_build(&x, mem, t, &r->s, &e), 0);
    CHECK_EQ(mix_put(&x, t, &e), 0);
    CHECK_EQ(teach_answer(t, &x, mem, &r->s, &e), 0);
    for (int i = 0; i < x.picks; i++) {
        double sum = 0;
        for (int k = x.target_off[i]; k < x.target_off[i + 1]; k++) {
            if (k > x.target_off[i]) CHECK(x.target[k] > x.target[k - 1]);
            CHECK(x.share[k] >= 0);
            sum += (double)x.share[k];
        }
        CHECK_NEAR(sum, 1, 1e-5);
    }
    for (int i = 0; i < x.n_wants; i++) {
        int pick = x.wants[i].pick, n = x.target_off[pick + 1] - x.target_off[pick];
        if (x.wants[i].task == SAMPLE_MASK) CHECK_EQ(n, 1);
        if (x.wants[i].task == SAMPLE_VQA) CHECK(n == 7 || n == 8);
    }
    arena_free(mem);
    train_close(t);
    rig_teacher_drop(&teacher);
    mem_free(r);
}

TEST(teach_is_not_asked_where_answers_are_judged) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct rig_teacher teacher = rig_teacher_make();
    struct train_options o = rig_options("cpu");
    struct train_loss plain, taught, learnt;
    rig_mixed(r, 5);
    struct train *t = rig_open(&o, 1);
    CHECK_EQ(train_judge(t, &r->s, &plain, NULL), 0);
    train_close(t);
    teach_all(&o, teacher.folder, 0.5f, 8);
    t = rig_open(&o, 1);
    CHECK_EQ(train_judge(t, &r->s, &taught, NULL), 0);
    rig_add(t, &r->s, &learnt);
    CHECK_MEM(plain.sum, taught.sum, sizeof plain.sum);
    CHECK(learnt.sum[SAMPLE_PIXELS] != plain.sum[SAMPLE_PIXELS]);
    CHECK_MEM(plain.weight, learnt.weight, sizeof plain.weight);
    train_close(t);
    rig_teacher_drop(&teacher);
    mem_free(r);
}

/* The student comes near its teacher, which stays as it was. */
TEST(teach_brings_the_student_near) {
    struct rig_sample *r = mem_must(sizeof *r);
    struct rig_teacher teacher = rig_teacher_make();
    struct train_options o = rig_options("cpu");
    struct train_loss first, loss;
    rig_mixed(r, 5);
    teach_all(&o, teacher.folder, 1, 16);
    struct train *t = rig_open(&o, 1);
    char digest[65];
    snprintf(digest, sizeof digest, "%s", teach_digest(t));
    CHECK(strlen(digest) == 64 && strcmp(digest, model_digest(t->m)) != 0);
    for (int i = 0; i < 25; i++) {
        rig_add(t, &r->s, i ? &loss : &first);
        (void)rig_step(t);
    }
    CHECK(rig_mean(&loss) < 0.7 * rig_mean(&first));
    CHECK_STR(teach_digest(t), digest);
    train_close(t);
    rig_teacher_drop(&teacher);
    mem_free(r);
}

/* ---- who may teach ---- */

static void refuse(const struct train_options *o, int code, const char *why) {
    struct train *t;
    struct err e = {0};
    int rc = train_open(o, 1, &t, &e);
    if (rc != code || !strstr(e.text, why)) printf("%d: %s, not: %s\n", rc, e.text, why);
    CHECK_EQ(rc, code);
    CHECK_HAS(e.text, why);
    CHECK(t == NULL);
}

/* The byte behind the last `from` in a file of the teacher's is another. */
static void change(const struct rig_teacher *r, const char *name, const char *from, char to) {
    static char bytes[1 << 16];
    char path[160];
    FILE *f = fopen(rig_teacher_file(r, name, path), "r+b");
    CHECK(f != NULL);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    char *at = NULL, *next = bytes;
    while ((next = memmem(next, n - (size_t)(next - bytes), from, strlen(from))) != NULL)
        at = next++;
    CHECK(at != NULL);
    CHECK_EQ(fseek(f, (long)(at - bytes + (long)strlen(from)), SEEK_SET), 0);
    CHECK_EQ(fputc(to, f), to);
    fclose(f);
}

TEST(teach_refuses_other_speakers) {
    struct train_options o = rig_options("cpu");
    teach_all(&o, "tests/golden/nobody", 0.5f, 8);
    refuse(&o, E_NOT_FOUND, "teacher tests/golden/nobody");
    teach_all(&o, RIG_DIGITS, 0.5f, 8);
    refuse(&o, E_UNSUPPORTED, "teacher " RIG_DIGITS ": it has");
    struct rig_teacher teacher = rig_teacher_make();
    teach_all(&o, teacher.folder, 0.5f, 8);
    change(&teacher, "tokenizer.model", "[/INST", '}');
    refuse(&o, E_UNSUPPORTED, "a teacher speaks its student's tokens");
    rig_teacher_copy(&teacher, "tokenizer.model");
    change(&teacher, "config.json", "\"coord_order\": \"", 'x');
    change(&teacher, "config.json", "\"coord_order\": \"x", 'y');
    refuse(&o, E_UNSUPPORTED, "a teacher takes its student's prompts");
    rig_teacher_drop(&teacher);
}

TEST(teach_refuses_shares_by_name) {
    struct train_options o = rig_options("cpu");
    teach_all(&o, RIG_TINY, 0, 8);
    refuse(&o, E_INVALID, "nothing to teach");
    teach_all(&o, NULL, 0.5f, 8);
    refuse(&o, E_INVALID, "no teacher is given");
    teach_all(&o, RIG_TINY, 1.5f, 8);
    refuse(&o, E_INVALID, "teach: 0 to 1");
    teach_all(&o, RIG_TINY, NAN, 8);
    refuse(&o, E_INVALID, "teach: 0 to 1");
    teach_all(&o, RIG_TINY, 0.5f, -1);
    refuse(&o, E_INVALID, "teach_top");
}
