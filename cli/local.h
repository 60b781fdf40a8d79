/* local.h - one of the API's calls, without a server: for the command line. */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include "api/api.h"
#include "cli/config.h"

/* Open the engine, POST `in` to `path`, write the reply's body to `out` ("-": standard output) and
 * a line about it to standard error. The API's refusal of the input is E_INVALID with its text. */
int local_call(const struct config *cfg, const char *path, const struct api_input *in,
               const char *out, struct err *e);

#endif
