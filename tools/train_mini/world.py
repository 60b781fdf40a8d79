"""Pictures for the trial's towers, with the truth of every token: a function of (seed, number).

    World(pack, sprites, looks).batch(seed, first, B, cell)    pictures first .. first + B - 1

0.82 of them are scenes: 1 to 8 things of 0.1 to 0.95 of the side pasted on a ground, some cut by the border, then
blurred, noisy or recoloured as a whole, so that edges do not give a pasted thing away. 0.08 are crops of the COCO
photographs in LOOKS/coco with all their things. 0.1 are photographs of LOOKS/grocery and LOOKS/clothing: what they
show is asked by name in their middle, and nobody says where it is. As a ground such a photograph says nothing about
what else is on it. Left out: set-aside photographs (sha256 begins with 0 to 2), and reserved names.
"""
import hashlib
import io
import json
import os
import sys

import numpy as np
import torch
from PIL import Image, ImageFilter

import data
import dense

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data"))
import scenes  # noqa: E402

SIDE = 128
LARGEST = {1: 0.95, 2: 0.75, 3: 0.6, 4: 0.5}  # of the side, by the number of things
SMALL = 40  # pixels: what shows less of itself in a photograph is not asked


class Looks:
    """A folder of photographs with index.jsonl: rows to train on, and those set aside."""

    def __init__(self, folder):
        self.folder, self.rows = folder, {False: [], True: []}
        with open(folder + "/index.jsonl", encoding="utf-8") as f:
            for row in map(json.loads, f):
                with open(f"{folder}/{row['file']}", "rb") as p:
                    aside = hashlib.sha256(p.read()).hexdigest()[0] in "012"
                self.rows[aside].append(row)

    def picture(self, row):
        return Image.open(f"{self.folder}/{row['file']}").convert("RGB")

    def ids(self, row):
        """The panoptic map of a COCO photograph."""
        m = np.asarray(Image.open(f"{self.folder}/{row['mask']}").convert("RGB")).astype(np.int64)
        return m[..., 0] + 256 * m[..., 1] + 65536 * m[..., 2]


