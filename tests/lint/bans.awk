# bans.awk - functions and words we don't use, and why in one word.
#
#     awk -v root=PREFIX -f bans.awk FILES
#
# Comments and strings are taken out first. A call is a name that is no member (x.free, x->free)
# with a parenthesis behind it. Some calls have a home, a pattern of the files where they are right.

function ban(names, why, home,    list, n, i) {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++) { reason[list[i]] = why; homes[list[i]] = home }
}

BEGIN {
    ban("sprintf vsprintf strcpy stpcpy strcat strncpy strncat gets scanf", "unbounded")
    ban("strtok localtime gmtime ctime asctime rand srand", "shared state")
    ban("atoi atol atoll atof", "no errors")
    ban("alloca", "unbounded stack")
    ban("system popen execl execlp execv execvp fork", "no other programs")
    ban("malloc calloc realloc reallocarray aligned_alloc posix_memalign free strdup strndup asprintf",
        "memory is kernels/base/mem.h", "^kernels/base/mem[.]c$")
    ban("printf puts putchar perror", "report by struct err or log_event", "^(cli|server)/")
    ban("fprintf fputs vfprintf", "report by struct err or log_event",
        "^((cli|server)/|kernels/base/(err|mem)[.]c$)")
    ban("getenv secure_getenv", "options come through cli/", "^(cli|server)/")
    ban("exit _exit quick_exit", "only the program ends itself", "^(cli|server)/")
    ban("abort", "say must()", "^kernels/base/(err|mem)[.]c$")
    ban("assert", "say must()")
    ban("signal", "say sigaction()")
}

FNR == 1 {
    file = FILENAME
    if (root != "" && index(file, root) == 1) file = substr(file, length(root) + 1)
    in_comment = 0
}

# The line without comments and without what stands in quotes.
function code(s,    out, c, two, quote) {
    out = ""; quote = ""
    while (s != "") {
        c = substr(s, 1, 1); two = substr(s, 1, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; s = substr(s, 3) } else s = substr(s, 2)
        } else if (quote != "") {
            if (c == "\\") s = substr(s, 3)
            else { if (c == quote) quote = ""; s = substr(s, 2) }
        } else if (two == "/*") { in_comment = 1; s = substr(s, 3) }
        else if (two == "//") s = ""
        else { if (c == "\"" || c == "'") quote = c; else out = out c; s = substr(s, 2) }
    }
    return out
}

{
    line = code($0)
    if (line ~ /^[ \t]*typedef[ \t]+(struct|enum|union)/)
        print FILENAME ":" FNR ": no typedef of structs and enums"
    while (match(line, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
        before = substr(line, 1, RSTART - 1)
        name = substr(line, RSTART, RLENGTH - 1)
        sub(/[ \t]+$/, "", name)
        line = substr(line, RSTART + RLENGTH)
        if (!(name in reason) || before ~ /([.]|->)[ \t]*$/) continue
        if (homes[name] != "" && file ~ homes[name]) continue
        print FILENAME ":" FNR ": " name "(): " reason[name]
    }
}
