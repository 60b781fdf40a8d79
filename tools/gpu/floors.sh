#!/bin/sh
# floors.sh COMMAND... - run a `lammd bench` of PAE-LaMM's sizes, and put beside what has one its
# floor: what its multiply-adds take at TFLOPS, by the count of docs/model.md. Of an act the floor
# holds 5 steps that read the decoder's 13.0 GB of weights at GBS. Both are to be the card's own,
# `bench_cuda floors`; else an H200's. A line is passed on when it comes, so that whoever runs out
# of time has seen what was measured. The exit status is the command's.
set -u

# LINE MS FLOOR: the line, and behind it the floor, a formula of t (TFLOPS) and g (GBS) in ms, and
# its share.
beside() {
    printf '%s' "$1"
    awk -v ms="$2" -v t="${TFLOPS:-790}" -v g="${GBS:-4300}" \
        "BEGIN { floor = $3; printf \"   floor %.1f ms, share %.0f %%\n\", floor, 100 * floor / ms }"
}

# The word before the first "ms" of a line, or the one behind a word.
ms() { printf '%s' "$1" | sed 's/ ms .*//; s/.* //'; }
behind() { printf '%s' "$1" | sed "s/.* $2  *//; s/ .*//"; }

annotate() {
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '  cold job '*) beside "$line" "$(ms "$line")" '1027 / t * 1000' ;;
        '    of it the vision tower '*) beside "$line" "$(ms "$line")" '2.262 / t * 1000' ;;
        '  whole mask'*) beside "$line" "$(ms "$line")" '490 / t * 1000' ;;
        '  act, one frame known '*) beside "$line" "$(ms "$line")" '12.8 / t * 1000 + 5 * 13000 / g' ;;
        '  act alone '*) beside "$line" "$(behind "$line" p99)" '12.8 / t * 1000 + 5 * 13000 / g' ;;
        *) printf '%s\n' "$line" ;;
        esac
    done
}

exec 4>&1
rc=$({ { "$@" 3>&- 4>&-; echo $? >&3; } | annotate >&4 3>&-; } 3>&1)
exit "$rc"
