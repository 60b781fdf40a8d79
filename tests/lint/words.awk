# words.awk - the words that docs/design.md explains are the words of the code.
#
#     awk -f words.awk PAGE SOURCES
#
# An entry of the chapter "Words" begins `* *word*`. Each word must be a part of some identifier of
# the sources (`lane` of lane_new, `pick` of picks_max), or stand in the text of a door, a header by
# which a room is entered. Of a term in two words each must. A word is explained once.

BEGIN { DOOR = "^(engine/engine|api/api|kernels/kern|kernels/op/[a-z]*|server/serve|jobs/jobs|cli/cmd|(data|media)/[a-z]*)[.]h$" }

function complain(n, what) { print page ":" n ": " what }

# Every part of every name in `text` is in use, and so is its singular.
function mark(text,    name, i, n, part) {
    n = split(tolower(text), name, /[^a-z0-9]+/)
    for (i = 1; i <= n; i++) {
        used[name[i]] = 1
        part = name[i]
        if (sub(/s$/, "", part)) used[part] = 1
    }
}

# The line without strings and comments.
function code(s,    out, at) {
    gsub(/"([^"\\]|\\.)*"/, " ", s)
    while (s != "") {
        if (is_comment) {
            at = index(s, "*/")
            if (!at) return out
            is_comment = 0
            s = substr(s, at + 2)
        } else {
            if (!match(s, /\/[*\/]/)) return out s
            out = out substr(s, 1, RSTART - 1) " "
            if (substr(s, RSTART, 2) == "//") return out
            is_comment = 1
            s = substr(s, RSTART + 2)
        }
    }
    return out
}

FNR == 1 {
    if (page == "") page = FILENAME
    is_comment = is_words = 0
}

FILENAME == page {
    if (/^## /) is_words = $0 == "## Words"
    if (is_words && /^\* /) {
        if (!match($0, /^\* \*[A-Za-z ]+\*/)) {
            complain(FNR, "an entry begins `* *word*`")
            next
        }
        word = substr($0, 4, RLENGTH - 4)
        if (word in line) complain(FNR, word " is explained twice")
        line[word] = FNR
        order[++n_words] = word
    }
    next
}

{ mark(FILENAME ~ DOOR ? $0 : code($0)) }

END {
    if (!n_words) complain(1, "no chapter of words")
    for (i = 1; i <= n_words; i++) {
        word = order[i]
        n = split(tolower(word), term, " ")
        for (k = 1; k <= n; k++)
            if (!(term[k] in used)) {
                complain(line[word], word " is not a word of the code")
                break
            }
    }
}
