# width.awk - no comment reaches beyond column 100.
#
#     awk -f width.awk FILES       C, CUDA, *.inc, and scripts
#
# clang-format holds code to that width and leaves comments alone, so this looks at them: a line of
# over 100 columns is a breach when some of it is a comment. In Python a docstring is one, too: a
# string in triple quotes that begins a line. A character of UTF-8 is a column. Code in scripts may
# be wider. Run with LC_ALL=C.

FNR == 1 {
    is_c = FILENAME ~ /\.(c|h|cc|cu|cuh|inc|js|css)$/
    is_python = FILENAME ~ /\.py$/
    in_comment = in_string = is_docstring = 0
}

# Does the line of C hold a comment, or lie in one? Keeps in_comment.
function c_comment(s,    found, at, two) {
    found = in_comment
    if (!in_comment && s !~ /\/[*\/]/) return 0
    while (s != "") {
        if (in_comment) {
            at = index(s, "*/")
            if (!at) return 1
            in_comment = 0
            s = substr(s, at + 2)
        } else if (match(s, /^("([^"\\]|\\.)*"|'([^'\\]|\\.)*')/)) {
            s = substr(s, RLENGTH + 1)
        } else {
            two = substr(s, 1, 2)
            if (two == "//") return 1
            if (two == "/*") { in_comment = found = 1; s = substr(s, 3) }
            else s = substr(s, 2)
        }
    }
    return found
}

# The same for Python. Keeps in_string (in triple quotes) and is_docstring.
function python_comment(s,    was_in, quotes) {
    was_in = in_string
    if (!was_in) is_docstring = s ~ /^[ \t]*r?"""/
    quotes = gsub(/"""/, "", s)
    in_string = (was_in + quotes) % 2
    return is_docstring || !was_in && s ~ /(^|[ \t])#/
}

{
    has_comment = is_c ? c_comment($0) : is_python ? python_comment($0) : $0 ~ /(^|[ \t])#/
    if (length($0) <= 100 || !has_comment) next
    line = $0
    gsub(/[\200-\277]/, "", line)
    if (length(line) > 100) print FILENAME ":" FNR ": a comment of " length(line) " columns, 100 at most"
}
