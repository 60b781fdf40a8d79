#!/bin/sh
# floors.sh COMMAND... - run a `lammd bench` of PAE-LaMM's sizes, and put beside what has one its floor: what
# its multiply-adds take at TFLOPS (790, measured on an H200), as docs/model.md section 8 counts them. Of an
# act the floor holds 5 steps that read all weights, at 2.75 ms each. The exit status is the command's.
out=$("$@")
rc=$?
printf '%s\n' "$out" | awk -v t="${TFLOPS:-790}" '
    function beside(value, floor) { printf "%s   floor %.1f ms, share %.0f %%\n", $0, floor, 100 * floor / value }
    function ms(i) { for (i = 2; i < NF; i++) if ($i == "ms") return $(i - 1) }
    function behind(word, i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1) }
    /^ *cold job/ { beside(ms(), 1027 / t * 1000); next }
    /^ *of it the vision tower/ { beside(ms(), 2.262 / t * 1000); next }
    /^ *whole mask/ { beside(ms(), 490 / t * 1000); next }
    /^ *act alone/ { beside(behind("p99"), 12.8 / t * 1000 + 5 * 2.75); next }
    { print }'
exit $rc
