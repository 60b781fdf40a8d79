/* idle.c - see idle.h. */
#include "cli/idle.h"

#include <sched.h>
#include <sys/resource.h>

void idle_be(void) {
    const struct sched_param none = {.sched_priority = 0};
    (void)setpriority(PRIO_PROCESS, 0, 19);
    (void)sched_setscheduler(0, SCHED_IDLE, &none);
}
