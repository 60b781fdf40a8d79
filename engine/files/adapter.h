/* adapter.h - an adapter folder: what of a model learnt, beside a base model that stays as it is.
 *
 *     adapter_config.json, adapter_model.safetensors    the decoder's LoRA, for peft too (peft.h)
 *     overlay.safetensors      connector, ln_vision and tower, under the names of the model's file
 *     lammd.json               the card: which base model, made of what (struct adapter_card)
 *     README.md                for people
 *     gate.json                how it compares with its base, where that was asked
 *
 * A LoRA that peft made has its two files alone. One that was trained with the decoder frozen has
 * an overlay and a card alone. An overlay without a card is refused: nobody knows what it fits.
 *
 * The card's digests are of content. So two adapters that share a tower share what it saw, and one
 * that was changed under its old name is another one. Immutable once opened: any thread may read.
 */
#ifndef ENGINE_FILES_ADAPTER_H
#define ENGINE_FILES_ADAPTER_H

#include "engine/files/peft.h"

#define ADAPTER_OVERLAY "overlay.safetensors"
#define ADAPTER_CARD    "lammd.json"
#define ADAPTER_README  "README.md"
#define ADAPTER_GATE    "gate.json" /* whoever judged it put it there; nobody reads it here */

enum { ADAPTER_CARD_MAX = 64 << 10, ADAPTER_DIGEST = 65, ADAPTER_VERSION_MAX = 31 };

struct adapter_card {
    char base[ADAPTER_DIGEST];   /* the model's digest */
    char vision[ADAPTER_DIGEST]; /* of the base with the overlay; without one: that of the base */
    char text[ADAPTER_DIGEST];   /* of the base with the LoRA; without one: that of the base */
    char data[ADAPTER_DIGEST], recipe[ADAPTER_DIGEST]; /* "": unknown */
    uint64_t seed, steps;
    char program[ADAPTER_VERSION_MAX + 1]; /* the version that made it */
};

/* E_FORMAT with the field's name, E_TOO_BIG. Unknown fields are ignored. */
int adapter_parse_card(const void *text, size_t len, struct adapter_card *out, struct err *e);
/* *out is given, mem_free. */
int adapter_print_card(const struct adapter_card *c, char **out, size_t *len, struct err *e);

/* Is this the name of a tensor of connector, ln_vision or tower? */
int adapter_is_vision(const char *name);

/* What the two digests of a card are: SHA-256 of the base's, and of names, types, shapes and data
 * of all tensors, in order of names. Of a LoRA with its scale. E_INTERNAL. */
int adapter_vision_digest(const char *base, const struct st *overlay, char hex[ADAPTER_DIGEST],
                          struct err *e);
int adapter_text_digest(const char *base, const struct peft *p, char hex[ADAPTER_DIGEST],
                        struct err *e);

/* The name of both together. */
int adapter_content_digest(const char *vision, const char *text, char hex[ADAPTER_DIGEST],
                           struct err *e);

struct adapter {
    struct peft *peft;  /* NULL: no LoRA */
    struct st *overlay; /* NULL: none; all its names are of the vision side */
    int has_card;
    struct adapter_card card;
};
/* Strict. `base`: the digest of the model that it has to stand beside. E_NOT_FOUND: no adapter
 * there. E_FORMAT: a file is broken, is missing, was changed since the card was written, or is for
 * another base model. And those of peft_open. */
int adapter_open(const char *folder, const struct peft_sizes *sizes, const char *base,
                 struct adapter **out, struct err *e);
void adapter_close(struct adapter *a); /* NULL is legal */
/* Of all its tensors. */
uint64_t adapter_bytes(const struct adapter *a);

#endif
