"""Two shapes of the vision tower against each other, in equal time: which one should the fourth edition have?

    python3 tools/train_mini/trial.py OUT --pack PACK --sprites SPRITES.npz --looks LOOKS [--cpu 4000]

    A    patch 4, width 128, 6 layers, four patches a token (the third edition's shape)
    B    patch 8, width 256, 8 layers, a patch a token: as many tokens, each a square of 4x4 places

Both start from noise with Fourier features of places, see the same pictures (world.py: a function of --seed and
the picture's number), and are asked the dense questions and their own 48 colours. One thread trains them in turns
of --slice CPU seconds, so that the comparison stands whenever it ends; B begins. A tower's time is its whole work
but the judging: making scenes counts.

OUT/A.pt and OUT/B.pt are written every 200 CPU seconds and on SIGINT or SIGTERM; the same command goes on
from them, and a step comes out the same to the bit. The learning rate depends on the step alone (a rise, then a
fall as the root of the step); what is judged is the running mean of the weights. OUT/log.csv has a row for every
judgement (judge_tower.py), OUT/pid the process.
"""
import argparse
import csv
import os
import signal
import sys
import time

import torch
from torch import nn

import dense
import init
import judge_tower
import model
import world

SHAPES = {"A": {"patch": 4, "E": 128, "vheads": 4, "vlayers": 6, "vmlp": 512, "concat": 4},
          "B": {"patch": 8, "E": 256, "vheads": 8, "vlayers": 8, "vmlp": 1024, "concat": 1}}
CELLS = {"A": (2, 8), "B": (4, 4)}  # rows and columns of the 64x64 grid that a token shows
REST = {"image": 128, "D": 256, "layers": 0, "heads": 8, "ffn": 8, "vocab": 8, "theta": 1e6, "tok": {}}
OWN = 300.0  # weight of the squared error of a token's own colours, 0..1
EVERY = 200.0  # CPU seconds between two checkpoints


class Tower(nn.Module):
    """A tower with the connector, and what its tokens are asked."""

    def __init__(self, shape, names, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.m = model.LaMM({**REST, **SHAPES[shape]})
        self.m.embed = self.m.norm = self.m.head = None
        self.asker = dense.Asker(REST["D"], names)
        self.own = nn.Linear(dense.KEPT, 48)
        self.start()

    @torch.no_grad()
    def start(self):
        """Noise; what a block adds is small. Places are Fourier features."""
        m = self.m
        for name, p in m.named_parameters():
            if p.ndim >= 2 and name != "pos":
                p.normal_(std=p.shape[-1] ** -0.5)
        m.pos.normal_(std=0.02)
        init.vision_places(m)
        m.cls.normal_(std=0.5)
        for b in m.blocks:
            b.proj.weight.mul_(0.3)
            b.fc2.weight.mul_(0.3)
        m.proj.weight.mul_(0.5)

    def colours(self, tok):
        """The 48 numbers of each token's cell, 0..1."""
        return self.own(tok[..., :dense.KEPT].float()) * 0.25 + 0.5

    def loss(self, img, t):
        tok = self.m.see(img).float()
        loss, parts = dense.dense_loss(self.asker, tok, t)
        off = (self.colours(tok) - t["own"]).pow(2).mean()
        return loss + OWN * off, torch.cat([parts, off.detach()[None]])


def written_out(q, k, v, mask=None):
    """Attention in plain products: at 257 tokens in bf16 it takes half the time of PyTorch's fused one."""
    if q.shape[2] > 400 or q.dtype != torch.bfloat16:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)
    s = (q * q.shape[-1] ** -0.5).contiguous() @ k.contiguous().transpose(-1, -2)
    return torch.softmax(s, -1) @ v.contiguous()