class World:
    def __init__(self, pack, sprites, looks):
        self.pack, self.sprites = data.Pack(pack), scenes.Sprites(sprites)
        self.coco = Looks(looks + "/coco")
        self.named = [Looks(looks + "/" + n) for n in ("grocery", "clothing")]
        self.names = dense.name_table(self.sprites)
        self.sprite_names = len(self.names)
        of_photos = {r["name"] for s in self.named for r in s.rows[False]}
        of_photos |= {g["name"] for r in self.coco.rows[False] for g in r["segments"] if g["thing"]}
        for n in sorted(of_photos):
            if not scenes.is_reserved(n):
                self.names.setdefault(n, len(self.names))

    def ground(self, r):
        """(float picture, does nothing unnamed lie on it?)."""
        u = r.random()
        if u < 0.4:
            return scenes.ground(r, SIDE).astype(np.float32), True
        if u < 0.85:
            im = data.crop(self.pack.get(int(r.integers(len(self.pack)))), r)
        else:
            s = self.named[r.integers(2)]
            im = data.crop(np.asarray(s.picture(s.rows[False][r.integers(len(s.rows[False]))])), r)
        return small(im), u < 0.85

    def photo(self, r, aside=False):
        """A photograph of one kind of thing: (picture, its number among the names, -1 if reserved)."""
        s = self.named[r.integers(2)]
        row = s.rows[aside][r.integers(len(s.rows[aside]))]
        im = s.picture(row)
        if not aside:
            a = np.asarray(im)
            h, w = (int(n * r.uniform(0.75, 1)) for n in a.shape[:2])
            y, x = r.integers(a.shape[0] - h + 1), r.integers(a.shape[1] - w + 1)
            im = Image.fromarray(mirrored(a[y:y + h, x:x + w], r))
        return small(im), self.names.get(row["name"], -1)

    def coco_scene(self, r, aside=False, which=None):
        """A crop (set aside: the whole) of a COCO photograph: (picture, ids, {id: name}, unsure)."""
        rows = self.coco.rows[aside]
        row = rows[r.integers(len(rows)) if which is None else which]
        a, m = np.asarray(self.coco.picture(row)), self.coco.ids(row)
        if not aside:
            k = np.sqrt(r.uniform(0.25, 1))
            h, w = (int(n * k) for n in a.shape[:2])
            y, x = r.integers(a.shape[0] - h + 1), r.integers(a.shape[1] - w + 1)
            a, m = a[y:y + h, x:x + w], m[y:y + h, x:x + w]
            if r.random() < 0.5:
                a, m = a[:, ::-1], m[:, ::-1]
        m = np.asarray(Image.fromarray(np.ascontiguousarray(m, np.int32)).resize((SIDE, SIDE), Image.NEAREST))
        ids, unsure, names = np.zeros((SIDE, SIDE), np.uint8), m == 0, {}
        for g in row["segments"]:
            where = m == g["id"]
            if not g["thing"] or not where.any():
                continue
            if g["iscrowd"] or where.sum() < SMALL or len(names) == 40:
                unsure |= where
                continue
            names[len(names) + 1] = g["name"]
            ids[where] = len(names)
        return small(Image.fromarray(np.ascontiguousarray(a))), ids, names, unsure

    def pasted(self, r):
        """(picture, ids, {id: name}, unsure)."""
        image, bare = self.ground(r)
        ids, names, areas = np.zeros((SIDE, SIDE), np.uint8), {}, []
        n = 1 + int(r.choice(len(scenes.COUNTS), p=scenes.COUNTS))
        for _ in range(3 * n):
            if len(names) == n:
                break
            name, rgba = self.thing(r, n, names)
            put = placed(image, ids, len(names) + 1, areas, rgba, r)
            if put:
                image, ids = put[:2]
                areas.append(put[2])
                names[len(names) + 1] = name
        return image, ids, names, np.full(ids.shape, not bare)

    def thing(self, r, n, names):
        high = LARGEST.get(n, 0.42)
        px = int(SIDE * (0.1 + (high - 0.1) * r.random() ** 1.2))
        known = scenes.shape_names(False)
        if names and r.random() < 0.15:
            name = names[1 + r.integers(len(names))]
        elif r.random() < 0.65:
            name = self.sprites.name[self.sprites.which[False][r.integers(len(self.sprites.which[False]))]]
        else:
            name = known[r.integers(len(known))]
        if name in scenes.SHAPES:
            return name, scenes.shape(r, name, px)
        same = [i for i in self.sprites.which[False] if self.sprites.name[i] == name]
        return name, scenes.sprite(r, self.sprites.get(same[r.integers(len(same))]), px)

    def sample(self, seed, number, cell):
        """(picture (3, 128, 128), truth) of one number."""
        r = np.random.default_rng([seed, 88, number])
        u = r.random()
        if u < 0.1:
            image, name = self.photo(r)
            return as_input(image), untold(image, name, cell)
        image, ids, names, unsure = self.coco_scene(r) if u < 0.18 else self.pasted(r)
        image = jittered(image, r, u >= 0.18)
        return as_input(image), told(image, ids, names, unsure, self.names, cell)

    def batch(self, seed, first, B, cell):
        return stacked([self.sample(seed, first + b, cell) for b in range(B)])


def stacked(pairs):
    img = torch.from_numpy(np.stack([p[0] for p in pairs]))
    return img, {k: torch.from_numpy(np.stack([p[1][k] for p in pairs])) for k in pairs[0][1]}


def small(im):
    return np.asarray(im.resize((SIDE, SIDE), Image.BICUBIC), np.float32).copy()


def mirrored(a, r):
    return np.ascontiguousarray(a[:, ::-1] if r.random() < 0.5 else a)


