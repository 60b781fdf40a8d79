#!/usr/bin/env python3
"""sheet.py - twenty real photographs, good and bad as they come: what is there, what a model says.

    sheet.py --looks LOOKS --server http://127.0.0.1:8080 --out sheet.jpg [--key KEY]

LOOKS holds clothing, grocery and coco as photos.py makes them. Of the pictures that are set aside
for exams the first by their sha256 are taken: eight of COCO's that are CC BY and show one thing of
a kind, eight garments with a clean mask, four of shops. A running lammd is asked for the box and
the mask of the thing, and what is in the picture. Drawn are the true box dashed, the model's box
whole, its mask in yellow; beneath stand the sentence, the overlap of the boxes (IoU), what is
there and what was answered. Nothing is chosen by how well it went.

Prints the credits of the pictures as lines of Markdown. Needs numpy and Pillow.
"""
import argparse
import hashlib
import io
import itertools
import json
import os
import sys
import urllib.parse
import urllib.request

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import battery
import cutout

COUNTS = {"coco": 8, "clothing": 8, "grocery": 4}
SIDE, COLUMNS, LINE, GAP = 224, 5, 17, 12
CC_BY = 4
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
WHITE, GREY, YELLOW, INK = (255, 255, 255), (110, 110, 110), (255, 214, 0), (20, 20, 20)
CREDITS = {"clothing": "clothing dataset (small), contributors, CC0 1.0",
           "grocery": "GroceryStoreDataset, (c) 2019 Marcus Klasson, MIT"}


class Lammd:
    def __init__(self, server, key):
        self.server, self.headers = server, {"Content-Type": "image/jpeg"}
        if key:
            self.headers["Authorization"] = "Bearer " + key

    def ask(self, path, data, **words):
        url = f"{self.server}{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(urllib.request.Request(url, data, self.headers)) as reply:
            return reply.read()

    def box(self, data, sentence):
        """x1, y1, x2, y2 in pixels."""
        box = json.loads(self.ask("/v1/refer", data, sentence=sentence))["box"]
        return [box[k] for k in ("x1", "y1", "x2", "y2")]

    def mask(self, data, sentence, size):
        png = self.ask("/v1/segment", data, sentence=sentence)
        return np.asarray(Image.open(io.BytesIO(png)).convert("L").resize(size)) >= 128

    def answer(self, data):
        return json.loads(self.ask("/v1/vqa", data, question="what is in the picture?"))["answer"]


# ---- which ----

def set_aside(looks, pack):
    """(row of the index, path) by digest."""
    def digest(one):
        with open(one[1], "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()
    return sorted(battery.set_aside(looks, pack), key=digest)


def thing_of(pack, row, path):
    """(name, true mask), or None: the picture doesn't fit."""
    if pack == "grocery":
        return row["name"], None
    if pack == "clothing":
        with Image.open(path) as im:
            mask = cutout.clean(im.convert("RGB"))
        return None if mask is None else (row["name"], mask)
    masks = battery.coco_picture(row, path).masks if row["license"] == CC_BY else {}
    name = max(masks, key=lambda n: masks[n].sum(), default=None)
    return (name, masks[name]) if masks else None


def chosen(looks):
    """[(pack, row of its index, path, name of its thing, true mask or None)]"""
    out = []
    for pack, most in COUNTS.items():
        fit = ((pack, row, path, *thing) for row, path in set_aside(looks, pack)
               if (thing := thing_of(pack, row, path)))
        out += itertools.islice(fit, most)
    return out


# ---- drawing ----

def box_of(mask):
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def overlap(a, b):
    def area(r):
        return max(0, r[2] - r[0]) * max(0, r[3] - r[1])
    both = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both / (area(a) + area(b) - both)


def dashed(draw, box):
    x1, y1, x2, y2 = box
    for x in range(int(x1), int(x2), 8):
        draw.line([(x, y1), (x + 4, y1)], WHITE, 2)
        draw.line([(x, y2), (x + 4, y2)], WHITE, 2)
    for y in range(int(y1), int(y2), 8):
        draw.line([(x1, y), (x1, y + 4)], WHITE, 2)
        draw.line([(x2, y), (x2, y + 4)], WHITE, 2)


def shown(path, truth, box, mask):
    """A square of SIDE, the picture in its middle, with what was said about it."""
    with Image.open(path) as im:
        rgb = np.asarray(im.convert("RGB")).copy()
    if mask is not None:
        rgb[mask] = (0.5 * rgb[mask] + 0.5 * np.array(YELLOW)).astype(np.uint8)
    k = SIDE / max(rgb.shape[:2])
    size = round(rgb.shape[1] * k), round(rgb.shape[0] * k)
    im = Image.fromarray(rgb).resize(size, Image.BICUBIC)
    draw = ImageDraw.Draw(im)
    if truth is not None:
        dashed(draw, [v * k for v in box_of(truth)])
    if box:
        draw.rectangle([v * k for v in box], outline=YELLOW, width=2)
    out = Image.new("RGB", (SIDE, SIDE), WHITE)
    out.paste(im, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return out


def cell(lammd, path, name, truth):
    with open(path, "rb") as f:
        data = f.read()
    with Image.open(path) as im:
        size = im.size
    sentence = "the " + battery.spoken(name)
    box = mask = None
    lines = [f"{battery.spoken(name)}; no box is known"]
    if truth is not None:
        box, mask = lammd.box(data, sentence), lammd.mask(data, sentence, size)
        lines = [f"“{sentence}”: IoU {overlap(box, box_of(truth)):.2f}"]
    lines.append(f"says: {lammd.answer(data)}")
    out = Image.new("RGB", (SIDE, SIDE + LINE * len(lines)), WHITE)
    out.paste(shown(path, truth, box, mask), (0, 0))
    draw, font = ImageDraw.Draw(out), ImageFont.truetype(FONT, 13)
    for i, text in enumerate(lines):
        draw.text((0, SIDE + 1 + i * LINE), text[:34], (INK, GREY)[i > 0], font)
    return out


def credit(pack, row):
    if pack != "coco":
        return CREDITS[pack]
    photo = os.path.basename(row["flickr_url"]).split("_")[0]
    return f"photograph {photo} of flickr ({row['flickr_url']}), CC BY 2.0"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--looks", required=True)
    ap.add_argument("--server", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--key", default=os.environ.get("LAMMD_KEY"))
    o = ap.parse_args()
    lammd, pictures = Lammd(o.server.rstrip("/"), o.key), chosen(o.looks)
    cells = [cell(lammd, path, name, truth) for _, _, path, name, truth in pictures]
    w, h = SIDE + GAP, cells[0].height + GAP
    sheet = Image.new("RGB", (COLUMNS * w + GAP, -(-len(cells) // COLUMNS) * h + GAP), WHITE)
    for i, c in enumerate(cells):
        sheet.paste(c, (GAP + i % COLUMNS * w, GAP + i // COLUMNS * h))
    sheet.save(o.out, quality=85)
    for text in sorted({credit(pack, row) for pack, row, *_ in pictures}):
        print("*", text)


if __name__ == "__main__":
    sys.exit(main())
