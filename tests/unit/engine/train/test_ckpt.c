/* test_ckpt.c - a checkpoint has everything that the next step depends on, and fits or is refused.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "kernels/base/clock.h"
#include "kernels/base/version.h"
#include "tests/unit/engine/files/broken_disk.h"
#include "tests/unit/engine/train/files_rig.h"

static const struct train_meta meta = {"recipe-1", "data-1", "{\"epoch\": 3}"};

static void save(struct train *t, const char *path) {
    struct err e = {0};
    if (train_save(t, path, &meta, &e)) test_failed(__FILE__, __LINE__, "save: %s", e.text);
}

static void check_load(struct train *t, const char *path, const char *noted) {
    struct err e = {0};
    char cursor[32];
    const char *note = "nothing";
    if (train_load(t, path, &meta, cursor, sizeof cursor, &note, &e))
        test_failed(__FILE__, __LINE__, "load: %s", e.text);
    CHECK_STR(cursor, meta.cursor);
    CHECK_EQ(note != NULL, noted != NULL);
    if (noted) CHECK_HAS(note, noted);
}

TEST(train_ckpt_holds_everything) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *a = learner_open(&o), *b = learner_open(&o);
    rig_stir(a, 1);
    a->steps = UINT64_C(1) << 40;
    a->updates = a->steps - 3;
    a->skipped_in_row = 2;
    save(a, rig_in(&p, "a.safetensors"));
    check_load(b, rig_in(&p, "a.safetensors"), NULL);
    rig_check_same(a, b);
    CHECK_NEAR(rig_judge(a), rig_judge(b), 0); /* the model has it, too */
    save(b, rig_in(&p, "b.safetensors"));      /* and the file is the same again */
    struct st *sa, *sb;
    size_t na, nb;
    CHECK_EQ(st_open(rig_in(&p, "a.safetensors"), &sa, NULL), 0);
    CHECK_EQ(st_open(rig_in(&p, "b.safetensors"), &sb, NULL), 0);
    const void *bytes_a = st_bytes(sa, &na), *bytes_b = st_bytes(sb, &nb);
    CHECK_EQ(na, nb);
    CHECK_MEM(bytes_a, bytes_b, na);
    CHECK_STR(st_text(sa, "backend"), "ref");
    CHECK_STR(st_text(sa, "isa"), "plain loops");
    CHECK_STR(st_text(sa, "base"), model_digest(a->m));
    st_close(sa);
    st_close(sb);
    train_close(a);
    train_close(b);
    rig_drop_folder(p.folder);
}

static void check_resume(struct train_options o) {
    struct rig_place p = rig_place();
    struct train *whole = learner_open(&o), *first = learner_open(&o);
    rig_learn(whole, 4);
    rig_learn(first, 2);
    save(first, rig_in(&p, "a.safetensors"));
    train_close(first);
    struct train *second = learner_open(&o);
    check_load(second, rig_in(&p, "a.safetensors"), NULL);
    rig_learn(second, 2);
    rig_check_same(whole, second);
    train_close(whole);
    train_close(second);
    rig_drop_folder(p.folder);
}
TEST(train_ckpt_resumes_bit_for_bit_ref) { check_resume(rig_options()); }
TEST(train_ckpt_resumes_bit_for_bit_cpu) {
    struct train_options o = rig_options();
    o.device = "cpu";
    o.threads = 2;
    o.tower = 1;
    o.lora.dropout = 0.1f;
    check_resume(o);
}
TEST_LIMIT(train_ckpt_resumes_bit_for_bit_kept_cuda, 300) {
    struct train_options o = rig_options();
    const struct kern_ops *ops;
    if (kern_find("cuda", &ops, NULL) || !ops->score()) skip("no CUDA device");
    o.device = "cuda";
    check_resume(o);
}

TEST(train_ckpt_resumes_a_whole_model) {
    struct train_options o = rig_options();
    o.device = "cpu";
    o.text = TRAIN_TEXT_FULL;
    o.average = 0;
    check_resume(o);
}

TEST(train_ckpt_resumes_with_dense_questions_a_teacher_and_legal_answers) {
    struct train_options o = rig_options();
    o.device = "cpu";
    o.tower = 1;
    for (int i = 0; i < TRAIN_DENSE; i++)
        o.dense[i] = 1;
    o.teacher = RIG_MODEL;
    o.teach[SAMPLE_PIXELS] = 0.5f;
    o.is_legal = 1;
    check_resume(o);
}

