#!/bin/sh
# pack.sh [--emulated] [OUT.tar.gz] - everything that report.sh needs on a machine which can't build
# it: the program, the plugin, the tests, the small models, and the libraries that a bare machine
# lacks. Run from the root of a checkout. --emulated packs the card that runs on a processor
# (tests/cuda/emu) instead of the plugin, with a stand-in for cuBLASLt and a model small enough for
# it: to rehearse. Says how large the bundle is, the tree, and both together, which may be 64 MiB.
set -eu
emulated=
if [ "${1:-}" = --emulated ]; then
    emulated=1
    shift
fi
case ${1:-} in
-*) echo "usage: pack.sh [--emulated] [OUT.tar.gz]" >&2 && exit 2 ;;
esac
out=${1:-build/lammd-gpu${emulated:+-emulated}.tar.gz}
O=${O:-build}
make O="$O" all "$O/release/tests/run-kernels" "$O/release/tests/run-engine" "$O/release/tests/bench_cuda" >&2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
to=$tmp/lammd-gpu
mkdir -p "$to/bin/tests" "$to/bin/release/kernels/cuda" "$to/lib" "$to/tests/cuda" "$to/tools" "$to/models"
program=lammd
[ "$O" = build ] || program=$O/lammd
cp "$program" "$O/release/lammd-cuda.so" "$to/bin"
cp "$O/release/tests/run-kernels" "$O/release/tests/run-engine" "$O/release/tests/bench_cuda" "$to/bin/tests"
cp "$O"/release/tests/plugin_*.so "$to/bin/tests"
for f in "$to/bin/lammd" "$to/bin/tests/run-engine"; do ldd "$f"; done |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -Ev '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so' |
    xargs -r cp -t "$to/lib"
cp "$O"/release/kernels/cuda/*.ptxas "$to/bin/release/kernels/cuda" # what tests/cuda/run.py reads
cp -r tools/gpu "$to/tools"
cp -r models/lamm-mini models/shapes "$to/models"
cp -r tests/golden "$to/tests"
cp tests/suite.py "$to/tests"
cp tests/cuda/run.py "$to/tests/cuda"
if [ -n "$emulated" ]; then
    emu=$O/release/emu
    make O="$O" "$emu/lammd-cuda.so" "$emu/lt/libcublasLt.so.13" >&2
    cp "$emu/lammd-cuda.so" "$to/bin"
    cp "$emu/lt/libcublasLt.so.13" "$to/lib"
    mkdir "$to/models/shapes/rehearsal" # the tests' model, with room for a game's prompt
    cp tests/golden/tiny/tokenizer.model "$to/models/shapes/rehearsal"
    sed 's/"max_position_embeddings": *[0-9]*/"max_position_embeddings": 1024/' tests/golden/tiny/config.json \
        >"$to/models/shapes/rehearsal/config.json"
    touch "$to/EMULATED"
fi
strip --strip-unneeded "$to/bin/lammd" "$to"/bin/*.so "$to"/bin/tests/* "$to"/lib/*
git describe --always --dirty --abbrev=40 >"$to/COMMIT" 2>/dev/null || echo unknown >"$to/COMMIT"
sed -n 's/^FORMAT=\([0-9]*\).*/\1/p' tools/gpu/report.sh >"$to/FORMAT"
mkdir -p "$(dirname "$out")"
tar -C "$tmp" -czf "$out" lammd-gpu
bundle=$(wc -c <"$out") tree=$(git ls-files -z 2>/dev/null | xargs -0r cat 2>/dev/null | wc -c)
echo "$out: $bundle bytes; the tree $tree; together $(((bundle + tree) >> 10)) KiB of 65536"
[ $((bundle + tree)) -le $((64 << 20)) ] || { echo 'pack.sh: bundle and tree are too large together' >&2 && exit 1; }
