/* writing.h - what an import writes beside the model. Room-private. */
#ifndef ENGINE_IMPORT_WRITING_H
#define ENGINE_IMPORT_WRITING_H

#include "engine/files/newfolder.h"
#include "engine/import/internal.h"

/* The LoRA as an adapter, in the making for the folder o.adapter: what is wrong with either is
 * found before the weights are written. E_IO, E_INVALID: the folder has other files; E_FORMAT: a
 * number that is none; E_NOMEM. newfolder_end, always. */
int writing_adapter_begin(struct import *i, struct newfolder *f, struct err *e);
/* Its card, which has the model's digest: that of the facts. */
int writing_adapter_card(const struct import *i, struct newfolder *f, struct err *e);

#endif
