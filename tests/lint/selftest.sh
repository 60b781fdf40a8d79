#!/bin/sh
# selftest.sh - plants one breach of each kind and demands that it is found, and nothing beside it.
# Silent when all is well.
set -u
CC=${CC:-gcc}
root=$(pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/api/wire" "$tmp/engine/run" "$tmp/kernels/base" "$tmp/kernels/cpu" "$tmp/server"

expect() { # WHAT WANTED FOUND
    [ "$2" = "$3" ] || printf '%s: wanted\n%s\nfound\n%s\n' "$1" "$2" "$3"
}

cat >"$tmp/engine/run/a.c" <<'X'
#include "engine/run/kv.h"
#include "kernels/base/err.h"
#include "engine/model/model.h"
#include "api/api.h"
#include "engine/ask/prompt.h"
#include "engine/model/internal.h"
#include "kernels/ref/ref.h"
#include <png.h>
#include <string.h>
/* sprintf(in a comment) and */ static const char *s = "malloc(in a string)";
typedef struct bad { int x; } bad;
static void f(struct ops *o) {
    o->free(malloc(3)); /* strcpy(a
    atoi(b) */ atoi("7");
    o.free (s), my_free(s), strcpy (a, b); // exit(1)
}
X
cat >"$tmp/server/b.c" <<'X'
#include "api/api.h"
#include "engine/engine.h"
#include "api/call.h"
#include <microhttpd.h>
int main(void) { exit(printf("%s", getenv("HOME"))); }
X
cat >"$tmp/api/call.c" <<'X'
#include "api/state.h"
#include "api/ask.h"
X
cat >"$tmp/api/wire/v.c" <<'X'
#include "api/wire/problem.h"
#include "api/call.h"
X
expect rooms "engine/run/a.c:4 api/api.h
engine/run/a.c:5 engine/ask/prompt.h
engine/run/a.c:6 engine/model/internal.h
engine/run/a.c:7 kernels/ref/ref.h
engine/run/a.c:8 ^media/picture_[a-z]*[.]c\$
server/b.c:3 api/call.h
server/b.c:4 ^server/http/(http|intake|answer)[.]c\$|^server/http/loop[.]h\$
api/call.c:2 api/ask.h
api/wire/v.c:2 api/call.h" \
    "$(cd "$tmp" && awk -v root=./ -f "$root/tests/lint/rooms.awk" ./engine/run/a.c ./server/b.c \
        ./api/call.c ./api/wire/v.c |
        sed 's|^\./\([^ ]*\): .* \([^ ]*\)$|\1 \2|')"
expect bans "engine/run/a.c:11: no typedef of structs and enums
engine/run/a.c:13: malloc(): memory is kernels/base/mem.h
engine/run/a.c:14: atoi(): no errors
engine/run/a.c:15: strcpy(): unbounded" \
    "$(cd "$tmp" && awk -f "$root/tests/lint/bans.awk" engine/run/a.c server/b.c)"

long() { # LINES: a function of so many
    echo 'static int'
    echo 'long_one(int a, int b) {'
    awk -v n="$1" 'BEGIN { for (i = 2; i < n; i++) print "    a = {b};" }'
    echo '}'
}
long 120 >"$tmp/ok.c"
long 121 >"$tmp/long.c"
{ echo 'static const int t[] = {'; yes '    1,' | head -n 300; echo '};'; } >"$tmp/table.c"
yes '' | head -n 900 >"$tmp/full.c"
yes '' | head -n 901 >"$tmp/over.c"
expect sizes "long.c:2: long_one has 121 lines, 120 at most
over.c: 901 lines, 900 at most" \
    "$(cd "$tmp" && awk -f "$root/tests/lint/sizes.awk" ok.c long.c table.c full.c over.c)"

# cites.awk reads this file too: "@" stands for the word, "%" for the folder of pages.
pages=docs
mkdir "$tmp/$pages"
plant() { sed 's/@/section/g; s/%/docs/g' >"$tmp/$1"; }
plant $pages/m.md <<'X'
# Page
## 1. One
### 1.2 Sub
Fine: @ 1, @s 1 and 1.2, [m](m.md) @ 1, @ 2 of RFC 9, the paper's @ 4. Lost: @ 2
```
## 3. no heading
```
See [old](../%/old.md) and @
3.
X
plant engine/run/c.c <<'X'
/* Fine: %/m.md @s 1, 1.2 and 1; RFC 1 @s 5.1 (x), 6; HTML standard, @ 9.2; (%/m.md) @
 * 1.2; @ 1.2 of %/m.md; 3 @ more.
 * Lost: %/m.md @s 1 to 3 and %/m.md @
 * 1.3; %/n.md @ 1; run/k.md @ 1; see @ 1 */
int section_of(int section); // spec @ 4
X
expect cites "m.md:4: %/m.md has no @ 2
m.md:8: %/m.md has no @ 3
m.md:8: ../%/old.md is not there
c.c:3: %/m.md has no @ 3
c.c:3: %/m.md has no @ 1.3
c.c:4: %/n.md is not there
c.c:4: run/k.md is not there
c.c:4: @ 1 of what?
c.c:5: @ 4 of what?" \
    "$(cd "$tmp" && awk -f "$root/tests/lint/cites.awk" $pages/m.md engine/run/c.c |
        sed 's|^[a-z/]*/||; s|docs|%|; s|section|@|')"

cat >"$tmp/$pages/d.md" <<'X'
* *gone*: before the chapter
## Words
* *lane*: a part of lane_new
* *pick*: its plural is one
* *KV pool*: two words
* *door*: in the text of a door
* *prose*: only in a comment
* *string*: only in a string
* *KV dog*: one of two
* *lane*: again
* without a word
## More
* *gone*: behind the chapter
X
cat >"$tmp/engine/run/w.c" <<'X'
/* prose // */ int lane_new(int n_picks); // prose
/* prose
 * prose */ const char *kv_pool = "a \" string"; /* prose */
X
echo '/* the door of it */' >"$tmp/engine/engine.h"
expect words "d.md:10: lane is explained twice
d.md:11: an entry begins \`* *word*\`
d.md:7: prose is not a word of the code
d.md:8: string is not a word of the code
d.md:9: KV dog is not a word of the code" \
    "$(cd "$tmp" && awk -f "$root/tests/lint/words.awk" $pages/d.md engine/run/w.c engine/engine.h |
        sed 's|^[a-z]*/||')"

echo 'struct uses { size_t n; };' >"$tmp/alone.h"
echo 'struct fine { int n; };' >"$tmp/fine.h"
expect headers "1" "$(CC=$CC sh tests/lint/headers.sh "$tmp/alone.h" "$tmp/fine.h" |
    grep -c 'does not compile alone')"
echo 'static inline int *f(int *restrict p) { return p; }' >"$tmp/kernels/base/c.h"
expect 'C++20' 'kernels/base/c.h does not compile as C++20' \
    "$(cd "$tmp" && CC=$CC sh "$root/tests/lint/headers.sh" kernels/base/c.h | grep 'does not')"

cat >"$tmp/api/g.c" <<'X'
extern int x, *p; int f(void); int h(void);
int x = 3; static int y; static _Thread_local int z; static const int fine = 4;
static int (*const table[])(void) = {f, h};
int f(void) { static int counter; return ++counter + y++ + z++ + x + fine; }
int h(void) { return table[0](); }
X
$CC -fPIE -O0 -c -o "$tmp/api/g.o" "$tmp/api/g.c"
mkdir -p "$tmp/kernels/base"
cp "$tmp/api/g.o" "$tmp/kernels/base/log.o"
expect globals 'counter.0 x y z' \
    "$(sh tests/lint/globals.sh "$tmp/api/g.o" "$tmp/kernels/base/log.o" | awk '{print $2}' | sort |
        xargs)"

# Two files with a static function of the same name: one of them bare.
mkdir -p "$tmp/two"
printf 'static int find(int a) {\n    return a;\n}\nstatic int own(void) { return 1; }\n' >"$tmp/two/a.c"
printf 'static int find(int a) {\n    return a;\n}\nstatic int b_own(void) { return 1; }\n' >"$tmp/two/b.c"
expect statics "find() stands in several files, without the file's name in front: a.c:1 b.c:1" \
    "$(cd "$tmp/two" && awk -f "$root/tests/lint/statics.awk" a.c b.c)"

# A line of 101 columns is "long". Which of them hold a comment?
wide() { # FILE: on standard input, W stands for as many letters as make the line too wide
    awk '{ n = 101 - length($0) + 1; w = ""; while (length(w) < n) w = w "w"; sub(/W/, w); print }' >"$tmp/$1"
}
wide w.c <<'X'
/* W */
int W = "/*"; // not in a text
int W; // a comment
static const char *s = "W /* in a text";
/* begins here
 * W
 ends here */ int W;
int W;
X
wide w.inc <<'X'
int W; /* a comment
*/ int W;
X
wide w.sh <<'X'
# W
echo W
X
wide w.py <<'X'
"""W"""
W = 3
"""
W
"""
W = 4
W = """W
# W
"""
W # W
X
printf '/* %s */\n' "$(awk 'BEGIN { while (n++ < 94) printf "\303\244" }')" >"$tmp/fits.c"
expect width "w.c:1 w.c:2 w.c:3 w.c:6 w.c:7 w.inc:1 w.inc:2 w.py:1 w.py:10 w.py:4 w.sh:1" \
    "$(cd "$tmp" && LC_ALL=C awk -f "$root/tests/lint/width.awk" w.c w.inc w.sh w.py fits.c |
        sed 's/: .*//' | sort | xargs)"
