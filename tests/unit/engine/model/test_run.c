/* test_run.c - passes: the same bits however a prompt is cut, and no allocation. */
#include "tests/unit/engine/model/model_rig.h"

static void check_same(const float *a, const float *b, int n) {
    CHECK(!memcmp(a, b, (size_t)n * sizeof *a));
}

static void chunked_prefill(const char *backend) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, backend);
    struct rig_prompt t = rig_tiny_prompt(&r);
    float *want = rig_plain(&r, p, &t);
    static const int chunks[] = {1, 2, 5, 16, 17};
    for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
        int base = 100 + 40 * (int)c;
        float *got = NULL;
        for (int from = 0; from < t.n; from += chunks[c]) {
            int to = from + chunks[c] < t.n ? from + chunks[c] : t.n;
            rig_begin(&r, p);
            rig_chunk(p, &t, from, to, base);
            if (to == t.n) rig_pick(p, to - from - 1);
            mem_free(got);
            got = rig_run(&r, p);
        }
        check_same(got, want, p->pick_group.ldp);
        mem_free(got);
    }
    mem_free(want);
    mem_free(p);
    rig_close(&r);
}

TEST(model_run_chunks_give_the_same_bits) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        chunked_prefill(rig_backends[i]);
}

/* A stem, then lanes with private tails among rows of another prompt: as when run alone. */
static void lanes_and_neighbours(const char *backend) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, backend);
    struct rig_prompt t = rig_tiny_prompt(&r), u = t;
    int stem = t.n - 3;  /* the last three tokens are private */
    u.src[t.n - 2] = 17; /* another lane */
    float *want_t = rig_plain(&r, p, &t), *want_u = rig_plain(&r, p, &u);

    rig_begin(&r, p);
    rig_chunk(p, &t, 0, stem, 0);
    mem_free(rig_run(&r, p));
    /* Two tokens of each lane in one pass, tokens ride along; another prompt's prefill in
     * between. */
    const struct rig_prompt *lanes[] = {&t, &u};
    for (int step = 0; step < 2; step++) {
        int done = step ? 2 : 0, count = step ? 1 : 2;
        rig_begin(&r, p);
        for (int l = 0; l < 2; l++) {
            for (int j = done; j < done + count; j++) {
                rig_row(p, lanes[l]->src[stem + j], stem + j, 200 + 50 * l + j);
                for (int k = 0; k <= j; k++)
                    rig_tail(p, 200 + 50 * l + k);
            }
            if (step) rig_pick(p, p->p.rows - 1);
            if (l) continue;
            rig_group(p, -1, 0, stem);
            rig_chunk(p, &u, 0, 11, 400);
        }
        rig_group(p, -1, 0, stem);
        float *got = rig_run(&r, p);
        if (step) {
            check_same(got, want_t, p->pick_group.ldp);
            check_same(got + p->pick_group.ldp, want_u, p->pick_group.ldp);
            CHECK(memcmp(want_t, want_u, sizeof *got * (size_t)p->pick_group.ldp) != 0);
        }
        mem_free(got);
    }
    mem_free(want_t);
    mem_free(want_u);
    mem_free(p);
    rig_close(&r);
}

TEST(model_run_lanes_give_the_same_bits) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        lanes_and_neighbours(rig_backends[i]);
}

static void drop_tensor(void *ud, const char *name, const float *data, int rows, int cols) {
    (void)name;
    (void)data;
    *(int *)ud += rows > 0 && cols > 0;
}

/* The short cut of the last layer, off while there is a tap, changes nothing. */
static void short_cut(const char *backend) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, backend);
    struct rig_prompt t = rig_tiny_prompt(&r);
    int seen = 0;
    static const int picked[] = {3, 21, 21, 0};
    float *got[2];
    for (int watched = 0; watched < 2; watched++) {
        model_set_tap(r.m, watched ? drop_tensor : NULL, &seen);
        rig_begin(&r, p);
        rig_chunk(p, &t, 0, t.n, 0);
        for (size_t i = 0; i < ARRAY_LEN(picked); i++)
            rig_pick(p, picked[i]);
        got[watched] = rig_run(&r, p);
    }
    CHECK_EQ(seen, 1 + 2 + 1);
    check_same(got[0], got[1], p->pick_group.ldp * (int)ARRAY_LEN(picked));
    check_same(got[0] + p->pick_group.ldp, got[0] + 2 * p->pick_group.ldp, p->pick_group.ldp);
    mem_free(got[0]);
    mem_free(got[1]);
    mem_free(p);
    rig_close(&r);
}

TEST(model_run_computes_only_what_is_picked) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        short_cut(rig_backends[i]);
}

