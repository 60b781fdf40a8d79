/* ask.h - the way from a call to the engine: its pictures, its jobs, and what became of them.
 * Thread: the worker that steps the call; call_job, the outcomes and call_stats also whoever reads
 * its stream. */
#ifndef API_ASK_H
#define API_ASK_H

#include "api/call.h"
#include "api/wire/input.h"
#include "media/picture.h"

/* The request's pictures -> c->pictures, in their order: decoded and turned as EXIF says, or found
 * by id. What their first bytes tell is looked at before any is decoded. 0, or -1 with
 * c->problem. */
int call_pictures(struct api_call *c, const struct input *in);
/* What may be decoded of an endpoint's pictures. */
struct picture_limits call_limits(const struct api_call *c, const struct input *in);
/* Queue a job. Without pictures of its own `ask` is about c->pictures; callbacks are filled in
 * here. `param`: the field that a text of `ask` came from, to which the engine's refusal of it
 * belongs; NULL: it has none. The job is the call's; NULL with c->problem. */
struct eng_job *call_ask(struct api_call *c, const struct eng_ask *ask, const char *param);
struct eng_job *call_job(struct api_call *c, int i); /* the i-th; NULL: it was dropped */
/* The i-th job, which has ended and was told, leaves the call: a call of many jobs holds few of
 * their answers. Worker. */
void call_drop(struct api_call *c, int i);
/* 1: the job is done; 0: not yet; -1: failed, c->problem says how. */
int call_job_outcome(struct api_call *c, const struct eng_job *job);
/* The same of all the call's jobs together; writes the summary when they are done. */
int call_outcome(struct api_call *c);
/* Of all the call's jobs together: first submit, first answer, last end; everything else added. */
void call_stats(struct api_call *c, struct eng_job_stats *out);

#endif
