/* test_adapters.c - adapters through the engine's door: what they answer, alone and in company;
 * what they share with the base; how they come and go. That they answer as peft does is shown in
 * model/test_berth.c. */
#include <stdatomic.h>

#include "tests/unit/engine/adapter_rig.h"

enum { GOLDEN = 3 };
static const char *const golden[GOLDEN] = {PEFT_GOLDEN "plain", PEFT_GOLDEN "rslora",
                                           PEFT_GOLDEN "pattern"};

static struct eng *open_with(int adapters, int overlays) {
    return eng_rig_open(&(struct eng_options){
        .model = TINY, .adapters = adapters, .adapter_rank = 8, .adapter_overlays = overlays});
}

static struct eng_ask ask_of(struct eng_picture **picture, struct eng_adapter *a) {
    return (struct eng_ask){.pictures = picture,
                            .n_pictures = 1,
                            .adapter = a,
                            .points = eng_rig_points(),
                            .n_points = ENG_RIG_ALL,
                            .distribution = 1,
                            .urgency = ENG_PICTURE};
}

static struct eng_job *submit(struct eng *e, struct eng_picture *picture, struct eng_adapter *a) {
    struct eng_job *j;
    struct err err = {0};
    struct eng_ask ask = ask_of(&picture, a);
    if (eng_submit(e, &ask, &j, &err)) test_failed(__FILE__, __LINE__, "%s", err.text);
    return j;
}

static void collect(struct eng_job *j, struct eng_answer *by_place) {
    memset(by_place, 0, ENG_RIG_ALL * sizeof by_place[0]);
    eng_rig_collect(j, eng_rig_points(), ENG_RIG_ALL, by_place);
    eng_job_put(j);
}

static void answers(struct eng *e, int picture, struct eng_adapter *a, struct eng_answer *out) {
    struct eng_picture *p = eng_rig_picture(e, picture);
    collect(submit(e, p, a), out);
    eng_picture_put(p);
}

/* ---- what they answer ---- */

/* Alone each of them answers in its own way, and the base as without any. */
static void alone_of(const struct eng_options *o, struct eng_answer (*want)[ENG_RIG_ALL]) {
    struct eng_options bare = *o;
    bare.adapters = bare.adapter_rank = 0;
    struct eng *e = eng_rig_open(&bare);
    answers(e, 1, NULL, want[GOLDEN]);
    eng_close(e);
    e = eng_rig_open(o);
    for (int i = 0; i < GOLDEN; i++) {
        struct eng_adapter *a = adapter_rig_load(e, golden[i]);
        answers(e, 1, a, want[i]);
        CHECK(!eng_rig_same(want[i], want[GOLDEN], ENG_RIG_ALL));
        for (int k = 0; k < i; k++)
            CHECK(!eng_rig_same(want[i], want[k], ENG_RIG_ALL));
        eng_adapter_put(a);
    }
    eng_close(e);
}

/* Together all of them, and the base, have the bits that they have alone: in mixed passes, twice,
 * so from the cache as well. */
static void together(const struct eng_options *o) {
    static struct eng_answer want[GOLDEN + 1][ENG_RIG_ALL], got[ENG_RIG_ALL];
    struct eng_adapter *a[GOLDEN + 1] = {NULL};
    alone_of(o, want);
    struct eng *e = eng_rig_open(o);
    struct eng_picture *p = eng_rig_picture(e, 1);
    struct eng_stats s;
    for (int i = 0; i < GOLDEN; i++)
        a[i] = adapter_rig_load(e, golden[i]);
    for (int turn = 0; turn < 2; turn++) {
        struct eng_job *j[GOLDEN + 1];
        for (int i = 0; i <= GOLDEN; i++)
            j[i] = submit(e, p, a[i]);
        for (int i = 0; i <= GOLDEN; i++) {
            collect(j[i], got);
            CHECK(eng_rig_same(got, want[i], ENG_RIG_ALL));
        }
        eng_rig_idle(e, &s);
        CHECK_EQ(s.pictures, 1); /* LoRAs share what the tower saw */
        CHECK_EQ(s.stem_misses, GOLDEN + 1);
        CHECK_EQ(s.stem_hits, turn * (GOLDEN + 1));
        CHECK_EQ(s.allocations_in_step, 0);
        CHECK_EQ(s.adapters, GOLDEN);
    }
    for (int i = 0; i < GOLDEN; i++)
        eng_adapter_put(a[i]);
    eng_picture_put(p);
    eng_close(e);
}

