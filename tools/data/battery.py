#!/usr/bin/env python3
"""battery.py - the exam folder of `lammd eval battery`, from pictures that nobody learns from.

    battery.py --out EXAM --looks LOOKS --sprites SPRITES.npz --heldout PACK/heldout --debs DEBS
               [--download] [--car RECORD.npz] [--space RECORD.npz]

    LOOKS    the packs of photos.py: clothing/, grocery/ and coco/ with their pictures
    SPRITES  of build_sprites.py         PACK/heldout   of build_pack.py
    DEBS     package files with the photographs of exam_manifest.tsv; --download fetches them
    RECORD   rounds of tools/games/record.py that are not learnt from

EXAM/battery.json lists the parts, each a file or folder of another mode of `lammd eval`:

pixels     the photographs of exam_manifest.tsv, short side at most 288, and a few of the packs
known      drawn scenes with names that training draws, on set-aside grounds: sentences, questions
reserved   the same with names that training never draws
coco       things of coco's set-aside photographs, of a category that is there once
grounds    the same of what is no thing there: sky, grass, wall
clothing   set-aside photographs of one garment, where the ground's colour gives a clean mask
pasted     those garments, cut out, on the photographs of exam_manifest.tsv
yes-no     60 questions: of each picture a noun that is there, and one of the same kind or colour
           that is not. Each noun is asked as often where it is as where it is not
colours    60 questions about things of one colour
captions   60 pictures with the names that a caption may give to the main thing
naming     the same pictures, asked "what is in the picture?"
car, space recorded rounds, where they are given

Set aside is a picture whose sha256 begins with 0 to 2 (photos.py). All is drawn from one seed: the
same input gives the same bytes. The pictures stay on the machine that made them. Needs numpy and
Pillow; dpkg and, for --download, apt-get.
"""
import argparse
import collections
import hashlib
import json
import os
import shutil
import sys
import types

import numpy as np
from PIL import Image, ImageFilter

import build_pack
import convert
import cutout
import scenes
from photos import category

SEED = 4
SCENES, SAID = 100, 3        # drawn scenes of known and of reserved names; sentences of each
CLOTHES, PASTED = 200, 80    # most pictures of garments; scenes of pasted ones
EACH, CAPTIONS = 20, 60      # captions of a pack (grocery fills up what is missing) and in all
COLOURS, MOST = 60, 10       # questions; most of one colour
YES_NO = 60
COVER = (0.015, 0.8)         # of the picture, that a thing of coco may have
MIDDLE = (0.04, 0.6)         # told apart from those smaller and larger
ONE_COLOUR = 0.7             # of a thing's pixels, that its colour must have
HERE = os.path.dirname(os.path.abspath(__file__))

PLURAL = {"shoes", "pants", "shorts", "carrots", "satsumas"}
SPOKEN = {"outwear": "jacket", "longsleeve": "shirt"}  # else the pack's name
HARD = [  # nouns of one kind or colour: where one is, the other is asked for
    ("apple", "pear"), ("apple", "tomato"), ("lemon", "banana"), ("lime", "cucumber"),
    ("cucumber", "zucchini"), ("potato", "onion"), ("plum", "aubergine"), ("avocado", "kiwi"),
    ("orange", "lemon"), ("mango", "melon"), ("pepper", "tomato"), ("cabbage", "leek"),
    ("peach", "orange"), ("pineapple", "banana"), ("carrots", "satsumas"), ("garlic", "onion"),
    ("t-shirt", "dress"), ("pants", "skirt"), ("hat", "shoes"), ("shorts", "skirt"),
    ("shirt", "pants"), ("dress", "shorts"), ("outwear", "pants"), ("shoes", "pants"),
    ("hat", "t-shirt"), ("dress", "outwear"), ("longsleeve", "shorts"),
    ("person", "bear"), ("person", "dog"), ("bear", "giraffe"), ("train", "car"), ("truck", "train"),
    ("cup", "wine glass"), ("cup", "vase"), ("bottle", "cup"), ("banana", "carrot"),
    ("donut", "banana"), ("bed", "dining table"), ("refrigerator", "bed"), ("microwave", "bed"),
    ("chair", "bed"), ("kite", "tennis racket"), ("baseball bat", "kite"), ("skis", "baseball bat"),
    ("backpack", "tie"), ("handbag", "tie"), ("sink", "bed"), ("toothbrush", "tie"), ("knife", "tie"),
    ("vase", "bottle"), ("potted plant", "kite"), ("tennis racket", "baseball bat"), ("bowl", "cup")]
