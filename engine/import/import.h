/* import.h - the door to importing: public checkpoints become a model folder.
 *
 * Originals are given in an order, and a later one's tensor replaces an earlier one's: LLaMA-2's
 * folder, eva_vit_g.pth, then checkpoints of MiniGPT-v2 or PAE-LaMM as they were trained, one after
 * the other. Opening reads what all of them say about themselves and decides what becomes of each
 * tensor; nothing is written before that is settled. A LoRA is added to its matrices, in f32,
 * rounded once, or kept beside the model as an adapter.
 *
 *     import_open(&(struct import_options){.originals = words, .n_originals = 3}, &i, &e);
 *     import_write(i, "models/pae", &e);      // goes on where an earlier one was ended
 *     import_close(i);
 *
 * What is written is a model folder as docs/model.md section 9 has it. Instead of copying, it may
 * point to the originals, which then have to stay where they are. Thread: the caller's.
 */
#ifndef ENGINE_IMPORT_IMPORT_H
#define ENGINE_IMPORT_IMPORT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

enum { IMPORT_ORIGINALS_MAX = 16 };

struct import_options {
    const char *const *originals; /* files and folders; borrowed until close */
    int n_originals;
    const char *config;    /* a config.json of lammd's form; NULL: sizes are found out */
    const char *tokenizer; /* file; NULL: that of the last folder with one */
    int is_any_tokenizer;  /* it needn't spell as LLaMA-2's */
    int drops_unknown;     /* tensors that have no place in the model are left out */
    int is_pointing;       /* copies no weights but those that are changed */
    const char *adapter;   /* folder for the LoRA; NULL: it is merged */
    /* What a checkpoint leaves open. 0 or NULL: what the config says, or the usual. */
    const char *coord_order; /* "yx" or "xy" */
    int inst_spaces, bos_count, pixel_grid, image_size, vision_heads;
    double rms_eps, lora_alpha;
    /* A line for the user, without a line break. NULL: no notes. */
    void (*note)(void *ud, const char *text);
    /* Now and then while weights are read: so many bytes of all. NULL: no calls. */
    void (*progress)(void *ud, uint64_t done, uint64_t all);
    void *ud;
};

struct import;

/* E_INVALID, E_NOT_FOUND, E_IO, E_FORMAT, E_UNSUPPORTED, E_TOO_BIG, E_NOMEM. What is missing or
 * left over is said by notes, one each, and summed up in the error. */
int import_open(const struct import_options *o, struct import **out, struct err *e);
void import_close(struct import *i); /* NULL is legal */

/* Writes `folder`, which mustn't be there. It is made as `folder`.part, and a later call with the
 * same options goes on with that. E_IO: also when the disk has no room, before anything is
 * written. */
int import_write(struct import *i, const char *folder, struct err *e);

struct import_facts {
    uint64_t bytes;      /* of the model's weights, as one file */
    uint64_t parameters; /* numbers in it */
    int tensors, merged; /* matrices that a LoRA was added to */
    char digest[65];     /* SHA-256 of the weights, hex: the model's name in caches; "" before
                            import_write */
};
const struct import_facts *import_facts(const struct import *i);

#endif
