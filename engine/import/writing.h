/* writing.h - what an import writes beside the model. Room-private. */
#ifndef ENGINE_IMPORT_WRITING_H
#define ENGINE_IMPORT_WRITING_H

#include "engine/import/internal.h"

/* The LoRA as an adapter for the model whose digest is in the facts, to the folder o.adapter. E_IO,
 * E_INVALID: the folder has other files; E_NOMEM. */
int writing_adapter(struct import *i, struct err *e);

#endif
