# digest.sh - what report.sh tells of a step's log, each in a few lines: d_NAME LOG. Sourced.
# shellcheck shell=sh

code() { echo '```' && cut -c 1-180 && echo '```'; }

# The first thing that went wrong, in a line.
first_fault() {
    { grep -m 1 -E '^FAIL|^[^ ]+:[0-9]+: |rror|no .*device|no .*driver' "$1" || tail -n 1 "$1"; } | cut -c 1-200
}

d_end() {
    if grep -q '^|' "$1"; then
        echo && sed 1d "$1" | tail -n 30
    else
        sed 1d "$1" | tail -n 12 | code
    fi
}
d_whole() { sed 1d "$1" | head -n 12 | code; }

# Faults, slow tests, and why what was left out was.
d_tests() {
    {
        grep -E '^FAIL|^[^ ]+:[0-9]+: ' "$1" | head -n 12
        sed -n 's/^skip: [^:]*: /skipped: /p' "$1" | sort | uniq -c | sort -rn | head -n 3
        grep -E '^cuda .*answers differ|^[0-9]+ passed' "$1" || echo "$(grep -c '^ok ' "$1") passed before the end"
        grep -E '^ok ' "$1" | sort -t '(' -k 2 -rn | head -n 3
    } | code
}

# Of each number of rows a line, floors' share in brackets.
d_picture() {
    if ! grep -q ' rows a pass: ' "$1"; then
        sed 1d "$1" | tail -n 4 | code
        return
    fi
    sed 1d "$1" | grep -m 2 -E '^[^ <]+ on [a-z]|^ *opening' | sed 's/^ */- /; s/  */ /g'
    echo
    awk '
        function share(i) { for (i = 1; i < NF; i++) if ($i == "share") return " (" $(i + 1) " %)"; return "" }
        function ms(i) { for (i = 2; i <= NF; i++) if ($i == "ms") return $(i - 1) share(); return "" }
        function out() {
            if (rows) printf "| %s | %s | %s | %s | %s | %s | %s |\n", rows, cold, see, first, warm, mask, act
            cold = see = first = warm = mask = act = ""
        }
        BEGIN {
            print "| rows a pass | picture, ms | its tower | its first pixel | known picture | mask | act |"
            print "|---|---|---|---|---|---|---|"
        }
        / rows a pass: / { out(); rows = $1 }
        /^ *cold job/ { cold = ms() }
        /^ *of it the vision tower/ { see = ms() }
        /^ *until the first pixel/ { if (first == "") first = ms() }
        /^ *warm job/ { warm = ms() }
        /^ *whole mask/ { mask = ms() }
        /^ *act, one/ { act = ms() }
        END { out() }' "$1"
}
# How products were made: of each kind of matrix the base, and what takes its place for few rows.
d_products() {
    sed -n 's/.* event=products device=[0-9]* //p' "$1" | awk '!seen[$0]++' | sed '
        s/; to \([0-9]*\) rows id \([0-9]*\), tile \([0-9]*\)[^;]*, \([0-9.]*\) us for \([0-9.]*\)/; to \1: id \2 tile \3, \4 us for \5/g
        s/^/- /'
}
d_profile() {
    if grep -q '^|' "$1"; then
        grep '^|' "$1" | head -n 18
    else
        tail -n 4 "$1" | code
    fi
}

# What decides: sums of products, the tower, attention, whole passes, how fast weights come in.
d_operations() {
    printf '| operation | us | least .. most | floor, us | share |\n|---|---|---|---|---|\n'
    grep -E '^\| +(all four|vision|picture attention|tree attention|rmsnorm|swiglu|rope|pass of|by )|^## ' "$1" |
        sed 's/^## \(.*\)/| **\1** | | | | |/; s/  */ /g'
    echo
    grep -E "^put of|attention in all|ran as graphs" "$1"
}
