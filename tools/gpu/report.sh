#!/bin/sh
# report.sh [BUNDLE.tar.gz] - all that a GPU has to tell about lammd, in less than eight minutes.
#
# From the root of a checkout it builds (nvcc, make, gcc; as much as the machine has libraries for). With
# a bundle of pack.sh it unpacks that instead, anywhere. Needs no network. PyTorch, where python3 has it, is
# measured beside. Writes OUT/report.md (OUT: ./gpu-report) and logs beside it; a step that fails or runs out of
# time is written down, and the rest goes on. The exit status is 0 when every test passed.
#
# The order is that of importance: right first, then fast, then the comparison, then the sanitizer.
set -u
START=$(date +%s)
BUDGET=${BUDGET:-460} # seconds in all
OUT=$(mkdir -p "${OUT:-gpu-report}" && cd "${OUT:-gpu-report}" && pwd)
R=$OUT/report.md
failed=0

left() { echo $((BUDGET - $(date +%s) + START)); }

# step NAME SECONDS COMMAND...: run it within its time and what is left of all, its output into the report.
step() {
    name=$1 most=$2 log=$OUT/$(echo "$1" | tr -c 'a-z0-9\n' -).log
    shift 2
    [ "$(left)" -lt "$most" ] && most=$(left)
    echo "== $name ($(left) s left)"
    if [ "$most" -lt 5 ]; then
        printf '\n## %s\n\nNot run: no time left.\n' "$name" >>"$R"
        return 0
    fi
    t0=$(date +%s)
    timeout -k 5 "$most" "$@" >"$log" 2>&1
    rc=$?
    if [ $rc = 0 ] && grep -q '^0 passed, 0 failed' "$log"; then rc=99; fi # nothing ran: no GPU
    {
        printf '\n## %s\n\n`%s`: exit status %s after %s s%s\n\n' "$name" "$*" "$rc" $(($(date +%s) - t0)) \
            "$([ $rc = 124 ] && echo ', out of time')"
        if grep -q '^|' "$log"; then
            cat "$log" # tables as they are
        else
            printf '```\n'
            grep -v '^skip:' "$log" | tail -n 60
            printf '```\n'
            if grep -q '^skip:' "$log"; then
                printf '%s skipped tests: %s\n' "$(grep -c '^skip:' "$log")" \
                    "$(sed -n 's/^skip: [^:]*: //p' "$log" | sort | uniq -c | sort -rn | head -n 1)"
            fi
        fi
    } >>"$R"
    [ $rc = 0 ] || failed=$((failed + 1))
    tail -n 2 "$log"
    return $rc
}

bundle=${1:-} libs=
ours() { # NAME SECONDS COMMAND...: a step of a program of ours
    name=$1 most=$2
    shift 2
    step "$name" "$most" env ${libs:+LD_LIBRARY_PATH="$libs"} "$@"
}
if [ -n "$bundle" ]; then
    mkdir -p "$OUT/unpacked" && tar -xzf "$bundle" -C "$OUT/unpacked" || exit 2
    cd "$OUT/unpacked/lammd-gpu" || exit 2
    BIN=$(pwd)/bin T=$(pwd)/bin/tests commit=$(cat COMMIT)
    libs=$(pwd)/lib # for our programs only: python3 has its own
    mkdir -p bin/release && cp -r report/kernels bin/release # where run.py looks for the assembler's words
else
    [ -f kernels/kern.h ] || { echo 'report.sh: run it from the root of a checkout, or give it a bundle'; exit 2; }
    commit=$(git describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)
    BIN=$OUT/build T=$OUT/build/release/tests
fi

{
    echo "# lammd on a GPU"
    echo
    echo "- date: $(date -u +%Y-%m-%dT%H:%MZ)"
    echo "- commit: $commit"
    echo "- card: $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>&1 | head -n 1)"
    echo "- nvcc: $(nvcc --version 2>/dev/null | sed -n 's/.*release //p')"
    echo "- torch: $(python3 -c 'import torch; print(torch.__version__, torch.version.cuda)' 2>&1 | tail -n 1)"
    echo "- host: $(nproc) cores, $(uname -r)"
    echo "- command: tools/gpu/report.sh $bundle"
} >"$R"

if [ -z "$bundle" ]; then
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
    # -k: without the libraries of the server, the kernels are built and measured all the same.
    step 'build' 180 make -k -j"$(nproc)" O="$BIN" CUDA_ARCH="${arch:-90}" \
        all "$T/run-kernels" "$T/run-engine" "$T/bench_cuda"
fi

step 'plugin as a file' 30 env LAMMD="$BIN/lammd" python3 tests/cuda/run.py
ours 'every operation against the reference' 150 "$T/run-kernels" _cuda
if [ -x "$T/run-engine" ]; then
    ours 'models against the reference, answers against the CPU' 120 "$T/run-engine" -v _cuda
fi
ours 'operations at true widths' 60 "$T/bench_cuda"
# The paper's sizes, weights from a seed: 14 GB are made and sent before the first question. First what there
# are bars for, then the comparison, then what else could be chosen.
seeded="--shape pae-lamm-7b --weights random:1 --device cuda --isa tile"
paper() { # BENCH OPTION...
    [ -x "$BIN/lammd" ] || return 0
    # shellcheck disable=SC2086 # words are wanted
    ours "the paper's sizes: $*" 60 sh tools/gpu/floors.sh "$BIN/lammd" bench "$@" $seeded
}
paper pix4096 --quick --repeat 3
paper mix --quick --repeat 3
if [ -x "$BIN/lammd" ]; then
    # shellcheck disable=SC2086
    ours "where the time of a picture goes at the paper's sizes" 60 sh -c \
        "'$BIN/lammd' bench pix4096 --quick --repeat 1 $seeded --profile '$OUT/profile.md' >/dev/null && cat '$OUT/profile.md'"
fi
if python3 -c 'import torch' 2>/dev/null; then
    seconds=$(($(left) - 40)) # 40: to get ready, and to end the last run
    [ "$seconds" -le 90 ] || seconds=90
    step 'pixel answers in PyTorch, three ways' 130 python3 tools/gpu/side_by_side.py --seconds "$seconds"
    step 'the same operations in PyTorch' 60 python3 -u tools/gpu/torch_layer.py
fi
paper pix4096 --quick --repeat 3 --rows 2048
paper pix4096 --quick --repeat 3 --fp8
if [ -x "$BIN/lammd" ]; then
    for d in 'cpu' 'cuda --isa flat' 'cuda --isa tile' 'cuda --isa flat+graphs' 'cuda --isa tile+graphs'; do
        # shellcheck disable=SC2086 # words are wanted
        ours "a picture of lamm-mini on $d" 40 "$BIN/lammd" bench pix4096 --quick --repeat 3 --device $d
    done
fi
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        ours "$tool" 60 compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
            "$T/run-kernels" attn_tree_is_right_for_stems_lanes_and_what_lies_between_cuda \
            attn_full_is_right_at_odd_sizes_cuda gemm_16bit_is_right_cuda pick_is_right \
            gemm_is_right_at_odd_sizes_cuda
    done
fi
printf '\n%s steps failed; %s s in all.\n' "$failed" $(($(date +%s) - START)) >>"$R"
echo "$R: $failed steps failed"
[ "$failed" = 0 ]
