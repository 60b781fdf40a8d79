#!/bin/sh
# report.sh [--part 1|2] [BUNDLE.tar.gz] - all that a GPU has to tell about lammd, in two parts of
# less than eight minutes: 1 is it right, and how fast at the paper's sizes; 2 PyTorch beside it,
# and what else could be chosen. Without --part both, one after the other.
#
# BUNDLE is what pack.sh made; its own report.sh takes over. Without one, from a checkout, it builds
# first (nvcc, make, gcc). Needs no network. Set from outside: OUT (./gpu-report), where report.md
# and logs.tar.gz go and nothing else; BUDGET, seconds of a part (460); WORK, a folder for all else
# (one in TMPDIR that is gone afterwards).
#
# Each step has a log, an exit status, and seconds it may take. report.md is written anew after each
# of them, and printed last, also by a part that runs out of time or is told to end. Exit status: 0
# all was right, 1 something was not or did not run, 2 there is no device or the call was wrong.
set -u
FORMAT=2               # of bundles: what lies where. pack.sh reads it here
LT=libcublasLt.so.13   # what the plugin looks for
SEEDED_MIB=32768       # room that the paper's sizes want, with 1,024 lanes
BUDGET=${BUDGET:-460}

red() { if [ -t 1 ]; then printf '\033[31m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
usage() {
    echo "report.sh: $1" >&2
    echo 'usage: report.sh [--part 1|2] [BUNDLE.tar.gz]; see its first lines' >&2
    exit 2
}
# Nothing can be done: say so where it will be read.
die() {
    printf '# lammd on a GPU: NOT RUN\n\n**RED**: %s\n' "$1" >"$OUT/report.md"
    red "RED: $1"
    exit 2
}

# ---- what is to be done ----

part='' bundle=''
while [ $# -gt 0 ]; do
    case $1 in
    --part) [ $# -gt 1 ] || usage '--part needs 1 or 2' && part=$2 && shift ;;
    --part=?*) part=${1#--part=} ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) usage "$1 is no option" ;;
    *) [ -z "$bundle" ] || usage 'one bundle at a time' && bundle=$1 ;;
    esac
    shift
done
case $part in '' | 1 | 2) ;; *) usage "--part takes 1 or 2, not \"$part\"" ;; esac
case $BUDGET in '' | *[!0-9]*) usage "BUDGET is seconds, not \"$BUDGET\"" ;; esac
OUT=$(mkdir -p "${OUT:-gpu-report}" && cd "${OUT:-gpu-report}" && pwd) || exit 2
if [ -z "${WORK:-}" ]; then
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/lammd-gpu.XXXXXX") || exit 2
    LAMMD_REPORT_TMP=$WORK # ours to remove
    trap 'rm -rf "$WORK"' EXIT
fi
mkdir -p "$WORK" && WORK=$(cd "$WORK" && pwd) || exit 2

if [ -n "$bundle" ]; then
    [ -r "$bundle" ] || die "there is no bundle $bundle."
    rm -rf "$WORK/lammd-gpu"
    tar -xzf "$bundle" -C "$WORK" 2>/dev/null || die "$bundle can't be unpacked: is it whole, and pack.sh's?"
    inner=$WORK/lammd-gpu/tools/gpu/report.sh
    theirs=$(cat "$WORK/lammd-gpu/FORMAT" 2>/dev/null || echo unknown)
    if [ "$theirs" != "$FORMAT" ] || ! grep -q "^FORMAT=$FORMAT " "$inner" 2>/dev/null; then
        die "this report.sh wants a bundle of format $FORMAT, $bundle has $theirs: pack it anew, with pack.sh."
    fi
    trap - EXIT
    export OUT BUDGET WORK
    export LAMMD_REPORT_TMP="${LAMMD_REPORT_TMP:-}"
    exec sh "$inner" ${part:+--part "$part"}
fi
[ -z "${LAMMD_REPORT_TMP:-}" ] || trap 'rm -rf "$LAMMD_REPORT_TMP"' EXIT
ROOT=$(cd "$(dirname "$0")/../.." && pwd) && cd "$ROOT" || exit 2
emulated='' is_bundle=''
if [ -f FORMAT ]; then
    is_bundle=1 BIN=$ROOT/bin T=$ROOT/bin/tests commit=$(cat COMMIT)
    [ ! -f EMULATED ] || emulated=1
else
    [ -f kernels/kern.h ] || die 'report.sh belongs into tools/gpu of a checkout, or into a bundle.'
    BIN=$WORK/build T=$WORK/build/release/tests
    commit=$(git describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)
fi
. tools/gpu/digest.sh

# ---- where cuBLASLt is ----

