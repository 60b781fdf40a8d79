#!/usr/bin/env python3
"""convert.py - our own scenes and recorded games as files in public formats, for `lammd eval`.

    convert.py scenes --out FOLDER [--count 100] [--seed 0] [--reserved] [--split NAME]
               [--sprites PACK] [--photos DIR] [--side 128]
    convert.py panoptic LOOKS/coco --out FOLDER
    convert.py rollout RECORD.npz --out FOLDER [--count 500]
    convert.py space RECORD.npz... --out FOLDER [--balance 1] [--every 1]

scenes writes, beside images/:
  instances.json, refs.json   COCO and RefCOCO, compressed run lengths   lammd eval rec|seg FOLDER
  minigpt.json                MiniGPT-v2's list of boxes                 lammd eval rec FILE
  gqa.json                    GQA's dictionary                           lammd eval vqa FILE
  vsr.jsonl                   VSR's statements, from yes-no questions    lammd eval vqa FILE
  vizwiz.json                 VizWiz' list; ten people who agree         lammd eval vqa FILE
  choices.json                the questions with possible answers        lammd eval vqa FILE
Sentences that mean nothing in their picture have no place in RefCOCO and are left out. --reserved
takes the names that are never trained on (scenes.py). Every file is a function of the seed.
panoptic writes the same instances.json and refs.json of the photographs of `photos.py coco` that
are set aside: each thing that is alone of its name in its picture, by that name.
rollout writes frames and rollout.json from a recording of tools/games, --count steps from all over
it: lammd eval game FOLDER.
space writes lines to learn from (docs/training-data.md) about recordings of Space Invaders:
frames.jsonl of the things on every --every-th frame, rows.jsonl of the expert's actions and
thoughts; --balance 1 has all answers to a question equally often, 0 as they come (invaders.py).
Needs numpy and Pillow.
"""
import argparse
import glob
import hashlib
import json
import os

import numpy as np
from PIL import Image

PEOPLE = 10  # who answer a question of VizWiz
ASIDE = "012"  # first digits of the digests of photographs that are set aside
GAMES = {3: ("car_racing", 2), 1: ("space_invaders", 4)}  # numbers of an action: name, frames


# ---- masks as COCO writes them ----

def counts(mask):
    """Run lengths of a mask, column by column, the first of zeros."""
    flat = np.asarray(mask, bool).ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0] + runs if flat[0] else runs


def text(runs):
    """COCO's compressed text: 5 bits a character, from the fourth on the difference to the last but
    one."""
    out = []
    for i, n in enumerate(runs):
        x = n - runs[i - 2] if i > 2 else n
        while True:
            c, x = x & 31, x >> 5
            if x == (-1 if c & 16 else 0):
                break
            out.append(c | 32)
        out.append(c)
    return "".join(chr(48 + c) for c in out)


def rle(mask):
    return {"size": list(np.shape(mask)), "counts": text(counts(mask))}


# ---- one scene's part of each file ----

def box_of(mask):
    """x, y, width, height of what is set."""
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)]


def statement(question):
    """(`the star is left of the cup.`, kind) of `is the star left of the cup?`, or None."""
    body = question.text.removesuffix("?")
    if question.answer not in ("yes", "no"):
        return None
    if body.startswith("is there "):
        return f"there is {body[9:]}.", "there"
    for word in ("left of", "right of", "above", "below", "larger than"):
        first, found, second = body.removeprefix("is ").partition(f" {word} ")
        if found and body.startswith("is "):
            return f"{first} is {word} {second}.", word
    return None


