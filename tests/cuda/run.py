#!/usr/bin/env python3
"""The CUDA plugin as a file: what can be known of it without a GPU.

    LAMMD=path/to/lammd tests/cuda/run.py [--long] [SUBSTRING...]
    LAMMD=path/to/lammd tests/cuda/run.py --table

Looks at lammd-cuda.so beside the program: it exports one symbol, needs no library of NVIDIA's to be
loaded, and holds code for the promised chips. The assembler's report beside the objects says
that no kernel spills registers and that the hot ones have no stack. --table prints what it says of
each kernel, the most registers first, and tests nothing. Ends with `N passed, N
failed, N skipped`. """
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import suite  # noqa: E402, F401 (takes --long)

LAMMD = Path(os.environ.get("LAMMD", "lammd")).resolve()
PLUGIN = LAMMD.parent / "lammd-cuda.so"
HEADER = Path(__file__).resolve().parents[2] / "kernels/kern.h"
# Where the objects are: O=build puts the program into the root.
FOLDERS = [LAMMD.parent / "release", LAMMD.parent / "build" / "release"]
# sincos of large angles has a table on its stack: rope, once a row.
MAY_HAVE_STACK = ("rope_rows", "rope_back_rows")
KERNELS = ("add_pos_cells", "attn_flat", "attn_tile", "embed_rows", "finish_rows", "gather_rows", "norm_rows",
           "patchify_cells", "pick_rows", "product_16", "product_f32", "rope_rows", "round_rows",
           "swiglu_rows", "touch", "pad_rows",
           # proofs of cuBLASLt's algorithms
           "compare_cells", "judge_cells", "seed_floats", "seed_rows",
           # training
           "adamw_cells", "add_blocks", "add_in_order", "attn_back_keys", "attn_back_rows", "attn_back_tails",
           "attn_delta", "attn_hold_losses", "attn_holds", "back_16", "back_f32", "blend_cells", "colsum_blocks",
           "convert_rows", "dropout_rows", "embed_back_rows", "expect_corners", "expect_losses", "expect_slopes",
           "gather_back_rows", "gelu_rows", "norm_back_blocks", "norm_back_rows", "norm_facts", "rope_back_rows",
           "scale_rows", "set_cells", "square_blocks", "swiglu_back_rows", "xent_rows", "zero_cells")


def tool(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exports_one_symbol():
    names = [line.split()[-1] for line in tool("nm", "-D", "--defined-only", PLUGIN).splitlines()]
    assert names == ["lammd_kern_plugin"], names


def needs_only_the_system():
    needed = re.findall(r"NEEDED\s+(\S+)", tool("objdump", "-p", PLUGIN))
    strange = [n for n in needed if not re.match(r"(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|"
                                                 r"ld-linux[-\w]*)\.so", n)]
    assert not strange, strange


def loads_without_a_driver():
    library = ctypes.CDLL(str(PLUGIN), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    assert library.lammd_kern_plugin is not None


class Ops(ctypes.Structure):
    """How struct kern_ops (kernels/kern.h) begins."""
    _fields_ = [("abi", ctypes.c_uint32), ("size", ctypes.c_uint32), ("name", ctypes.c_char_p),
                ("train", ctypes.c_void_p), ("peak", ctypes.c_void_p), ("score", ctypes.CFUNCTYPE(ctypes.c_int))]


def ops_are_read_as_they_are_declared():
    declared = re.search(r"struct kern_ops \{\n(.*?)\n\};", HEADER.read_text(), re.S).group(1)
    declared = re.sub(r"/\*.*?\*/", "", declared, flags=re.S)
    names = re.findall(r"^ {4}\S.*?(\w+)\)?(?:\([^;]*)?;", declared, re.M)[:len(Ops._fields_)]
    assert names == [name for name, _ in Ops._fields_], names


def a_device_is_there():
    """Not a failure, but to be said aloud: without one every test of an operation is skipped."""
    ops_are_read_as_they_are_declared()
    library = ctypes.CDLL(str(PLUGIN))
    library.lammd_kern_plugin.restype = ctypes.POINTER(Ops)
    if library.lammd_kern_plugin().contents.score() == 0:
        raise Skip("THERE IS NO GPU: nothing of the CUDA engine runs, every operation's test is skipped")


def reports():
    """(kernel, chip) -> (stack, spill stores, spill loads, registers)"""
    found = {}
    for folder in FOLDERS:
        for file in sorted((folder / "kernels" / "cuda").glob("*.ptxas")):
            kernel = None
            for line in file.read_text().splitlines():
                m = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
                if m:
                    kernel = m.groups()
                    numbers = []
                m = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
                if m and kernel and not numbers:
                    numbers = [int(n) for n in m.groups()]
                m = re.search(r"Used (\d+) registers", line)
                if m and kernel:
                    found[kernel] = (*numbers, int(m.group(1)))
                    kernel = None
        if found:
            return found
    raise AssertionError("no report beside the objects")


def kernels_are_all_reported():
    names = {k for k, _ in reports()}
    missing = [k for k in KERNELS if not any(k in n for n in names)]
    assert not missing, missing
    unknown = [n for n in names if not any(k in n for k in KERNELS)]
    assert not unknown, unknown


def kernels_do_not_spill():
    bad = {k: v for k, v in reports().items() if v[1] or v[2]}
    assert not bad, bad


def hot_kernels_have_no_stack():
    bad = {k: v for k, v in reports().items() if v[0] and not any(m in k[0] for m in MAY_HAVE_STACK)}
    assert not bad, bad


def plain_name(symbol):
    """A kernel's own name in what the compiler made of it: _Z, namespaces, each with its length."""
    best = [k for k in KERNELS if k in symbol]
    name = max(best, key=len) if best else symbol
    rest = symbol[symbol.rfind(name) + len(name):] if best else ""
    args = re.match(r"I(.*?)E+v", rest)
    return name + (f" {args.group(1)}" if args else "")


def print_table():
    found = reports()
    chips = sorted({chip for _, chip in found})
    print("| kernel | " + " | ".join(f"{c}: registers | stack | spills" for c in chips) + " |")
    print("|---|" + "---|" * 3 * len(chips))
    names = sorted({k for k, _ in found}, key=lambda k: (-max(found[k, c][3] for c in chips if (k, c) in found), k))
    for name in names:
        row = [found.get((name, c)) for c in chips]
        cells = [f"{r[3]} | {r[0]} | {r[1] + r[2]}" if r else "- | - | -" for r in row]
        print(f"| `{plain_name(name)}` | " + " | ".join(cells) + " |")
    print(f"\n{len(names)} kernels, {sum(1 for v in found.values() if v[1] or v[2])} with spills")


class Skip(Exception):
    """The reason why a test says nothing here."""


TESTS = [exports_one_symbol, needs_only_the_system, loads_without_a_driver, a_device_is_there, kernels_are_all_reported,
         kernels_do_not_spill, hot_kernels_have_no_stack]


def main():
    passed = failed = skipped = 0
    if "--table" in sys.argv:
        print_table()
        return False
    for test in TESTS:
        if sys.argv[1:] and not any(w in test.__name__ for w in sys.argv[1:]):
            continue
        if not PLUGIN.exists():
            skipped += 1
            continue
        try:
            test()
            passed += 1
        except Skip as why:
            print(f"skip: cuda {test.__name__}: {why}")
            skipped += 1
        except Exception as error:  # whatever it is, it is a failure of this test
            print(f"FAIL cuda {test.__name__}: {error}")
            failed += 1
    if not PLUGIN.exists():
        print(f"skip: the CUDA plugin: there is no {PLUGIN.name} (no nvcc?)")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
