"""wide_scenes.py - scenes as scenes.py makes them, but harder: to learn from, never to judge by.

    scene = make_wide_scene(rng, [sprites, cutouts, more], photos)

Things have 0.1 to 0.95 of the side, are cut by the border and half hidden, and stand in the light
of their surroundings. Three of four grounds are photographs. All of it is blurred, noisy or
compressed as photographs are. Everything is a function of `rng`. Needs numpy and Pillow.
"""
import io

import numpy as np
from PIL import Image, ImageFilter

import scenes

CUTOUTS = 0.35  # of the things, where there are cut-outs
HIDDEN = 0.5    # of a thing may be covered, or lie over the border


def wide_thing(rng, packs, reserved, n, side, names):
    """As draw_thing, of 0.1 to 0.95 of the side."""
    largest = {1: 0.95, 2: 0.75, 3: 0.6, 4: 0.5}.get(n, 0.4)
    px = int(side * np.exp(rng.uniform(np.log(0.1 if n > 1 else 0.2), np.log(largest))))
    pack = packs[0]
    if len(packs) > 1 and rng.random() < CUTOUTS:
        pack = packs[1 + int(rng.integers(len(packs) - 1))]
    if names:
        name = names[rng.integers(len(names))]
        packs_of = [p for p in packs if name in p.name]
        pack = packs_of[0] if packs_of else None
    elif pack is packs[0] and rng.random() < 0.2:
        known = scenes.shape_names(reserved)
        name = known[rng.integers(len(known))]
    else:
        name = pack.draw(rng, reserved)
    if name in scenes.SHAPES:
        return name, scenes.shape(rng, name, px)
    same = [i for i in pack.which[reserved] if pack.name[i] == name]
    return name, scenes.sprite(rng, pack.get(same[rng.integers(len(same))]), px)


def settled(rng, image, rgba, x, y):
    """The thing in the light of its surroundings, with softer edges: so they don't give it away."""
    h, w = rgba.shape[:2]
    out = rgba.copy()
    near = image[max(y - h // 2, 0):y + h + h // 2, max(x - w // 2, 0):x + w + w // 2]
    seen = out[..., 3] > 127
    if near.size and seen.any():
        mine, theirs = out[seen][:, :3], near.reshape(-1, 3)
        k = rng.uniform(0, 0.45)
        shift = (theirs.mean() - mine.mean()) * k + (theirs.mean(0) - mine.mean(0)) * k / 3
        out[..., :3] = np.clip(out[..., :3] + shift * 0.6, 0, 255)
    if rng.random() < 0.5:
        a = Image.fromarray(out[..., 3].astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1)))
        out[..., 3] = np.minimum(out[..., 3], np.asarray(a, np.float32))
    return out


def photographed(rng, image):
    """What a camera and a file do to all of it: blur, noise, light, JPEG."""
    im = Image.fromarray(np.clip(image + 0.5, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        im = im.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    a = np.asarray(im, np.float32)
    a = (a - 128) * rng.uniform(0.8, 1.15) + 128 + rng.uniform(-15, 15)
    a = a * np.exp(rng.normal(size=3) * 0.05) + rng.normal(size=a.shape) * rng.uniform(0, 5)
    im = Image.fromarray(np.clip(a, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        data = io.BytesIO()
        im.save(data, "JPEG", quality=int(rng.integers(45, 90)))
        im = Image.open(data).convert("RGB")
    return np.asarray(im)


def cut_into(image, ids, k, rgba, x, y):
    """scenes.put, where a part may lie over the border."""
    h, w = rgba.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, image.shape[1]), min(y + h, image.shape[0])
    scenes.put(image, ids, k, rgba[y0 - y:y1 - y, x0 - x:x1 - x], x0, y0)


def make_wide_scene(rng, packs, photos, reserved=False, side=scenes.SIDE):
    """A scene as make_scene's but harder: things of 0.1 to 0.95 of the side, cut by the border,
    half hidden, in the light of their surroundings; three of four grounds are photographs. packs:
    one Sprites, or further ones of cut-outs. It may come out without any thing."""
    image = np.asarray(photos(rng).resize((side, side), Image.BICUBIC), np.float32).copy() \
        if rng.random() < 0.75 else scenes.ground(rng, side).astype(np.float32)
    ids = np.zeros((side, side), np.uint8)
    n = 1 + int(rng.choice(len(scenes.COUNTS), p=scenes.COUNTS))
    placed, areas = [], []
    for _ in range(3 * n):
        if len(placed) == n:
            break
        again = placed if placed and rng.random() < 0.15 else None
        name, rgba = wide_thing(rng, packs, reserved, n, side, again)
        h, w = rgba.shape[:2]
        whole = int((rgba[..., 3] >= 127.5).sum())
        over = 0.35 if rng.random() < 0.35 else 0
        x = int(rng.uniform(-over * w, side - w + over * w))
        y = int(rng.uniform(-over * h, side - h + over * h))
        rgba = settled(rng, image, rgba, x, y)
        new_image, new_ids = image.copy(), ids.copy()
        cut_into(new_image, new_ids, len(placed) + 1, rgba, x, y)
        seen = np.bincount(new_ids.ravel(), minlength=len(placed) + 2)[1:]
        if whole < 40 or any(s < max(HIDDEN * a, 30) for s, a in zip(seen, areas + [whole])):
            continue
        if not scenes.stands_out(image, new_image, new_ids == len(placed) + 1, 35):
            continue
        image, ids = new_image, new_ids
        placed.append(name)
        areas.append(whole)
    image = photographed(rng, image)
    things = [scenes.measure(image, ids, k, name) for k, name in enumerate(placed, 1)]
    spoken = list(scenes.shape_names(reserved)) + [p.name[i] for p in packs for i in p.which[reserved]]
    return scenes.Scene(image, ids, things, spoken)
