#!/usr/bin/env python3
"""compare_evals.py - two ways of asking the same, and how sure the difference is.

    compare_evals.py seg BEFORE.json AFTER.json     reports of `lammd eval seg --json` on one set
    compare_evals.py pvp REPORT.json...             of `lammd eval pvp --tiles N --json`, together

seg prints cIoU in full size of both and of their difference, by the size of the thing; pvp prints
the error with tiles, without them and enlarged, and of the true thumbnail enlarged. Behind each
stands the middle 95 % of 4,000 resamples. What is drawn is pictures, each with all its sentences,
since sentences about one picture are no separate evidence. Needs numpy.
"""
import json
import sys

import numpy as np

RESAMPLES = 4000
SIZES = ["below 1 %", "1 to 4 %", "4 to 16 %", "16 % and more"]


def interval(figure, n):
    """figure: of counts (n), how often each picture was drawn."""
    rng = np.random.default_rng(0)
    drawn = [figure(np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{figure(np.ones(n)):7.2f} ({low:.2f} .. {high:.2f})"


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def compare_seg(before, after):
    items = [load(p)["items"] for p in (before, after)]
    keys = [[(i["file"], i["sentence"], i["size"]) for i in one] for one in items]
    assert keys[0] == keys[1], "the reports are of other questions"
    for name, sizes in [(s, [s]) for s in SIZES] + [("below 4 %", SIZES[:2]), ("together", SIZES)]:
        which = [k for k, key in enumerate(keys[0]) if key[2] in sizes]
        files = sorted({keys[0][k][0] for k in which})
        if not which:
            continue
        sums = np.zeros((2, len(files), 2))  # report, picture, both and either
        for k in which:
            for r in range(2):
                sums[r, files.index(keys[0][k][0])] += items[r][k]["full"]

        def ciou(counts, r):
            both, either = counts @ sums[r]
            return 100 * both / either if either else np.nan
        print(f"{name:15} {len(which):5} sentences, {len(files):4} pictures  "
              f"before {interval(lambda c: ciou(c, 0), len(files))}  after {interval(lambda c: ciou(c, 1), len(files))}  "
              f"difference {interval(lambda c: ciou(c, 1) - ciou(c, 0), len(files))}")


def compare_pvp(paths):
    items = [i for p in paths for i in load(p)["items"]]
    print(f"{len(items)} pictures, mean error in levels")
    for key, name in (("mode", "tiles, mode"), ("median", "tiles, median"), ("plain_mode", "no tiles, mode, enlarged"),
                      ("plain_median", "no tiles, median, enlarged"), ("thumbnail", "true thumbnail, enlarged")):
        each = np.array([i[key] for i in items])
        print(f"  {name:28} {interval(lambda c, e=each: (c @ e) / c.sum(), len(items))}")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "seg":
        compare_seg(*sys.argv[2:])
    elif len(sys.argv) > 2 and sys.argv[1] == "pvp":
        compare_pvp(sys.argv[2:])
    else:
        sys.exit(__doc__)
