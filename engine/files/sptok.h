/* sptok.h - SentencePiece BPE: text to token ids and back, from a `tokenizer.model` file.
 *
 * Reads the protobuf itself, within limits, and trusts nothing in it. Supports the kind that
 * LLaMA-2 has: model type BPE, identity normaliser, dummy prefix, no whitespace collapsing, spaces
 * written as U+2581, byte fallback. Other kinds are refused by name (E_UNSUPPORTED). Immutable once
 * opened: any number of threads may encode at once.
 */
#ifndef ENGINE_FILES_SPTOK_H
#define ENGINE_FILES_SPTOK_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"

struct sptok;

int sptok_open(const char *path, struct sptok **out, struct err *e);
/* The same from memory, borrowed during the call: for tests and fuzzing. */
int sptok_parse(const void *bytes, size_t len, struct sptok **out, struct err *e);
void sptok_close(struct sptok *t);

int sptok_size(const struct sptok *t); /* pieces in the vocabulary */

enum { SPTOK_PREFIX = 1 }; /* put the dummy space in front, as SentencePiece's encode does */

/* Encode `len` bytes of UTF-8 (invalid bytes become U+FFFD first, as in SentencePiece). Writes at
 * most `cap` ids; *n is the number of ids. E_TOO_BIG when cap is too small (then *n is what is
 * needed), E_NOMEM. No ids for BOS or EOS are added. */
int sptok_encode(const struct sptok *t, const char *text, size_t len, int flags, int32_t *ids,
                 size_t cap, size_t *n, struct err *e);

/* Text of ids, control pieces dropped, the first dummy space dropped, NUL-terminated.
 * *len is without the NUL. E_TOO_BIG when cap is too small, E_INVALID for an id out of range. */
int sptok_decode(const struct sptok *t, const int32_t *ids, size_t n, char *text, size_t cap,
                 size_t *len, struct err *e);

/* The piece's own text ("▁[INST]"), valid until close; NULL out of range. */
const char *sptok_piece(const struct sptok *t, int32_t id);
/* The byte that a byte piece stands for; -1: it is no byte piece. */
int sptok_byte(const struct sptok *t, int32_t id);
size_t sptok_longest(const struct sptok *t); /* bytes of the longest piece */
int32_t sptok_bos(const struct sptok *t);    /* -1: none */
int32_t sptok_eos(const struct sptok *t);
int32_t sptok_unk(const struct sptok *t);

#endif