class Files:
    """What is written in the end."""

    def __init__(self, out, split="scenes"):
        self.out, self.split = out, split
        self.images, self.annotations, self.refs, self.minigpt = [], [], [], []
        self.gqa, self.vsr, self.vizwiz, self.choices = {}, [], [], []
        os.makedirs(f"{out}/images", exist_ok=True)

    def add(self, scene, sentences, questions):
        k = len(self.images)
        name = f"{k:06}.png"
        h, w = scene.id_map.shape
        Image.fromarray(scene.image).save(f"{self.out}/images/{name}")
        self.images.append({"id": k, "file_name": name, "width": w, "height": h})
        known = {}  # the annotation of a set of things
        for s in sentences:
            if s.ids:
                self.refer(scene, s, name, known)
        for q in questions:
            self.ask(q, name, f"{k:06}")

    def refer(self, scene, s, name, known):
        k, key = len(self.images) - 1, tuple(sorted(s.ids))
        h, w = scene.id_map.shape
        if key not in known:
            mask = scene.mask(s.ids)
            known[key] = len(self.annotations)
            self.annotations.append({
                "id": known[key], "image_id": k, "category_id": 1, "bbox": box_of(mask),
                "area": int(mask.sum()), "segmentation": rle(mask), "iscrowd": 0})
        self.refs.append({
            "ref_id": len(self.refs), "image_id": k, "ann_id": known[key], "split": self.split,
            "sentences": [{"sent": s.text, "kind": s.kind}]})
        self.minigpt.append({"img_id": name, "sents": s.text, "width": w, "height": h,
                             "bbox": self.annotations[known[key]]["bbox"], "kind": s.kind})

    def ask(self, q, name, image_id):
        self.gqa[f"{len(self.gqa):08}"] = {"imageId": image_id, "question": q.text,
                                          "answer": q.answer, "types": {"structural": q.kind}}
        said = statement(q)
        if said:
            self.vsr.append({"image": name, "caption": said[0], "relation": said[1],
                             "label": int(q.answer == "yes")})
        self.vizwiz.append({"image": name, "question": q.text, "answer_type": q.kind,
                            "answers": [{"answer": q.answer}] * PEOPLE})
        if len(q.choices) > 1:
            self.choices.append({"image": name, "question": q.text, "choices": list(q.choices),
                                 "answer": q.choices.index(q.answer), "type": q.kind})

    def write(self):
        """Without the files that nothing was added to."""
        for name, what in (
                ("instances", {"images": self.images, "annotations": self.annotations,
                               "categories": [{"id": 1, "name": "thing"}]}),
                ("refs", self.refs), ("minigpt", self.minigpt), ("gqa", self.gqa),
                ("vizwiz", self.vizwiz), ("choices", self.choices)):
            if not what:
                continue
            with open(f"{self.out}/{name}.json", "w", encoding="utf-8") as f:
                json.dump(what, f)
        if self.vsr:
            with open(f"{self.out}/vsr.jsonl", "w", encoding="utf-8") as f:
                f.writelines(json.dumps(o) + "\n" for o in self.vsr)


def pick_photos(folder):
    """A function of rng that opens one of the folder's pictures; None without a folder."""
    names = sorted(glob.glob(f"{folder}/*.png") + glob.glob(f"{folder}/*.jpg")) if folder else []
    return (lambda rng: Image.open(names[rng.integers(len(names))])) if names else None


def convert_scenes(o):
    import scenes  # beside this file
    sprites = scenes.Sprites(o.sprites) if o.sprites else None
    photos = pick_photos(o.photos)
    files = Files(o.out, o.split)
    for i in range(o.count):
        rng = np.random.default_rng([o.seed, i])
        scene = scenes.make_scene(rng, sprites=sprites, photos=photos, reserved=o.reserved, side=o.side)
        files.add(scene, scenes.sentences(scene, rng), scenes.questions(scene, rng))
    files.write()
    print(f"{o.out}: {len(files.images)} scenes, {len(files.refs)} sentences, {len(files.gqa)} "
          f"questions, {len(files.vsr)} statements")


# ---- photographs ----

