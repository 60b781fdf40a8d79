/* isa_avx512.c - the inner loops for this instruction set. Compiled with its own flags (Makefile),
 * so nothing here may run before is_here() said yes. */
#include <math.h>

#include "kernels/base/narrow.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/vec.h"

enum { MR = 8, NV = 2 };

static int is_here(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

#include "kernels/cpu/rows.inc"
#include "kernels/cpu/tile.inc"

#include "kernels/cpu/back.inc"

CPU_ISA(avx512, MR);
