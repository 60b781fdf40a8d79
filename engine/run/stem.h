/* stem.h - the prompt tokens that all questions of a job share, and the cache of them.
 *
 * A stem is a chain of parts. Each part ends with a picture. What follows the last picture, if
 * there is any, is a part of text alone. The slots of a part are one range. A part is known by its
 * owner, its tokens, the digest of its picture, and the part above it. So another question about a
 * picture finds its rows again, and another task reuses those of the picture.
 *
 *     [BOS _[INST] _<Img> picture]---[_</Img> _[reconstruct] _loc : _[]             pixels
 *                                 \--[_</Img> _[segmentation] ...]                  a mask
 *                                 \--[_</Img> <Img> picture]---[_</Img> You are ...]  a game
 *
 * A part is filled chunk by chunk: its prefill. Chunks begin at multiples of STEM_CHUNK from the
 * part's start and are never cut otherwise, so a part has the same bits however busy the engine
 * was. A part that a job uses is pinned. An unused one stays cached until its space is needed, if
 * it is filled: the least recently used goes first, parts below before those above. If it is not
 * filled, it is freed. Thread: step.
 */
#ifndef ENGINE_RUN_STEM_H
#define ENGINE_RUN_STEM_H

#include <stdint.h>

#include "engine/engine.h"
#include "engine/run/kv.h"

enum {
    STEM_CHUNK = 64,                   /* rows of a prefill chunk; rows_max is at least this */
    STEM_PARTS = ENG_PICTURES_MAX + 1, /* of a chain, at most */
    STEM_IDS_MAX = 2048,               /* tokens of a part, a picture counting as one */
    STEM_DIGEST = 65
};

/* What a stem is made of. A negative id is a picture and ends its part. */
struct stem_key {
    const char *digests[ENG_PICTURES_MAX]; /* of the pictures, in order; hex, STEM_DIGEST each */
    const int32_t *ids;                    /* (n_ids) */
    int32_t n_ids;
    int32_t image_tokens; /* rows that a picture stands for */
    uint64_t owner;       /* of the pictures: no other owner finds them */
    const char *model;    /* that fills it, as a digest; NULL: as stem_filled_by says */
};

struct stem_part {
    struct stem_part *up; /* the part above; NULL for the first */
    int32_t slot, len;    /* its range; len 0: this entry of the table is free */
    int32_t start;        /* tokens in front of it */
    int32_t done;         /* rows stored in the pool by finished passes */
    int32_t planned;      /* rows stored when the pass being built has run; >= done */
    int32_t users;        /* jobs that need it */
    int32_t kids;         /* parts below it */
    uint64_t used_at;     /* tick of the last use */
    int32_t feat;         /* entry of its picture's features while it is filled; -1: none */
    int32_t image_tokens; /* rows of its picture, the last ones; 0: it is text */
    uint64_t owner;
    char model[STEM_DIGEST];  /* that filled it */
    int32_t bucket;           /* batch.c's, during one pass; -1 between passes */
    char digest[STEM_DIGEST]; /* of its picture; "" for text */
    int32_t ids[STEM_IDS_MAX];
    int32_t n_ids;
};

struct stem_counts {
    uint64_t hits, misses, evicted; /* of first parts */
};

struct stems {
    struct kv *kv;
    struct stem_part *parts;
    int32_t n_parts;
    int32_t cached_max; /* first parts kept without a user */
    uint64_t tick;
    struct stem_counts counts;
    char model[STEM_DIGEST]; /* that fills parts whose key names none; "": it has no name */
};

/* Room for `users_max` chains in use beside `cached_max` cached ones. Must-succeed. */
void stem_init(struct stems *s, struct kv *kv, int32_t users_max, int32_t cached_max);
void stem_clear(struct stems *s);
/* From now on parts whose key names no model are filled by the one of this digest. Those of another
 * are not found any more. */
void stem_filled_by(struct stems *s, const char *model);
/* Most parts that the table of stem_init may hold: the ranges of kv_init. */
int32_t stem_parts_max(int32_t users_max, int32_t cached_max);

/* Slots that a whole stem takes. */
int32_t stem_len(const struct stem_key *key);
/* Does it fit into the sizes of a part and a chain? */
int stem_is_legal(const struct stem_key *key);

/* Pin the chain for one more user. Its last part, or NULL when there is no room at present.
 * *cached is the number of rows already stored. Never NULL when nothing is pinned and
 * stem_len(key) <= kv->range_slots. */
struct stem_part *stem_take(struct stems *s, const struct stem_key *key, int32_t *cached);
void stem_give(struct stems *s, struct stem_part *last);

/* The parts of a chain from the front; returns how many. */
int32_t stem_chain(struct stem_part *last, struct stem_part *parts[STEM_PARTS]);
/* The part of a chain that has to be filled next, or NULL when all rows are planned. */
struct stem_part *stem_next(struct stem_part *last);
/* The first part of a chain whose picture still has to go through the vision tower; NULL: none. */
struct stem_part *stem_next_picture(struct stem_part *last);
/* May its next rows run? Not before its picture has features. */
int stem_is_ready(const struct stem_part *p);
/* Rows of the next chunk of a part. */
int32_t stem_chunk(const struct stem_part *p);
/* Row i of a part as model_pass.src wants it. */
int32_t stem_src(const struct stem_part *p, int32_t i);
/* The pass has run: what was planned is done. A filled part lets go of its features. */
void stem_settle(struct stem_part *p);
/* Does a part hold this entry of features? */
int stem_holds_feat(const struct stems *s, int32_t feat);

/* Slots in parts that nobody uses. */
int32_t stem_cached_slots(const struct stems *s);

#endif