TEST(train_ckpt_of_other_threads_and_devices) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    o.device = "cpu";
    o.threads = 1;
    struct train *t = learner_open(&o);
    save(t, rig_in(&p, "a.safetensors"));
    train_close(t);
    o.threads = 2;
    t = learner_open(&o);
    check_load(t, rig_in(&p, "a.safetensors"), NULL); /* threads change no bits */
    train_close(t);
    o.device = "ref";
    t = learner_open(&o);
    check_load(t, rig_in(&p, "a.safetensors"), "of another device");
    rig_rewrite(rig_in(&p, "a.safetensors"), "program", LAMMD_VERSION "x", NULL);
    check_load(t, rig_in(&p, "a.safetensors"), "another version of lammd");
    train_close(t);
    rig_drop_folder(p.folder);
}

/* A run that was begun in f32 goes on in bf16, and is told so. */
TEST(train_ckpt_goes_on_in_bf16) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t;
    struct err e = {0};
    o.device = "cpu";
    o.isa = "avx512bf16";
    if (train_open(&o, 2, &t, &e) == E_UNSUPPORTED) skip("%s", e.text);
    o.isa = "avx512";
    struct train *plain = learner_open(&o);
    save(plain, rig_in(&p, "a.safetensors"));
    train_close(plain);
    check_load(t, rig_in(&p, "a.safetensors"), "of another device");
    save(t, rig_in(&p, "b.safetensors"));
    check_load(t, rig_in(&p, "b.safetensors"), NULL);
    train_close(t);
    rig_drop_folder(p.folder);
}

/* ---- what is refused ---- */

/* Loads into a train that stays as it was. */
static void check_refused(struct train *t, const char *path, const struct train_meta *m, int code,
                          const char *says) {
    struct err e = {0};
    char cursor[32] = "untouched";
    const char *note = NULL;
    float *before = rig_block(t, t->params.value);
    int rc = train_load(t, path, m, cursor, sizeof cursor, &note, &e);
    if (rc != code || !strstr(e.text, says))
        test_failed(__FILE__, __LINE__, "%d, not %d: %s", rc, code, e.text);
    CHECK_HAS(e.text, path);
    CHECK_STR(cursor, "untouched");
    CHECK_EQ(t->steps, 0u);
    float *behind = rig_block(t, t->params.value);
    CHECK_MEM(before, behind, t->params.floats * sizeof *before);
    mem_free(before);
    mem_free(behind);
}

static void check_options(const struct train_options *o, const char *path, const char *says) {
    struct train *t = learner_open(o);
    check_refused(t, path, &meta, E_FORMAT, says);
    train_close(t);
}

TEST(train_ckpt_of_another_run_is_refused) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    rig_stir(t, 1);
    t->steps = 5;
    const char *path = rig_in(&p, "a.safetensors");
    char kept[160];
    snprintf(kept, sizeof kept, "%s", path);
    save(t, kept);
    train_close(t);
    t = learner_open(&o);
    check_refused(t, kept, &(struct train_meta){"recipe-2", "data-1", NULL}, E_FORMAT,
                  "another recipe (recipe-1, not recipe-2)");
    check_refused(t, kept, &(struct train_meta){"recipe-1", "data-2", NULL}, E_FORMAT,
                  "another data");
    train_close(t);
    o.seed = 8;
    check_options(&o, kept, "another seed");
    o = rig_options();
    o.model = RIG_DIGITS;
    check_options(&o, kept, "another model");
    o = rig_options();
    o.lora.r = 8;
    check_options(&o, kept, "another shape");
    o = rig_options();
    o.lora.targets |= TRAIN_LORA_K;
    check_options(&o, kept, "missing");
    o = rig_options();
    o.connector = 0;
    check_options(&o, kept, "more than learn here");
    o = rig_options();
    o.average = 0;
    check_options(&o, kept, "more than learn here");
    o = rig_options();
    o.teacher = RIG_MODEL;
    o.teach[SAMPLE_PIXELS] = 0.5f;
    check_options(&o, kept, "another teacher");
    o = rig_options();
    o.dense[TRAIN_DENSE_BOX] = 1;
    check_options(&o, kept, "missing");
    rig_drop_folder(p.folder);
}

