/* probe.h - how are the prompts of an imported model spelled? Whatever paints a photo best. */
#ifndef CLI_IMPORT_PROBE_H
#define CLI_IMPORT_PROBE_H

#include "cli/config.h"

/* Asks the model in `folder` for pixels of the photo cfg->probe, changing one attribute after the
 * other, and writes the best ones into its config.json. E_IO, E_FORMAT, and those of the engine. */
int probe_run(const struct config *cfg, const char *folder, struct err *e);

#endif
