#!/usr/bin/env python3
"""cutouts.py - lines to learn from about packs of real photographs, and things cut out of them.

    cutouts.py PACKS --out OUT [--set-aside] [--even N]

PACKS holds clothing, grocery and coco as photos.py makes them. Writes

    OUT/PACK.jsonl, OUT/*.jpg, OUT/*.png   pictures, masks, and lines about them: masks, boxes,
                                           names, captions, questions (docs/training-data.md)
    OUT/cutouts.npz                        garments with alpha, as build_sprites.py writes sprites
    OUT/coco-cutouts.npz                   the same of coco's things that are there whole

A garment's mask is found by GrabCut, begun with what a garment on a floor looks like: the border
is ground, the middle may be thing. It is kept only where it is one piece that leaves most of the
border alone; a photograph without a mask still says what it shows. Shops have no masks: a heap of
apples has no end. No photograph is asked for the mask of what isn't there: a model that can't
tell nouns apart yet learns from it that masks are empty. Colours are named from the pixels in a
mask. Questions whether something is there ask as often for what isn't: something else of the same
pack, every other time of the same group. What it is, of two such names, is asked, too.

With --even a picture of clothing or grocery whose name is rare stands there up to N times, as
links to one file, so that names are learnt about equally often. Pictures whose sha256 begins with
0 to 2 are set aside for exams: they are left out, or with --set-aside are all that is taken.
Reserved names (scenes.is_reserved) are those of things to paste: a cut-out with such a name is
never pasted, but the photograph that it is from says what it shows. Questions say where it is
that they ask about, as far as it is known. The same packs give the same bytes. Needs numpy,
Pillow and OpenCV.
"""
import argparse
import collections
import hashlib
import json
import os
import zlib

import cv2
import numpy as np
from PIL import Image

import photos
import scenes

PACKS = ("clothing", "grocery", "coco")
SIDE = 144            # of a mask while it is looked for
COVER = (0.06, 0.80)  # of the picture, by a thing
EDGE = 0.20           # of the border may belong to it
SPRITE = 120          # longer side of a cut-out
WHOLE = 0.02          # of coco's picture, that a thing has at least to be cut out
PACKAGES = {"juice", "milk", "yoghurt", "soy milk", "soyghurt", "sour cream", "oat milk", "oatghurt",
            "sour milk"}
PAIRS = {"pants", "shoes", "shorts", "carrots", "satsumas"}  # spoken of as several
SPOKEN = {"longsleeve": "long sleeve shirt", "outwear": "jacket", "t-shirt": "t-shirt"}
ALONE = {"garlic", "ginger", "asparagus", "cabbage", "leek", "carrots", "satsumas"}
FORMS = ("{be} there {it}?", "{be} there {it} in the picture?", "does the picture show {it}?", "can you see {it}?",
         "{be} {that} {it}?")  # of asking whether something is there


def is_aside(data):
    return hashlib.sha256(data).hexdigest()[0] in "012"


# ---- masks ----

def grabcut(rgb):
    """uint8 (h, w, 3) -> bool (h, w) or None: the one thing in the middle."""
    h, w = rgb.shape[:2]
    k = SIDE / max(h, w)
    small = cv2.resize(rgb, (round(w * k), round(h * k)), interpolation=cv2.INTER_AREA)
    sh, sw = small.shape[:2]
    y, x = np.mgrid[0:sh, 0:sw]
    away = np.hypot((x + 0.5) / sw - 0.5, (y + 0.5) / sh - 0.5)
    guess = np.where(away < 0.30, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    edge = np.minimum(np.minimum(x, sw - 1 - x), np.minimum(y, sh - 1 - y))
    guess[edge < 3] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    bg, fg = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), guess, None, bg, fg, 6, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None
    return cleaned(np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)), (w, h))


