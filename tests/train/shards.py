"""shards.py - small data sets in every form that the recipes name, drawn by code.

    shards.write("/tmp/data")          coco/ refcoco/ texts/ photos/ scenes/ car-racing/ ...
    shards.pairs("/tmp/pairs", 40)     what recipes/own.ini is for
    shards.ablation("/tmp/ablation")   what recipes/ablation.ini is for, but for its start/

Each picture has a red bar and a blue disc on grey at places of their own, so that boxes, masks and
answers are true. Needs python3-pil and python3-numpy.
"""
import json
import os

import numpy as np
from PIL import Image

W, H = 72, 54


class Scene:
    """One picture, and what is true of it."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.rgb = rng.integers(90, 110, (H, W, 3)).astype(np.uint8)
        x, y = int(rng.integers(2, 20)), int(rng.integers(2, 14))
        w, h = int(rng.integers(14, 24)), int(rng.integers(8, 16))
        self.bar = (x, y, x + w, y + h)
        cx, cy, r = int(rng.integers(50, 60)), int(rng.integers(30, 40)), int(rng.integers(7, 11))
        self.disc = (cx - r, cy - r, cx + r + 1, cy + r + 1)
        yy, xx = np.mgrid[0:H, 0:W]
        self.rgb[y:y + h, x:x + w] = (200, 30, 30)
        self.rgb[(xx - cx) ** 2 + (yy - cy) ** 2 <= r * r] = (30, 60, 200)

    def save(self, path):
        Image.fromarray(self.rgb).save(path)


def ring(box):
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def folder(*parts):
    path = os.path.join(*parts)
    os.makedirs(path, exist_ok=True)
    return path


def put_lines(path, lines):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)


def put(path, what):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(what, f)


def pictures(path, n, seed):
    scenes = [Scene(seed * 1000 + i) for i in range(n)]
    for i, s in enumerate(scenes):
        s.save(os.path.join(folder(path), f"{i:03}.png"))
    return scenes


def pairs(path, n=40):
    """Boxes by sentences, and questions with answers, about n pictures."""
    lines = []
    for i, s in enumerate(pictures(path, n, 1)):
        name = f"{i:03}.png"
        lines += [{"task": "refer", "image": name, "sentence": "the bar", "box": list(s.bar)},
                  {"task": "refer", "image": name, "sentence": "the disc", "box": list(s.disc)},
                  {"task": "vqa", "image": name, "question": "what is blue?", "answer": "the disc"}]
    put_lines(os.path.join(path, "pairs.jsonl"), lines)


def refcoco(path, n):
    """COCO's instances and RefCOCO's refs."""
    images, annotations, refs = [], [], []
    for i, s in enumerate(pictures(folder(path, "images"), n, 2)):
        images.append({"id": i, "file_name": f"{i:03}.png", "width": W, "height": H})
        for k, (box, text) in enumerate(((s.bar, "the red bar"), (s.disc, "the blue disc"))):
            x1, y1, x2, y2 = box
            annotations.append({"id": 2 * i + k, "image_id": i, "category_id": 1, "iscrowd": 0,
                                "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": [ring(box)],
                                "area": (x2 - x1) * (y2 - y1)})
            refs.append({"ref_id": 2 * i + k, "ann_id": 2 * i + k, "image_id": i, "category_id": 1,
                         "split": "train", "sentences": [{"sent": text, "raw": text}]})
    put(os.path.join(path, "instances.json"),
        {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]})
    put(os.path.join(path, "refs.json"), refs)


def lines_of(s, name):
    """A line for each task about a scene."""
    bar, disc = list(s.bar), list(s.disc)
    both = [{"phrase": "a red bar", "boxes": [bar]}, {"phrase": "a blue disc", "boxes": [disc]}]
    return [
        {"task": "pixels", "image": name},
        {"task": ["mask", "refer"], "image": name, "sentence": "the red bar", "box": bar,
         "mask": [ring(s.bar)]},
        {"task": "identify", "image": name, "sentence": "a blue disc", "box": disc},
        {"task": "caption", "image": name, "caption": "a bar and a disc"},
        {"task": "grounding", "image": name, "caption": "a red bar and a blue disc", "phrases": both},
        {"task": "detection", "image": name, "phrases": both[:1]},
        {"task": "vqa", "image": name, "question": "what is red?", "answer": ["bar", "the bar"]},
        {"task": "chat", "image": name,
         "messages": [{"role": "user", "content": "what is it?"},
                      {"role": "assistant", "content": "a bar"},
                      {"role": "user", "content": "and?"}, {"role": "assistant", "content": "a disc"}]}]


def scenes(path, n, seed):
    lines = []
    for i, s in enumerate(pictures(path, n, seed)):
        lines += lines_of(s, f"{i:03}.png")
    put_lines(os.path.join(path, "scenes.jsonl"), lines)


def one_round(path, game, frames, action, n, seed):
    pictures(path, n + frames, seed)
    steps = [{"frames": [f"{i + j:03}.png" for j in range(frames)], "action": action(i)}
             for i in range(n)]
    put(os.path.join(path, "rollout.json"), {"game": game, "steps": steps})


def rounds(path, game, frames, action, n):
    """Two recorded rounds of n steps."""
    for k in range(2):
        one_round(folder(path, f"{game}-{k}"), game, frames, action, n, 7 + k)


def drive(i):
    return [i % 21, 10 + i % 11, 10]


def shoot(i):
    return i % 6


def ablation(path, n=4):
    pictures(folder(path, "photos"), n, 3)
    scenes(folder(path, "scenes"), n, 6)
    rounds(folder(path, "rounds"), "car_racing", 2, drive, n)
    rounds(folder(path, "rounds"), "space_invaders", 4, shoot, n)
    exam = folder(path, "exam")
    pictures(folder(exam, "photos"), 2, 9)
    refcoco(folder(exam, "scenes"), n)
    put(os.path.join(exam, "scenes/gqa.json"),
        {str(i): {"imageId": f"{i:03}", "question": "what is red?", "answer": "bar",
                  "types": {"structural": "query"}} for i in range(n)})
    one_round(folder(exam, "car-racing"), "car_racing", 2, drive, n, 10)
    one_round(folder(exam, "space-invaders"), "space_invaders", 4, shoot, n, 11)


def write(path, n=12):
    """All that the other recipes name below ${DATA}."""
    pictures(folder(path, "coco"), n, 3)
    pictures(folder(path, "photos"), n, 4)
    refcoco(folder(path, "refcoco"), n)
    scenes(folder(path, "texts"), n, 5)
    scenes(folder(path, "scenes"), n, 6)
    rounds(folder(path, "car-racing"), "car_racing", 2, drive, 8)
    rounds(folder(path, "space-invaders"), "space_invaders", 4, shoot, 8)
    rounds(folder(path, "games"), "car_racing", 2, drive, 8)
    rounds(folder(path, "games"), "space_invaders", 4, shoot, 8)
