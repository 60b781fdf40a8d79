/* jobs.h - what the files of `lammd jobs` share. Thread: main's. */
#ifndef CLI_JOBS_H
#define CLI_JOBS_H

#include <jansson.h>

#include "cli/config.h"
#include "cli/http_client.h"

/* One call that answers with JSON, json_decref; NULL with the error. */
json_t *jobs_ask(const struct config *cfg, const struct http_request *q, struct err *e);
const char *jobs_text(const json_t *o, const char *name); /* "" when there is none */
/* A part of a server's JSON that came in a stream; NULL: it is none. */
json_t *jobs_parse(const char *text, size_t len);
/* /v1/fine_tuning/jobs/ID, and `behind`. E_INVALID. */
int jobs_url(const char *id, const char *behind, char path[300], struct err *e);

/* Prints what a job did, and with --follow what it does, until it is over: on a terminal with a bar
 * and the time that is left. *status: its last word, "" when it isn't over. */
int jobs_follow(const struct config *cfg, const char *id, char status[24], struct err *e);

#endif
