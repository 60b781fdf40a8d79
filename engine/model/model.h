/* model.h - the network: a picture becomes rows, rows go through the decoder, logits come out.
 *
 * It is the network of PAE-LaMM (vision tower, connector, LLaMA decoder) at any size, written once
 * over kern_ops. Which rows run when is decided in engine/run, and what a prompt means in
 * engine/ask. Everything here runs on the step thread, but model_config, which is read-only after
 * open. A pass allocates nothing: model_plan allocates every buffer once.
 *
 * Letters for dimensions, used unchanged in every file of the engine:
 *   N rows in a pass   L layers   D width   H heads   K head size   F ffn   V vocabulary
 *   S picture side     P patches  E width of the vision tower       I picture tokens = P / concat
 */
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include <stdint.h>

#include "kernels/kern.h"

struct model_vision {
    int image_size, patch_size, hidden_size, heads, layers, intermediate_size;
    float layer_norm_eps;
    float mean[3], std[3];
};
/* Vocabularies are padded at times: rows without a piece of the tokenizer, at most. */
enum { MODEL_PADDING_MAX = 255 };
struct model_text {
    int hidden_size, intermediate_size, layers, heads, vocab_size, max_positions;
    float rms_eps;
    double rope_theta;
    int bos_id, eos_id;
    int is_tied; /* lm_head is embed_tokens */
};
enum model_coord_order { MODEL_COORD_YX = 0, MODEL_COORD_XY = 1 };

struct model_config {
    struct model_vision vision;
    struct model_text text;
    int concat; /* patches in a row joined into one token (4) */
    float ln_vision_eps;
    int pixel_grid;                     /* the side of the grid of pixel questions (64) */
    enum model_coord_order coord_order; /* what the two numbers in `loc: [a,b]` are */
    int inst_spaces;                    /* spaces before [/INST]: 1 or 2 */
    int bos_count;                      /* 1 or 2 */
    double colour_error_scale; /* of a colour's stated error, see kinds_calibrate; 1: none */
    int n_patches;             /* P, derived */
    int n_image_tokens;        /* I, derived */
    int n_picture_rows;        /* the vision tower multiplies as much for a picture as the
                                           decoder for so many rows; derived */
};

struct model;

/* Read and check config.json in the folder `dir`. E_FORMAT with the name of the field, E_NOT_FOUND,
 * E_TOO_BIG for absurd sizes. Reads no weights. */
int model_read_config(const char *dir, struct model_config *out, struct err *e);
/* The same from memory. */
int model_parse_config(const void *text, size_t len, struct model_config *out, struct err *e);

struct model_learn;
/* What has to find room beside the weights. */
struct model_beside {
    uint64_t buffers;    /* bytes, */
    int32_t rows;        /* of passes of so many rows */
    int32_t slots;       /* of the KV cache */
    int32_t slots_least; /* with which it would do */
};
struct model_how {
    enum kern_keep keep; /* what matrices are kept in (room.c has who in what). One that may lose
                            something gets another digest. KERN_KEEP_OWN: f32 on a processor, or
                            where that finds no room the 16 bits that they are stored in */
    int kv_bits; /* of the numbers of the KV cache: 32, 16 (bf16), 8 (int8, with a scale for each
                    token and head); 0: as the device likes it. What it likes less gives another
                    digest */
    struct model_beside beside; /* zeros: weights alone are looked at before they are read */
    int is_seeded; /* weights made from `seed` (weights.h), without a file: to measure, since the
                      answers are noise. The digest is of config and seed */
    uint64_t seed;
    const struct model_learn *learn; /* it is to learn (net.h); borrowed. NULL: it serves */
};
/* Config and weights (model.safetensors, mapped and checked, every shape before first use) on the
 * device `k`. how: NULL: the weights as they are. Borrows ops and k until close. On failure *out is
 * NULL and nothing is left behind. */
int model_open(const char *dir, const struct model_how *how, const struct kern_ops *ops,
               struct kern *k, struct model **out, struct err *e);
void model_close(struct model *m); /* NULL is legal */
const struct model_config *model_config(const struct model *m);
/* SHA-256 of the weights, lower-case hex: the name of the model in caches. */
const char *model_digest(const struct model *m);
/* The same of weights that are used in another way, such as in 8 bits: the digest of the file. */
const char *model_file_digest(const struct model *m);
/* The same of tower and connector alone: the name of what makes features. */
const char *model_vision_digest(const struct model *m);
uint64_t model_parameters(const struct model *m);
enum kern_dtype model_pool_dtype(const struct model *m); /* of its KV cache */
/* Did f32 find no room, so that matrices stay in the 16 bits that they are stored in? */
int model_is_as_stored(const struct model *m);
uint64_t model_beats(const struct model *m); /* grows with each layer at work. Any thread */

/* Of berths (berth.h): the base itself, and the most of them. */
enum { MODEL_BASE = -1, MODEL_BERTHS_MAX = 16 };

/* Sizes of everything that a pass may need, allocated once. 0 where a default is named: that. A
 * pass that exceeds one of these is a bug of the caller (must). */
