#!/bin/sh
# pack.sh [OUT.tar.gz] - everything that report.sh needs on a machine which can't build it: the program, the
# plugin, the tests, the small models, and the libraries that a bare machine lacks. Run from the root.
set -eu
out=${1:-build/lammd-gpu.tar.gz}
O=${O:-build}
make O="$O" all "$O/release/tests/run-kernels" "$O/release/tests/run-engine" \
    "$O/release/tests/bench_cuda" >&2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
to=$tmp/lammd-gpu
mkdir -p "$to/bin/tests" "$to/lib" "$to/tests"
program=lammd
[ "$O" = build ] || program=$O/lammd
cp "$program" "$O/release/lammd-cuda.so" "$to/bin"
cp "$O/release/tests/run-kernels" "$O/release/tests/run-engine" "$O/release/tests/bench_cuda" "$to/bin/tests"
cp "$O"/release/tests/plugin_*.so "$to/bin/tests"
mkdir -p "$to/report/kernels"
cp -r "$O/release/kernels/cuda" "$to/report/kernels" 2>/dev/null && find "$to/report" ! -name '*.ptxas' -type f -delete
for f in "$to/bin/lammd" "$to/bin/tests/run-engine"; do ldd "$f"; done |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -Ev '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so' |
    xargs -r cp -t "$to/lib"
mkdir -p "$to/tools" "$to/models"
cp -r tools/gpu "$to/tools"
cp -r models/lamm-mini models/shapes "$to/models"
cp -r tests/golden tests/cuda "$to/tests"
git describe --always --dirty --abbrev=40 >"$to/COMMIT" 2>/dev/null || echo unknown >"$to/COMMIT"
mkdir -p "$(dirname "$out")"
tar -C "$tmp" -czf "$out" lammd-gpu
echo "$out: $(wc -c <"$out") bytes"
