#!/bin/sh
# total.sh COMMAND... - run each test suite in turn and add up their closing lines.
# A suite ends with `N passed, N failed` (`, N skipped` may follow). One that ends otherwise, or
# with a bad exit status though it counted no failure, counts as one failure itself. The seconds that
# each took are told at the end.
set -u

log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0 broken= times=
for suite; do
    echo "== $suite"
    begun=$(date +%s)
    { sh -c "$suite" 2>&1; echo "exit $?"; } | tee "$log" | sed '/^exit [0-9]*$/d'
    rc=$(sed -n '$s/^exit //p' "$log")
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$/\1 \2 \4/p' \
        "$log" | tail -n 1)
    # shellcheck disable=SC2086 # words are wanted
    set_counts() { p=${1:-0} f=${2:-0} s=${3:-0}; }
    set_counts $counts
    if [ -z "$counts" ] || { [ "$rc" != 0 ] && [ "$f" = 0 ]; }; then
        echo "FAIL $suite: exit status $rc"
        f=$((f + 1))
    fi
    [ "$f" = 0 ] || broken="$broken
  $suite"
    times="$times
$(printf '%5d s  %s' $(($(date +%s) - begun)) "$suite")"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "seconds of each suite:$times"
[ -z "$broken" ] || echo "failures in:$broken"
[ "$skipped" = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