NAMES = {  # what else a caption may call it
    "t-shirt": ["tshirt", "shirt", "top", "tee"], "longsleeve": ["long sleeve", "shirt", "top", "sweater", "t-shirt"],
    "pants": ["trousers", "jeans", "leggings"], "outwear": ["jacket", "coat", "hoodie"],
    "shoes": ["shoe", "boots", "sneakers", "sandals"], "hat": ["cap"], "shirt": ["blouse", "top", "t-shirt"],
    "satsumas": ["satsuma", "mandarin", "tangerine", "clementine", "orange"], "carrots": ["carrot"],
    "pepper": ["paprika", "bell pepper"], "zucchini": ["courgette"], "aubergine": ["eggplant"],
    "red beet": ["beetroot", "beet"], "brown cap mushroom": ["mushroom"], "red grapefruit": ["grapefruit"],
    "yoghurt": ["yogurt"], "soy milk": ["milk"], "oat milk": ["milk"], "sour milk": ["milk"],
    "person": ["man", "woman", "boy", "girl", "child", "people", "player"], "potted plant": ["plant", "flower"],
    "dining table": ["table"], "wine glass": ["glass"], "tennis racket": ["racket"], "refrigerator": ["fridge"],
    "couch": ["sofa"], "donut": ["doughnut"], "baseball bat": ["bat"], "skis": ["ski"]}


def rng_of(*path):
    """Random numbers of a part: what is drawn in one part changes nothing in another."""
    return np.random.default_rng([SEED] + [int.from_bytes(str(p).encode(), "big") % 2**32 for p in path])


def spoken(name):
    return SPOKEN.get(name, name)


def is_reserved(name):
    return scenes.is_reserved(name) or scenes.is_reserved(spoken(name))


def there(name):
    name = spoken(name)
    return f"are there {name}?" if name in PLURAL else f"is there {scenes.a_or_an(name)}?"


def names_of(name):
    """All names of a thing, with a plural s."""
    one = list(dict.fromkeys([name, spoken(name)] + NAMES.get(name, [])))
    return one + [n + "s" for n in one if not n.endswith("s")]


# ---- the packs ----

class Picture:
    """A set-aside picture. names: of what is there; main: of the main thing, or None. masks:
    {name: bool (h, w)} of things that can be pointed at."""

    def __init__(self, pack, path, names, main, masks=None):
        self.pack, self.path, self.names, self.main = pack, path, names, main
        self.masks = masks or {}

    def open(self):
        return Image.open(self.path).convert("RGB")

    @property
    def file(self):
        return f"{self.pack}-{os.path.basename(self.path)}"


def set_aside(looks, pack):
    """(row of the index, path) of each picture of a pack that is for exams."""
    with open(f"{looks}/{pack}/index.jsonl", encoding="utf-8") as f:
        for row in map(json.loads, f):
            path = f"{looks}/{pack}/{row['file']}"
            with open(path, "rb") as picture:
                if hashlib.sha256(picture.read()).hexdigest()[0] in "012":
                    yield row, path


def coco_picture(row, path):
    ids = np.asarray(Image.open(os.path.join(os.path.dirname(path), row["mask"])).convert("RGB"), np.int64)
    ids = ids @ [1, 256, 65536]
    count = collections.Counter(s["name"] for s in row["segments"])
    masks, grounds, area = {}, {}, collections.Counter()
    for s in row["segments"]:
        mask = ids == s["id"]
        if s["thing"]:
            area[s["name"]] += int(mask.sum())
        if count[s["name"]] == 1 and not s["iscrowd"] and COVER[0] <= mask.mean() <= COVER[1]:
            (masks if s["thing"] else grounds)[category(s["name"])] = mask
    main = max(area, key=area.get) if area and max(area.values()) >= 0.05 * ids.size else None
    p = Picture("coco", path, {category(s["name"]) for s in row["segments"]}, main, masks)
    p.grounds = grounds
    return p


def load(looks):
    """{pack: [Picture]}."""
    out = {"coco": [coco_picture(row, path) for row, path in set_aside(looks, "coco")]}
    for pack in ("clothing", "grocery"):
        out[pack] = [Picture(pack, path, {row["name"]}, row["name"]) for row, path in set_aside(looks, pack)]
    for p in out["clothing"]:
        mask = cutout.clean(p.open())
        if mask is not None:
            p.masks = {p.main: mask}
    return out