/* `best` and `probs` against the logits, for two heads and three column sets in one pass. */
static void choices(const char *backend) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    struct err e = {0};
    rig_open_tiny(&r, backend);
    struct rig_prompt t = rig_tiny_prompt(&r);
    float *full = rig_plain(&r, p, &t);
    int32_t few_ids[] = {600, 7, 300, 301, 302};
    struct model_head *few;
    CHECK_EQ(model_head_new(r.m, few_ids, 5, &few, &e), 0);
    static const int32_t col_off[] = {0, 3, 5, 6}, cols[] = {0, 10, 20, 4, 1, 2};
    float probs[3 * 4] = {0};
    struct model_pick_group groups[] = {{r.head, 0, 1, probs, 4}, {few, 1, 2, probs + 4, 4}};
    static const int32_t set[] = {0, 1, 2}, row[] = {0, 0, 0};
    rig_begin(&r, p);
    rig_chunk(p, &t, 0, t.n, 0);
    for (int i = 0; i < 3; i++) {
        p->pick_row[i] = row[i] + t.n - 1;
        p->pick_set[i] = set[i];
    }
    p->p.picks = 3;
    p->p.pick_groups = groups;
    p->p.n_pick_groups = 2;
    p->p.col_off = col_off;
    p->p.cols = cols;
    p->p.n_sets = 3;
    CHECK_EQ(model_run(r.m, &p->p, &e), 0);
    /* Softmax over a subset is the whole one, rescaled. */
    int32_t a[] = {0, 10, 20}, b[] = {302, 7};
    float sum = full[a[0]] + full[a[1]] + full[a[2]], best = 0;
    for (int j = 0; j < 3; j++) {
        CHECK_NEAR(probs[j], full[a[j]] / sum, 1e-5);
        if (probs[j] > best) best = probs[j];
    }
    CHECK(probs[p->best[0]] == best);
    for (int j = 0; j < 2; j++)
        CHECK_NEAR(probs[4 + j], full[b[j]] / (full[b[0]] + full[b[1]]), 1e-5);
    CHECK_EQ(p->best[1], probs[5] > probs[4]);
    CHECK(probs[8] == 1 && p->best[2] == 0);
    p->best[0] = p->best[1] = -1;
    groups[0].probs = groups[1].probs = NULL; /* not wanted: the picks are the same */
    CHECK_EQ(model_run(r.m, &p->p, &e), 0);
    CHECK(probs[p->best[0]] == best && p->best[1] == (probs[5] > probs[4]));
    model_head_free(r.m, few);
    model_head_free(r.m, NULL);
    mem_free(full);
    mem_free(p);
    rig_close(&r);
}

TEST(model_run_picks) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        choices(rig_backends[i]);
}

TEST(model_encode_keeps_pictures_apart) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, "ref");
    struct rig_prompt t = rig_tiny_prompt(&r), u = t;
    for (int i = 0; i < u.n; i++)
        if (u.src[i] < 0) u.src[i] = ~(~u.src[i] + 16); /* entry 1 */
    float *want = rig_plain(&r, p, &t);
    uint8_t *black = mem_must(32 * 32 * 3);
    model_encode(r.m, MODEL_BASE, black, 1);
    float *other = rig_plain(&r, p, &u), *again = rig_plain(&r, p, &t);
    check_same(want, again, p->pick_group.ldp);
    CHECK(memcmp(want, other, sizeof *want * (size_t)p->pick_group.ldp) != 0);
    rig_encode(&r, 1);
    float *same = rig_plain(&r, p, &u);
    check_same(want, same, p->pick_group.ldp);
    mem_free(want);
    mem_free(other);
    mem_free(again);
    mem_free(same);
    mem_free(black);
    mem_free(p);
    rig_close(&r);
}

static void allocations(const char *backend) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    struct err e = {0};
    rig_open_tiny(&r, backend);
    struct rig_prompt t = rig_tiny_prompt(&r);
    uint8_t *black = mem_must(32 * 32 * 3);
    float *probs = rig_plain(&r, p, &t);
    p->pick_group.probs = probs;
    model_encode(r.m, MODEL_BASE, black, 1);
    struct mem_stats before, after;
    struct kern_stats kern_before, kern_after;
    mem_stats(&before);
    r.ops->stats(r.k, &kern_before);
    for (int i = 0; i < 100; i++) {
        if (i % 10 == 0) model_encode(r.m, MODEL_BASE, black, 1);
        CHECK_EQ(model_run(r.m, &p->p, &e), 0);
    }
    mem_stats(&after);
    r.ops->stats(r.k, &kern_after);
    CHECK_EQ(after.allocations, before.allocations);
    CHECK_EQ(kern_after.allocations, kern_before.allocations);
    CHECK(kern_after.ops > kern_before.ops);
    /* each pass and each picture above had come before: all of them are replayed, or none */
    CHECK_EQ(kern_after.replays - kern_before.replays, strstr(backend, "+graphs") ? 110 : 0);
    mem_free(black);
    mem_free(probs);
    mem_free(p);
    rig_close(&r);
}

