# cites.awk - what a comment or a page points to is there.
#
#     awk -f cites.awk FILES       from the folder that the names of FILES begin in
#
# A section is cited as "FILE.md section N", "FILE.md sections N, N.M and N" or "section N of
# FILE.md". The file must be there, looked for from the root and from the citing file's own folder,
# and must have a heading that begins with each number. Without a file, a page means itself; source
# has no headings, so there a section of nothing is an error. RFCs, the HTML standard and the paper
# lie outside. Line breaks and comment marks make no difference. A page under docs/ has to be there
# even without a section.

BEGIN {
    PAGE = "[A-Za-z0-9_./-]+\\.md"
    OUTSIDE = "(RFC [0-9]+|HTML standard|[Pp]aper)"
}

# Does this page exist? Remembers its numbered headings on the way. Code blocks have none.
function load(page,    s, is_code) {
    if (page in known) return known[page]
    known[page] = 0
    while ((getline s < page) > 0) {
        known[page] = 1
        if (s ~ /^ *```/) is_code = !is_code
        if (!is_code && s ~ /^#+ +[0-9]/) {
            sub(/^#+ +/, "", s)
            match(s, /^[0-9]+(\.[0-9]+)*/)
            heading[page, substr(s, 1, RLENGTH)] = 1
        }
    }
    close(page)
    return known[page]
}

# The page as the root names it; "" when there is none.
function find(page,    beside) {
    if (load(page)) return page
    beside = file
    sub(/[^\/]*$/, "", beside)
    return load(beside page) ? beside page : ""
}

function complain(n, what) {
    if (!((file, n, what) in told)) print file ":" n ": " what
    told[file, n, what] = 1
}

# What a section belongs to, from the words before it and behind its numbers: a page, "-" for what
# lies outside, or "" when nothing is named.
function owner(before, behind) {
    sub(/[ )`,:"*]+$/, "", before)
    sub(/'s$/, "", before)
    if (before ~ OUTSIDE "$") return "-"
    if (match(before, PAGE "$")) return substr(before, RSTART)
    if (behind ~ "^ of (the )?" OUTSIDE) return "-"
    if (behind ~ "^ of [[`(]*" PAGE && match(behind, PAGE)) return substr(behind, RSTART, RLENGTH)
    return ""
}

# The numbers at the beginning of `text`, in list[1..]; what follows them is left in `rest`.
function numbers(text, is_list,    n) {
    n = 0
    while (match(text, /^[0-9]+(\.[0-9]+)*/)) {
        list[++n] = substr(text, 1, RLENGTH)
        rest = text = substr(text, RLENGTH + 1)
        if (!is_list || !match(text, /^(, and |, | and | to |-)[0-9]/)) break
        text = substr(text, RLENGTH)
    }
    return n
}

function check_sections(n,    text, at, from, before, page, found, i, count, behind) {
    text = line[n] " " line[n + 1]
    for (from = 1; match(substr(text, from), /[Ss]ections? [0-9]/); from = at + 1) {
        at = from + RSTART - 1
        if (at > length(line[n])) return
        before = line[n - 1] " " substr(text, 1, at - 1)
        behind = substr(text, at + RLENGTH - 1)
        count = numbers(behind, substr(text, at + 7, 1) == "s")
        page = owner(before, rest)
        if (page == "-" || before ~ /[A-Za-z_]$/) continue
        if (page == "" && file !~ /\.md$/) {
            complain(n, "section " list[1] " of what?")
            continue
        }
        found = page == "" ? file : find(page)
        if (found == "") complain(n, page " is not there")
        load(file)
        for (i = 1; found != "" && i <= count; i++)
            if (!((found, list[i]) in heading)) complain(n, found " has no section " list[i])
    }
}

function check_pages(n,    text, page) {
    for (text = line[n]; match(text, "[A-Za-z0-9_./-]*docs/" PAGE); text = substr(text, RSTART + RLENGTH)) {
        page = substr(text, RSTART, RLENGTH)
        if (page !~ /^\/\// && find(page) == "") complain(n, page " is not there")
    }
}

function file_done(    i) {
    for (i = 1; i <= lines; i++) {
        check_sections(i)
        check_pages(i)
    }
}

FNR == 1 { file_done(); file = FILENAME; split("", line) }
{
    lines = FNR
    sub(/^[ \t]*([*#]+|\/\/|\/\*+)?[ \t]*/, "")
    sub(/[ \t]*(\*\/)?[ \t]*$/, "")
    gsub(/§ ?/, "section ")
    line[FNR] = $0
}
END { file_done() }