TEST(adapters_have_the_same_bits_in_any_company) {
    together(&(struct eng_options){.model = TINY, .adapters = 3, .adapter_rank = 8});
}
TEST(adapters_have_the_same_bits_in_any_company_ref) {
    together(
        &(struct eng_options){.model = TINY, .device = "ref", .adapters = 3, .adapter_rank = 4});
}
TEST(adapters_have_the_same_bits_beside_a_base_in_fp8) {
    together(&(struct eng_options){
        .model = TINY, .weights_as = "fp8", .adapters = 4, .adapter_rank = 4});
}
TEST(adapters_have_the_same_bits_in_16_bits) {
    together(&(struct eng_options){
        .model = TINY, .adapters_as = "bf16", .adapters = 4, .adapter_rank = 4});
}
/* Other answers than in f32, from less memory. */
TEST(adapters_in_16_bits_are_rounded_and_take_less) {
    static struct eng_answer whole[ENG_RIG_ALL], rounded[ENG_RIG_ALL];
    struct eng_options o = {.model = TINY,
                            .device = eng_rig_backend(),
                            .threads = 1,
                            .rows = 80,
                            .lanes = 20,
                            .kv_tokens = 3000,
                            .adapters = 8,
                            .adapter_rank = 64};
    struct eng *e = NULL;
    struct err err = {0};
    for (o.memory = 1 << 20; eng_open(&o, &e, &err) == E_NOMEM;)
        o.memory = o.memory / 16 * 17;
    CHECK(e != NULL);
    struct eng_adapter *a = adapter_rig_load(e, golden[0]);
    answers(e, 1, a, whole);
    eng_adapter_put(a);
    eng_close(e);
    o.adapters_as = "bf16";
    o.memory = o.memory / 6 * 5; /* is too little for f32 */
    err = (struct err){0};
    int rc = eng_open(&o, &e, &err);
    if (rc == E_UNSUPPORTED) skip("%s", err.text);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    CHECK_HAS(eng_info(e)->backend, "adapters as bf16");
    a = adapter_rig_load(e, golden[0]);
    answers(e, 1, a, rounded);
    CHECK(!eng_rig_same(whole, rounded, ENG_RIG_ALL));
    eng_adapter_put(a);
    eng_close(e);
    o.adapters_as = "int3";
    CHECK_EQ(eng_open(&o, &e, &err), E_INVALID);
    CHECK_HAS(err.text, "adapters as \"int3\"");
}
TEST(adapters_have_the_same_bits_in_small_passes) {
    together(&(struct eng_options){
        .model = TINY, .adapters = 3, .adapter_rank = 4, .rows = 80, .lanes = 20});
}

/* ---- overlays ---- */