def placed(image, ids, k, areas, rgba, r):
    """The picture and the ids with one thing more, and its whole area; None if it or another is then hardly seen."""
    whole = int((rgba[..., 3] >= 127.5).sum())
    if whole < 30:
        return None
    h, w = rgba.shape[:2]
    over = r.random() < 0.25  # may leave the picture by up to 0.4 of itself
    x, y = (int(r.integers(-int(0.4 * n), SIDE - int(0.6 * n) + 1) if over else r.integers(SIDE - n + 1))
            for n in (w, h))
    rgba = rgba[max(0, -y):SIDE - y, max(0, -x):SIDE - x]
    x, y = max(0, x), max(0, y)
    h, w = rgba.shape[:2]
    if r.random() < 0.4:  # towards the light of the ground
        shift = image[y:y + h, x:x + w].mean((0, 1)) - rgba[..., :3].mean((0, 1))
        rgba = np.concatenate([np.clip(rgba[..., :3] + shift * r.uniform(0, 0.35), 0, 255), rgba[..., 3:]], -1)
    new_image, new_ids = image.copy(), ids.copy()
    scenes.put(new_image, new_ids, k, rgba, x, y)
    seen = np.bincount(new_ids.ravel(), minlength=k + 1)[1:]
    if any(s < scenes.VISIBLE * a for s, a in zip(seen, areas + [whole])):
        return None
    if not scenes.stands_out(image, new_image, new_ids == k):
        return None
    return new_image, new_ids, whole


def jittered(image, r, hard):
    """Light and colour of the whole; of scenes also blur, noise and JPEG's marks."""
    if r.random() < 0.5:
        image = 255 * (np.clip(image, 0, 255) / 255) ** np.exp(r.normal(size=3) * 0.06 + r.normal() * 0.2)
    if hard and r.random() < 0.25:
        im = Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))
        image = np.asarray(im.filter(ImageFilter.GaussianBlur(r.uniform(0.3, 1.0))), np.float32)
    if hard and r.random() < 0.25:
        image = image + r.normal(size=(SIDE, SIDE, 1 + 2 * r.integers(2))) * r.uniform(1, 8)
    if hard and r.random() < 0.2:
        f = io.BytesIO()
        Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8)).save(f, "JPEG", quality=int(r.integers(45, 92)))
        image = np.asarray(Image.open(f), np.float32)
    return image


def bytes_of(image):
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def as_input(image):
    x = bytes_of(image).astype(np.float32) / 255
    return ((x - data.MEAN) / data.STD).transpose(2, 0, 1).astype(np.float32)


def own(image, cell):
    """The colours (256, 48) of each token's places, 0..1."""
    t = data.truth(Image.fromarray(bytes_of(image))).astype(np.float32) / 255
    return np.concatenate([dense.per_token(t[..., i], cell) for i in range(3)], -1)


def nothing(cell):
    """The truth of a picture that shows no thing."""
    n = 256
    return {"any": np.zeros((n, 16), np.float32), "colour": np.full(n, -1), "name": np.full(n, -1),
            "box": np.zeros((n, 5), np.float32), "rank": np.full((n, len(dense.RANKS)), np.nan, np.float32),
            "there": np.zeros(n, np.float32), "part": np.zeros((n, 4), np.float32)}


def untold(image, name, cell):
    """The truth of a photograph of one kind of thing: its name, in the middle."""
    t = nothing(cell)
    t["any"][:] = np.nan
    y, x = (np.mgrid[0:64, 0:64] + 0.5) / 64 - 0.5
    middle = dense.per_token(y * y + x * x < 0.0625, cell).mean(1) >= 0.5
    t["name"] = np.where(middle, name, -1)
    t["own"] = own(image, cell)
    return t


def told(image, ids, names, unsure, name_id, cell):
    shown = bytes_of(image)
    things = [scenes.measure(shown, ids, k, name) for k, name in names.items()]
    if things:
        t = dense.targets(scenes.Scene(shown, ids, things, []), name_id, cell)
    else:
        t = nothing(cell)
    open_ = dense.per_token(dense.blocks_of(unsure & (ids == 0)), cell)
    t["any"][open_ & (t["any"] == 0)] = np.nan
    t["own"] = own(image, cell)
    return t