struct model_plan {
    int rows_max;              /* token rows in one pass */
    int picks_max;             /* rows with logits in one pass */
    int kv_slots;              /* tokens in the KV pool, all layers */
    int feats_max;             /* pictures whose features are held at once */
    int pictures_max;          /* of one call of the tower, up to KERN_PICTURES_MOST; 1 */
    int spans_max;             /* entries of a pass's `spans`; 4 * rows_max */
    int tails_max;             /* entries of a pass's `tail`; 64 * rows_max */
    int sets_max;              /* column sets of a pass; 4096 */
    int cols_max;              /* entries of a pass's `cols`; 65536 */
    int berths;                /* for adapters, 0 .. MODEL_BERTHS_MAX */
    int berth_rank;            /* of their LoRAs, at most; at least 1, where there are berths */
    int berth_overlays;        /* berths 0 .. berth_overlays-1 have room for an overlay */
    enum kern_keep berth_keep; /* of their matrices: KERN_KEEP_OWN, f32, or KERN_KEEP_BF16 */
};
/* Called once. E_TOO_BIG: the sizes overflow. E_NOMEM: the device has no room for them.
 * E_UNSUPPORTED: berths on a backend that can't fill them. */
int model_plan(struct model *m, const struct model_plan *plan, struct err *e);
/* Bytes of device memory that the plan would take, with the logits of the heads made so far.
 * kv_slots may be 0 here. UINT64_MAX when it overflows or is absurd. */
uint64_t model_plan_bytes(const struct model *m, const struct model_plan *plan);
/* The same before the model is open, of a largest head of so many rows, but for the KV cache. */
uint64_t model_plan_bytes_before(const struct model_config *c, const struct kern_ops *ops,
                                 struct kern *k, int head_max, const struct model_plan *plan);
/* Bytes of device memory of one KV slot: k and v of all layers, in a pool of that type. */
size_t model_slot_bytes(const struct model_config *c, enum kern_dtype pool);

/* A head: the rows of lm_head for a few tokens. Column j of its logits is token ids[j]. ids are
 * borrowed during the call. E_INVALID for an id outside the vocabulary. May be made before or after
 * model_plan, but not during a pass: room for its logits is allocated here. */
struct model_head;
int model_head_new(struct model *m, const int32_t *ids, int n, struct model_head **out,
                   struct err *e);
void model_head_free(struct model *m, struct model_head *h);

/* Vision tower and connector: rgb (S, S, 3) u8 on the host, already resized -> features (I, D) in
 * entry `feat` (0 .. feats_max-1), for later passes. berth: whose; MODEL_BASE: the model's own. */
void model_encode(struct model *m, int berth, const uint8_t *rgb, int feat);
/* The same of n pictures in one call of the tower, 1 .. plan.pictures_max; no two into one entry.
 * Each has the bits that it has alone. */
struct model_view {
    const uint8_t *rgb;
    int feat;
};
void model_encode_all(struct model *m, int berth, const struct model_view *views, int n);

/* Consecutive rows of a pass that an adapter serves. */
struct model_section {
    int row0, rows, berth;
};

/* One pass of the decoder, as flat arrays on the host. Rows, groups and tails as in kern.h
 * (struct kern_attn_tree). src[i]: a token id, or ~(feat*I + j) for token j of a picture. */
struct model_pass {
    int rows;
    const int32_t *src, *pos, *slot; /* (rows) */
    const struct kern_attn_group *groups;
    int n_groups;
    const struct kern_attn_span *spans;
    int n_spans;
    const int32_t *tail_off; /* (rows + 1) */
    const int32_t *tail;
    const struct model_section *sections; /* ascending; rows in none are the base's */
    int n_sections;                       /* at most MODEL_BERTHS_MAX */
    /* Rows with logits. pick_row[i] is a row of the pass. Picks of one head are consecutive, and
     * stand in row order where there are sections. */
    int picks;
    const int32_t *pick_row; /* (picks) */
    struct model_pick_group *pick_groups;
    int n_pick_groups;
    const int32_t *pick_set; /* (picks) index into col_off */
    const int32_t *col_off;  /* (n_sets + 1) */
    const int32_t *cols;     /* columns of the head, see kern_pick */
    int n_sets;
    /* Results, host memory of the caller. */
    int32_t *best; /* (picks) index in the row's column list */
};
struct model_pick_group {
    const struct model_head *head;
    int pick0, picks;
    float *probs; /* host memory of the caller (picks, ldp), or NULL: not wanted */
    int ldp;      /* at least the largest set of its picks, at most the rows of the largest head */
};

/* Runs the pass and waits for its results. 0, or E_DEVICE: the device is lost for good. */
int model_run(struct model *m, const struct model_pass *p, struct err *e);

/* Tests: `fn` gets every named intermediate tensor (host copy, valid during the call). NULL:
 * off. */
typedef void model_tap_fn(void *ud, const char *name, const float *data, int rows, int cols);
void model_set_tap(struct model *m, model_tap_fn *fn, void *ud);

#endif
