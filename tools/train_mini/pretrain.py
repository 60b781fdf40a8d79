"""Pre-train the vision tower on another task: which collection is this picture from?

    python3 tools/train_mini/pretrain.py --pack PACK --tokenizer TOKENIZER --out TOWER.pt
    python3 tools/train_mini/train.py ... --vision TOWER.pt [--freeze 1]

A tower that has learnt to tell scenes apart needn't keep colours. Its class is the Debian package
that a picture comes from (ten of them: landscapes, space, monuments, drawings, ...), the same
pictures and crops as in train.py; the answer is a linear map of the mean of its patches. What is
saved is the tower alone. How well pixels can be learnt on top of it, frozen or adapted, is then
train.py's question (the paper: 20.38 against 6.65).
"""
import argparse
import csv
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
import train
from init import init
from model import LaMM

MANIFEST = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "train_manifest.tsv")


def labels():
    """Package of every training picture in the order of the pack, of every set-aside one by its
    file's name, and the packages' names."""
    with open(MANIFEST, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    names = sorted({r["package"] for r in rows})
    of = [names.index(r["package"]) for r in rows if r["sha256"][0] != "0"]
    aside = {f"{r['package']}-{r['sha256'][:12]}.png": names.index(r["package"])
             for r in rows if r["sha256"][0] == "0"}
    return np.array(of), aside, names


class Classifier(torch.nn.Module):
    def __init__(self, m, n):
        super().__init__()
        self.m, self.out = m, torch.nn.Linear(m.c["E"], n)

    def forward(self, img):
        m = self.m
        B, p, G = img.shape[0], m.c["patch"], m.G
        x = img.view(B, 3, G, p, G, p).permute(0, 2, 4, 1, 3, 5).reshape(B, G * G, 3 * p * p)
        x = torch.cat([(m.cls + m.pos[0]).expand(B, 1, -1), m.patch(x).float() + m.pos[1:]], 1)
        for b in m.blocks:
            x = b(x)
        return self.out(m.ln_vision(x)[:, 1:].mean(1))


def batch(pack, of, step, n):
    r = np.random.default_rng([99, step])
    which = r.integers(len(pack), size=n)
    crops = [data.crop(pack.get(int(i)), r) for i in which]
    return (torch.from_numpy(np.stack([data.ready(c, train.IMAGE) for c in crops])),
            torch.from_numpy(of[which]))


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pack", required=True)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--steps", type=int, default=400)
    ap.add_argument("--batch", type=int, default=24)
    ap.add_argument("--init", default="built")
    a = ap.parse_args()
    of, aside, names = labels()
    pack = data.Pack(a.pack)
    assert len(of) == len(pack), "pack and manifest differ"
    torch.manual_seed(1)
    m = LaMM(train.config(train.options(["--tokenizer", a.tokenizer])))
    init(m, 1, a.init)
    c = Classifier(m, len(names))
    opt = torch.optim.AdamW([p for k, p in c.named_parameters()
                             if k.startswith("out") or "ln_vision" in k or train.is_vision(k[2:])],
                            lr=1e-3, weight_decay=0.01)
    ce, t0 = None, time.time()
    for step in range(a.steps):
        for g in opt.param_groups:
            g["lr"] = 1e-3 * min(1, (step + 1) / 50) * (1 - step / a.steps)
        img, want = batch(pack, of, step, a.batch)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(c(img).float(), want)
        opt.zero_grad()
        loss.backward()
        opt.step()
        ce = loss.item() if ce is None else 0.97 * ce + 0.03 * loss.item()
        if step % 20 == 19:
            print(f"step {step + 1} ce {ce:.3f} {time.time() - t0:.0f} s", flush=True)
    with torch.no_grad():
        files = sorted(os.listdir(a.pack + "/heldout"))
        held = torch.stack([img for img, _ in train.heldout(a.pack + "/heldout")])
        hits = (c(held).argmax(1) == torch.tensor([aside[f] for f in files])).sum().item()
        most = max(np.bincount([aside[f] for f in files]))
    print(f"set-aside pictures right: {hits} of {len(files)}; the commonest class alone: {most}")
    torch.save({k: v for k, v in m.state_dict().items() if train.is_vision(k) or "ln_vision" in k},
               a.out)


if __name__ == "__main__":
    main()
