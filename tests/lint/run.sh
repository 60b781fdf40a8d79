#!/bin/sh
# run.sh - all lint, then the proof that lint sees what it should. `make check` runs it, from the
# root.
# Each check prints nothing when all is well. Ends with `N passed, N failed, N skipped`.
set -u
passed=0 failed=0 skipped=0

check() { # NAME COMMAND...
    name=$1
    shift
    out=$("$@" 2>&1)
    rc=$?
    if [ $rc = 0 ] && [ -z "$out" ]; then
        passed=$((passed + 1))
    else
        printf '%s\nFAIL lint %s\n' "$out" "$name"
        failed=$((failed + 1))
    fi
}
skip() {
    echo "skip: lint $1: $2"
    skipped=$((skipped + 1))
}

rooms='media kernels engine data jobs api batch server cli'
# shellcheck disable=SC2086 # words are wanted
product=$(find $rooms -name '*.[ch]' | sort)
cuda=$(find kernels/cuda -name '*.cu' -o -name '*.cuh' | sort)
# Text that sources include.
parts=$(find $rooms -name '*.inc' | sort)
# engine/train/mpi needs MPI's own.
headers=$(find $rooms -name '*.h' | grep -v '^engine/train/mpi/' | sort)
all="$product $(find tests -name '*.[ch]' | sort)"
# Whatever people read: sources, scripts and pages.
written=$(find . \( -name .git -o -name build \) -prune -o -type f \( -name '*.[ch]' -o -name '*.inc' \
    -o -name '*.cu' -o -name '*.cuh' -o -name '*.cc' -o -name '*.py' -o -name '*.sh' -o -name '*.awk' \
    -o -name '*.md' -o -name '*.yaml' -o -name '*.html' -o -name '*.js' -o -name '*.css' -o -name '*.mk' \
    -o -name Makefile \) -print | sed 's|^\./||' | sort)
# Those that have comments.
sources=$(echo "$written" | grep -Ev '[.](md|yaml|html)$')
test_parts=$(find tests -name '*.inc' | sort)
# Objects and complaints of sources that are gone don't count.
alive() {
    while read -r f; do
        source=${f#"$B"/}
        [ ! -f "${source%.*}.c" ] || echo "$f"
    done
}
objects() { find $(echo $rooms | sed "s|[^ ]*|$B/&|g") -name '*.o' | sort | alive; }
complaints() { find "$B" -name '*.warn' -size +0 | sort | alive | xargs -r cat; }
format() { clang-format --dry-run -Werror "$@" 2>&1 | sed -n 's/:.*error: code.*/: run make format/p' | uniq; }

# shellcheck disable=SC2086 # words are wanted
{
    check rooms awk -f tests/lint/rooms.awk $product $cuda $parts
    check bans awk -f tests/lint/bans.awk $product $cuda $parts
    check sizes awk -f tests/lint/sizes.awk $all $cuda $parts
    check width env LC_ALL=C awk -f tests/lint/width.awk $sources
    check cites awk -f tests/lint/cites.awk $written
    check statics awk -f tests/lint/statics.awk $product
    check words awk -f tests/lint/words.awk docs/design.md $product
    check 'headers alone' sh tests/lint/headers.sh $headers
    check 'compiler warnings' complaints
    check 'mutable globals' sh tests/lint/globals.sh $(objects)
    if command -v clang-format >/dev/null; then
        check format format $all $cuda $parts $test_parts
    else
        skip format 'clang-format is not installed'
    fi
    if command -v systemd-analyze >/dev/null; then
        check 'systemd sandbox' sh tests/lint/units.sh
    else
        skip 'systemd sandbox' 'systemd-analyze is not installed'
    fi
    check 'lint sees what it should' sh tests/lint/selftest.sh
    awk -v report=1 -f tests/lint/sizes.awk $all | sed -n 's/.*better.*/note: &/p'
}
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
