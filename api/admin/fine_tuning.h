/* fine_tuning.h - what the files of /v1/fine_tuning share. Thread: as in endpoint.h. */
#ifndef API_ADMIN_FINE_TUNING_H
#define API_ADMIN_FINE_TUNING_H

#include "api/endpoint.h"
#include "jobs/jobs.h"

/* `enter` of all its rows: is there a state folder? */
int fine_tuning_enter(struct api_call *c);
/* What jobs/ said -> the problem. `id`: a job was looked for. Returns -1. */
int fine_tuning_refuse(struct api_call *c, int rc, const char *param, const struct err *e);
/* SHA-256 of the request's body, in hex: what it is, for those that come twice. -1 with the
 * problem. */
int fine_tuning_digest(struct api_call *c, char digest[65]);
/* This is done for the scope train, or to what is another's: it is written down. -1 with the
 * problem: it can't be, and must not be done. */
int fine_tuning_record(struct api_call *c);
/* The id of a key, or "". */
const char *fine_tuning_owner(const struct api_call *c);
/* Whose files, and batches, the caller sees. */
struct jobs_eyes fine_tuning_eyes(const struct api_call *c);
/* "metadata", up to 16 short texts, as OpenAI bounds them -> JSON, JOBS_METADATA_MAX + 1 bytes.
 * 0, or -1 with the problem. */
int fine_tuning_read_metadata(struct api_call *c, const json_t *o, char *to);

/* A job as OpenAI shapes it, with what is lammd's own under "lammd". */
void fine_tuning_write(struct api_call *c, const struct jobs_job *job, struct buf *b);
/* "recipe": and what else is chosen under "lammd" but for the length, without braces. */
void fine_tuning_write_how(const struct jobs_how *h, struct buf *b);
/* "ftevent-ID-SEQ" of this job -> SEQ; -1: it is none. */
int64_t fine_tuning_event_seq(const char *job, const char *event);

/* The fields of GET with after= and limit=. */
extern const struct input_wants fine_tuning_page;
struct fine_tuning_page {
    const char *after; /* NULL: not given */
    int limit;
};
int fine_tuning_read_page(struct input *in, struct fine_tuning_page *to);

#endif
