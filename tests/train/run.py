#!/usr/bin/env python3
"""run.py - `lammd train` as a user runs it: every recipe, ended at any moment and gone on with.

    tests/train/run.py [--long] [substring...]

Every test_*.py beside it is a group; every function test_* in it is a test, and gets the folder of
all tests (lab.py). The model is lamm-mini with two layers (small.py), the data are drawn
(shards.py). --long kills a hundred times in place of five, and breaks the disk at every step.
Needs python3-pil and python3-numpy; ranks need mpirun, a full disk needs to mount a tmpfs. Skips
aloud. Ends with `N passed, N failed, N skipped`.
"""
import glob
import importlib
import os
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import suite  # noqa: E402, F401 (takes --long)


def tests_of(group, wanted):
    """(name, function) of those of which a substring is wanted; the room's name counts, too."""
    module = importlib.import_module(group)
    return [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f) and (
        not wanted or any(w in name for w in wanted for name in ("train_" + n, group)))]


def run_one(name, test, place):
    """0 passed, 1 failed, 2 skipped."""
    try:
        test(place)
        return 0
    except lab.Skip as why:
        print(f"skip: train {name}: {why}", flush=True)
        return 2
    except Exception:  # noqa: BLE001
        print(f"FAIL train {name}\n{traceback.format_exc()}", flush=True)
        return 1


def main():
    global lab
    try:
        import lab
    except ImportError as e:
        print(f"skip: train: {e}: apt-get install python3-pil python3-numpy")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    groups = sorted(os.path.basename(f)[:-3] for f in glob.glob(os.path.join(HERE, "test_*.py")))
    counts = [0, 0, 0]
    with tempfile.TemporaryDirectory(prefix="lammd-train-") as tmp:
        place = None
        for name, test in (t for g in groups for t in tests_of(g, sys.argv[1:])):
            place = place or lab.Place(tmp)
            counts[run_one(name, test, place)] += 1
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
