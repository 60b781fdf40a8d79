/* version.h - the version of the program. A checkpoint remembers it. */
#ifndef KERNELS_BASE_VERSION_H
#define KERNELS_BASE_VERSION_H

#ifndef LAMMD_VERSION
#define LAMMD_VERSION "0.1.0"
#endif

#endif
