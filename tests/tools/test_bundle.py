"""test_bundle.py - tools/gpu/bundle.py: data become smaller, and what lines say stays true.

Run by run.py. The run itself is lammd train's (tests/train).
"""
import argparse
import json
import os
import sys

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/gpu"))
import bundle

MASK = np.zeros((200, 300), np.uint8)
MASK[40:120, 60:240] = 255
LINES = [{"task": "pixels"}, {"task": ["mask", "refer"], "sentence": "a", "mask": "m.png", "box": [60, 40, 240, 120]},
         {"task": "mask", "sentence": "b", "mask": {"size": [200, 300], "counts": [60000]}},
         {"task": "mask", "sentence": "c", "mask": {"size": [200, 300], "counts": [5, 5, 59990]}},
         {"task": "detection", "phrases": [{"phrase": "a", "boxes": [[60, 40, 240, 120]]}]}]


def data(tmp):
    rng = np.random.default_rng(1)
    for folder in ("photos", "real", "shards"):
        os.makedirs(f"{tmp}/data/{folder}")
    for k in range(40):
        im = Image.fromarray(rng.integers(0, 256, (8, 12, 3), np.uint8)).resize((300, 200), Image.BICUBIC)
        im.save(f"{tmp}/data/photos/{k}.png")
    im.save(f"{tmp}/data/real/p.jpg", quality=95)
    Image.fromarray(MASK).save(f"{tmp}/data/real/m.png")
    with open(f"{tmp}/data/real/x.jsonl", "w", encoding="utf-8") as f:
        f.writelines(json.dumps({**line, "image": "p.jpg"}) + "\n" for line in LINES)
    for k in range(3):
        with open(f"{tmp}/data/shards/{k}.tar", "wb") as f:
            f.write(bytes(10000))


def test_bundle_data(tmp):
    data(tmp)
    o = argparse.Namespace(data=f"{tmp}/data", side=100, quality=80)
    bundle.copy_data(o, f"{tmp}/small", 150000)
    assert bundle.size_of(f"{tmp}/small") <= 150000
    with open(f"{tmp}/small/real/x.jsonl", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    assert [r.get("sentence") for r in rows] == [None, "a", "b", None], "a mask that can't be told smaller stayed"
    assert Image.open(f"{tmp}/small/real/p.jpg").size == (150, 100)
    mask = np.asarray(Image.open(f"{tmp}/small/real/m.png"))
    ys, xs = np.nonzero(mask)
    assert mask.shape == (100, 150) and [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == rows[1]["box"] == [30, 20, 120, 60]
    assert rows[2]["mask"] == {"size": [100, 150], "counts": [15000]}
    assert rows[3]["phrases"][0]["boxes"] == [[30, 20, 120, 60]]
    photos = os.listdir(f"{tmp}/small/photos")
    assert 5 < len(photos) <= 40 and Image.open(f"{tmp}/small/photos/{photos[0]}").size == (150, 100)
    assert os.listdir(f"{tmp}/small/shards")
    few = argparse.Namespace(data=f"{tmp}/data", side=100, quality=80)
    try:
        bundle.copy_data(few, f"{tmp}/none", 9000)
    except SystemExit as e:
        assert "no part of it has room" in str(e), e
    else:
        raise AssertionError("shards without room were left out in silence")


def test_bundle_recipe(tmp):
    with open(f"{tmp}/r.ini", "w", encoding="utf-8") as f:
        f.write("[run]\nmodel = here\nout = there\n[stage a]\nteacher = ../old\nteach = 1\nteach_mask = 0.5\n")
    assert bundle.recipe_text(f"{tmp}/r.ini", True) == "[run]\n[stage a]\nteacher = teacher\nteach = 1\nteach_mask = 0.5\n"
    assert "teacher" not in bundle.recipe_text(f"{tmp}/r.ini", False)