TEST(train_ckpt_without_digests_asks_for_none) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    struct err e = {0};
    CHECK_EQ(train_save(t, rig_in(&p, "a.safetensors"), NULL, &e), 0);
    train_close(t);
    o.seed = 9;
    t = learner_open(&o);
    char cursor[4];
    CHECK_EQ(train_load(t, rig_in(&p, "a.safetensors"), NULL, cursor, sizeof cursor, NULL, &e), 0);
    CHECK_STR(cursor, "");
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_ckpt_that_is_broken_is_refused) {
    static const struct {
        const char *key, *value, *without;
        int code;
        const char *says;
    } bad[] = {
        {"lammd.checkpoint", NULL, NULL, E_FORMAT, "not a checkpoint"},
        {"lammd.checkpoint", "2", NULL, E_UNSUPPORTED, "in format 2"},
        {"base", "", NULL, E_FORMAT, "another model"},
        {"step", "", NULL, E_FORMAT, "step"},
        {"step", "-1", NULL, E_FORMAT, "step"},
        {"step", "99999999999999999999", NULL, E_FORMAT, "step"},
        {"updates", "1e3", NULL, E_FORMAT, "updates"},
        {"skipped_in_row", NULL, NULL, E_FORMAT, "skipped_in_row"},
        {"skipped_in_row", "1001", NULL, E_FORMAT, "skipped_in_row"},
        {"cursor", "a text of more than 32 bytes, which has no room", NULL, E_TOO_BIG, "cursor"},
        {NULL, NULL, "m.llama_proj.bias", E_FORMAT, "m.llama_proj.bias: missing"},
    };
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char path[160];
        snprintf(path, sizeof path, "%s", rig_in(&p, "a.safetensors"));
        save(t, path);
        rig_rewrite(path, bad[i].key, bad[i].value, bad[i].without);
        check_refused(t, path, &meta, bad[i].code, bad[i].says);
    }
    check_refused(t, RIG_MODEL "/model.safetensors", &meta, E_FORMAT, "not a checkpoint");
    check_refused(t, rig_in(&p, "none"), &meta, E_NOT_FOUND, "No such file");
    train_close(t);
    rig_drop_folder(p.folder);
}

TEST(train_ckpt_texts_have_bounds) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    struct err e = {0};
    char text[4002];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK_EQ(train_save(t, rig_in(&p, "a.safetensors"), &(struct train_meta){.cursor = text}, &e),
             E_INVALID);
    CHECK_HAS(e.text, "cursor");
    t->tree.added = 1;
    e = (struct err){0};
    CHECK_EQ(train_save(t, rig_in(&p, "a.safetensors"), &meta, &e), E_INVALID);
    CHECK_HAS(e.text, "between steps");
    train_close(t);
    rig_drop_folder(p.folder); /* nothing was written */
}

TEST(train_ckpt_on_a_full_disk) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *a = learner_open(&o), *b = learner_open(&o);
    struct err e = {0};
    char path[160];
    snprintf(path, sizeof path, "%s", rig_in(&p, "a.safetensors"));
    rig_stir(a, 1);
    save(a, path);
    rig_stir(b, 2);
    broken_disk(SYS_write, 4096, ENOSPC); /* its masters are larger than that */
    CHECK_EQ(train_save(b, path, &meta, &e), E_IO);
    CHECK_HAS(e.text, "No space left on device");
    check_load(b, path, NULL);
    rig_check_same(a, b);
    train_close(a);
    train_close(b);
    rig_drop_folder(p.folder);
}

/* A process that does nothing but save is killed at any moment: the file is always whole. */
TEST(train_ckpt_survives_a_kill) {
    struct rig_place p = rig_place();
    struct train_options o = rig_options();
    struct train *t = learner_open(&o);
    char path[160], temp[170];
    snprintf(path, sizeof path, "%s", rig_in(&p, "a.safetensors"));
    snprintf(temp, sizeof temp, "%s.tmp", path);
    uint64_t begun = clock_ns();
    save(t, path);
    uint64_t most = 6 * (clock_ns() - begun); /* some saves are whole by then */
    if (most >= CLOCK_S) most = CLOCK_S - 1;
    int halves = 0, n = test_count(5, 100);
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        for (; pid == 0; t->steps++)
            if (train_save(t, path, &meta, NULL)) _exit(1);
        long ns = (long)(rng_u64(test_seed(), (uint64_t)i) % most);
        nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status));
        check_load(t, path, NULL);
        halves += access(temp, F_OK) == 0;
    }
    printf("killed %d times, %d of them inside of a file; the last whole one had step %llu\n", n,
           halves, (unsigned long long)t->steps);
    (void)unlink(temp);
    train_close(t);
    rig_drop_folder(p.folder);
}
