"""test_cutouts.py - tools/data/cutouts.py on packs drawn by code, and harder scenes with cut-outs.

Run by run.py. What lines say is held against the pixels.
"""
import collections
import hashlib
import io
import json
import os
import sys
import unittest

import numpy as np
from PIL import Image, ImageDraw

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import scenes
import wide_scenes

GARMENT = (30, 20, 110, 130)  # a box of a picture of 140 x 150


def tool():
    try:
        import cutouts
    except ImportError as e:
        raise unittest.SkipTest(f"{e}: apt-get install python3-opencv") from e
    return cutouts


def jpeg(draw, aside, size=(140, 150)):
    """A picture whose digest is, or isn't, one that is set aside."""
    for k in range(200):
        im = Image.new("RGB", size, (205, 200, 190 + k % 60))
        draw(ImageDraw.Draw(im))
        out = io.BytesIO()
        im.save(out, "JPEG", quality=90 + k // 60)
        if (hashlib.sha256(out.getvalue()).hexdigest()[0] in "012") == aside:
            return out.getvalue()
    raise AssertionError("no such digest")


def garment(draw):
    draw.ellipse(GARMENT, fill=(200, 30, 40))


def write(folder, files, rows):
    os.makedirs(folder)
    for name, data in files.items():
        with open(f"{folder}/{name}", "wb") as f:
            f.write(data)
    with open(f"{folder}/index.jsonl", "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)


def packs(tmp):
    write(f"{tmp}/clothing", {"0.jpg": jpeg(garment, False), "1.jpg": jpeg(garment, True), "2.jpg": jpeg(lambda d: None, False)},
          [{"file": f"{i}.jpg", "name": n, "source": f"{i}"} for i, n in enumerate(("hat", "hat", "dress"))])
    write(f"{tmp}/grocery", {"0.jpg": jpeg(garment, False)}, [{"file": "0.jpg", "name": "tomato", "source": "t"},
                                                               {"file": "0.jpg", "name": "milk", "source": "m"}])
    ids = np.zeros((150, 140, 3), np.uint8)
    ids[40:100, 20:90] = (7, 1, 0)
    out = io.BytesIO()
    Image.fromarray(ids).save(out, "PNG")
    segments = [{"id": 263, "name": "dog", "thing": 1, "bbox": [20, 40, 70, 60], "iscrowd": 0}]
    write(f"{tmp}/coco", {"c.jpg": jpeg(garment, False), "c.png": out.getvalue()},
          [{"file": "c.jpg", "mask": "c.png", "segments": segments}])


def made(tmp, name, *words):
    main, argv = tool().main, sys.argv
    sys.argv = ["cutouts.py", tmp, "--out", f"{tmp}/{name}", *words]
    try:
        main()
    finally:
        sys.argv = argv
    rows = []
    for pack in ("clothing", "grocery", "coco"):
        with open(f"{tmp}/{name}/{pack}.jsonl", encoding="utf-8") as f:
            rows += [json.loads(line) for line in f]
    return rows


def test_cutouts(tmp):
    tool()
    packs(tmp)
    rows = made(tmp, "out")
    mask = np.asarray(Image.open(f"{tmp}/out/clothing-0.png")) > 0
    y, x = np.mgrid[0:150, 0:140]
    true = ((x - 70) / 40.5) ** 2 + ((y - 75) / 55.5) ** 2 <= 1
    assert (mask & true).sum() / (mask | true).sum() > 0.9
    said = [r for r in rows if r["image"] == "clothing-0.jpg"]
    boxes = [r["box"] for r in said if "box" in r]
    assert boxes and all(np.abs(np.subtract(b, GARMENT)).max() <= 3 for b in boxes), boxes
    assert {r["sentence"] for r in said if r.get("box")} == {"the hat", "the red hat", "the red thing", "the garment"}
    assert {r["answer"] for r in said if r.get("question", "").startswith("what colour")} == {"red"}
    answers = collections.defaultdict(list)
    for r in said:
        if r.get("answer") in ("yes", "no"):
            answers[r["question"].replace("a hat", "IT").replace("a dress", "IT")].append(r["answer"])
    assert len(answers) == len(tool().FORMS) and all(sorted(a) == ["no", "yes"] for a in answers.values()), answers
    asked = [r for r in rows if r["task"] == "vqa"]
    assert all(r["about"] == [] for r in asked if r["answer"] == "no"), "what isn't there is somewhere"
    where = {r["image"]: r.get("about") for r in asked if r["answer"] == "yes"}
    assert where["clothing-0.jpg"] == boxes[:1] and where["coco-c.jpg"] == [[20, 40, 90, 100]], where
    assert where["clothing-2.jpg"] is None and where["grocery-0.jpg"] is None, "no mask, still a place"
    both = {r["question"]: r["answer"] for r in said if " or " in r.get("question", "")}
    assert both == {"a hat or a dress?": "a hat", "a dress or a hat?": "a hat"}
    assert not any(r["image"] == "clothing-1.jpg" for r in rows), "a picture that is set aside is learnt from"
    assert {r["caption"] for r in rows if r["image"] == "clothing-2.jpg" and "caption" in r} == {"a dress"}, "no mask, still a name"
    assert {r["caption"] for r in rows if r["image"].startswith("grocery") and "caption" in r} == {"tomatoes", "a carton of milk"}
    assert not any(r["mask"]["counts"] for r in rows if "counts" in r.get("mask", ())), "a mask of nothing"
    dog = [r for r in rows if r.get("sentence") == "the dog"]
    assert dog and dog[0]["box"] == [20, 40, 90, 100] and dog[0]["mask"]["ids"] == [263]
    for file, name in (("cutouts.npz", "hat"), ("coco-cutouts.npz", "dog")):
        pack = scenes.Sprites(f"{tmp}/out/{file}")
        assert pack.name == [name] and pack.get(0)[..., 3].max() == 255
    even = made(tmp, "even", "--even", "8")  # of two hats one is set aside, but both are counted
    assert {r["image"] for r in even if r["image"].startswith("clothing")} == {"clothing-0.jpg", "clothing-2.jpg", "clothing-2-1.jpg"}
    assert sorted(r["question"] for r in even if r["image"] == "clothing-2-1.jpg" and "question" in r) == sorted(
        r["question"] for r in rows if r["image"] == "clothing-2.jpg" and "question" in r)
    aside = made(tmp, "aside", "--set-aside")
    assert {r["image"] for r in aside} == {"clothing-1.jpg"}


def sprites(tmp, name, names):
    flat = np.concatenate([np.full((40, 30, 4), (200 - 30 * i, 40 * i, 60, 255), np.uint8).ravel() for i in range(len(names))])
    np.savez(f"{tmp}/{name}.npz", flat=flat, off=np.arange(len(names) + 1) * 4800,
             shape=np.array([(40, 30)] * len(names)), name=np.array(names))
    return scenes.Sprites(f"{tmp}/{name}.npz")


def test_wide_scenes(tmp):
    """The same seed, the same bytes; id map, boxes and areas agree; things are cut and large."""
    both = [sprites(tmp, "a", ["ball", "kite", "kite"]), sprites(tmp, "b", ["hat"])]
    assert not any(scenes.is_reserved(n) for n in ("ball", "hat")), "choose other names"
    grounds = lambda rng: Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((90, 90))
    seen, cut, large = set(), 0, 0
    for k in range(40):
        s, again = (wide_scenes.make_wide_scene(np.random.default_rng([1, k]), both, grounds) for _ in range(2))
        assert (s.image == again.image).all() and (s.id_map == again.id_map).all()
        for t in s.things:
            ys, xs = np.nonzero(s.id_map == t.id)
            assert t.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) and t.area == len(xs) >= 30
            seen.add(t.name)
            cut += min(t.box[:2]) == 0 or max(t.box[2:]) == s.side
            large += t.area > 0.3 * s.side ** 2
    assert {"ball", "hat"} < seen and cut > 5 and large > 2, (seen, cut, large)