def shuffled(rng, items):
    return [items[i] for i in rng.permutation(len(items))]


# ---- pictures for pixels ----

def photographs(o):
    """(name, RGB) of exam_manifest.tsv."""
    for package, rows in build_pack.manifest(f"{HERE}/exam_manifest.tsv").items():
        version = rows[0]["version"]
        if o.download:
            build_pack.download(package, version, o.debs)
        folder = build_pack.unpack(package, version, o.debs, o.out)
        got = build_pack.pictures(rows, folder) if folder else {}
        for r in rows:
            if r["sha256"] in got:
                yield f"{package}-{r['sha256'][:12]}", build_pack.shrink(build_pack.decode(got[r["sha256"]]))
            else:
                print("missing:", package, r["path_in_package"])


def make_pixels(o, packs, photos):
    os.makedirs(f"{o.out}/pixels", exist_ok=True)
    for name, im in photos:
        im.save(f"{o.out}/pixels/{name}.png")
    for pack in ("clothing", "grocery"):
        for p in shuffled(rng_of("pixels", pack), packs[pack])[:4]:
            p.open().save(f"{o.out}/pixels/{p.file[:-4]}.png")


# ---- sentences ----

def make_drawn(o, name, reserved, photos):
    files = convert.Files(f"{o.out}/{name}", name)
    sprites = scenes.Sprites(o.sprites)
    for i in range(SCENES):
        rng = rng_of(name, i)
        scene = scenes.make_scene(rng, sprites=sprites, photos=photos, reserved=reserved)
        said = [s for s in scenes.sentences(scene, rng) if s.ids]
        files.add(scene, said[:SAID], scenes.questions(scene, rng))
    files.write()


def add_masks(files, p, masks, kind):
    """A picture with a sentence for each of its masks."""
    image = np.asarray(p.open())
    order = sorted(masks)
    scene = types.SimpleNamespace(image=image, id_map=np.zeros(image.shape[:2]),
                                  mask=lambda ids: np.any([masks[order[i]] for i in ids], 0))
    files.add(scene, [scenes.Sentence(f"the {spoken(n)}", kind(n, masks[n]), (i,))
                      for i, n in enumerate(order)], [])


def known(name, _):
    return "reserved" if is_reserved(name) else "known"


def by_size(name, mask):
    return known(name, mask) + (", 4 to 60 %" if MIDDLE[0] <= mask.mean() <= MIDDLE[1] else ", other sizes")


def make_real(o, packs):
    things, grounds = convert.Files(f"{o.out}/coco", "coco"), convert.Files(f"{o.out}/grounds", "grounds")
    for p in packs["coco"]:
        if p.masks:
            add_masks(things, p, p.masks, by_size)
        if p.grounds:
            add_masks(grounds, p, p.grounds, known)
    clothes = convert.Files(f"{o.out}/clothing", "clothing")
    for p in shuffled(rng_of("clothing"), [p for p in packs["clothing"] if p.masks])[:CLOTHES]:
        add_masks(clothes, p, p.masks, known)
    for files in (things, grounds, clothes):
        files.write()


def rgba_of(p):
    """A garment with a soft edge, cropped to its mask."""
    mask, image = p.masks[p.main], p.open()
    alpha = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(0.8))
    x, y, w, h = convert.box_of(mask)
    image.putalpha(alpha)
    return image.crop((x, y, x + w, y + h))


def square(rng, im):
    side = int(min(im.size) * rng.uniform(0.6, 1))
    x, y = int(rng.integers(im.width - side + 1)), int(rng.integers(im.height - side + 1))
    return im.crop((x, y, x + side, y + side)).resize((scenes.SIDE, scenes.SIDE), Image.BICUBIC)


