/* config_file.h - lammd.conf: the options of `lammd serve` in a file.
 *
 *     # a comment: at the start of a line, or behind a blank
 *     listen = 127.0.0.1:8080      a list: once for each of its values
 *     threads = 4
 *     verbose = yes                a flag: yes or no
 *
 * The names are those of the command line without the dashes, and so are the values. An unknown
 * name, one that comes twice and is no list, or a bad value is an error of "FILE:LINE: what to do".
 * Thread: main's.
 */
#ifndef CLI_CONFIG_FILE_H
#define CLI_CONFIG_FILE_H

#include <stddef.h>

#include "cli/config.h"

/* `path` ("-": standard input) into `cfg`, which gets its text. E_IO, E_TOO_BIG, E_FORMAT, E_NOMEM.
 */
int config_file_read(const char *path, struct config *cfg, struct err *e);
/* The same for the bytes of a file. */
int config_file_parse(const char *path, const char *text, size_t len, struct config *cfg,
                      struct err *e);

#endif
