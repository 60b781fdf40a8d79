"""How well a checkpoint of learn.py points, cuts out and answers, beside simple baselines.

    python3 tools/train_mini/examine.py --run RUN --tokenizer TOKENIZER --pack PACK --sprites SPRITES.npz
        [--scenes 60] [--names reserved|known|shapes] [--sheet SHEET.png]

Fresh scenes (their seeds are not those of training). --names reserved, the default: all things have
names that are set aside, shapes among them; known: names that training draws from; shapes: things
and grounds made by code alone, set-aside names.
For one sentence of each kind a scene offers: the mask of the whole 64x64 grid, the box, and the mask
within that box. cIoU: intersections summed over unions summed. P@0.5: boxes whose IoU with the true
one is above 1/2 (0..100 units; the protocol's + 1 pixel left out). Absent things: share of pixels
wrongly said to be in the mask. --sheet draws 16 scenes
made by code alone with one sentence each: true box and mask, and the model's. Questions: the likeliest of the choices a question allows, beside
guessing among them and beside always giving the commonest answer of the kind.
"""
import argparse
import collections
import json
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

import data
import dense
import mix
from model import LaMM

scenes = dense.scenes
BLOCK = 8  # rows of the grid asked in one go


def load(run):
    with open(run + "/config.json", encoding="utf-8") as f:
        m = LaMM(json.load(f))
    s = torch.load(run + "/last.pt", weights_only=True)
    m.load_state_dict(s["ema"])
    return m.eval(), s["step"]


