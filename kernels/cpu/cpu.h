/* cpu.h - the CPU backend's table. Everything else of it is private to kernels/cpu. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/kern.h"

extern const struct kern_ops kern_cpu;

#endif