TEST(adapters_with_an_overlay) {
    static struct eng_answer base[ENG_RIG_ALL], lora[ENG_RIG_ALL], over[ENG_RIG_ALL],
        both[ENG_RIG_ALL], got[ENG_RIG_ALL];
    struct eng *e = open_with(3, 2);
    const char *digest = eng_info(e)->digest;
    struct adapter_rig tower = adapter_rig_new(digest, NULL, "visual_encoder.blocks.1."),
                       all = adapter_rig_new(digest, "plain", "llama_proj.");
    struct eng_adapter *a = adapter_rig_load(e, tower.path), *b = adapter_rig_load(e, all.path),
                       *c = adapter_rig_load(e, golden[0]);
    const struct eng_adapter_info *i = eng_adapter_info(a);
    CHECK(i->has_overlay && !i->has_lora && i->rank == 0 && i->parameters > 0);
    CHECK_EQ(i->bytes, 4 * i->parameters);
    i = eng_adapter_info(b);
    CHECK(i->has_overlay && i->has_lora && i->rank == 4);
    CHECK(strcmp(i->digest, eng_adapter_info(c)->digest) != 0);
    answers(e, 1, NULL, base);
    answers(e, 1, a, over);
    answers(e, 1, b, both);
    answers(e, 1, c, lora);
    CHECK(!eng_rig_same(base, over, ENG_RIG_ALL) && !eng_rig_same(both, over, ENG_RIG_ALL));
    CHECK(!eng_rig_same(base, lora, ENG_RIG_ALL) && !eng_rig_same(both, lora, ENG_RIG_ALL));
    struct eng_stats s;
    eng_rig_idle(e, &s);
    CHECK_EQ(s.pictures, 3); /* base and LoRA share a tower */
    CHECK_EQ(s.allocations_in_step, 0);
    /* The tower's berth serves another now; the answers are that one's, and the base's its own. */
    eng_adapter_put(a);
    a = adapter_rig_load(e, all.path);
    answers(e, 1, a, got);
    CHECK(eng_rig_same(got, both, ENG_RIG_ALL));
    answers(e, 1, NULL, got);
    CHECK(eng_rig_same(got, base, ENG_RIG_ALL));
    eng_adapter_put(a);
    eng_adapter_put(b);
    eng_adapter_put(c);
    eng_close(e);
    adapter_rig_drop(&tower);
    adapter_rig_drop(&all);
}

/* ---- coming and going ---- */

static void refuse(struct eng *e, const char *folder, int rc, const char *says) {
    struct eng_adapter *a = (void *)1;
    struct err err = {0};
    struct mem_stats before, after;
    struct eng_stats s;
    eng_stats(e, &s);
    uint64_t taken = s.adapters;
    mem_stats(&before);
    CHECK_EQ(eng_adapter_load(e, folder, NULL, NULL, &a, &err), rc);
    CHECK_HAS(err.text, says);
    CHECK(a == NULL);
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
    eng_stats(e, &s);
    CHECK_EQ(s.adapters, taken);
}

TEST(adapters_that_are_refused_leave_nothing) {
    struct eng *none = open_with(0, 0), *one = open_with(1, 0);
    refuse(none, golden[0], E_UNSUPPORTED, "without room for adapters");
    eng_close(none);
    struct eng_options o = {.model = TINY, .adapters = 1, .adapter_rank = 2};
    struct eng *low = eng_rig_open(&o);
    refuse(low, golden[0], E_TOO_BIG, "plain: r: its rank is 4, there is room for 2");
    eng_close(low);
    refuse(one, "/nowhere", E_NOT_FOUND, "/nowhere");
    struct adapter_rig over = adapter_rig_new(eng_info(one)->digest, NULL, "llama_proj.");
    refuse(one, over.path, E_TOO_BIG, "an overlay, and no room was reserved");
    adapter_rig_drop(&over);
    over = adapter_rig_new("0000000000000000000000000000000000000000000000000000000000000000",
                           "plain", NULL);
    refuse(one, over.path, E_FORMAT, "for the base model 000000000000");
    adapter_rig_drop(&over);
    struct eng_adapter *a = adapter_rig_load(one, golden[0]);
    refuse(one, golden[1], E_BUSY, "all 1 places for adapters are taken");
    eng_adapter_put(a);
    a = adapter_rig_load(one, golden[1]); /* it is free again */
    eng_adapter_put(a);
    struct eng_stats s;
    eng_stats(one, &s);
    CHECK_EQ(s.adapters, 0);
    eng_close(one);
}

