"""test_own_pairs.py - tools/data/own_pairs.py, on small made-up looks.

Run by run.py. What lines say is held against the pixels.
"""
import contextlib
import io
import json
import os
import sys

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import own_pairs


def looks(tmp, photos=40):
    """A folder as photos.py writes it: each tool a red disc with an empty border; grey grounds."""
    for name in ("emoji", "clothing"):
        os.makedirs(f"{tmp}/looks/{name}")
    ys, xs = np.mgrid[:48, :64]
    disc = np.zeros((48, 64, 4), np.uint8)
    disc[((xs - 32) ** 2 + (ys - 24) ** 2) < 400] = (255, 0, 0, 255)
    Image.fromarray(disc, "RGBA").save(f"{tmp}/looks/emoji/disc.png")
    with open(f"{tmp}/looks/emoji/index.jsonl", "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"file": "disc.png", "name": name}) + "\n" for name in own_pairs.TOOLS)
    rng = np.random.default_rng(1)
    for i in range(photos):
        Image.new("RGB", (80, 60), tuple(int(v) for v in rng.integers(40, 90, 1)) * 3).save(
            f"{tmp}/looks/clothing/{i:05}.jpg")
    return f"{tmp}/looks"


def files(folder):
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            found[name] = f.read()
    return found


def test_own_pairs(tmp):
    """A box is the mask's, a thing is where its mask says, and a picture has two of them."""
    folder, words = tmp + "/pairs", ["--looks", looks(tmp), "--pairs", "6"]
    own_pairs.main([folder, *words])
    made = files(folder)
    lines = [json.loads(line) for line in made["lines.jsonl"].splitlines()]
    assert 6 < len(lines) <= 12 and len(made) == 7 + len(lines)
    assert {line["image"] for line in lines} == {f"00{i}.jpg" for i in range(6)}
    for line in lines:
        assert line["task"] == ["refer", "identify", "mask"] and line["sentence"][4:] in own_pairs.TOOLS
        im = np.asarray(Image.open(f"{folder}/{line['image']}"), int)
        where = np.asarray(Image.open(f"{folder}/{line['mask']}"))
        ys, xs = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
        assert line["box"] == [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]
        assert own_pairs.THING[0] - 2 <= max(np.ptp(xs), np.ptp(ys)) + 1 < own_pairs.THING[1]
        assert np.median(im[where][:, 0] - im[where][:, 1]) > 200


def test_own_pairs_again(tmp):
    """The same bytes again; another seed's are others, and of other photographs."""
    words = ["--looks", looks(tmp), "--pairs", "4"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        own_pairs.main([f"{tmp}/{name}", *words, "--seed", seed])
    assert files(tmp + "/a") == files(tmp + "/b") != files(tmp + "/c")
    odd, even = (set(own_pairs.photos_of(tmp + "/looks", seed, 4)) for seed in (1, 2))
    assert len(odd) == len(even) == 4 and not odd & even


def test_own_pairs_too_few(tmp):
    folder, said = looks(tmp, photos=3), ""
    for need in ("photographs", "emoji"):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                own_pairs.main([tmp + "/pairs", "--looks", folder])
        except SystemExit as e:
            said = str(e)
        assert need in said, said
        with open(folder + "/emoji/index.jsonl", "w", encoding="utf-8"):
            pass