def cleaned(mask, size):
    """Its largest piece without small holes, at `size`; None if that is not all there is to it."""
    m = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    n, label, stats, _ = cv2.connectedComponentsWithStats(m, connectivity=4)
    if n < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    best = int(areas.argmax()) + 1
    out = (label == best).astype(np.uint8)
    if areas.max() < 0.75 * areas.sum():
        return None
    holes, label, stats, _ = cv2.connectedComponentsWithStats(1 - out, connectivity=4)
    for i in range(1, holes):
        if stats[i, cv2.CC_STAT_AREA] < 0.02 * out.size:
            out[label == i] = 1
    ring = np.concatenate([out[4], out[-5], out[:, 4], out[:, -5]])
    if not COVER[0] < out.mean() < COVER[1] or ring.mean() > EDGE:
        return None
    return cv2.resize(out, size, interpolation=cv2.INTER_LINEAR) > 0


def box_of(mask):
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1]


# ---- words ----

def spoken(name):
    return SPOKEN.get(name, name)


def article(name):
    return name if name in PAIRS else scenes.a_or_an(name)


def be(name, there=True):
    return f"{'are' if name in PAIRS else 'is'} {'there ' if there else ''}"


def plural(name):
    if name in ALONE:
        return name
    return name + ("es" if name[-1] in "ohs" else "s")


def whats(text):
    return [{"task": "vqa", "question": q, "answer": text}
            for q in ("what is in the picture?", "what is this?")]


def asked(form, name):
    several = name in PAIRS
    return form.format(be="are" if several else "is", it=article(name), that="these" if several else "this")


def exists(name, others, near, rng):
    """In each form, as often no as yes. others: what isn't there; near: those of its kind."""
    out = []
    for i, form in enumerate(FORMS):
        out.append({"task": "vqa", "question": asked(form, name), "answer": "yes"})
        among = near if near and i % 2 else others
        if among:
            out.append({"task": "vqa", "question": asked(form, among[rng.integers(len(among))]), "answer": "no"})
    return out


def either(text, others, rng):
    """Which of two it is: text, the answer to "what is this?", or one of others."""
    out = []
    for turn in range(2 if others else 0):
        both = [text, others[rng.integers(len(others))]][::1 - 2 * turn]
        out.append({"task": "vqa", "question": f"{both[0]} or {both[1]}?", "answer": text})
    return out


def about(lines, boxes):
    """Questions say where it is that they ask about: nowhere, if the answer is no. Where the boxes
    aren't known, they say nothing."""
    for line in lines:
        if line["task"] == "vqa" and (boxes or line["answer"] == "no"):
            line["about"] = [] if line["answer"] == "no" else boxes
    return lines


# ---- packs ----

class Out:
    def __init__(self, folder, set_aside, even=1):
        self.folder, self.set_aside, self.even, self.rows = folder, set_aside, even, []
        self.sprites = {"clothing": [], "coco": []}  # (RGBA, name) of each cut-out
        os.makedirs(folder, exist_ok=True)

    def wants(self, data):
        return is_aside(data) == self.set_aside

    def picture(self, name, data, lines, times=1):
        with open(f"{self.folder}/{name}", "wb") as f:
            f.write(data)
        for again in range(1, times):
            link = f"{name[:-4]}-{again}{name[-4:]}"
            if os.path.exists(f"{self.folder}/{link}"):
                os.remove(f"{self.folder}/{link}")
            os.link(f"{self.folder}/{name}", f"{self.folder}/{link}")
            self.rows += [{**line, "image": link} for line in lines]
        self.rows += [{**line, "image": name} for line in lines]

    def mask(self, name, mask):
        Image.fromarray(mask.astype(np.uint8) * 255).save(f"{self.folder}/{name}", optimize=True)

    def sprite(self, rgb, mask, name, pack):
        x1, y1, x2, y2 = box_of(mask)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0)
        a = np.dstack([rgb, np.clip(soft * 255, 0, 255).astype(np.uint8)])[y1:y2, x1:x2]
        im = Image.fromarray(a, "RGBA")
        im.thumbnail((SPRITE, SPRITE), Image.BICUBIC)
        self.sprites[pack].append((np.asarray(im), name))

    def close(self):
        for pack in PACKS:
            with open(f"{self.folder}/{pack}.jsonl", "w", encoding="utf-8") as f:
                f.writelines(json.dumps(r) + "\n" for r in self.rows if r["image"].startswith(pack))
        for pack, file in (("clothing", "cutouts.npz"), ("coco", "coco-cutouts.npz")):
            if not self.sprites[pack]:
                continue
            ims, names = zip(*self.sprites[pack])
            np.savez(f"{self.folder}/{file}", flat=np.concatenate([im.ravel() for im in ims]),
                     off=np.cumsum([0] + [im.size for im in ims]), shape=np.array([im.shape[:2] for im in ims]),
                     name=np.array(names), source=np.array([pack] * len(names)))