lt_folders() {
    for d in "${CUDA_HOME:-/usr/local/cuda}/lib64" /usr/local/cuda/lib64 /usr/local/cuda-*/lib64 \
        /usr/local/cuda*/targets/*/lib; do
        printf '%s\n' "$d"
    done
    python3 -c 'import glob, sys
for p in sys.path:
    print(*glob.glob(p + "/nvidia/*/lib"), sep="\n")' 2>/dev/null
}
# Appended: what the machine has set stays in front, its driver's folder say.
libs=${LD_LIBRARY_PATH:-}
seen=''
for d in $(lt_folders); do
    [ -z "$emulated" ] || break # it brings its own
    if [ -e "$d/$LT" ]; then
        libs=${libs:+$libs:}$d
        break
    fi
    for f in "$d"/libcublasLt.so.*; do
        [ ! -e "$f" ] || seen="$seen $f"
    done
done
[ -z "$is_bundle" ] || libs=${libs:+$libs:}$ROOT/lib

# ---- steps ----

pid='' P='' current=''
left() { echo $((BUDGET - $(date +%s) + START)); }
# STATUS SECONDS: a line of the table for the current step.
note() { printf '| %s | %s | %s | %s | %s |\n' "$current" "$1" "$2" "$most" "$expected" >>"$P/steps"; }
not_right() {
    failed=$((failed + 1))
    echo "- **$current**: $1" >>"$P/red"
    red "RED: $current: $1"
}

# step NAME SECONDS EXPECTED DIGEST COMMAND...: run it within its seconds and what is left of the
# part. EXPECTED is what it is reckoned to take on a card; DIGEST the function that makes a section
# of its log.
step() {
    current=$1 most=$2 expected=$3 digest=$4 log=$P/$1.log
    shift 4
    if [ "$(left)" -lt 5 ]; then
        note 'not run' 0
        not_right 'not run: no time left'
        return 1
    fi
    [ "$(left)" -ge "$most" ] || most=$(left)
    echo "== $current: at most $most s, $(left) s left"
    echo "\$ $*" >"$log"
    t0=$(date +%s)
    timeout -k 5 "$most" "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    wait "$pid"
    rc=$?
    pid=
    ended
    return "$rc"
}
# The same for a program of ours.
ours() {
    name=$1 seconds=$2 reckoned=$3 how=$4
    shift 4
    step "$name" "$seconds" "$reckoned" "$how" \
        env "LD_LIBRARY_PATH=$libs" "TFLOPS=${tflops:-790}" "GBS=${gbs:-4300}" "$@"
}
ended() {
    case $rc in
    0) status=ok ;;
    124 | 137) status='OUT OF TIME' ;;
    143) status=ENDED ;;
    *) status="FAILED ($rc)" ;;
    esac
    if [ "$rc" = 0 ] && grep -q '^0 passed, 0 failed' "$log"; then
        rc=99 status='NO TEST RAN'
        not_right 'no test ran'
    elif [ "$status" = 'OUT OF TIME' ]; then
        not_right "out of time after $most s"
    elif [ "$rc" != 0 ]; then
        not_right "exit status $rc; $(first_fault "$log")"
    fi
    slower
    ! grep -q 'event=products' "$log" || [ -f "$P/products.md" ] ||
        { printf '\n## products\n\n' && d_products "$log"; } >"$P/products.md"
    note "$status" $(($(date +%s) - t0))
    { printf '\n## %s: %s\n\n' "$current" "$status" && "$digest" "$log"; } >"$P/$current.md"
    compose 'so far'
}
# A device that went on by a slower way says so: engines in their log, bench_cuda in a line. Each
# way counts once.
slower() {
    sed -n 's/.*event=device_note //p; s/^note: //p' "$log" | sort -u >"$P/notes"
    while IFS= read -r text; do
        grep -qF "$text" "$P/red" || not_right "$text"
    done <"$P/notes"
}
# NAME REASON
skipped() {
    current=$1 most=0 expected=0
    note "skipped: $2" 0
    echo "== $1: skipped: $2"
}

# ---- the report ----

