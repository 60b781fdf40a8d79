/* idle.h - a command that computes only while nothing else wants the processor. */
#ifndef CLI_IDLE_H
#define CLI_IDLE_H

/* This thread, and those that it begins later. */
void idle_be(void);

#endif
