/* peft.h - a LoRA as Hugging Face's peft keeps it: adapter_config.json and
 * adapter_model.safetensors.
 *
 * Beside a matrix W (N, K) of a decoder layer stand A (r, K) and B (N, r): the layer computes
 * x W^T + scale (x A^T) B^T, with scale = lora_alpha / r, or lora_alpha / sqrt(r) when use_rslora.
 * Their names in the file are peft's for a LLaMA (read from what peft 0.21.2 saves):
 *
 *     base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight      (r, K)
 *     base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight      (N, r)
 *
 * peft itself drops a tensor that it doesn't know without a word, and leaves one that is missing at
 * zero. Here each tensor of the file must have its place, each place that target_modules names must
 * have its tensors, and a field that changes what is computed is refused by its name.
 *
 * Immutable once opened: any thread may read.
 */
#ifndef ENGINE_FILES_PEFT_H
#define ENGINE_FILES_PEFT_H

#include "engine/files/safetensors.h"

/* The matrices of a layer, in the order of TRAIN_LORA_*. */
enum peft_place { PEFT_Q, PEFT_K, PEFT_V, PEFT_O, PEFT_GATE, PEFT_UP, PEFT_DOWN, PEFT_PLACES };

#define PEFT_CONFIG "adapter_config.json"
#define PEFT_MODEL  "adapter_model.safetensors"
#define PEFT_PREFIX "base_model.model." /* of each name */

enum {
    PEFT_RANK_MAX = 512,
    PEFT_LAYERS_MAX = 256,
    PEFT_BASE_MAX = 255,
    PEFT_CONFIG_MAX = 1 << 20, /* bytes */
    PEFT_NAME_MAX = 96
};

struct peft_config {
    int r;
    double alpha;
    int is_rslora;
    double dropout;
    unsigned places; /* a bit for each peft_place that target_modules lists. 0: it is a pattern, or
                        layers are chosen, so that the file's tensors tell */
    char base[PEFT_BASE_MAX + 1]; /* base_model_name_or_path; "" when null */
};
double peft_scale(const struct peft_config *c);

/* E_FORMAT: not JSON, a field of the wrong type or out of bounds. E_UNSUPPORTED: a field that would
 * change what is computed. E_TOO_BIG. The text names the field. */
int peft_parse_config(const void *text, size_t len, struct peft_config *out, struct err *e);
/* The same as text that peft reads, ending with a newline; *out is given, mem_free. places is not
 * 0. E_NOMEM, E_INVALID (a base that isn't UTF-8). */
int peft_print_config(const struct peft_config *c, char **out, size_t *len, struct err *e);

/* "self_attn.q_proj" */
const char *peft_place_name(enum peft_place place);
/* "model.layers.3.self_attn.q_proj.lora_A.weight", without the prefix. */
void peft_name(char out[PEFT_NAME_MAX], int layer, enum peft_place place, int is_b);

/* Of the decoder that it stands beside: L, D, F. */
struct peft_sizes {
    int layers, width, ffn;
};
/* Sizes of the matrix of a place: N outputs, K inputs. */
void peft_shape(const struct peft_sizes *s, enum peft_place place, int *n, int *k);

struct peft_pair {
    const struct st_tensor *a, *b; /* NULL, NULL: nothing stands beside this one */
};
struct peft {
    struct peft_config c;
    struct peft_sizes sizes;
    struct peft_pair *pairs; /* (layers, PEFT_PLACES) */
    int n_pairs;             /* that are there, at least 1 */
    struct st *st;
};
/* The two files of a folder. E_NOT_FOUND: there is no adapter_config.json; E_FORMAT, E_UNSUPPORTED,
 * E_TOO_BIG, E_NOMEM, E_IO. */
int peft_open(const char *folder, const struct peft_sizes *sizes, struct peft **out, struct err *e);
void peft_close(struct peft *p); /* NULL is legal */

#endif
