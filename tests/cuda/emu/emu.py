#!/usr/bin/env python3
"""emu.py IN.cu OUT.cc - a CUDA source for an ordinary compiler: launches become emu_launch (emu.h),
and dynamic shared memory the emulator's. All else is as it was, line by line."""
import re
import sys


def closing(text, at):
    """The index behind the parenthesis that closes the one at `at`."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if depth == 0:
            return at


def main():
    text = open(sys.argv[1]).read()
    text = re.sub(r"\bcudaFuncSetAttribute\((\w+)(<[^<>;()]*>)?,", r'emu_set_attribute("\1",', text)
    out = ""
    while "<<<" in text:
        front, rest = text.split("<<<", 1)
        config, rest = rest.split(">>>", 1)
        kernel = re.search(r"\w+(<[^<>;()]*>)?$", front)
        end = closing(rest, 0)
        # The kernel's name may stand for a template, so it can't be passed as it is; and NULL would
        # be copied as a number.
        args = re.sub(r"\bNULL\b", "nullptr", rest[1:end])
        name = kernel.group().split("<")[0]
        out += (f"{front[:kernel.start()]}emu_launch(\"{name}\", {{{config}}}, "
                f"[](auto... emu_args) {{ {kernel.group()}(emu_args...); }}, {args}")
        text = rest[end:]
    out = re.sub(r"extern __shared__ [^;]*?(\w+)\[\];", r"char *\1 = emu_shared;", out + text)
    with open(sys.argv[2], "w") as f:
        f.write(f'#include "tests/cuda/emu/emu.h"\n#line 1 "{sys.argv[1]}"\n{out}')


if __name__ == "__main__":
    main()
