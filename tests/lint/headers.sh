#!/bin/sh
# headers.sh HEADER... - each header compiles alone as C11; kern.h and the floor as C++20 too.
set -u
CC=${CC:-gcc}
for h; do
    $CC -std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Wno-unused -Werror -fsyntax-only -x c "$h" ||
        echo "$h does not compile alone"
    case $h in
        kernels/kern.h | kernels/base/*.h)
            $CC -std=c++20 -D_GNU_SOURCE -I. -Wall -Wextra -Wno-unused -Werror -fsyntax-only \
                -x c++ "$h" || echo "$h does not compile as C++20" ;;
    esac
done 2>&1
