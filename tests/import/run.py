#!/usr/bin/env python3
"""run.py - `lammd import`: originals in every form become a model that answers.

    tests/import/run.py [--long] [substring...]

The originals are made of the tiny model (lab.py), and what comes out is held against it, tensor by
tensor. Needs python3-numpy. Skips aloud. Ends with `N passed, N failed, N skipped`.
"""
import importlib
import os
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http"), os.path.dirname(HERE)]
import suite  # noqa: E402,F401 (takes --long)
try:
    import lab
    from lamm import Skip
except ImportError as e:
    print(f"skip: import: {e}: apt-get install python3-numpy python3-yaml python3-jsonschema")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def main(words):
    passed = failed = skipped = 0
    tests = []
    for module in ("test_forms", "test_bad", "test_ends", "test_probe"):
        m = importlib.import_module(module)
        tests += [(f"{module[5:]}_{n[5:]}", f) for n, f in vars(m).items() if n.startswith("test_")]
    for name, test in tests:
        if words and not any(w in name for w in words):
            continue
        with tempfile.TemporaryDirectory() as tmp:
            try:
                test(lab.Originals(os.path.join(tmp, "o")), lambda *n, tmp=tmp: os.path.join(tmp, *n))
                passed += 1
            except Skip as e:
                print(f"skip: {name}: {e}")
                skipped += 1
            except Exception:  # noqa: BLE001 (the next test is run all the same)
                print(f"FAIL {name}\n{traceback.format_exc()}")
                failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
