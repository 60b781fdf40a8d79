#!/usr/bin/env python3
"""parts.py - a small data set to try finetuning with: the parts of a product that nobody knows.

    parts.py FOLDER [--pairs 200] [--seed 1]

Writes FOLDER/000.png ... and FOLDER/lines.jsonl: on each picture lie two of six machine parts whose
names are made up, so that no model has ever seen them. For each part on it a picture has a pair: a
question about its name ("vqa") or a box for it ("refer"), by turns. In each dozen of pictures each
part is boxed once on the left and once on the right, at heights spread from top to bottom, so that
no side and no place is the likelier answer. Two seeds share no picture, so one seed is for learning
and another one for judging. Needs numpy and Pillow.
"""
import argparse
import json
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 96
PARTS = ("dorvin", "sallet", "quib", "tamber", "osk", "fennock")
METALS = ((196, 200, 206), (176, 148, 96), (120, 128, 140), (150, 96, 70))


def outline(name, n=24):
    """A part's shape as points in -1..1."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    if name == "dorvin":  # a cogwheel
        return circle * np.where(np.arange(n) % 4 < 2, 1.0, 0.68)[:, None]
    if name == "sallet":  # a plate with a notch
        return np.array([(-1, -.6), (-.25, -.6), (0, .1), (.25, -.6), (1, -.6), (1, .6), (-1, .6)])
    if name == "quib":  # an angle
        return np.array([(-.9, -.9), (-.4, -.9), (-.4, .4), (.9, .4), (.9, .9), (-.9, .9)])
    if name == "tamber":  # a dumb-bell
        return np.array([(-1, -.6), (-.5, -.6), (-.5, -.18), (.5, -.18), (.5, -.6), (1, -.6),
                         (1, .6), (.5, .6), (.5, .18), (-.5, .18), (-.5, .6), (-1, .6)])
    if name == "osk":  # a nut: six sides
        return circle[::4]
    # a fennock
    return np.array([(0, -1), (.3, -.2), (1, 0), (.3, .2), (0, 1), (-.3, .2), (-1, 0), (-.3, -.2)])


def put_part(draw, name, centre, size, angle, metal):
    """Draws it; its box."""
    c, s = np.cos(angle), np.sin(angle)
    points = outline(name) @ np.array([(c, s), (-s, c)]) * size + centre
    draw.polygon([tuple(p) for p in points], fill=metal, outline=tuple(v // 3 for v in metal))
    if name in ("dorvin", "osk"):
        x, y, r = *centre, size * .32
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(40, 42, 46))
    low, high = points.min(0), points.max(0)
    return [round(float(v), 1) for v in (*np.clip(low, 0, SIDE), *np.clip(high, 0, SIDE))]


def plan(seed, number):
    """The part with a box and the other one of a picture: (name, side 0 or 1, height 0..1)."""
    dozen = np.random.default_rng((seed, number // 12, 12))
    cells, high, low = (int(dozen.permutation(12)[number % 12]) for _ in range(3))
    first, side = cells % 6, cells // 6
    second = (first + 1 + number % 5) % 6
    return (PARTS[first], side, high / 12), (PARTS[second], 1 - side, low / 12)


def scene(rng, places):
    """A bench with the two parts of a plan on it, and [(name, box)]."""
    ground = rng.integers(60, 190, 3) + rng.normal(0, 9, (SIDE, SIDE, 3)) + np.linspace(-18, 18, SIDE)[:, None, None]
    im = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    draw, parts = ImageDraw.Draw(im), []
    for name, side, height in places:
        size = rng.uniform(14, 21)
        centre = np.array([24 + 48 * side + rng.uniform(-3, 3), 24 + (SIDE - 48) * (height + rng.uniform(0, 1 / 12))])
        metal = tuple(int(v) for v in np.array(METALS[rng.integers(len(METALS))]) + rng.integers(-12, 13, 3))
        parts.append((name, put_part(draw, name, centre, size, rng.uniform(-.5, .5), metal)))
    return im, parts


def lines_of(image, parts):
    (name, box), (other, at) = parts
    side = "left" if at[0] + at[2] < SIDE else "right"
    yield {"task": "refer", "image": image, "sentence": f"the {name}", "box": box}
    yield {"task": "vqa", "image": image, "question": f"which part is on the {side}?", "answer": other}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--pairs", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    os.makedirs(a.folder, exist_ok=True)
    with open(os.path.join(a.folder, "lines.jsonl"), "w", encoding="utf-8") as f:
        for number in range((a.pairs + 1) // 2):
            im, parts = scene(np.random.default_rng((a.seed, number)), plan(a.seed, number))
            name = f"{number:03}.png"
            im.save(os.path.join(a.folder, name))
            f.writelines(json.dumps(line) + "\n" for line in lines_of(name, parts))


if __name__ == "__main__":
    main()