TEST(adapters_of_options_that_are_none) {
    static const struct {
        struct eng_options o;
        const char *says;
    } wrong[] = {{{.adapters = 17}, "17 adapters are too many: at most 16"},
                 {{.adapters = -1}, "-1 adapters"},
                 {{.adapters = 1, .adapter_overlays = 2}, "1 adapters, 2 of them with an overlay"},
                 {{.adapters = 1, .adapter_rank = 513}, "513 ranks of an adapter are too many"},
                 {{.adapters = 1, .adapter_rank = -1}, "an adapter's rank below 1"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct eng_options o = wrong[i].o;
        struct eng *e;
        struct err err = {0};
        o.model = TINY;
        o.device = eng_rig_backend();
        CHECK_EQ(eng_open(&o, &e, &err), E_INVALID);
        CHECK_HAS(err.text, wrong[i].says);
    }
}

/* Their room is counted: too little memory is refused, with the number, and other sizes make way
 * where they were not chosen. */
TEST(adapters_have_room_that_is_counted) {
    struct eng *e = NULL;
    struct err err = {0};
    struct eng_options o = {.model = TINY,
                            .device = eng_rig_backend(),
                            .threads = 1,
                            .adapters = 16,
                            .adapter_rank = 512,
                            .memory = (uint64_t)40 << 20};
    CHECK_EQ(eng_open(&o, &e, &err), E_NOMEM);
    CHECK_HAS(err.text, "MiB are needed in all");
    o.adapter_rank = 16;
    err = (struct err){0};
    int rc = eng_open(&o, &e, &err);
    if (rc) test_failed(__FILE__, __LINE__, "%s", err.text);
    CHECK(eng_info(e)->adapters == 16 && eng_info(e)->adapter_rank == 16);
    eng_close(e);
}

TEST(adapters_that_are_not_loaded_cant_be_asked) {
    struct eng *e = open_with(2, 0), *other = open_with(1, 0);
    struct eng_adapter *a = adapter_rig_load(other, golden[0]);
    struct eng_picture *p = eng_rig_picture(e, 1);
    struct eng_ask ask = ask_of(&p, a);
    struct eng_job *j = NULL;
    struct err err = {0};
    CHECK_EQ(eng_submit(e, &ask, &j, &err), E_INVALID);
    CHECK_HAS(err.text, "another engine");
    CHECK(j == NULL);
    eng_picture_put(p);
    eng_close(e);
    eng_close(other);
    eng_adapter_put(a); /* it outlives its engine */
}

/* A job that is on its way ends on what it began with; its berth is free when it has ended. */
TEST(adapters_serve_what_they_began) {
    static struct eng_answer want[ENG_RIG_ALL], got[ENG_RIG_ALL];
    struct eng *e = open_with(1, 0);
    struct eng_picture *p = eng_rig_picture(e, 1);
    struct eng_adapter *a = adapter_rig_load(e, golden[0]);
    collect(submit(e, p, a), want);
    struct eng_job *j = submit(e, p, a);
    eng_adapter_put(a);
    struct err err = {0};
    int rc = eng_adapter_load(e, golden[1], NULL, NULL, &a, &err);
    if (eng_job_state(j) < ENG_DONE) CHECK(rc == E_BUSY || rc == 0);
    if (rc == 0) eng_adapter_put(a);
    struct eng_job_stats before;
    eng_job_stats(j, &before);
    eng_rig_collect(j, eng_rig_points(), ENG_RIG_ALL, got);
    CHECK(eng_rig_same(want, got, ENG_RIG_ALL));
    struct eng_stats s;
    eng_rig_idle(e, &s);
    a = adapter_rig_load(e, golden[1]); /* though the ended job was not put yet */
    eng_job_put(j);
    eng_adapter_put(a);
    eng_picture_put(p);
    eng_close(e);
}

/* Other content under the same path is another adapter; the same content finds what is cached. */
TEST(adapters_are_known_by_content) {
    static struct eng_answer first[ENG_RIG_ALL], second[ENG_RIG_ALL], again[ENG_RIG_ALL];
    struct eng *e = open_with(1, 0);
    struct adapter_rig f = adapter_rig_new(eng_info(e)->digest, "plain", NULL);
    struct eng_adapter *a = adapter_rig_load(e, f.path);
    char digest[65];
    snprintf(digest, sizeof digest, "%s", eng_adapter_info(a)->digest);
    answers(e, 1, a, first);
    eng_adapter_put(a);
    adapter_rig_copy(&f, "rslora");
    adapter_rig_card(&f, eng_info(e)->digest, 1);
    a = adapter_rig_load(e, f.path);
    CHECK(strcmp(digest, eng_adapter_info(a)->digest) != 0);
    answers(e, 1, a, second);
    CHECK(!eng_rig_same(first, second, ENG_RIG_ALL));
    eng_adapter_put(a);
    struct eng_stats s;
    eng_rig_idle(e, &s);
    uint64_t hits = s.stem_hits;
    a = adapter_rig_load(e, golden[0]); /* without a card, and from elsewhere */
    CHECK_STR(digest, eng_adapter_info(a)->digest);
    answers(e, 1, a, again);
    CHECK(eng_rig_same(first, again, ENG_RIG_ALL));
    eng_rig_idle(e, &s);
    CHECK_EQ(s.stem_hits, hits + 1);
    eng_adapter_put(a);
    eng_close(e);
    adapter_rig_drop(&f);
}

/* ---- waking ---- */

static void count_wake(void *ud, struct eng_adapter *a) {
    CHECK(eng_adapter_state(a) >= ENG_DONE);
    atomic_fetch_add((atomic_int *)ud, 1);
}

TEST(adapters_wake_once) {
    atomic_int woken = 0, never = 0;
    struct eng *e = open_with(16, 0);
    struct eng_adapter *a[16];
    for (int i = 0; i < 16; i++)
        CHECK_EQ(eng_adapter_load(e, golden[i % 2], i % 2 ? count_wake : NULL, &woken, &a[i], NULL),
                 0);
    for (int i = 0; i < 16; i++) {
        adapter_rig_wait(a[i]);
        CHECK_EQ(eng_adapter_state(a[i]), ENG_DONE);
        CHECK_EQ(eng_adapter_error(a[i])->code, 0);
        CHECK(eng_adapter_get(a[i]) == a[i]);
        eng_adapter_put(a[i]);
    }
    for (int i = 0; i < 60000 && woken < 8; i++)
        usleep(1000);
    CHECK_EQ(woken, 8);
    for (int i = 0; i < 16; i++)
        eng_adapter_put(a[i]);
    /* Put while it is loaded: its berth is free soon after, and nobody is woken later. */
    for (int i = 0; i < 40; i++) {
        struct eng_adapter *gone;
        CHECK_EQ(eng_adapter_load(e, golden[1], count_wake, &never, &gone, NULL), 0);
        eng_adapter_put(gone);
        int n = never;
        struct eng_stats s;
        do
            eng_stats(e, &s);
        while (s.adapters);
        CHECK_EQ(never, n);
    }
    eng_close(e);
}

/* An engine that closes ends what is on its way. */
TEST(adapters_on_their_way_when_the_engine_closes) {
    struct mem_stats before, after;
    mem_stats(&before);
    for (int i = 0; i < 10; i++) {
        struct eng *e = open_with(3, 0);
        struct eng_adapter *a[3];
        for (int k = 0; k < 3; k++)
            CHECK_EQ(eng_adapter_load(e, golden[k], NULL, NULL, &a[k], NULL), 0);
        eng_close(e);
        for (int k = 0; k < 3; k++) {
            int is_done = eng_adapter_state(a[k]) == ENG_DONE;
            CHECK(is_done || eng_adapter_state(a[k]) == ENG_FAILED);
            CHECK_EQ(eng_adapter_error(a[k])->code, is_done ? 0 : E_CANCELLED);
            eng_adapter_put(a[k]);
        }
    }
    mem_stats(&after);
    CHECK_EQ(after.live_bytes, before.live_bytes);
}

/* Short of memory at each of its allocations in turn: refused, and nothing is left. */
TEST(adapters_without_memory) {
    struct eng *e = open_with(1, 1);
    struct adapter_rig f = adapter_rig_new(eng_info(e)->digest, "plain", "llama_proj.");
    int rc = E_NOMEM;
    for (uint64_t n = 1; rc; n++) {
        struct eng_adapter *a = NULL;
        struct eng_stats s;
        struct mem_stats before, after;
        mem_stats(&before);
        mem_fail_at(n);
        rc = eng_adapter_load(e, f.path, NULL, NULL, &a, NULL);
        mem_fail_at(0);
        eng_stats(e, &s);
        mem_stats(&after);
        if (rc) {
            CHECK(a == NULL && s.adapters == 0);
            CHECK_EQ(after.live_bytes, before.live_bytes);
            continue;
        }
        CHECK(n > 4);
        adapter_rig_wait(a);
        eng_adapter_put(a);
    }
    eng_close(e);
    adapter_rig_drop(&f);
}
