"""test_crops.py - `eval seg --refine` and `eval pvp --tiles`: parts asked as pictures of their own.

With the tiny model, whose pictures cost nothing.
"""
import json
import math
import os
import subprocess

import convert
import numpy as np
import suite
from lab import PROGRAM, ROOT, folder, get, near, put
from PIL import Image
from test_masks import check_overlap, nearest, shot

TINY = os.path.join(ROOT, "tests/golden/tiny")


def report(*words):
    r = subprocess.run([PROGRAM, "eval", *words, "--model", TINY, "--json", "-"], capture_output=True, text=True,
                       timeout=10 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def pixels(path):
    with Image.open(path) as im:
        return np.asarray(im.convert("RGB"), int)


# ---- refine ----

def length(a, b, side):
    return min(max(1.5 * (b - a) + 0.04 * side, 32, side / 8), side)


def place(a, b, longest, side):
    n = math.ceil(min(longest, side))
    return min(max(math.floor((a + b - n) / 2), 0), side - n), n


def crop_around(box, w, h):
    """media/crop.h, said again; None: it is nearly the whole."""
    wide, tall = length(box[0], box[2], w), length(box[1], box[3], h)
    (x, cw), (y, ch) = place(box[0], box[2], max(wide, tall / 2), w), place(box[1], box[3], max(tall, wide / 2), h)
    return (x, y, x + cw, y + ch) if cw < 0.8 * w or ch < 0.8 * h else None


def test_seg_refine(tmp):
    """Each mask is that of the part of the picture, asked alone, laid into its place."""
    scenes = folder(tmp, 2)
    whose = [(s, i) for s in scenes for i in ((1,), (2,), (1, 2))]
    out = report("seg", tmp, "--given-boxes", "--refine")
    sentences = [r["sentences"][0]["sent"] for r in get(tmp + "/refs.json")]
    parts, images, refs = [], [], []
    os.makedirs(tmp + "/part/images")
    for k, (item, (scene, _)) in enumerate(zip(out["items"], whose)):
        h, w = scene.id_map.shape
        at = crop_around([v / 100 * side for v, side in zip(item["box"], (w, h) * 2)], w, h)
        parts.append(at)
        x1, y1, x2, y2 = at or (0, 0, w, h)
        Image.fromarray(scene.image[y1:y2, x1:x2]).save(f"{tmp}/part/images/{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": x2 - x1, "height": y2 - y1})
        refs.append({"image_id": k, "ann_id": k, "sentences": [{"sent": sentences[k]}]})
    assert sum(p is not None for p in parts) >= 2, parts
    put(tmp + "/part/annotations.json", {"images": images, "refs": refs, "annotations": [
        {"id": i["id"], "image_id": i["id"], "bbox": [0, 0, i["width"], i["height"]],
         "segmentation": convert.rle(np.ones((i["height"], i["width"])))} for i in images]})
    report("seg", tmp + "/part", "--whole-grid", "-o", tmp + "/o")
    for k, (item, at, (scene, who)) in enumerate(zip(out["items"], parts, whose)):
        if not at:
            continue
        x1, y1, x2, y2 = at
        full = np.zeros_like(scene.id_map, bool)
        full[y1:y2, x1:x2] = nearest(shot(tmp, k, "seen"), (y2 - y1, x2 - x1))
        check_overlap(item["full"], full, scene.mask(who))
    groups = out["sizes"]
    assert sum(g["sentences"] for g in groups.values()) == 6 and "4 to 16 %" in groups, groups


# ---- tiles ----

def test_pvp_tiles(tmp):
    """The answer is that of each part, and the truth is the picture at that size."""
    folder(tmp, 1)
    out = report("pvp", tmp + "/images", "--tiles", "3", "-o", tmp + "/o")
    seen, truth = pixels(tmp + "/o/000000.mode.png"), pixels(tmp + "/o/000000.truth.png")
    with Image.open(tmp + "/images/000000.png") as photo:
        photo = photo.convert("RGB")
    side = len(truth)
    assert (truth == np.asarray(photo.resize((side, side), Image.BICUBIC))).all()
    near(out["mode"]["mae_levels"], np.abs(seen - truth).mean())
    w, h = photo.size
    os.makedirs(tmp + "/parts")
    for i in range(9):
        x, y = i % 3, i // 3
        photo.crop((x * w // 3, y * h // 3, (x + 1) * w // 3, (y + 1) * h // 3)).save(f"{tmp}/parts/{i}.png")
    report("pvp", tmp + "/parts", "-o", tmp + "/p")
    grid = side // 3
    for i in range(9):
        x, y = i % 3 * grid, i // 3 * grid
        assert (seen[y:y + grid, x:x + grid] == pixels(f"{tmp}/p/{i}.mode.png")).all(), i
    # What stands beside it: no tiles, and no model, enlarged.
    plain = report("pvp", tmp + "/images", "-o", tmp + "/q")
    assert plain["tiles"] == 1 and "enlarged_mode" not in plain
    for name, file in (("enlarged_mode", "mode"), ("enlarged_truth", "truth")):
        with Image.open(f"{tmp}/q/000000.{file}.png") as small:
            large = np.asarray(small.convert("RGB").resize((side, side), Image.BICUBIC), int)
        near(out[name]["mae_levels"], np.abs(large - truth).mean())
