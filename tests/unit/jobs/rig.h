/* rig.h - a state folder in a temporary place, and a program that stands in for `lammd train`.
 *
 * The program is a shell script. It holds runs/ID/lock, writes events and "checkpoints", goes on
 * from them, and ends at SIGTERM, as the real one does. Files in the rig's folder change what it
 * does: `slow` (a tenth of a second a step, a second a check), `fail` (its text is the error of a
 * failed event), `die` (it ends without a word after two steps, by the signal that stands in it; 0:
 * it exits), `big` (what --plan prints, as one that doesn't fit), `held` (what --plan prints).
 * Thread: its owner's.
 */
#ifndef TESTS_UNIT_JOBS_RIG_H
#define TESTS_UNIT_JOBS_RIG_H

#include "jobs/jobs.h"

struct rig {
    char dir[256]; /* of the rig: program, recipes/, state/ */
    char program[300], recipes[300], state[300];
    struct jobs *jobs;
    char done[JOBS_NAME_BYTES]; /* the adapter that was told of last */
};

void rig_open(struct rig *r);
void rig_close(struct rig *r);
/* The daemon begins, behind jobs_close. */
void rig_start(struct rig *r, enum jobs_launcher launcher);
/* The daemon ends and begins again. */
void rig_restart(struct rig *r, enum jobs_launcher launcher);
void rig_set(const struct rig *r, const char *name, const char *text); /* a file; NULL: none */
/* A file that was uploaded, from state/spool/x. Those of the same length are taken for the same. */
struct jobs_file rig_file(struct rig *r, const char *text);
/* The same, which may fail: what jobs_file_add says. */
int rig_add(struct rig *r, const char *text, struct jobs_file *out, struct err *e);
/* A job over it of so many steps. */
struct jobs_job rig_job(struct rig *r, const char *file, int steps);
/* Waits until it is in this state, and fails where it never is. */
struct jobs_job rig_wait(struct rig *r, const char *id, enum jobs_state state);
/* Waits until it has done so many steps. */
void rig_wait_step(struct rig *r, const char *id, int step);
/* Does DIR/state/NAME exist? */
int rig_has(const struct rig *r, const char *name);

#endif
