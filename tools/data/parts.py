#!/usr/bin/env python3
"""parts.py - a small data set to try finetuning with: the parts of a product that nobody knows.

    parts.py FOLDER [--pairs 200] [--seed 1]

Writes FOLDER/000.png ... and FOLDER/lines.jsonl: on each picture lie two of six machine parts, each
with a shape and a finish of its own, and a line for each of them says where it is ("refer"). They
are called as fitters call parts, by words for something else: the purple spider is a star. In each
dozen of pictures each part is the first once on the left and once on the right, at heights spread
from top to bottom: no side and no place is the likelier one. Two seeds share no picture, so one is
for learning, another one for judging. Needs numpy and Pillow.
"""
import argparse
import json
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 96
FINISH = {"crown": ("red", (204, 60, 48)), "shield": ("blue", (52, 92, 196)), "hook": ("yellow", (226, 190, 60)),
          "plunger": ("green", (62, 148, 84)), "button": ("grey", (168, 172, 178)), "spider": ("purple", (146, 84, 168))}
PARTS = tuple(FINISH)


def outline(name, n=24):
    """A part's shape as points in -1..1."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    if name == "crown":  # a cogwheel
        return circle * np.where(np.arange(n) % 4 < 2, 1.0, 0.68)[:, None]
    if name == "shield":  # a plate with a notch
        return np.array([(-1, -.6), (-.25, -.6), (0, .1), (.25, -.6), (1, -.6), (1, .6), (-1, .6)])
    if name == "hook":  # an angle
        return np.array([(-.9, -.9), (-.4, -.9), (-.4, .4), (.9, .4), (.9, .9), (-.9, .9)])
    if name == "plunger":  # a dumb-bell
        return np.array([(-1, -.6), (-.5, -.6), (-.5, -.18), (.5, -.18), (.5, -.6), (1, -.6),
                         (1, .6), (.5, .6), (.5, .18), (-.5, .18), (-.5, .6), (-1, .6)])
    if name == "button":  # a nut: six sides
        return circle[::4]
    # a spider
    return np.array([(0, -1), (.3, -.2), (1, 0), (.3, .2), (0, 1), (-.3, .2), (-1, 0), (-.3, -.2)])


def put_part(draw, name, centre, size, angle, metal):
    """Draws it; its box."""
    c, s = np.cos(angle), np.sin(angle)
    points = outline(name) @ np.array([(c, s), (-s, c)]) * size + centre
    draw.polygon([tuple(p) for p in points], fill=metal, outline=tuple(v // 3 for v in metal))
    if name in ("crown", "button"):
        x, y, r = *centre, size * .32
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(40, 42, 46))
    low, high = points.min(0), points.max(0)
    return [round(float(v), 1) for v in (*np.clip(low, 0, SIDE), *np.clip(high, 0, SIDE))]


def plan(seed, number):
    """The two parts of a picture: (name, side 0 or 1, height 0..1)."""
    dozen = np.random.default_rng((seed, number // 12, 12))
    cell, high, low = (int(dozen.permutation(12)[number % 12]) for _ in range(3))
    first, side = cell % 6, cell // 6
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
        metal = tuple(int(v) for v in np.array(FINISH[name][1]) + rng.integers(-12, 13, 3))
        parts.append((name, put_part(draw, name, centre, size, rng.uniform(-.5, .5), metal)))
    return im, parts


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
            for part, box in parts:
                f.write(json.dumps({"task": "refer", "image": name, "sentence": f"the {FINISH[part][0]} {part}", "box": box}) + "\n")


if __name__ == "__main__":
    main()
