"""First stage: the vision tower learns to see things, before any word is spoken about them.

    python3 tools/train_mini/dense.py --start RUN/last.pt --config RUN/config.json --pack PACK \
        --sprites SPRITES.npz --out DENSE --minutes 25

A question through the decoder teaches one bit about one place. Here each of the 256 picture tokens
of a scene is asked everything at once: which of
its 16 pixels show a thing; and of the thing that it shows most of: the colour's name, the box, the
size, whether it is the left-most, biggest ..., and its name. Channels 112 to 150 of a token are the
answers (all but the name), so that the decoder's first weights can be laid to fetch them. New vision layers are put behind those
of the first edition (--vlayers in all), their last maps zero, so that at first nothing changes; the
tokens' channels that carry places and colours (0..111, see init.py) are held near what the first
edition says (a mean squared error), so that pixels survive.

DENSE/last.pt holds everything needed to go on; the same command does. Batches are a function of
(--seed, step). The length is given in minutes because the machine is shared; the learning rate
falls with the time spent, so a run can't be repeated to the bit.
"""
import argparse
import copy
import json
import os
import queue
import sys
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import data
from model import LaMM

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data"))
import scenes  # noqa: E402

KEPT = 112  # channels of a picture token that the first edition's decoder reads
RANKS = list(scenes.EXTREMES)
SEEN = (16, len(scenes.COLOURS) + 1, 5, len(RANKS))  # channels: pixels, colour, box + size, ranks
STRIP = (2, 8)  # rows and columns of the 64x64 grid that a token of four patches of 4x4 shows
SHARP = 3.0  # a channel times this is a logit


def grown(old_state, old, vlayers, vmlp, seed=5):
    """The first edition with vision layers behind its own and wider ones; the same function."""
    torch.manual_seed(seed)
    c = dict(old, vlayers=vlayers, vmlp=vmlp)
    m = LaMM(c)
    s = m.state_dict()
    with torch.no_grad():
        for k, v in old_state.items():
            if s[k].shape == v.shape:
                s[k].copy_(v)
            elif k.endswith("fc1.weight"):
                s[k][:len(v)].copy_(v)
            elif k.endswith("fc1.bias"):
                s[k].zero_()[:len(v)].copy_(v)
            elif k.endswith("fc2.weight"):
                s[k].zero_()[:, :v.shape[1]].copy_(v)
            else:
                raise ValueError(k)
        for i in range(old["vlayers"], vlayers):
            look_near(m.blocks[i], c["E"])
    return m


def look_near(b, E):
    """A new layer: heads begin by looking at near places, sharply or softly, and at like colours.
    Its output maps are zero."""
    b.proj.weight.zero_()
    b.proj.bias.zero_()
    b.fc2.weight.zero_()
    b.fc2.bias.zero_()
    o, d = E - 60, E // b.heads
    for h in range(b.heads - 1):
        place, colour = ((3.2, 0.3), (1.8, 1.2), (0.9, 1.6))[h]
        for part in range(2):  # queries, keys
            w = b.qkv.weight[part * E + h * d:part * E + (h + 1) * d]
            w.mul_(0.2)
            for i in range(20):
                w[i, o + i] += place
            for i in range(12):
                w[20 + i, i] += colour


# ---- what the tokens are asked ----

def photos_of(pack):
    return lambda r: data.crop(pack.get(int(r.integers(len(pack)))), r)


def blocks_of(mask):
    """A mask (128, 128) on the 64x64 grid: at least half of each block of 2x2."""
    return mask.reshape(64, 2, 64, 2).mean((1, 3)) >= 0.5


