/* plain.h - plain_*_f64 and plain_*_f32, see plain.inc and plain_back.inc. */
#ifndef TESTS_UNIT_KERNELS_PLAIN_H
#define TESTS_UNIT_KERNELS_PLAIN_H

#include <math.h>

#include "kernels/kern.h"

#define REAL      double
#define PLAIN(op) plain_##op##_f64
#define SQRT      sqrt
#define EXP       exp
#define ERF       erf
#define LOG       log
#include "tests/unit/kernels/plain.inc"
#include "tests/unit/kernels/plain_back.inc"
#undef REAL
#undef PLAIN
#undef SQRT
#undef EXP
#undef ERF
#undef LOG

#define REAL      float
#define PLAIN(op) plain_##op##_f32
#define SQRT      sqrtf
#define EXP       expf
#define ERF       erff
#define LOG       logf
#include "tests/unit/kernels/plain.inc"
#include "tests/unit/kernels/plain_back.inc"
#undef REAL
#undef PLAIN
#undef SQRT
#undef EXP
#undef ERF
#undef LOG

#endif