def paste(rng, garments, photo):
    """A scene of one to three garments, each of another name."""
    side = scenes.SIDE
    image, ids = np.asarray(square(rng, photo), np.float32).copy(), np.zeros((side, side), np.uint8)
    names, areas, wanted = [], [], 1 + int(rng.integers(3))
    for p in shuffled(rng, garments)[:12]:
        name = spoken(p.main)
        if len(names) == wanted or name in names:
            continue
        im = rgba_of(p)
        k = side * rng.uniform(0.25, 0.75 if wanted == 1 else 0.5) / max(im.size)
        im = im.resize([max(4, round(s * k)) for s in im.size], Image.BOX)
        rgba = np.asarray(im, np.float32)
        x, y = int(rng.integers(side - im.width + 1)), int(rng.integers(side - im.height + 1))
        new_image, new_ids = image.copy(), ids.copy()
        scenes.put(new_image, new_ids, len(names) + 1, rgba, x, y)
        whole = int((rgba[..., 3] >= 127.5).sum())
        seen = np.bincount(new_ids.ravel(), minlength=len(names) + 2)[1:]
        if whole < 60 or any(s < 0.8 * a for s, a in zip(seen, areas + [whole])):
            continue
        image, ids = new_image, new_ids
        names.append(name)
        areas.append(whole)
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return scenes.Scene(image, ids, [scenes.measure(image, ids, i, n) for i, n in enumerate(names, 1)], names)


def make_pasted(o, packs, photos):
    files = convert.Files(f"{o.out}/pasted", "pasted")
    garments = [p for p in packs["clothing"] if p.masks]
    for i in range(PASTED if garments and photos else 0):
        rng = rng_of("pasted", i)
        scene = paste(rng, garments, photos[rng.integers(len(photos))][1])
        files.add(scene, [scenes.Sentence(f"the {t.name}", known(t.name, None), (t.id,)) for t in scene.things], [])
    files.write()


# ---- words ----

class Words:
    """Questions about pictures of the packs, which are copied to words/."""

    def __init__(self, out):
        self.out, self.rows = out, collections.defaultdict(list)
        os.makedirs(f"{out}/words/images", exist_ok=True)

    def add(self, part, p, **row):
        shutil.copyfile(p.path, f"{self.out}/words/images/{p.file}")
        self.rows[part].append({"image": p.file, "type": p.pack, **row})

    def write(self):
        for part, rows in self.rows.items():
            with open(f"{self.out}/words/{part}.json", "w", encoding="utf-8") as f:
                json.dump(rows, f)


def can_tell(p, name):
    """Is it sure that the thing is not there? Nothing that is there may be called by its name."""
    return not any({name, spoken(name)} & set(names_of(n)) or {n, spoken(n)} & set(names_of(name)) for n in p.names)


def make_yes_no(words, packs):
    """Fours: a, b of a hard pair, a picture with a and not b, one with b and not a."""
    rng, fours, used = rng_of("yes-no"), [], collections.Counter()
    for pack in ("coco", "clothing", "grocery"):
        found = []
        for a, b in HARD:
            if is_reserved(a) or is_reserved(b):
                continue
            with_a = [p for p in packs[pack] if a in p.names and can_tell(p, b)]
            with_b = [p for p in packs[pack] if b in p.names and can_tell(p, a)]
            if with_a and with_b:
                found.append((a, b, shuffled(rng, with_a), shuffled(rng, with_b)))
        fours.append(shuffled(rng, found))
    round_, made = 0, 0
    while made < YES_NO and round_ < 50:  # by turns of the packs, so that each has a like share
        for found in fours:
            if not found or made >= YES_NO:
                continue
            a, b, with_a, with_b = found[round_ % len(found)]
            p = min(with_a, key=lambda p: used[p.path, a, b])
            q = min(with_b, key=lambda p: used[p.path, a, b])
            if used[p.path, a, b] or used[q.path, a, b]:
                continue
            for picture, yes, no in ((p, a, b), (q, b, a)):
                used[picture.path, a, b] += 1
                for name, answer in ((yes, "yes"), (no, "no")):
                    words.add("yes-no", picture, question=there(name), choices=["yes", "no"], answer=answer)
                    made += 1
        round_ += 1


def one_colour(pixels):
    counts = np.bincount(scenes.colour_names(pixels), minlength=len(scenes.COLOURS))
    best = int(counts.argmax())
    return scenes.COLOURS[best] if counts[best] >= ONE_COLOUR * counts.sum() else None