# WORD: what the title says of a part. A part's report is its summary, the table, and a section for
# each step, the most important first; what is too much for MOST bytes stays in the logs.
compose() {
    title="FAILED, $failed faults in $(grep -c . "$P/steps") steps"
    [ "$failed" != 0 ] || title="all $(grep -c '| ok |' "$P/steps") steps right"
    {
        echo "# lammd on a GPU, part $this: $title${1:+, $1}"
        [ -z "$emulated" ] || printf '\n**REHEARSAL** on an emulated card: no figure here means anything.\n'
        [ ! -s "$P/red" ] || { printf '\n**RED**\n' && cat "$P/red"; }
        echo && cat "$P/head"
        printf '\n| step | status | s | at most | on a card |\n|---|---|---|---|---|\n'
        cat "$P/steps"
        for name in $order; do
            [ ! -f "$P/$name.md" ] || cat "$P/$name.md"
        done
    } >"$P/whole.md"
    head -c "$MOST" "$P/whole.md" >"$P/report.md"
    [ "$(wc -c <"$P/whole.md")" -le "$MOST" ] || printf '\n... the rest is in logs.tar.gz.\n' >>"$P/report.md"
    cat "$LOGS"/part-*/report.md >"$OUT/report.md"
    tar -C "$WORK" -czf "$OUT/logs.tar.gz" logs
}
# STATUS: the end of all.
finish() {
    trap '' HUP INT TERM
    echo
    cat "$OUT/report.md"
    exit "$1"
}
# shellcheck disable=SC2317 # called by a trap
# Told to end: what runs is ended, and what it had measured is written down.
stopped() {
    trap '' HUP INT TERM
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null # timeout passes it on
        wait "$pid"
        rc=143
        ended
    fi
    current=all
    not_right 'told to end before its time'
    compose 'ended early'
    finish 1
}
trap stopped HUP INT TERM

# ---- what both parts begin with ----

smi() {
    { timeout 10 nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi'; } | head -n 1
}
begin() { # PART
    this=$1 START=$(date +%s) failed=0 P=$LOGS/part-$1
    mkdir -p "$P"
    : >"$P/steps"
    : >"$P/red"
    {
        echo "- commit $commit, $(date -u +%Y-%m-%dT%H:%MZ), $(nproc) cores, Linux $(uname -r)"
        echo "- driver: $(smi name,memory.total,driver_version,persistence_mode)"
        echo "- nvcc: $(nvcc --version 2>/dev/null | sed -n 's/.*release //p')"
    } >"$P/head"
}
# Copy and product of the card itself, which floors are made of. Without a device there is nothing
# to be done.
card() {
    ours card 40 4 d_whole "$T/bench_cuda" ${emulated:+--tiny} floors
    case $rc in
    0) ;;
    2)
        not_right 'there is no device to run on'
        compose ''
        finish 2
        ;;
    *) return ;;
    esac
    echo "- card: $(sed -n 's/^card: //p' "$P/card.log"); $(sed -n 's/.*\(copy_gbs.*\)/\1/p' "$P/card.log")" >>"$P/head"
    grep -q '^card:.*cuBLASLt' "$P/card.log" ||
        not_right "no cuBLASLt, so products are our own, and slow. Beside the system's folders ${libs:-none} was looked into${seen:+; there is$seen}"
    [ -z "$emulated" ] || return 0 # floors are a card's
    gbs=$(sed -n 's/.*copy_gbs=\([0-9.e+]*\).*/\1/p' "$P/card.log")
    tflops=$(sed -n 's/.*product_tflops=\([0-9.e+-]*\).*/\1/p' "$P/card.log")
    room=$(sed -n 's/.*room_mib=\([0-9]*\).*/\1/p' "$P/card.log")
}
# Does the card hold the paper's sizes? Else the steps NAME... are skipped.
fits() {
    if [ -n "$emulated" ] || [ "${room:-0}" -eq 0 ] || [ "$room" -ge "$SEEDED_MIB" ]; then return 0; fi
    for name in "$@"; do
        skipped "$name" "needs $((SEEDED_MIB >> 10)) GiB, the card has $((room >> 10))"
    done
    return 1
}
build() {
    arch=$(smi compute_cap | tr -dc 0-9)
    # -k: without the libraries of the server, the kernels are built and measured all the same.
    step build 200 100 d_end make -k -j"$(nproc)" O="$BIN" CUDA_ARCH="${arch:-90}" \
        all "$T/run-kernels" "$T/run-engine" "$T/bench_cuda"
}

# The paper's sizes, weights from a seed: 14 GB are made and sent before the first question.
# Rehearsed with a model that an emulated card gets through.
seeded='--shape pae-lamm-7b --weights random:1 --device cuda --isa tile'
runs='--quick --repeat 2' mini='--quick --repeat 3'
kernels='_cuda cublaslt' models=_cuda
if [ -n "$emulated" ]; then
    seeded='--shape rehearsal --weights random:1 --device cuda --isa tile --limit 1'
    runs='--quick --repeat 1' mini='--quick --repeat 1 --model tests/golden/tiny --limit 4'
    kernels='gemm_16bit_is attn_tree_row_has_the_same_bits_alone_cuda pick_ card_ graph_ cublaslt'
    models='model_parity_cuda'
fi
floors="sh tools/gpu/floors.sh $BIN/lammd bench"

