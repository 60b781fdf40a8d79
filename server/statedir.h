/* statedir.h - the folder of `--state DIR`: what a server keeps over its restarts. One server has
 * it at a time. Thread: main's. */
#ifndef SERVER_STATEDIR_H
#define SERVER_STATEDIR_H

#include "kernels/base/err.h"

/* Makes the folder (0700) where it is missing, and locks DIR/lammd.lock until statedir_close, or
 * the end of the process. *fd is the lock's. E_BUSY: another server has it. E_IO, E_INVALID. */
int statedir_open(const char *dir, int *fd, struct err *e);
void statedir_close(int fd); /* -1 is legal */

#endif