def make_colours(words, packs):
    rng, taken, made = rng_of("colours"), collections.Counter(), 0
    asked = [(p, n, m) for pack in ("coco", "clothing") for p in packs[pack] for n, m in sorted(p.masks.items())]
    for p in packs["grocery"]:  # heaps of one kind: the middle of the picture
        w, h = p.open().size
        middle = np.zeros((h, w), bool)
        middle[h // 4:-(h // 4), w // 4:-(w // 4)] = True
        asked.append((p, p.main, middle))
    first = [a for a in asked if a[0].pack == "coco"]
    rest = shuffled(rng, [a for a in asked if a[0].pack != "coco" and not is_reserved(a[1])])
    for p, name, mask in first + rest:
        colour = one_colour(np.asarray(p.open())[mask]) if made < COLOURS else None
        if not colour or taken[colour] == MOST:
            continue
        name, be = spoken(name), "are" if spoken(name) in PLURAL else "is"
        words.add("colours", p, question=f"what colour {be} the {name}?", choices=scenes.COLOURS, answer=colour)
        taken[colour] += 1
        made += 1


def make_captions(words, packs):
    made = 0
    for pack in ("coco", "clothing", "grocery"):
        known_ones = [p for p in packs[pack] if p.main and not is_reserved(p.main)]
        count, room = collections.Counter(), CAPTIONS - made if pack == "grocery" else EACH
        for p in shuffled(rng_of("captions", pack), known_ones):
            if sum(count.values()) < room and (count[p.main] < 4 or pack == "coco"):
                count[p.main] += 1
                made += 1
                words.add("captions", p, names=names_of(p.main))
                words.add("naming", p, names=names_of(p.main), question="what is in the picture?")


# ---- the folder ----

PARTS = [("pixels", "pvp", "pixels"), ("known", "rec", "known"), ("known", "seg", "known"),
         ("known", "vqa", "known/choices.json"),
         ("reserved", "rec", "reserved"), ("reserved", "seg", "reserved"),
         ("reserved", "vqa", "reserved/choices.json"), ("coco", "rec", "coco"), ("coco", "seg", "coco"),
         ("grounds", "rec", "grounds"), ("grounds", "seg", "grounds"), ("clothing", "rec", "clothing"),
         ("clothing", "seg", "clothing"), ("pasted", "rec", "pasted"), ("pasted", "seg", "pasted"),
         ("yes-no", "vqa", "words/yes-no.json"), ("colours", "vqa", "words/colours.json"),
         ("captions", "vqa", "words/captions.json"), ("naming", "vqa", "words/naming.json"),
         ("car", "game", "car"), ("space", "game", "space")]


def digest(out):
    """Of all files, by name and content."""
    h = hashlib.sha256()
    for folder, inner, names in os.walk(out):
        inner.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            with open(path, "rb") as f:
                h.update(f"{os.path.relpath(path, out)} {hashlib.sha256(f.read()).hexdigest()}\n".encode())
    return h.hexdigest()


def make(o):
    packs = load(o.looks)
    photos = list(photographs(o))
    shutil.rmtree(f"{o.out}/unpacked", ignore_errors=True)
    if not photos:
        sys.exit("battery.py: none of exam_manifest.tsv's photographs is there: is DEBS right? "
                 "--download fetches the packages")
    make_pixels(o, packs, photos)
    grounds = convert.pick_photos(o.heldout)
    if not grounds:
        sys.exit(f"battery.py: {o.heldout} has no picture")
    make_drawn(o, "known", False, grounds)
    make_drawn(o, "reserved", True, grounds)
    make_real(o, packs)
    make_pasted(o, packs, photos)
    words = Words(o.out)
    make_yes_no(words, packs)
    make_colours(words, packs)
    make_captions(words, packs)
    words.write()
    for name, record in (("car", o.car), ("space", o.space)):
        if record:
            convert.convert_rollout(types.SimpleNamespace(record=record, out=f"{o.out}/{name}", count=o.steps))
    parts = [{"name": name, "mode": mode, "path": path} for name, mode, path in PARTS
             if os.path.exists(f"{o.out}/{path}")]
    battery = {"digest": digest(o.out), "parts": parts}
    with open(f"{o.out}/battery.json", "w", encoding="utf-8") as f:
        json.dump(battery, f, indent=1)
    print(f"{o.out}: {len(parts)} parts, digest {battery['digest'][:12]}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "looks", "sprites", "heldout", "debs"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--download", action="store_true")
    p.add_argument("--car")
    p.add_argument("--space")
    p.add_argument("--steps", type=int, default=300, help="of a recorded round (default: %(default)s)")
    o = p.parse_args()
    if os.path.exists(o.out) and os.listdir(o.out):
        sys.exit(f"battery.py: {o.out} is not empty: name a new folder, or remove it")
    os.makedirs(o.out, exist_ok=True)
    make(o)


if __name__ == "__main__":
    main()