@torch.no_grad()
def soft_mask(m, w, prefix, sentence, box=(0, 0, 64, 64)):
    """Probability of `1` at every place of the grid within box (x1, y1, x2, y2), elsewhere 0."""
    x1, y1, x2, y2 = box
    out = np.zeros((64, 64), np.float32)
    for top in range(y1, y2, BLOCK):
        tree = mix.Tree()
        root = tree.grow(w.segment(sentence))
        ends = []
        for y in range(top, min(y2, top + BLOCK)):
            at = tree.grow([w.comma[y]], root)
            ends += [tree.grow([w.plain[x], w.tok["mtail"]], at) for x in range(x1, x2)]
        n = len(tree.ids)
        sees = np.zeros((n, n), bool)
        for i, p in enumerate(tree.parent):
            if p >= 0:
                sees[i] = sees[p]
            sees[i, i] = True
        h = m.tree(prefix, torch.tensor([tree.ids]), torch.tensor([tree.depth]),
                   torch.from_numpy(sees)[None], torch.tensor([ends]))[0]
        p = F.linear(h.float(), m.head.weight[torch.tensor(w.digit[:2])]).softmax(-1)[:, 1]
        out[top:top + BLOCK, x1:x2][:len(p) // (x2 - x1)] = p.view(-1, x2 - x1).numpy()
    return out


@torch.no_grad()
def box_of(m, w, prefix, sentence):
    """The answer to [refer], greedily within its form: x1, y1, x2, y2 of 0..100."""
    ids = w.ids(f"</Img> [refer] give me the location of {sentence} [/INST]") + [w.tok["box"]]
    out = []
    for i in range(4):
        legal = w.last if i == 3 else w.corner
        logits = m.decode(prefix, torch.tensor([ids]))[0, -1]
        out.append(int(logits[torch.tensor(legal)].argmax()))
        ids = ids + [legal[out[-1]]]
    return out


def grid_box(c):
    """A box of 0..100 as places of the grid: those whose middle it covers, at least one."""
    x1, y1, x2, y2 = (v * 0.64 for v in c)
    a = max(0, min(63, int(np.ceil(x1 - 0.5)))), max(0, min(63, int(np.ceil(y1 - 0.5))))
    b = max(a[0] + 1, min(64, int(np.floor(x2 + 0.5)))), max(a[1] + 1, min(64, int(np.floor(y2 + 0.5))))
    return a[0], a[1], b[0], b[1]


def iou(a, b):
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = w * h
    area = max(0, a[2] - a[0]) * max(0, a[3] - a[1]) + max(0, b[2] - b[0]) * max(0, b[3] - b[1])
    return both / (area - both) if area > both else 0.0


@torch.no_grad()
def best_choice(m, w, prefix, text, choices):
    """The choice whose tokens and end are likeliest together."""
    head = w.ids(f"</Img> [vqa] Based on the image, respond to this question with a short answer: {text} [/INST]")
    best = None
    for c in choices:
        answer = w.ids(c) + [w.eos]
        ids = head + answer[:-1]
        logits = m.decode(prefix, torch.tensor([ids]))[0, len(head) - 1:].float().log_softmax(-1)
        score = logits[torch.arange(len(answer)), torch.tensor(answer)].sum().item()
        if best is None or score > best[0]:
            best = (score, c)
    return best[1]


class Sum:
    """Counts by kind, with the baselines they stand beside."""

    def __init__(self):
        self.inter, self.union = collections.Counter(), collections.Counter()
        self.hits, self.asked = collections.Counter(), collections.Counter()
        self.right, self.chance = collections.Counter(), collections.Counter()
        self.answers = collections.defaultdict(collections.Counter)

    def masks(self, key, got, true):
        self.inter[key] += int((got & true).sum())
        self.union[key] += int((got | true).sum())

    def ciou(self, key):
        return self.inter[key] / max(1, self.union[key])


def scene_of(kind, r, sprites, photos):
    while True:
        if kind == "shapes":
            s = scenes.make_scene(r, reserved=True)
        else:
            s = scenes.make_scene(r, sprites, photos, reserved=kind == "reserved")
        if s.things:
            return s


def look(m, scene):
    im = Image.fromarray(scene.image)
    with torch.no_grad():
        return m.prefix(m.see(torch.from_numpy(data.ready(im, 128))[None])[:, None])


def one_of_each(said, r):
    """One sentence of each kind."""
    out = {}
    for s in said:
        out.setdefault(s.kind, s)
    return list(out.values())


def examine(m, w, scene, r, total, per_scene):
    prefix = look(m, scene)
    for s in one_of_each(scenes.sentences(scene, r), r)[:per_scene]:
        true = dense.blocks_of(scene.mask(s.ids)) if s.ids else np.zeros((64, 64), bool)
        soft = soft_mask(m, w, prefix, s.text)
        got = soft > 0.5
        if not s.ids:
            total.hits["absent"] += float(got.mean())
            total.asked["absent"] += 1
            continue
        c, c_true = box_of(m, w, prefix, s.text), mix.corners(scenes.box_of(scene, s.ids), scene.side)
        x1, y1, x2, y2 = grid_box(c)
        inside = np.zeros((64, 64), bool)
        inside[y1:y2, x1:x2] = got[y1:y2, x1:x2]
        hit = iou(c, c_true) > 0.5
        centre = iou((25, 25, 75, 75), c_true) > 0.5
        for key in (s.kind, "all kinds"):
            if s.kind == "all" and key == "all kinds":
                continue  # one object, as in RefCOCO
            total.masks((key, "grid"), got, true)
            total.masks((key, "boxed"), inside, true)
            total.masks((key, "full"), np.ones_like(true), true)
            total.masks((key, "any"), dense.blocks_of(scene.id_map > 0), true)
            total.hits[key] += hit
            total.hits[key, "centre"] += centre
            total.asked[key] += 1
    for q in scenes.questions(scene, r)[:4]:
        got = best_choice(m, w, prefix, q.text, q.choices)
        total.right[q.kind] += got == q.answer
        total.chance[q.kind] += 1 / len(q.choices)
        total.answers[q.kind][q.answer] += 1


CELL, LINE = 160, 14  # of the sheet: side of a panel, height of a line of text


def panel(scene, soft, box, colour):
    """The scene, half dark where it isn't in the mask, with a box of 0..100."""
    im = Image.fromarray(scene.image).resize((CELL, CELL), Image.BICUBIC)
    m = Image.fromarray((soft * 255).astype(np.uint8)).resize((CELL, CELL), Image.BILINEAR)
    dark = np.asarray(im, np.float32) * 0.25
    t = np.asarray(m, np.float32)[..., None] / 255
    im = Image.fromarray((np.asarray(im, np.float32) * t + dark * (1 - t)).astype(np.uint8))
    if box:
        ImageDraw.Draw(im).rectangle([v * CELL / 100 for v in box], outline=colour, width=2)
    return im


def sheet(m, w, path, seed):
    """Four scenes a line, three panels each: the scene, the truth, the model's answer."""
    across, n = 2, 16
    wide, high = 3 * CELL + 16, CELL + LINE + 10
    out = Image.new("RGB", (across * wide, n // across * high), "white")
    d = ImageDraw.Draw(out)
    for i in range(n):
        r = np.random.default_rng([2_000_000 + seed, i])
        scene = scene_of("shapes", r, None, None)
        s = [s for s in scenes.sentences(scene, r) if len(s.ids) == 1][0]
        prefix = look(m, scene)
        soft, c = soft_mask(m, w, prefix, s.text), box_of(m, w, prefix, s.text)
        true = dense.blocks_of(scene.mask(s.ids)).astype(np.float32)
        x, y = i % across * wide, i // across * high
        both = ((soft > 0.5) & (true > 0)).sum() / max(1, ((soft > 0.5) | (true > 0)).sum())
        d.text((x + 4, y), f"{s.text}: mask IoU {both:.2f}, box IoU "
               f"{iou(c, mix.corners(scenes.box_of(scene, s.ids), scene.side)):.2f}", fill="black")
        for k, im in enumerate([
                Image.fromarray(scene.image).resize((CELL, CELL), Image.BICUBIC),
                panel(scene, true, mix.corners(scenes.box_of(scene, s.ids), scene.side), "lime"),
                panel(scene, soft, c, "magenta")]):
            out.paste(im, (x + 4 + k * (CELL + 2), y + LINE))
    out.save(path)


def report(t):
    print("| sentences | asked | cIoU, whole grid | cIoU within the box | the whole picture | every thing "
          "| P@0.5 | centre box |\n|---|---|---|---|---|---|---|---|")
    keys = [k for k in t.asked if isinstance(k, str) and k != "absent" and k != "all kinds"]
    for k in sorted(keys) + ["all kinds"]:
        n = max(1, t.asked[k])
        print(f"| {k} | {t.asked[k]} | {t.ciou((k, 'grid')):.3f} | {t.ciou((k, 'boxed')):.3f} | "
              f"{t.ciou((k, 'full')):.3f} | {t.ciou((k, 'any')):.3f} | {t.hits[k] / n:.3f} | {t.hits[k, 'centre'] / n:.3f} |")
    if t.asked["absent"]:
        print(f"absent: {t.hits['absent'] / t.asked['absent']:.3f} of the pixels wrongly in the mask ({t.asked['absent']} asked)")
    print("\n| question | asked | right | guessing | commonest answer |\n|---|---|---|---|---|")
    for k in sorted(t.answers):
        n = sum(t.answers[k].values())
        print(f"| {k} | {n} | {t.right[k] / n:.3f} | {t.chance[k] / n:.3f} | {max(t.answers[k].values()) / n:.3f} |")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "tokenizer", "pack", "sprites"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--scenes", type=int, default=60)
    ap.add_argument("--sentences", type=int, default=4, help="at most, of one scene")
    ap.add_argument("--names", choices=["reserved", "known", "shapes"], default="reserved")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--sheet", help="write this picture and nothing else")
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, step = load(a.run)
    if a.sheet:
        with torch.no_grad():
            sheet(m, mix.Words(a.tokenizer), a.sheet, a.seed)
        return
    w, sprites = mix.Words(a.tokenizer), scenes.Sprites(a.sprites)
    photos = dense.photos_of(data.Pack(a.pack))
    total, t0 = Sum(), time.time()
    for i in range(a.scenes):
        r = np.random.default_rng([1_000_000 + a.seed, i])
        examine(m, w, scene_of(a.names, r, sprites, photos), r, total, a.sentences)
    print(f"step {step}, {a.scenes} scenes, names: {a.names}, {time.time() - t0:.0f} s")
    report(total)


if __name__ == "__main__":
    main()
