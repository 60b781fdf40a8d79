"""test_battery.py - tools/data/battery.py and cutout.py: a thing on a ground, and fair questions.

Run by run.py. The packs are drawn here.
"""
import collections
import json
import os
import sys
import types

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import battery
import cutout


def thing_on_ground(seed, w=60, h=80, noise=4, colour=(200, 40, 40)):
    """A disc with a hole of the ground's colour, on a ground that grows lighter, and its mask."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:h, :w]
    image = np.repeat((90 + 0.5 * ys + rng.normal(0, noise, (h, w)))[..., None], 3, -1)
    r = (xs - w / 2) ** 2 + (ys - h / 2) ** 2
    image[(r < 400) & (r > 25)] = colour
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), r < 400


def test_cutout(_):
    im, mask = thing_on_ground(1)
    found = cutout.clean(im)
    both, either = (found & mask).sum(), (found | mask).sum()
    assert both > 0.95 * either, (both, either)  # the hole is filled
    assert cutout.clean(thing_on_ground(2, noise=90)[0]) is None  # no calm ground
    assert cutout.clean(Image.new("RGB", (50, 50), (90, 90, 90))) is None  # nothing there
    two = np.array(im)
    two[4:14, 4:14] = (20, 20, 220)
    two[64:76, 44:56] = (20, 20, 220)
    assert cutout.clean(Image.fromarray(two)) is None  # more than one thing
    cut = np.array(im)[:50]
    assert cutout.clean(Image.fromarray(cut)) is None  # it goes over the border


def packs(tmp):
    """Pictures of each pack as battery.load gives them."""
    os.makedirs(tmp + "/looks")
    out = collections.defaultdict(list)
    for pack, names in (("clothing", ("dress", "hat", "shoes", "shorts")),
                        ("grocery", ("lemon", "banana", "apple", "tomato")), ("coco", ("bed", "sink"))):
        for i in range(12):
            name, path = names[i % len(names)], f"{tmp}/looks/{pack}{i}.png"
            colour = [(200, 40, 40), (40, 60, 200), (240, 220, 40)][i % 3]
            im, mask = thing_on_ground(i, colour=colour)
            im.save(path)
            out[pack].append(battery.Picture(pack, path, {name}, name, {name: mask}))
    return out


def asked(folder, part):
    with open(f"{folder}/words/{part}.json", encoding="utf-8") as f:
        return json.load(f)


def make_words(tmp, out):
    words = battery.Words(out)
    given = packs(tmp)
    battery.make_yes_no(words, given)
    battery.make_colours(words, given)
    battery.make_captions(words, given)
    words.write()
    return given


def test_words(tmp):
    given = make_words(tmp, tmp + "/a")
    names = {p.file: p.names for pack in given.values() for p in pack}
    answers = collections.defaultdict(collections.Counter)
    rows = asked(tmp + "/a", "yes-no")
    for r in rows:
        noun = r["question"].removesuffix("?").removeprefix("is there ").removeprefix("are there ")
        noun = noun.removeprefix("an ").removeprefix("a ")
        assert (noun in names[r["image"]]) == (r["answer"] == "yes"), r
        answers[noun][r["answer"]] += 1
    assert len(rows) >= 20 and all(c["yes"] == c["no"] for c in answers.values()), answers
    assert len({(r["image"], r["question"]) for r in rows}) == len(rows)
    for r in asked(tmp + "/a", "colours"):
        assert r["answer"] in ("red", "blue", "yellow"), r
    for r in asked(tmp + "/a", "captions") + asked(tmp + "/a", "naming"):
        assert names[r["image"]] & set(r["names"]), r


def test_pasted(tmp):
    given = packs(tmp)
    photos = [("photo", thing_on_ground(7, 90, 70)[0])]
    for where in ("a", "b"):
        battery.make_pasted(types.SimpleNamespace(out=f"{tmp}/{where}"), given, photos)
    with open(tmp + "/a/pasted/instances.json", "rb") as a, open(tmp + "/b/pasted/instances.json", "rb") as b:
        text = a.read()
        assert text == b.read()
    coco = json.loads(text)
    with open(tmp + "/a/pasted/refs.json", encoding="utf-8") as f:
        refs = json.load(f)
    of_picture = collections.Counter((r["image_id"], r["sentences"][0]["sent"]) for r in refs)
    assert len(coco["images"]) == battery.PASTED and len(refs) >= battery.PASTED
    assert max(of_picture.values()) == 1  # a name is said of one thing