def index(packs, name):
    with open(f"{packs}/{name}/index.jsonl", encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            with open(f"{packs}/{name}/{row['file']}", "rb") as g:
                yield row, g.read()


def evenly(packs, name, most):
    """How often a picture stands there, by its name: up to `most` times."""
    count = collections.Counter(row["name"] for row, _ in index(packs, name))
    return {n: min(most, round(max(count.values()) / c)) for n, c in count.items()}


def rng_of(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def decoded(data):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def garment_lines(rgb, mask, name, file):
    colour = scenes.colour_of(rgb[mask])
    ground = scenes.colour_of(rgb[~mask])
    texts = [f"the {name}"] + ([f"the {colour} {name}"] if colour else [])
    if colour and colour != ground:
        texts.append(f"the {colour} thing")
    if not name in PAIRS:
        texts.append("the garment")
    lines = [{"task": ["mask", "refer"] + ["identify"] * (i < 2 and t != "the garment"), "sentence": t,
              "mask": file, "box": box_of(mask)} for i, t in enumerate(texts)]
    caption = f"{colour} {name}" if colour else name
    lines.append({"task": ["caption", "grounding"], "caption": article(caption) if name not in PAIRS else caption,
                  "phrases": [{"phrase": caption, "boxes": [box_of(mask)]}]})
    lines.append({"task": "detection", "phrases": [{"phrase": name, "boxes": [box_of(mask)]}]})
    if colour:
        lines.append({"task": "vqa", "question": f"what colour {be(name, False)}the {name}?", "answer": colour})
    return lines


def add_clothing(packs, out):
    names = sorted({spoken(r["name"]) for r, _ in index(packs, "clothing")})
    times, masks = evenly(packs, "clothing", out.even), 0
    for row, data in index(packs, "clothing"):
        name = spoken(row["name"])
        if not out.wants(data):
            continue
        file, rng = "clothing-" + row["file"], rng_of(row["source"])
        others = [n for n in names if n != name and not ("shirt" in n and "shirt" in name)]
        rgb = decoded(data)
        mask = grabcut(rgb)
        lines = [{"task": "pixels"}] + whats(article(name)) + exists(name, others, [], rng)
        lines += either(article(name), [article(n) for n in others], rng)
        if mask is None:
            lines.append({"task": "caption", "caption": article(name)})
        else:
            masks += 1
            out.mask(file[:-4] + ".png", mask)
            lines += garment_lines(rgb, mask, name, file[:-4] + ".png")
            out.sprite(rgb, mask, name, "clothing")
        boxes = [box_of(mask)] if mask is not None else []
        out.picture(file, data, about(lines, boxes), times[row["name"]])
    return masks


def add_grocery(packs, out):
    groups = {r["name"]: r.get("group", "") for r, _ in index(packs, "grocery")}
    names, times = sorted(groups), evenly(packs, "grocery", out.even)
    heap = {n: f"a carton of {n}" if n in PACKAGES else plural(n) for n in names}
    for row, data in index(packs, "grocery"):
        name = row["name"]
        if not out.wants(data):
            continue
        rng = rng_of(row["source"])
        others = [n for n in names if n != name]
        near = [n for n in others if groups[n] == groups[name]]
        text = heap[name]
        lines = [{"task": "pixels"}, {"task": "caption", "caption": text}] + whats(text)
        lines += exists(name, others, near, rng) + either(text, [heap[n] for n in near or others], rng)
        out.picture("grocery-" + row["file"], data, about(lines, []), times[name])


def coco_caption(segments):
    """The three largest kinds of things: `a person and two dogs`."""
    numbers = ["no", "a", "two", "three", "four", "five"]
    kinds = {}
    for s in segments:
        if s["thing"] and not s["iscrowd"]:
            kinds.setdefault(s["name"], []).append(s["bbox"][2] * s["bbox"][3])
    parts = []
    for name in sorted(kinds, key=lambda n: -sum(kinds[n]))[:3]:
        n = len(kinds[name])
        if n == 1:
            parts.append(scenes.a_or_an(name))
        else:
            many = "people" if name == "person" else plural(name)
            parts.append(f"{numbers[n] if n < len(numbers) else 'many'} {many}")
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def coco_cutouts(out, rgb, ids, segments):
    """Things that the border doesn't cut."""
    for s in segments:
        mask = ids == s["id"]
        ring = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        if s["thing"] and not s["iscrowd"] and mask.mean() >= WHOLE and not ring.any():
            out.sprite(rgb, mask, s["name"], "coco")


def coco_colours(rgb, ids, segments):
    """Colours of what there is once and what fits a name of a colour."""
    out = []
    for s in segments:
        where = ids == s["id"]
        once = sum(o["name"] == s["name"] for o in segments) == 1
        if not once or not s["thing"] or where.mean() < 0.02:
            continue
        colour = scenes.colour_of(rgb[where])
        if colour and s["name"] != "person":
            out.append({"task": "vqa", "orient": "stored", "question": f"what colour is the {s['name']}?",
                        "answer": colour})
    return out


def add_coco(packs, out):
    names = sorted({s["name"] for r, _ in index(packs, "coco") for s in r["segments"] if s["thing"]})
    for row, data in index(packs, "coco"):
        if not out.wants(data):
            continue
        file, mask = "coco-" + row["file"], "coco-" + row["mask"]
        rng = rng_of(row["file"])
        rgb = decoded(data)
        raw = np.asarray(Image.open(f"{packs}/coco/{row['mask']}").convert("RGB"), np.int64)
        ids = raw[..., 0] + 256 * raw[..., 1] + 65536 * raw[..., 2]
        Image.fromarray(raw.astype(np.uint8)).save(f"{out.folder}/{mask}", optimize=True)
        coco_cutouts(out, rgb, ids, row["segments"])
        there = {s["name"] for s in row["segments"]}
        gone = [n for n in names if n not in there]
        lines = []
        for line in photos.coco_lines(row["segments"], mask, (rgb.shape[1], rgb.shape[0]), lambda name: False):
            lines.append(line)
            if "sentence" in line:
                lines.append({**line, "sentence": f"the {line['sentence']}"})
        text = coco_caption(row["segments"])
        if text:
            lines.append({"task": "caption", "caption": text, "orient": "stored"})
            lines += [{**x, "orient": "stored"} for x in whats(text)[:1]]
        for name in sorted(there & set(names)):
            boxes = [box_of(ids == s["id"]) for s in row["segments"] if s["name"] == name]
            lines += [{**x, "orient": "stored"} for x in about(exists(name, gone, [], rng), boxes)]
        lines += coco_colours(rgb, ids, row["segments"])
        out.picture(file, data, lines)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("packs")
    ap.add_argument("--out", required=True)
    ap.add_argument("--set-aside", action="store_true", help="the pictures for exams, and no others")
    ap.add_argument("--even", type=int, default=1, metavar="N", help="times that a rare name's picture may stand there")
    a = ap.parse_args()
    if not 1 <= a.even <= 99:
        ap.error("--even must be 1 to 99")
    out = Out(a.out, a.set_aside, a.even)
    masks = add_clothing(a.packs, out)
    add_grocery(a.packs, out)
    add_coco(a.packs, out)
    out.close()
    pictures = len({r["image"] for r in out.rows})
    print(f"{pictures} pictures, {len(out.rows)} lines, {masks} garments with a mask")


if __name__ == "__main__":
    main()
