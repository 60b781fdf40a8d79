"""What a tower's tokens know of pictures that no training saw, the same for every tower.

    python3 tools/train_mini/judge_tower.py MODEL --pack PACK --sprites SPRITES.npz --looks LOOKS

judges the boxes of a shipped model (its other maps are not in its folder). Scenes lie on set-aside photographs:

    box, box_wide, box_coco   share of things whose box has IoU > 1/2, the mean of what the thing's tokens say;
                              of things as the third edition was trained on, as world.py pastes them, and of
                              set-aside COCO photographs (things of more than 2 % of the picture)
    name, name_all            cross-entropy of a token's thing's name in the first kind of scene, among the names
                              of things with masks, and among all names
    own                       error of a token's own colours on the set-aside photographs, levels
    named                     share of set-aside photographs of groceries and clothes whose name is the likeliest
                              of those names in the middle
"""
import argparse
import glob

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data
import dense
import world

scenes = dense.scenes
SEED = 990
BOX = dense.KEPT + sum(dense.SEEN[:2])  # the channels of a token that hold a box


class Exam:
    """Fixed pictures. scenes: of each kind, (picture, ids, {id: name})."""

    def __init__(self, w, pack, plain=80, wide=60, named=100):
        self.names, self.sprite_names = w.names, w.sprite_names
        held = [Image.open(p).convert("RGB") for p in sorted(glob.glob(pack + "/heldout/*.png"))]
        held = [np.asarray(im.resize((im.width * 288 // min(im.size), im.height * 288 // min(im.size)), Image.LANCZOS)
                           if min(im.size) > 288 else im) for im in held]
        self.photos = [world.small(Image.fromarray(a)) for a in held]
        self.kinds = {"box": self.plain(w, held, plain), "box_wide": self.wide(w, held, wide), "box_coco": self.coco(w)}
        self.named = []
        for i in range(3 * named):
            image, name = w.photo(np.random.default_rng([SEED, 3, i]), True)
            if name >= 0 and len(self.named) < named:
                self.named.append((image, name))
        self.candidates = sorted({n for _, n in self.named})

    def __str__(self):
        return "exam of " + ", ".join(f"{sum(len(t) for _, _, t in k)} things in {len(k)} scenes ({n})"
                                      for n, k in self.kinds.items())

    @staticmethod
    def plain(w, held, n):
        out = []
        for i in range(n):
            s = scenes.make_scene(np.random.default_rng([SEED, 1, i]), w.sprites,
                                  lambda r: data.crop(held[r.integers(len(held))], r))
            out.append((s.image.astype(np.float32), s.id_map, {t.id: t.name for t in s.things}))
        return out

    @staticmethod
    def wide(w, held, n):
        own_ground, out = w.ground, []
        w.ground = lambda r: (world.small(data.crop(held[r.integers(len(held))], r)), True)
        for i in range(n):
            out.append(w.pasted(np.random.default_rng([SEED, 2, i]))[:3])
        w.ground = own_ground
        return out

    @staticmethod
    def coco(w):
        out = []
        for i in range(len(w.coco.rows[True])):
            image, ids, names, _ = w.coco_scene(None, True, i)
            large = {k: n for k, n in names.items() if (ids == k).mean() > 0.02}
            out.append((image, ids, large))
        return out


# Without units for it bf16 takes ten times as long as f32.
with open("/proc/cpuinfo", encoding="ascii") as cpuinfo:
    HAS_BF16 = "avx512_bf16" in cpuinfo.read()


def seen(see, images):
    """Tokens (n, 256, D) of float pictures."""
    x = torch.from_numpy(np.stack([world.as_input(im) for im in images]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
        return torch.cat([see(x[i:i + 8]).float() for i in range(0, len(x), 8)])


def truths(kind, names, cell):
    none = np.zeros((world.SIDE, world.SIDE), bool)
    return [world.told(image, ids, things, none, names, cell) for image, ids, things in kind]


def boxes_right(tok, kind, cell):
    """Which things have a box of IoU > 1/2."""
    box = dense.from_channel(tok[..., BOX:BOX + 4]).numpy()
    out = []
    for (image, ids, things), said in zip(kind, box):
        masks = [ids == k for k in things]
        if not masks:
            continue
        share = np.stack([dense.per_token(dense.blocks_of(m), cell).sum(1) for m in masks])
        best = np.where(share.max(0) >= 2, share.argmax(0), -1)
        for i, m in enumerate(masks):
            t = scenes.measure(world.bytes_of(image), m.astype(np.uint8), 1, "")
            mine = best == i
            out.append(mine.any() and overlap(said[mine].mean(0), np.array(t.box) / world.SIDE) > 0.5)
    return out


def overlap(a, b):
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = max(0, w) * max(0, h)
    return both / (np.prod(np.maximum(0, a[2:] - a[:2])) + np.prod(b[2:] - b[:2]) - both + 1e-9)


@torch.no_grad()
def figures(tower, exam, cell):
    """{figure: value} of a trial.Tower."""
    out = {}
    for name, kind in exam.kinds.items():
        tok = seen(tower.m.see, [k[0] for k in kind])
        out[name] = round(float(np.mean(boxes_right(tok, kind, cell))), 4)
        if name == "box":
            out.update(questions(tower, tok, truths(kind, exam.names, cell), exam.sprite_names))
    t = torch.from_numpy(np.stack([world.own(p, cell) for p in exam.photos]))
    off = tower.colours(seen(tower.m.see, exam.photos)).clamp(0, 1) - t
    out["own"] = round(255 * off.abs().mean().item(), 3)
    out["named"] = round(known(tower, exam, cell), 3)
    return out


def questions(tower, tok, truth, sprite_names):
    t = {k: torch.from_numpy(np.stack([x[k] for x in truth])) for k in truth[0]}
    parts = dense.dense_loss(tower.asker, tok, t)[1].tolist()
    logits = tower.asker(tok)[1][t["name"] >= 0][:, :sprite_names].float()
    name = F.cross_entropy(logits, t["name"][t["name"] >= 0]).item()
    keys = ("any", "colour", "edge", "rank", "name_all", "fit", "part")
    return {"name": round(name, 4), **{k: round(v, 4) for k, v in zip(keys, parts)}}


def known(tower, exam, cell):
    right = 0
    tok = seen(tower.m.see, [im for im, _ in exam.named])
    where = torch.from_numpy(world.untold(exam.named[0][0], 0, cell)["name"] >= 0)
    logits = tower.asker(tok)[1][:, where].log_softmax(-1).mean(1)[:, exam.candidates]
    for row, (_, name) in zip(logits, exam.named):
        right += exam.candidates[int(row.argmax())] == name
    return right / len(exam.named)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    for name in ("pack", "sprites", "looks"):
        ap.add_argument("--" + name, required=True)
    a = ap.parse_args()
    import reopen
    torch.set_num_threads(1)
    m = reopen.opened(a.model)
    exam = Exam(world.World(a.pack, a.sprites, a.looks), a.pack)
    print(exam)
    for name, kind in exam.kinds.items():
        right = boxes_right(seen(m.see, [k[0] for k in kind]), kind, dense.STRIP)
        print(name, round(float(np.mean(right)), 4), "of", len(right))


if __name__ == "__main__":
    main()