def per_token(grid, cell=STRIP):
    """(64, 64) -> (256, 16): the pixels of each token's cell, a strip of 2 rows and 8 columns unless told."""
    h, w = cell
    return grid.reshape(64 // h, h, 64 // w, w).transpose(0, 2, 1, 3).reshape(256, 16)


def targets(scene, name_id, cell=STRIP):
    """any (256, 16); and of each token's thing: colour, box and size, ranks, name, and the box of the part of it
    that lies in the token."""
    out = {"any": per_token(blocks_of(scene.id_map > 0), cell).astype(np.float32)}
    share = np.stack([per_token(blocks_of(scene.id_map == t.id), cell).sum(1) for t in scene.things])
    k = share.argmax(0)
    t = scene.things
    there = share.max(0) >= 2
    colour = np.array([scenes.COLOURS.index(x.colour) if x.colour else len(scenes.COLOURS) for x in t])
    box = np.array([[*x.box] for x in t], np.float32) / scene.side
    size = np.sqrt(np.array([x.area for x in t], np.float32)) / scene.side
    best = [scenes.extreme(scene, w, t) for w in RANKS]
    rank = np.array([[b is x if b else np.nan for b in best] for x in t], np.float32)
    name = np.array([name_id.get(x.name, -1) for x in t])
    out["colour"] = np.where(there, colour[k], -1)
    out["name"] = np.where(there, name[k], -1)
    out["box"] = np.concatenate([box, size[:, None]], 1)[k]
    out["rank"] = rank[k]
    out["there"] = there.astype(np.float32)
    out["part"] = part_boxes(scene, np.array([x.id for x in t])[k], cell)
    return out


def part_boxes(scene, ids, cell=STRIP):
    """x1, y1, x2, y2 (256, 4) of what lies in each token's cell of the thing ids (256) names; 0..1 of the side.
    Zeros where nothing does."""
    side = scene.side
    h, w = side * cell[0] // 64, side * cell[1] // 64
    rows, cols = side // h, side // w
    part = scene.id_map.reshape(rows, h, cols, w).transpose(0, 2, 1, 3).reshape(256, h, w) == ids[:, None, None]
    across, down, n = part.any(1), part.any(2), np.arange(256)
    x, y = n % cols * w, n // cols * h
    box = np.stack([across.argmax(1) + x, down.argmax(1) + y,
                    x + w - across[:, ::-1].argmax(1), y + h - down[:, ::-1].argmax(1)], 1)
    return (box * part.any((1, 2))[:, None] / side).astype(np.float32)


def batch(sprites, photos, name_id, seed, step, B, size=128):
    r = np.random.default_rng([seed, 77, step])
    img, all_t = np.empty((B, 3, size, size), np.float32), []
    for b in range(B):
        while True:
            s = scenes.make_scene(r, sprites, photos)
            if s.things:
                break
        x = s.image.astype(np.float32) / 255
        img[b] = ((x - data.MEAN) / data.STD).transpose(2, 0, 1)
        all_t.append(targets(s, name_id))
    return torch.from_numpy(img), {k: torch.from_numpy(np.stack([t[k] for t in all_t])) for k in all_t[0]}


class Asker(nn.Module):
    """What the tokens answer. All but the name is read straight off channels SEEN.. of a token, so
    that the decoder finds it there by number; the name by a linear map that is thrown away."""

    def __init__(self, D, names):
        super().__init__()
        self.name = nn.Sequential(nn.Linear(D - KEPT - sum(SEEN), 48), nn.Linear(48, names))
        nn.init.normal_(self.name[0].weight, std=0.3)

    def forward(self, tok):
        tok = tok[..., KEPT:].split(list(SEEN) + [tok.shape[-1] - KEPT - sum(SEEN)], -1)
        any_, colour, box, rank, rest = tok
        return (any_ * SHARP, colour * SHARP, from_channel(box), rank * SHARP), self.name(rest)


def from_channel(x):
    """A place, 0..1 of the side, from the channel that holds it."""
    return x * 0.25 + 0.5


def fit(a, b):
    """Boxes and sizes (..., 5): generalised IoU of the boxes and ratio of the sizes, their mean."""
    def area(x1, y1, x2, y2):
        return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
    lo, hi = torch.maximum(a, b), torch.minimum(a, b)
    both = area(lo[..., 0], lo[..., 1], hi[..., 2], hi[..., 3])
    hull = area(hi[..., 0], hi[..., 1], lo[..., 2], lo[..., 3]).clamp(min=1e-4)
    union = (area(*a[..., :4].unbind(-1)) + area(*b[..., :4].unbind(-1)) - both).clamp(min=1e-4)
    sizes = hi[..., 4].clamp(min=0) / lo[..., 4].clamp(min=0.01)
    return (both / union - (hull - union) / hull + sizes) / 2


def dense_loss(asker, tok, t):
    """(loss, parts): masks, colours, boxes, ranks, names, fit of boxes, boxes of parts. An absolute error alone makes
    every thing middle-sized: what a token can't tell it guesses, and half the things are small. So the
    boxes are also held to their IoU, and the size (the fifth number) to its ratio. A token's last four channels are
    the box of the part of its thing that it shows (not in a decoder of the first edition's width). NaN in t["any"]:
    nobody knows whether a thing is there."""
    (any_, colour, box, rank), name = asker(tok)
    there = t["there"]
    n = there.sum().clamp(min=1)
    known = (~t["any"].isnan()).float()
    l_any = F.binary_cross_entropy_with_logits(any_.float(), t["any"].nan_to_num(), weight=known,
                                               reduction="sum") / known.sum().clamp(min=1)
    l_col = F.cross_entropy(colour.flatten(0, 1).float(), t["colour"].flatten(), ignore_index=-1)
    l_box = ((box.float() - t["box"]).abs().mean(-1) * there).sum() / n
    ok = (~t["rank"].isnan() & (there[..., None] > 0)).float()
    l_rank = F.binary_cross_entropy_with_logits(rank.float(), t["rank"].nan_to_num(), weight=ok,
                                                reduction="sum") / ok.sum().clamp(min=1)
    l_name = F.cross_entropy(name.flatten(0, 1).float(), t["name"].flatten(), ignore_index=-1)
    l_fit = ((1 - fit(box.float(), t["box"])) * there).sum() / n
    l_part = ((from_channel(tok[..., -4:]).float() - t["part"]).abs().mean(-1) * there).sum() / n
    parts = torch.stack([l_any, l_col, l_box, l_rank, l_name, l_fit, l_part])
    weight = torch.tensor([2.0, 0.6, 4.0, 0.6, 0.25, 1.0, 4.0 * (tok.shape[-1] > 192)])
    return (parts * weight).sum(), parts.detach()


def name_table(sprites):
    names = scenes.shape_names(False) + [sprites.name[i] for i in sprites.which[False]]
    return {n: i for i, n in enumerate(dict.fromkeys(names))}


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--start", required=True)
    ap.add_argument("--config", required=True)
    ap.add_argument("--pack", required=True)
    ap.add_argument("--sprites", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=25)
    ap.add_argument("--vlayers", type=int, default=3)
    ap.add_argument("--vmlp", type=int, default=512)
    ap.add_argument("--B", type=int, default=12)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    os.makedirs(a.out, exist_ok=True)
    with open(a.config, encoding="utf-8") as f:
        old_c = json.load(f)
    old_s = torch.load(a.start, weights_only=True)["ema"]
    old = LaMM(old_c)
    old.load_state_dict(old_s)
    m = grown(old_s, old_c, a.vlayers, a.vmlp)
    pack, sprites = data.Pack(a.pack), scenes.Sprites(a.sprites)
    names, photos = name_table(sprites), photos_of(data.Pack(a.pack))
    asker = Asker(m.c["D"], len(names))
    ps = [p for k, p in m.named_parameters() if k.startswith(("patch.", "cls", "pos", "blocks.", "ln_vision", "proj"))]
    opt = torch.optim.AdamW([{"params": ps}, {"params": list(asker.parameters())}], lr=a.lr,
                            betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    step, spent, path = 0, 0.0, a.out + "/last.pt"
    if os.path.exists(path):
        s = torch.load(path, weights_only=True)
        m.load_state_dict(s["model"])
        asker.load_state_dict(s["asker"])
        opt.load_state_dict(s["opt"])
        step, spent = s["step"], s["spent"]
    q = queue.Queue(4)

    def feed(s):
        while True:
            q.put(batch(sprites, photos, names, a.seed, s, a.B))
            s += 1
    threading.Thread(target=feed, args=(step,), daemon=True).start()

    def loss_fn(img, t):
        tok = m.see(img)
        loss, parts = dense_loss(asker, tok, t)
        with torch.no_grad():
            was = old.see(img)
        off = (tok[..., :KEPT].float() - was[..., :KEPT].float()).pow(2).mean()
        return loss + 10 * off, torch.cat([parts, off.detach()[None]])

    loss_fn = torch.compile(loss_fn, dynamic=False)
    run, t0, begun = None, time.time(), time.time() - spent
    params = ps + list(asker.parameters())
    while time.time() - begun < a.minutes * 60:
        done = (time.time() - begun) / (a.minutes * 60)
        lr = a.lr * min(1, (step + 1) / 100) * min(1, max(0.05, 1.6 * (1 - done)))
        for g in opt.param_groups:
            g["lr"] = lr
        img, t = q.get()
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = loss_fn(img, t)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step += 1
        run = parts if run is None else run * 0.96 + parts * 0.04
        if step % 20 == 0:
            print(f"step {step} any {run[0]:.4f} colour {run[1]:.3f} box {run[2]:.4f} rank {run[3]:.3f} "
                  f"name {run[4]:.3f} fit {run[5]:.3f} kept {run[6]:.5f} lr {lr:.1e} pic/s {20 * a.B / (time.time() - t0):.1f}",
                  flush=True)
            t0 = time.time()
        if step % 200 == 0 or time.time() - begun >= a.minutes * 60:
            torch.save({"model": m.state_dict(), "asker": asker.state_dict(), "opt": opt.state_dict(),
                        "step": step, "spent": time.time() - begun}, path + ".tmp")
            os.replace(path + ".tmp", path)
            with open(a.out + "/config.json", "w", encoding="utf-8") as f:
                json.dump(m.c, f)


if __name__ == "__main__":
    main()
