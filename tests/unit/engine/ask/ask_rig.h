/* ask_rig.h - what turns an ask into a job, opened on a model's folder without its weights. */
#ifndef TESTS_UNIT_ENGINE_ASK_ASK_RIG_H
#define TESTS_UNIT_ENGINE_ASK_ASK_RIG_H

#include <stdio.h>

#include "engine/ask/ask.h"
#include "engine/ask/prompt.h"
#include "engine/picture/picture.h"
#include "engine/run/lane.h"
#include "tests/unit/engine/text_rig.h"

struct asking {
    struct model_config c;
    struct sptok *t;
    struct kinds *k;
    struct pixels *p;
    struct asker asker;
    struct eng_picture *picture;
};

static inline void asking_open(struct asking *a, const char *dir) {
    static const uint8_t rgb[3];
    char path[256];
    CHECK_EQ(model_read_config(dir, &a->c, NULL), 0);
    snprintf(path, sizeof path, "%s/tokenizer.model", dir);
    a->t = text_open(path);
    CHECK_EQ(kinds_new(a->t, a->c.text.vocab_size, &a->k, NULL), 0);
    CHECK_EQ(pixels_new(&a->c, a->t, a->k->g[KIND_COLOUR], &a->p, NULL), 0);
    const struct picture_sizes sizes = {a->c.vision.image_size, a->c.pixel_grid};
    CHECK_EQ(picture_new(&sizes, rgb, 1, 1, &a->picture, NULL), 0);
    a->asker = (struct asker){&a->c, a->t, a->k, a->p, LANE_CHOICE_MAX + 1, 0};
}

static inline void asking_close(struct asking *a) {
    eng_picture_put(a->picture);
    pixels_free(a->p);
    kinds_free(a->k);
    sptok_close(a->t);
}

/* The job of an ask whose pictures are n times the same one. */
static inline struct eng_job *asking_job(const struct asking *a, struct eng_ask ask, uint32_t n) {
    struct eng_picture *pictures[ENG_PICTURES_MAX];
    for (uint32_t i = 0; i < n; i++)
        pictures[i] = a->picture;
    ask.pictures = pictures;
    ask.n_pictures = n;
    struct eng_job *j;
    struct err e = {0};
    if (ask_job(&a->asker, &ask, &j, &e)) test_failed(__FILE__, __LINE__, "%s", e.text);
    return j;
}

/* Both references. */
static inline void asking_forget(struct eng_job *j) {
    eng_job_put(j);
    job_put(j);
}

/* Is the stem with this text behind it the prompt? */
static inline void asking_check(const struct questions *q, int32_t text, const struct prompt *p) {
    const struct tree_text *t = &q->texts[text];
    CHECK_EQ(q->n_stem_ids + t->n, p->n);
    CHECK_MEM(q->stem_ids, p->ids, (size_t)q->n_stem_ids * sizeof p->ids[0]);
    CHECK_MEM(t->ids, p->ids + q->n_stem_ids, (size_t)t->n * sizeof p->ids[0]);
}

/* Do the texts that may be asked ascend strictly? */
static inline void asking_check_order(const struct questions *q) {
    for (int32_t i = 0; i + 1 < q->n_order; i++)
        CHECK(tree_compare(&q->texts[q->order[i]], &q->texts[q->order[i + 1]]) < 0);
}

#endif