class Run:
    """One tower's training: everything that its checkpoint holds."""

    def __init__(self, shape, names, a):
        self.shape, self.path = shape, f"{a.out}/{shape}.pt"
        self.tower = Tower(shape, names, a.seed)
        self.mean = {k: v.detach().clone() for k, v in self.tower.state_dict().items()}
        self.opt = torch.optim.AdamW(self.tower.parameters(), lr=a.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.step, self.cpu, self.making, self.judged, self.parts = 0, 0.0, 0.0, -1, None
        if os.path.exists(self.path):
            s = torch.load(self.path, weights_only=True)
            self.tower.load_state_dict(s["model"])
            self.mean = s["ema"]
            self.opt.load_state_dict(s["opt"])
            self.step, self.cpu, self.making, self.judged = s["step"], s["cpu"], s["making"], s["judged"]
            self.parts = s["parts"]
        self.saved = self.cpu

    def save(self):
        torch.save({"model": self.tower.state_dict(), "ema": self.mean, "opt": self.opt.state_dict(),
                    "step": self.step, "cpu": self.cpu, "making": self.making, "judged": self.judged,
                    "parts": self.parts, "shape": {**REST, **SHAPES[self.shape]}}, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)
        self.saved = self.cpu

    def learn(self, w, a):
        """One step."""
        begun = time.process_time()
        img, t = w.batch(a.seed, self.step * a.B, a.B, CELLS[self.shape])
        made = time.process_time()
        for g in self.opt.param_groups:
            g["lr"] = a.lr * min(1.0, (self.step + 1) / 150, (1000 / (self.step + 1)) ** 0.5)
        with torch.autocast("cpu", torch.bfloat16, enabled=judge_tower.HAS_BF16):
            loss, parts = self.tower.loss(img, t)
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.opt.step()
        self.step += 1
        now = self.tower.state_dict()
        torch._foreach_lerp_(list(self.mean.values()), [now[k] for k in self.mean],
                             max(0.004, 1 / (1 + self.step / 4)))
        self.parts = parts if self.parts is None else self.parts * 0.98 + parts * 0.02
        self.making += made - begun
        self.cpu += time.process_time() - begun

    def judge(self, exam, a):
        """A row of the log: time and figures of the running mean."""
        live = {k: v.clone() for k, v in self.tower.state_dict().items()}
        self.tower.load_state_dict(self.mean)
        row = {"tower": self.shape, "cpu": round(self.cpu, 1), "step": self.step, "views": self.step * a.B,
               "making": round(self.making, 1), "time": round(time.time())}
        row.update(judge_tower.figures(self.tower, exam, CELLS[self.shape]))
        row.update({"train_" + k: round(v, 5) for k, v in zip(
            ("any", "colour", "box", "rank", "name", "fit", "part", "own"), self.parts.tolist())})
        self.tower.load_state_dict(live)
        self.judged = self.step
        print(row, flush=True)
        path = a.out + "/log.csv"
        fresh = not os.path.exists(path)
        with open(path, "a", newline="", encoding="utf-8") as f:
            out = csv.DictWriter(f, row)
            if fresh:
                out.writeheader()
            out.writerow(row)


def due(runs, a):
    """The tower whose turn it is, or None at the end."""
    left = [r for r in runs if r.cpu < a.cpu]
    return min(left, key=lambda r: r.cpu // a.slice, default=None)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out")
    for name in ("pack", "sprites", "looks"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--cpu", type=float, default=4000, help="CPU seconds of each tower")
    ap.add_argument("--slice", type=float, default=400)
    ap.add_argument("--B", type=int, default=8)
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--seed", type=int, default=4)
    a = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model.attention = written_out
    os.makedirs(a.out, exist_ok=True)
    with open(a.out + "/pid", "w", encoding="utf-8") as f:
        f.write(str(os.getpid()))
    asked = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: asked.append(number))
    w = world.World(a.pack, a.sprites, a.looks)
    exam = judge_tower.Exam(w, a.pack)
    print(len(w.names), "names,", exam, flush=True)
    runs = [Run(shape, len(w.names), a) for shape in "BA"]
    while not asked and (r := due(runs, a)):
        turn = r.cpu // a.slice
        while not asked and r.cpu < a.cpu and r.cpu // a.slice == turn:
            r.learn(w, a)
            if r.step % 25 == 0:
                print(r.shape, "step", r.step, "cpu", round(r.cpu, 1), " ".join(f"{v:.4f}" for v in r.parts.tolist()),
                      flush=True)
            if r.cpu - r.saved >= EVERY:
                if r.judged < 0:
                    r.judge(exam, a)
                r.save()
        if not asked:
            r.judge(exam, a)
        r.save()
    os.remove(a.out + "/pid")


if __name__ == "__main__":
    sys.exit(main())
