"""lab.py - what the tests of `lammd eval` share: the command, its report, and scenes as files."""
import json
import os
import subprocess
import types

import convert
import numpy as np
import suite

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
GRID = 64


class Skip(Exception):
    """Something outside is missing; the text says what."""


def lammd(*words, ok=True, model=MINI):
    r = subprocess.run([PROGRAM, "eval", *words, "--model", model], capture_output=True, text=True,
                       timeout=10 * suite.SOON, check=False)
    assert (r.returncode == 0) == ok, (words, r.returncode, r.stderr)
    return r


def report(*words):
    return json.loads(lammd(*words, "--json", "-").stdout)


def refused(text, *words):
    r = lammd(*words, ok=False)
    assert r.returncode == 1 and text in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr


def put(path, what):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(what, f)
    return path


def get(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def near(a, b):
    assert abs(a - b) < 1e-3, (a, b)


# ---- scenes ----

def drawn(seed, w=90, h=60):
    """A red bar and a blue disc on grey, at places of their own."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, (h, w, 3)).astype(np.uint8)
    ids = np.zeros((h, w), np.uint8)
    x, y = int(rng.integers(5, 30)), int(rng.integers(5, 20))
    ids[y:y + 14, x:x + 23] = 1
    yy, xx = np.mgrid[0:h, 0:w]
    ids[(xx - int(rng.integers(60, 75))) ** 2 + (yy - 40) ** 2 < 150] = 2
    image[ids == 1], image[ids == 2] = (200, 30, 30), (30, 60, 200)
    return types.SimpleNamespace(image=image, id_map=ids, mask=lambda who: np.isin(ids, list(who)))


def said_of(_):
    s = [("the red bar", "name", (1,)), ("the disc", "name", (2,)), ("all things", "all", (1, 2)),
         ("the green star", "absent", ())]
    return [types.SimpleNamespace(text=t, kind=k, ids=i) for t, k, i in s]


def asked_of(seed):
    yes_no = ["yes", "no"]
    q = [("is the red bar left of the blue disc?", "place", "yes", yes_no),
         ("is the red bar below the blue disc?", "place", "no", yes_no),
         ("is there a cup?", "exists", "no", yes_no),
         ("how many things are there?", "count", "2", [str(i) for i in range(1, 9)]),
         ("what colour is the disc?", "colour", "blue", ["red", "blue", "green"])]
    q = q[seed % 2:]
    return [types.SimpleNamespace(text=t, kind=k, answer=a, choices=c) for t, k, a, c in q]


def folder(tmp, n=5):
    """n scenes as files; returns them."""
    files = convert.Files(tmp)
    scenes = [drawn(i) for i in range(n)]
    for i, s in enumerate(scenes):
        files.add(s, said_of(s), asked_of(i))
    files.write()
    return scenes
