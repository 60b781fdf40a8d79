# sizes.awk - no file over 900 lines, no function over 120.
#
#     awk [-v report=1] -f sizes.awk FILES       report: also what is over 500 and 50
#
# Reads what clang-format writes: a function begins at a line that starts in the first column and
# ends in `{`, and ends at the next `}` in the first column. Tables (ending in `= {`) are exempt.

function file_done() {
    if (last == "") return
    if (lines > 900) print last ": " lines " lines, 900 at most"
    else if (report && lines > 500) print last ": " lines " lines, better 500"
}

FNR == 1 { file_done(); last = FILENAME; begun = 0 }
{ lines = FNR }

/^[A-Za-z_]/ && /\(/ { head = $0 }
/^[^ \t#}\/].*\{$/ || /^    +[^ ].*\) \{$/ && !begun && head != "" {
    if (!begun && $0 !~ /= *\{$/ && (head != "" || $0 ~ /\(/)) {
        begun = FNR; name = head != "" ? head : $0
    }
}
/^\}/ {
    if (begun) {
        n = FNR - begun + 1
        if (name !~ /^[A-Z_]+\(/) sub(/\(.*/, "", name)
        sub(/ *\{$/, "", name); sub(/.*[ *]/, "", name)
        if (n > 120) print FILENAME ":" begun ": " name " has " n " lines, 120 at most"
        else if (report && n > 50) print FILENAME ":" begun ": " name " has " n " lines, better 50"
    }
    begun = 0; head = ""
}
END { file_done() }
