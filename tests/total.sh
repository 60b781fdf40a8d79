#!/bin/sh
# total.sh COMMAND... [-- COMMAND...] - run each test suite and add up their closing lines.
# Those before the -- run one after another, those behind it two at a time, where there are two
# processors; what such a suite said comes when it has ended. A suite ends with `N passed, N failed`
# (`, N skipped` may follow). One that ends otherwise, or with a bad exit status though it counted
# no failure, counts as one failure itself. The seconds that each took are told at the end.
set -u

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export dir

# N COMMAND alone|beside: dir/N.log is what it says, dir/N.end its exit status and seconds.
cat >"$dir/one.sh" <<'ONE'
begun=$(date +%s)
run() {
    sh -c "$2" 2>&1
    rc=$?
    times >"$dir/$1.times" # of this shell, then of its children: user, system
    processor=$(awk 'NR == 2 { gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4) }' "$dir/$1.times")
    echo "$rc $(($(date +%s) - begun)) $processor" >"$dir/$1.end"
}
if [ "$3" = alone ]; then
    echo "== $2"
    run "$1" "$2" | tee "$dir/$1.log"
else
    run "$1" "$2" >"$dir/$1.log"
    exec 9>"$dir/lock" && flock 9
    echo "== $2"
    cat "$dir/$1.log"
fi
ONE

n=0 how=alone
for suite; do
    if [ "$suite" = -- ]; then how=beside && continue; fi
    n=$((n + 1))
    printf '%s' "$suite" >"$dir/$n.suite"
    if [ "$how" = alone ]; then
        sh "$dir/one.sh" "$n" "$suite" alone
    else
        printf '%s\0%s\0%s\0' "$n" "$suite" beside >>"$dir/list"
    fi
done
if [ -f "$dir/list" ]; then xargs -0 -n 3 -P $(($(nproc) > 1 ? 2 : 1)) sh "$dir/one.sh" <"$dir/list"; fi

passed=0 failed=0 skipped=0 broken='' times='' i=0
while [ "$i" -lt "$n" ]; do
    i=$((i + 1))
    suite=$(cat "$dir/$i.suite")
    read -r rc seconds processor <"$dir/$i.end"
    # shellcheck disable=SC2046 # words are wanted
    set -- $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed\(, \([0-9]*\) skipped\)\{0,1\}$/\1 \2 \4/p' \
        "$dir/$i.log" | tail -n 1)
    p=${1:-0} f=${2:-0} s=${3:-0}
    if [ $# = 0 ] || { [ "$rc" != 0 ] && [ "$f" = 0 ]; }; then
        echo "FAIL $suite: exit status $rc"
        f=$((f + 1))
    fi
    [ "$f" = 0 ] || broken="$broken
  $suite"
    times="$times
$(printf '%5d %5d  %s' "$seconds" "$processor" "$suite")"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "seconds, seconds of processor:$times"
[ -z "$broken" ] || echo "failures in:$broken"
[ "$skipped" = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
