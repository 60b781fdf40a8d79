/* check.h - `lammd train --check PATH`: may this be learnt from? */
#ifndef CLI_TRAIN_CHECK_H
#define CLI_TRAIN_CHECK_H

#include "cli/config.h"

/* Prints its report on standard output. 0: all of it can be learnt; 1: what is wrong was told; 3:
 * it could not be looked at, standard error says why. Thread: main's. */
int check_data(const struct config *cfg);

#endif
