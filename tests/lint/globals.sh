#!/bin/sh
# globals.sh OBJECT... - variables at file scope that can change. Where they are allowed, and why:
# log.c and mem.c of the floor (level, counters).
set -u
for o; do
    case $o in
        */kernels/base/log.o | */kernels/base/mem.o) continue ;;
    esac
    # Constant tables with addresses in them lie in .data.rel.ro and are read-only after start.
    objdump -t "$o" | awk -v o="$o" '$4 ~ /^\.(data|bss|tdata|tbss)/ || $3 ~ /^\.(data|bss|tdata|tbss)/ {
        section = $3 ~ /^\./ ? $3 : $4
        if (section ~ /^\.data\.rel\.ro/ || $NF ~ /^\./ || $2 == "d" || $3 == "d") next
        print o ": " $NF " can change"
    }'
done