TEST(model_run_allocates_nothing) {
    for (size_t i = 0; i < ARRAY_LEN(rig_backends); i++)
        allocations(rig_backends[i]);
}

/* The invariances hold in every mode, with 16 bits too. */
TEST(model_run_gives_the_same_bits_cuda) {
    static const char *const modes[] = {"cuda-strict", "cuda-flat", "cuda-tile",
                                        "cuda-flat+graphs"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        chunked_prefill(modes[i]);
        lanes_and_neighbours(modes[i]);
        choices(modes[i]);
        allocations(modes[i]);
    }
}

/* ---- how passes are issued ---- */

/* A table that notes the keys and has every picture and pass issued `again` more times. */
static struct {
    const struct kern_ops *real;
    uint64_t key[16];
    int n_keys, again, n_embeds, n_patchifies, is_open;
} noted;

static void note_pass(struct kern *k, uint64_t key, kern_issue_fn *issue, void *ud) {
    (void)k;
    CHECK(!noted.is_open && noted.n_keys < (int)ARRAY_LEN(noted.key));
    noted.is_open = 1;
    noted.key[noted.n_keys++] = key;
    for (int i = 0; i <= noted.again; i++)
        issue(ud);
    noted.is_open = 0;
}

static void note_embed(struct kern *k, const struct kern_embed *a) {
    CHECK(noted.is_open);
    noted.n_embeds++;
    noted.real->embed(k, a);
}

static void note_patchify(struct kern *k, const struct kern_patchify *a) {
    CHECK(noted.is_open);
    noted.n_patchifies++;
    noted.real->patchify(k, a);
}

/* All operations are issued through pass, as often as it wants, and give the same bits. */
TEST(model_run_issues_again_when_it_has_to) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, "ref");
    struct rig_prompt t = rig_tiny_prompt(&r);
    float *want = rig_plain(&r, p, &t);
    struct kern_ops ops = *r.ops;
    ops.pass = note_pass;
    ops.embed = note_embed;
    ops.patchify = note_patchify;
    noted.real = r.ops;
    r.m->ops = &ops;
    for (noted.again = 0; noted.again < 3; noted.again++) {
        noted.n_keys = noted.n_embeds = noted.n_patchifies = 0;
        rig_encode(&r, 0);
        CHECK_EQ(noted.n_patchifies, 1 + noted.again);
        float *got = rig_plain(&r, p, &t);
        CHECK_EQ(noted.n_embeds, 1 + noted.again);
        CHECK_EQ(noted.n_keys, 2);
        CHECK(noted.key[1] != noted.key[0]); /* a pass is no picture */
        check_same(want, got, p->pick_group.ldp);
        mem_free(got);
    }
    r.m->ops = r.ops;
    mem_free(want);
    mem_free(p);
    rig_close(&r);
}

static uint64_t key_of_pass(struct rig *r, struct rig_pass *p, const struct rig_prompt *t, int rows,
                            int picks) {
    rig_begin(r, p);
    rig_chunk(p, t, 0, rows, 0);
    for (int i = 0; i < picks; i++)
        rig_pick(p, i);
    noted.n_keys = 0;
    mem_free(rig_run(r, p));
    CHECK_EQ(noted.n_keys, 1);
    return noted.key[0];
}

/* Equal keys promise the same operations: with picks or without, sizes of one magnitude alone. */
TEST(model_run_keys_tell_passes_apart) {
    struct rig r;
    struct rig_pass *p = mem_must(sizeof *p);
    rig_open_tiny(&r, "ref");
    struct rig_prompt t = rig_tiny_prompt(&r);
    struct kern_ops ops = *r.ops;
    ops.pass = note_pass;
    noted.again = 0;
    r.m->ops = &ops;
    uint64_t key = key_of_pass(&r, p, &t, 9, 4);
    CHECK(key_of_pass(&r, p, &t, 9, 4) == key);
    CHECK(key_of_pass(&r, p, &t, 16, 3) == key);
    CHECK(key_of_pass(&r, p, &t, 17, 4) != key);
    CHECK(key_of_pass(&r, p, &t, 8, 4) != key);
    CHECK(key_of_pass(&r, p, &t, 9, 5) != key);
    CHECK(key_of_pass(&r, p, &t, 9, 2) != key);
    CHECK(key_of_pass(&r, p, &t, 9, 1) != key_of_pass(&r, p, &t, 9, 0));
    r.m->ops = r.ops;
    mem_free(p);
    rig_close(&r);
}
