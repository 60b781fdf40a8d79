/* internal.h - the inside of an import.
 *
 *     open.c      originals -> sources -> entries: what each tensor of the model is made of
 *     config.c    sizes and attributes, as config.json
 *     spelling.c  is the tokenizer LLaMA-2's?
 *     chunk.c     the bytes of an entry, and its LoRA
 *     write.c     the folder; lora_out.c: the adapter's
 * Room-private.
 */
#ifndef ENGINE_IMPORT_INTERNAL_H
#define ENGINE_IMPORT_INTERNAL_H

#include "engine/import/import.h"
#include "engine/import/names.h"
#include "engine/import/original.h"
#include "engine/model/model.h"

/* A tensor of an original under the name that it has here. */
struct source {
    const char *name;
    enum names_kind kind;
    int original;
    const struct original_tensor *t;
    int is_used;
};

/* A LoRA beside a matrix. */
struct lora {
    struct source *a, *b; /* (r, K) (N, r) */
    float scale;
};

/* A tensor of the model. */
struct entry {
    const struct source *from;
    struct lora lora; /* a NULL: none */
};

struct import {
    struct import_options o;
    struct original *originals[IMPORT_ORIGINALS_MAX];
    struct arena *arena;    /* names */
    struct source *sources; /* (n_sources), by name; of one name the last original's first */
    size_t n_sources;
    struct entry *entries; /* (n_entries), in the order of the file */
    size_t n_entries;
    char *config; /* the text of config.json */
    size_t n_config;
    struct model_config c;
    char *tokenizer;
    size_t n_tokenizer;
    int rank; /* of the LoRA; 0: there is none */
    double alpha;
    int has_guessed_alpha;
    size_t n_missing, n_left_over;
    struct import_facts facts;
};

/* The newest of that name and kind; NULL: there is none. */
struct source *import_find(const struct import *i, const char *name, enum names_kind kind);
__attribute__((format(printf, 2, 3))) void import_note(const struct import *i, const char *fmt,
                                                       ...);

/* config.c: sets config and c. */
int config_make(struct import *i, struct err *e);
/* Is it a tensor of the published tower's 40th block, which is never used? */
int config_is_spare_block(const struct import *i, const char *name);
/* spelling.c: E_FORMAT: it isn't LLaMA-2's, or doesn't fit the vocabulary. */
int spelling_check(const struct import *i, struct err *e);

#endif
