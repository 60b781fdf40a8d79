#!/bin/sh
# embed.sh FILE... - the files as a C table on stdout; the table is described in api/static.h.
# webui/index.html becomes "/", its neighbours "/ui/<name>", any other file "/<name>".
set -eu

echo '#include "api/static.h"'
echo
i=0
for file; do
    i=$((i + 1))
    echo "static const uint8_t file_${i}[] = {"
    od -An -v -tu1 "$file" | sed 's/^ *//; s/  */,/g; s/$/,/'
    # A literal array can't be empty, and text wants a NUL behind it anyway.
    echo "0};"
done

echo "const struct api_static api_static_table[] = {"
i=0
for file; do
    i=$((i + 1))
    name=${file##*/}
    case $file in
        webui/index.html) path=/ ;;
        webui/*) path=/ui/$name ;;
        *) path=/$name ;;
    esac
    echo "    {\"$path\", file_$i, sizeof(file_$i) - 1},"
done
echo "    {0, 0, 0},"
echo "};"