# shellcheck disable=SC2086 # words are wanted
part_1() {
    order='picture act kernels bits models profile operations products plugin build card'
    [ -n "$is_bundle" ] || build
    card
    ours kernels 120 70 d_tests "$T/run-kernels" -v --not true_shapes $kernels
    ours bits 50 26 d_tests "$T/run-kernels" -v true_shapes
    [ ! -x "$T/run-engine" ] || ours models 80 45 d_tests "$T/run-engine" -v $models
    if [ -x "$BIN/lammd" ] && fits picture act profile; then
        ours picture 110 81 d_picture $floors pix4096 $runs $seeded --rows 512,1024,2048
        ours act 60 46 d_end $floors mix $runs $seeded
        ours profile 50 41 d_profile sh -c "$BIN/lammd bench pix4096 --quick --repeat 1 $seeded \
            --profile $P/profile.table && cat $P/profile.table"
    fi
    ours operations 50 31 d_operations "$T/bench_cuda" ${emulated:+--tiny} cuda tile
    if ! command -v nm >/dev/null || ! command -v objdump >/dev/null; then
        skipped plugin 'there are no binutils'
        return
    fi
    step plugin 15 3 d_tests env "LAMMD=$BIN/lammd" python3 tests/cuda/run.py ${emulated:+kernels}
}

# A step of training by us and by PyTorch: the paper's widths, four layers.
# shellcheck disable=SC2086
learning() {
    few='--tiny --cpu --layers 1 --seconds 3' small=models/shapes/rehearsal
    steps='--repeat 1 --rows 64' # one question fits
    if [ -z "$emulated" ]; then
        few='--layers 4 --seconds 20' small=$P/few steps='--repeat 3'
        mkdir -p "$small" && cp models/shapes/pae-lamm-7b/* "$small" &&
            sed -i 's/\("num_hidden_layers"\): *[0-9]*/\1: 4/' "$small/config.json"
    fi
    if python3 -c 'import torch' 2>/dev/null; then
        step torch-train 40 30 d_end python3 -u tools/gpu/torch_train.py $few
    fi
    [ ! -x "$BIN/lammd" ] || ours train 60 40 d_end "$BIN/lammd" bench train --quick $steps \
        --model "$small" --weights random:1 --device cuda
}

# shellcheck disable=SC2086
part_2() {
    order='torch torch-train train fp8 torch-operations mini-cpu mini-flat mini-tile mini-graphs memcheck racecheck otherwise build card'
    [ -n "$is_bundle" ] || build
    card
    if ! python3 -c 'import torch' 2>/dev/null; then
        skipped torch 'python3 has no PyTorch'
    elif [ -n "$emulated" ]; then
        step torch 60 110 d_end python3 -u tools/gpu/side_by_side.py --tiny --cpu --seconds 20
    elif fits torch torch-operations; then
        step torch 140 110 d_end python3 -u tools/gpu/side_by_side.py --seconds 90 --tflops "${tflops:-790}"
        step torch-operations 50 25 d_end python3 -u tools/gpu/torch_layer.py
    fi
    learning
    if [ -x "$BIN/lammd" ] && fits fp8; then # its floor is that of products twice as fast
        ours fp8 70 51 d_picture env "TFLOPS=$(awk "BEGIN { print 2 * ${tflops:-790} }")" \
            $floors pix4096 $runs $seeded --weights-as fp8
    fi
    if [ -x "$BIN/lammd" ]; then
        ours mini-cpu 40 15 d_picture "$BIN/lammd" bench pix4096 $mini --device cpu
        for isa in flat tile tile+graphs; do
            ours "mini-${isa#*+}" 30 10 d_picture "$BIN/lammd" bench pix4096 $mini --device cuda --isa "$isa"
        done
    fi
    ours otherwise 70 45 d_operations "$T/bench_cuda" ${emulated:+--tiny} cuda tile+base tile+graphs flat
    for tool in memcheck racecheck; do
        if [ -n "$emulated" ] || ! command -v compute-sanitizer >/dev/null; then
            skipped "$tool" 'there is no compute-sanitizer'
            continue
        fi
        ours "$tool" 70 40 d_end compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 \
            "$T/run-kernels" attn_tree_is_right_for_stems_lanes_and_what_lies_between_cuda \
            attn_full_is_right_at_odd_sizes_cuda gemm_16bit_is_right_cuda pick_is_right \
            gemm_is_right_at_odd_sizes_cuda attn_tree_back_is_right_where_branches_are_nested_cuda \
            attn_tile_full_back_is_right_cuda gemm_dx_16bit_is_right_cuda gemm_dw_16bit_is_right_cuda \
            layernorm_back_is_right_at_odd_sizes_cuda norm_hands_over_what_it_makes_16bit_cuda \
            rope_turns_the_half_split_pairs_cuda
    done
}

LOGS=$WORK/logs MOST=9800 all=0
rm -rf "$LOGS"
[ -n "$part" ] || MOST=5800
for n in ${part:-1 2}; do
    begin "$n"
    case $n in 1) part_1 ;; 2) part_2 ;; esac
    compose ''
    [ "$failed" = 0 ] || all=1
done
finish "$all"
