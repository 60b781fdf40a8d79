# statics.awk - a function of one file carries the file's name where another file has one that is
# called the same: so a breakpoint, a trace and a search mean one place.
#
#     awk -f statics.awk FILES
#
# Looks at lines that begin a static function: `static TYPE name(`. The tables of instruction sets
# (isa_*.c, dots_*.c) are one function each, compiled several times, and may share its name.

FNR == 1 {
    file = stem = FILENAME
    sub(/.*\//, "", stem)
    sub(/[.][a-z]+$/, "", stem)
}

/^static [^=;"]*[ *][a-z_0-9]+\(/ && !/^static inline/ && stem !~ /^(isa|dots)_/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.*[ *]/, "", name)
    if (name == "" || (name, file) in seen) next
    seen[name, file] = 1
    at[name] = at[name] " " file ":" FNR
    n[name]++
    if (index(name, stem) != 1) bare[name] = bare[name] " " file ":" FNR
}

END {
    for (name in bare)
        if (n[name] > 1) print name "() stands in several files, without the file's name in front:" bare[name]
}
