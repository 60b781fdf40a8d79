#!/usr/bin/env python3
"""own_pairs.py - 200 pairs to try finetuning with: tools by names that lamm-mini never learnt.

    own_pairs.py FOLDER --looks LOOKS [--pairs 200] [--seed 1]

    FOLDER/000.jpg ...             pictures, 256 x 256
    FOLDER/000-0.png, 000-1.png    masks of the things on them
    FOLDER/lines.jsonl             a line for each thing: its name, its box and its mask

LOOKS is where `photos.py emoji` and `photos.py clothing` wrote to. A picture is a photograph of a
garment on a floor or a table, with two of eight tools pasted on it. The tools' names are reserved
(scenes.is_reserved): the default model was never trained on them, and is not to be. No photograph
is shown twice, and those that are set aside for exams not at all. Seeds of which one is odd and one
is even share no photograph: one may be for learning and the other for judging. The same arguments
give the same bytes. Needs numpy and Pillow.
"""
import argparse
import hashlib
import json
import os
import sys

import numpy as np
from PIL import Image

import scenes

TOOLS = ("broom", "camera", "fire extinguisher", "magnet", "microscope", "telescope", "toolbox", "wrench")
SIDE = 256         # of a picture
THING = (60, 112)  # a thing's longer side
TRIES = 100        # to put a thing where no other one lies
OPAQUE = 128       # alpha from which on a pixel is the thing's
ASIDE = "012"      # first digits of the digests that are set aside


def looks_of(folder):
    """{name: its drawing, without its empty border}."""
    found = {}
    with open(os.path.join(folder, "emoji", "index.jsonl"), encoding="utf-8") as f:
        for row in map(json.loads, f):
            if row["name"] in TOOLS:
                im = Image.open(os.path.join(folder, "emoji", row["file"])).convert("RGBA")
                found[row["name"]] = im.crop(im.getchannel("A").point(lambda v: 255 * (v >= OPAQUE)).getbbox())
    missing = [name for name in TOOLS if name not in found]
    if missing:
        sys.exit(f"own_pairs.py: {folder}/emoji has no {missing[0]}: make it with photos.py emoji")
    assert all(map(scenes.is_reserved, found))
    return found


def photos_of(folder, seed, count):
    """The paths of `count` photographs, in an order of the seed's own."""
    folder, paths = os.path.join(folder, "clothing"), []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if not name.endswith(".jpg"):
            continue
        with open(path, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        if digest[0] not in ASIDE and int(digest[-1], 16) % 2 == seed % 2:
            paths.append(path)
    if len(paths) < count:
        sys.exit(f"own_pairs.py: {folder} has {len(paths)} photographs for this seed, and {count} are asked for")
    return [paths[i] for i in np.random.default_rng((seed, 0)).permutation(len(paths))[:count]]


def ground(path, rng):
    """A square of a photograph, as a picture."""
    im = Image.open(path).convert("RGB")
    side = min(im.size)
    x, y = (int(rng.integers(n - side + 1)) for n in im.size)
    return im.resize((SIDE, SIDE), Image.BICUBIC, (x, y, x + side, y + side))


def place(size, taken, rng):
    """Where a thing of that size lies beside the others: its box, or None."""
    w, h = size
    for _ in range(TRIES):
        x, y = int(rng.integers(SIDE - w + 1)), int(rng.integers(SIDE - h + 1))
        if all(x + w <= a or c <= x or y + h <= b or d <= y for a, b, c, d in taken):
            return x, y, x + w, y + h
    return None


def picture(path, looks, rng):
    """A picture with two things: it, and [(name, box, mask)]."""
    im, things = ground(path, rng), []
    for name in rng.choice(TOOLS, 2, replace=False):
        look = looks[name]
        scale = int(rng.integers(*THING)) / max(look.size)
        look = look.resize([max(1, round(n * scale)) for n in look.size], Image.LANCZOS)
        box = place(look.size, [thing[1] for thing in things], rng)
        if not box:
            continue
        im.paste(look, box[:2], look)
        mask = Image.new("L", im.size)
        mask.paste(look.getchannel("A").point(lambda v: 255 * (v >= OPAQUE)), box[:2])
        things.append((str(name), mask.getbbox(), mask))
    return im, things


def write(folder, looks, paths, seed):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lines.jsonl"), "w", encoding="utf-8") as f:
        for number, path in enumerate(paths):
            im, things = picture(path, looks, np.random.default_rng((seed, 1, number)))
            image = f"{number:03}.jpg"
            im.save(os.path.join(folder, image), quality=90)
            for i, (name, box, mask) in enumerate(things):
                outline = f"{number:03}-{i}.png"
                mask.convert("1").save(os.path.join(folder, outline), optimize=True)
                f.write(json.dumps({"task": ["refer", "identify", "mask"], "image": image,
                                    "sentence": f"the {name}", "box": box, "mask": outline}) + "\n")


def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--looks", required=True)
    p.add_argument("--pairs", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args(args)
    write(a.folder, looks_of(a.looks), photos_of(a.looks, a.seed, a.pairs), a.seed)


if __name__ == "__main__":
    main()
