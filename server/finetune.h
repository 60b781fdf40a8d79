/* finetune.h - jobs beside the server: opened with it, told of its model, ended with it.
 *
 * Thread: main's.
 */
#ifndef SERVER_FINETUNE_H
#define SERVER_FINETUNE_H

#include "api/api.h"
#include "jobs/jobs.h"

/* Opens DIR's jobs and gives them to the API. `o` as in serve.h; its `dir` NULL: there are none,
 * and *out is NULL. */
int finetune_open(const struct jobs_options *o, struct api *api, struct jobs **out, struct err *e);
/* The model is there: runs may begin. What is wrong is logged; the server serves all the same. */
void finetune_start(struct jobs *j, const char *base);

#endif
