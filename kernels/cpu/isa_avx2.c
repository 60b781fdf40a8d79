/* isa_avx2.c - the inner loops for this instruction set. Compiled with its own flags (Makefile), so
 * nothing here may run before is_here() said yes. */
#include <math.h>

#include "kernels/base/narrow.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/vec.h"

enum { MR = 6, NV = 2 };

static int is_here(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

#include "kernels/cpu/rows.inc"
#include "kernels/cpu/tile.inc"

#include "kernels/cpu/back.inc"

CPU_ISA(avx2, MR);
