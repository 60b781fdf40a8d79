/* value.h - one option's text becomes its field: the same for the command line and for a file.
 * Thread: main's.
 */
#ifndef CLI_VALUE_H
#define CLI_VALUE_H

#include "cli/config.h"

/* "no", "yes", NULL: what a flag may be. */
extern const char *const value_flag_words[];

/* `text` of the option `r` into `cfg`, which keeps it. `dashes` stands in front of the option's
 * name in errors: "--" or "". E_INVALID. */
int value_take(struct config *cfg, const struct config_row *r, const char *dashes, const char *text,
               struct err *e);

#endif
