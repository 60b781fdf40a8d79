/* take.h - `lammd train --take DIR`: a run that waits in a server's state folder is claimed.
 *
 * A server with --launcher pull starts nothing itself. It makes DIR/runs/ID/queued for each job
 * that may be claimed, and who holds DIR/runs/ID/lock has claimed it: on any machine that sees the
 * folder. DIR/runs/ID/stop says that the run is to end, as SIGTERM does. Thread: main's.
 */
#ifndef CLI_TRAIN_TAKE_H
#define CLI_TRAIN_TAKE_H

#include "cli/train/folder.h"
#include "engine/train/comm.h"

/* Claims the run that waits longest. Of several ranks (`comm`, or NULL) the first one claims, and
 * tells the others its folder. E_NOT_FOUND: none waits; E_IO. */
int take_claim(const char *dir, const struct train_comm *comm, struct folder *out, struct err *e);
int take_is_stopped(const struct folder *f);

#endif
