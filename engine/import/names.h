/* names.h - what the tensors of published checkpoints are called here (docs/model.md section 5).
 * Thread: any. */
#ifndef ENGINE_IMPORT_NAMES_H
#define ENGINE_IMPORT_NAMES_H

#include "engine/files/safetensors.h"

enum names_kind {
    NAMES_WEIGHT, /* a weight of the model */
    NAMES_LORA_A, /* a LoRA's side, beside the weight of that name */
    NAMES_LORA_B,
    NAMES_SPARE,   /* known, and of no use: angle tables, a text tower, the tower's own head */
    NAMES_UNKNOWN, /* `to` is `from` */
};

enum names_kind names_map(const char *from, char to[ST_NAME_MAX + 1]);

#endif
