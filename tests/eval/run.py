#!/usr/bin/env python3
"""run.py - `lammd eval` on real files in public formats, every figure worked out again.

    tests/eval/run.py [--long] [substring...]

The files come from tools/data/convert.py and from scenes that are drawn here (lab.py). It does not
matter what the model answers: hits, overlaps and scores are computed anew from its answers. Where
its answers are made the truth, it must be right. `bench mix` is run, too. Needs python3-pil and
python3-numpy; masks are compared with pycocotools' where that is installed. Skips aloud. Ends with
`N passed, N failed, N skipped`.
"""
import os
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(HERE, "../../tools/data"), os.path.dirname(HERE)]
import suite  # noqa: E402, F401 (takes --long)
try:
    import test_answers
    import test_battery
    import test_crops
    import test_files
    import test_masks
    from lab import Skip
except ImportError as e:
    print(f"skip: eval: {e}: apt-get install python3-pil python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def main():
    modules = (test_masks, test_crops, test_answers, test_files, test_battery)
    tests = {k[5:]: f for m in modules for k, f in vars(m).items() if k.startswith("test_")}
    passed = failed = skipped = 0
    for name, test in tests.items():
        if sys.argv[1:] and not any(s in name for s in sys.argv[1:]):
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                test(tmp)
            passed += 1
        except Skip as e:
            print(f"skip: eval {name}: {e}")
            skipped += 1
        except Exception:  # a test may fail in any way; the others still run
            traceback.print_exc()
            print(f"FAIL eval {name}")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
