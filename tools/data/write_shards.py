#!/usr/bin/env python3
"""write_shards.py - scenes with computed truth as tar shards that `lammd train` reads.

    write_shards.py --out FOLDER --scenes 10000 [--sprites SPRITES.npz] [--photos PICTURES]

Writes FOLDER/shard-00000.tar ...: pictures as JPEG, an id map beside each as PNG, and lines.jsonl
with masks, boxes, names, lists of things and questions (docs/training-data.md). Without --sprites
all things are shapes, without --photos all grounds are drawn; with neither no file is needed but
this one's neighbours. With --cutouts scenes are harder (wide_scenes.py). Names that are
reserved for judging are never used; --reserved uses no others, for an exam. The same arguments
give the same bytes: shard k holds scenes k * per_shard and up, each a function of (seed, number).
A shard is written whole or not at all. Needs numpy and Pillow.
"""
import argparse
import glob
import io
import json
import os
import sys
import tarfile

import numpy as np
from PIL import Image

import scenes
import wide_scenes

PARTS = (0.35, 1.0)     # share of a photograph's area that a ground shows
SENTENCES, QUESTIONS = 8, 4  # of a scene, at most


class Photos:
    """Parts of the pictures in a folder, and of those in folders below."""

    def __init__(self, folder):
        self.paths = sorted(p for end in ("jpg", "jpeg", "png")
                            for p in glob.glob(f"{folder}/**/*.{end}", recursive=True))
        if not self.paths:
            sys.exit(f"write_shards.py: no picture below {folder}")

    def __call__(self, rng):
        im = Image.open(self.paths[rng.integers(len(self.paths))]).convert("RGB")
        w, h = im.size
        k = np.sqrt(rng.uniform(*PARTS))
        side = max(1, int(min(w, h) * k))
        x, y = int(rng.integers(w - side + 1)), int(rng.integers(h - side + 1))
        return im.crop((x, y, x + side, y + side))


# ---- a scene as lines ----

def mask_of(scene, ids, file):
    """None of the things: a mask without a pixel, as COCO's run lengths."""
    if ids:
        return {"file": file, "ids": [int(i) for i in ids]}
    return {"size": [scene.side, scene.side], "counts": [scene.side ** 2]}


def sentence_line(scene, s, image, ids_file):
    line = {"task": ["mask"], "image": image, "sentence": s.text, "mask": mask_of(scene, s.ids, ids_file)}
    if len(s.ids) == 1:
        line["task"].append("refer")
        line["box"] = list(scenes.box_of(scene, s.ids))
        if s.kind in ("name", "colour name"):
            line["task"].append("identify")
    return line


def question_line(scene, q, image):
    """With what it asks about: things that are there, or nothing."""
    line = {"task": "vqa", "image": image, "question": q.text, "answer": q.answer}
    ids = sorted({i for _, meant in q.about for i in meant})
    if ids or (q.kind == "exists" and q.answer == "no"):
        line["about"] = [list(scenes.box_of(scene, (i,))) for i in ids]
    return line


def phrases_of(scene):
    """[{phrase, boxes}] by name, in the order of the first of each."""
    out = {}
    for t in scene.things:
        out.setdefault(t.name, []).append(list(t.box))
    return [{"phrase": name, "boxes": boxes} for name, boxes in out.items()]


def description(scene):
    """`a red star, a cup and a dog` from left to right, and its phrases."""
    things = sorted(scene.things, key=lambda t: t.centre[0])
    phrases = [scenes.a_or_an(f"{t.colour} {t.name}" if t.colour else t.name) for t in things]
    text = ", ".join(phrases[:-1]) + " and " + phrases[-1] if len(phrases) > 1 else phrases[0]
    return text, [{"phrase": p, "boxes": [list(t.box)]} for p, t in zip(phrases, things)]


def lines_of(scene, rng, image, ids_file):
    out = [{"task": "pixels", "image": image}]
    out += [sentence_line(scene, s, image, ids_file) for s in scenes.sentences(scene, rng)[:SENTENCES]]
    out += [question_line(scene, q, image) for q in scenes.questions(scene, rng)[:QUESTIONS]]
    text, phrases = description(scene)
    out.append({"task": ["caption", "grounding"], "image": image, "caption": text, "phrases": phrases})
    out.append({"task": "detection", "image": image, "phrases": phrases_of(scene)})
    return out


# ---- shards ----

def encoded(array, kind, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_shard(path, numbers, seed, make, quality):
    """make(rng): a scene."""
    lines = []
    with tarfile.open(path + ".part", "w", format=tarfile.USTAR_FORMAT) as tar:
        for n in numbers:
            rng = np.random.default_rng([seed, n])
            scene = make(rng)
            if not scene.things:
                continue
            image, ids_file = f"{n:07d}.jpg", f"{n:07d}.png"
            ids = np.zeros((*scene.id_map.shape, 3), np.uint8)
            ids[..., 0] = scene.id_map
            add(tar, image, encoded(scene.image, "JPEG", quality=quality))
            add(tar, ids_file, encoded(ids, "PNG", optimize=True))
            lines += lines_of(scene, rng, image, ids_file)
        add(tar, "lines.jsonl", "".join(json.dumps(r) + "\n" for r in lines).encode())
    os.replace(path + ".part", path)
    return len(lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    ap.add_argument("--scenes", type=int, required=True)
    ap.add_argument("--per-shard", type=int, default=1000)
    ap.add_argument("--sprites", help="of build_sprites.py")
    ap.add_argument("--cutouts", nargs="+", help="of cutouts.py: scenes are harder, with those things, too")
    ap.add_argument("--photos", help="folder of photographs for grounds, those of photos.py for one")
    ap.add_argument("--side", type=int, default=scenes.SIDE, help="pixels (default: %(default)s)")
    ap.add_argument("--quality", type=int, default=92, help="of the JPEGs (default: %(default)s)")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--reserved", action="store_true")
    a = ap.parse_args()
    if min(a.scenes, a.per_shard) < 1 or not 32 <= a.side <= 2048:
        ap.error("--scenes and --per-shard must be at least 1, --side 32 to 2048")
    os.makedirs(a.out, exist_ok=True)
    sprites = scenes.Sprites(a.sprites) if a.sprites else None
    photos = Photos(a.photos) if a.photos else None

    if a.cutouts and not (sprites and photos):
        ap.error("--cutouts wants --sprites and --photos, too")
    packs = [sprites, *map(scenes.Sprites, a.cutouts)] if a.cutouts else None

    def make(rng):
        if packs:
            return wide_scenes.make_wide_scene(rng, packs, photos, reserved=a.reserved, side=a.side)
        return scenes.make_scene(rng, sprites, photos, reserved=a.reserved, side=a.side)

    for k, first in enumerate(range(0, a.scenes, a.per_shard)):
        numbers = range(first, min(first + a.per_shard, a.scenes))
        n = write_shard(f"{a.out}/shard-{k:05d}.tar", numbers, a.seed, make, a.quality)
        print(f"shard {k}: {len(numbers)} scenes, {n} lines", flush=True)


if __name__ == "__main__":
    main()
