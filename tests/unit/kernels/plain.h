/* plain.h - plain_*_f64 and plain_*_f32, see plain.inc. */
#ifndef TESTS_UNIT_KERNELS_PLAIN_H
#define TESTS_UNIT_KERNELS_PLAIN_H

#include <math.h>

#include "kernels/kern.h"

#define REAL      double
#define PLAIN(op) plain_##op##_f64
#define SQRT      sqrt
#define EXP       exp
#define ERF       erf
#include "tests/unit/kernels/plain.inc"
#undef REAL
#undef PLAIN
#undef SQRT
#undef EXP
#undef ERF

#define REAL      float
#define PLAIN(op) plain_##op##_f32
#define SQRT      sqrtf
#define EXP       expf
#define ERF       erff
#include "tests/unit/kernels/plain.inc"
#undef REAL
#undef PLAIN
#undef SQRT
#undef EXP
#undef ERF

#endif