def convert_panoptic(o):
    images, annotations, refs = [], [], []
    os.makedirs(f"{o.out}/images", exist_ok=True)
    with open(f"{o.folder}/index.jsonl", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    for row in rows:
        with open(f"{o.folder}/{row['file']}", "rb") as f:
            photo = f.read()
        if hashlib.sha256(photo).hexdigest()[0] not in ASIDE:
            continue
        with open(f"{o.out}/images/{row['file']}", "wb") as f:
            f.write(photo)
        ids = np.asarray(Image.open(f"{o.folder}/{row['mask']}").convert("RGB"), np.int64) @ [1, 256, 65536]
        names = [s["name"] for s in row["segments"]]
        images.append({"id": len(images), "file_name": row["file"], "width": ids.shape[1], "height": ids.shape[0]})
        for s in row["segments"]:
            mask = ids == s["id"]
            if not s["thing"] or s["iscrowd"] or names.count(s["name"]) > 1 or not mask.any():
                continue
            annotations.append({
                "id": len(annotations), "image_id": images[-1]["id"], "category_id": 1, "bbox": box_of(mask),
                "area": int(mask.sum()), "segmentation": rle(mask), "iscrowd": 0})
            refs.append({"ref_id": len(refs), "image_id": images[-1]["id"], "ann_id": len(refs), "split": "coco",
                         "sentences": [{"sent": s["name"]}]})
    for name, what in (("instances", {"images": images, "annotations": annotations,
                                      "categories": [{"id": 1, "name": "thing"}]}), ("refs", refs)):
        with open(f"{o.out}/{name}.json", "w", encoding="utf-8") as f:
            json.dump(what, f)
    print(f"{o.out}: {len(images)} photographs, {len(refs)} sentences")


# ---- games ----

def in_a_row(episode, step, n):
    """Indices i whose n-1 frames before are the ones right before it."""
    whole = np.ones(len(step), bool)
    for k in range(1, n):
        whole[:k] = False
        whole[k:] &= (episode[k:] == episode[:-k]) & (step[k:] - step[:-k] == k)
    return np.flatnonzero(whole)


def convert_rollout(o):
    with np.load(o.record) as z:
        frames, action, episode, step = (z[k] for k in ("frames", "action", "episode", "step"))
    game, n = GAMES[action.reshape(len(action), -1).shape[1]]
    at = in_a_row(episode, step, n)
    if len(at) > o.count:
        at = at[np.linspace(0, len(at) - 1, o.count).astype(int)]
    os.makedirs(f"{o.out}/images", exist_ok=True)
    steps = [{"frames": [f"{j:06}.png" for j in range(i - n + 1, i + 1)],
              "action": action[i].tolist()} for i in at.tolist()]
    for name in sorted({name for s in steps for name in s["frames"]}):
        Image.fromarray(frames[int(name[:-4])]).save(f"{o.out}/images/{name}")
    with open(f"{o.out}/rollout.json", "w", encoding="utf-8") as f:
        json.dump({"game": game, "steps": steps}, f)
    print(f"{o.out}: {len(steps)} steps of {game}")


def convert_space(o):
    import invaders  # beside this file
    invaders.convert(o.records, o.out, o.balance, o.every, rle)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    sub = p.add_subparsers(required=True)
    s = sub.add_parser("scenes")
    s.add_argument("--out", required=True)
    s.add_argument("--count", type=int, default=100)
    s.add_argument("--seed", type=int, default=0)
    s.add_argument("--reserved", action="store_true")
    s.add_argument("--split", default="scenes", help="of all sentences (default: %(default)s)")
    s.add_argument("--sprites")
    s.add_argument("--photos")
    s.add_argument("--side", type=int, default=128, help="pixels (default: %(default)s)")
    s.set_defaults(run=convert_scenes)
    c = sub.add_parser("panoptic")
    c.add_argument("folder")
    c.add_argument("--out", required=True)
    c.set_defaults(run=convert_panoptic)
    r = sub.add_parser("rollout")
    r.add_argument("record")
    r.add_argument("--out", required=True)
    r.add_argument("--count", type=int, default=500)
    r.set_defaults(run=convert_rollout)
    g = sub.add_parser("space")
    g.add_argument("records", nargs="+")
    g.add_argument("--out", required=True)
    g.add_argument("--balance", type=float, default=1.0, help="0 to 1 (default: %(default)s)")
    g.add_argument("--every", type=int, default=1, help="of so many frames one alone (default: %(default)s)")
    g.set_defaults(run=convert_space)
    o = p.parse_args()
    o.run(o)


if __name__ == "__main__":
    main()
