"""Train lamm-mini on pixel questions.

    python3 tools/train_mini/train.py --out RUN --pack PACK --tokenizer TOKENIZER

RUN/last.pt is written every --every steps, after --stop N, and before leaving on SIGINT or SIGTERM;
the same command goes on from it. Every batch is a function of (seed, step), so an interrupted run
sees what an uninterrupted one does. The length of the schedule, --steps, is an option and not part
of the state: changing it on the way bends the learning rate from there on.
RUN/log.csv gets a row with every evaluation; curve.py draws it.
"""
import argparse
import csv
import glob
import json
import math
import os
import queue
import signal
import sys
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data
import digits
from init import init
from model import LaMM

IMAGE = 128
FULL = 16  # questions per picture whose numbers are also trained against the whole vocabulary
EXT = 8    # questions per picture whose answer is trained to the end of its text
FULL_WEIGHT = 0.3
COLUMNS = ["step", "questions", "ce_r", "ce_g", "ce_b", "ce_full", "mode", "median", "time"]


def tokens(path):
    """Ids of the pieces a pixel prompt is made of, and the size of the vocabulary."""
    import sentencepiece as spm
    sp = spm.SentencePieceProcessor(model_file=path)
    one = sp.piece_to_id
    t = {"bos": 1, "eos": 2, "open": one("▁[INST]▁<Img>"),
         "ask": one("▁</Img>▁[reconstruct]▁loc:▁["), "tail": one("]▁rgb:▁[/INST]"),
         "lb": one("▁["), "rb": one("]"), "separator": one(","),
         "comma": [one(f"{n},") for n in range(256)], "plain": [one(f"{n}") for n in range(256)]}
    assert all(t[k] for k in ("open", "ask", "tail", "lb", "rb", "separator"))  # 0 is <unk>
    assert 0 not in t["comma"] + t["plain"]
    return t, sp.get_piece_size()


def config(a):
    tok, vocab = tokens(a.tokenizer)
    return dict(image=IMAGE, patch=a.patch, concat=a.concat, E=a.E, vheads=4, vlayers=a.vlayers, vmlp=a.vmlp, D=a.D,
                heads=a.heads, ffn=a.ffn, layers=a.layers, theta=a.theta, vocab=vocab, tok=tok)


def numbers(m):
    """Token ids of 0..255 followed by a comma, and of 0..255 alone."""
    return torch.tensor(m.c["tok"]["comma"]), torch.tensor(m.c["tok"]["plain"])


def questions(m, rows, cols, rgb):
    """A batch as two groups of token runs for LaMM.packed, behind their row tokens.

    A run is `col ]_rgb:_[/INST] [ r, g,`; three of its places are learnt from: those that say r, g
    and b. The first EXT questions come once more, on to `b ]`: there the trivial tokens `[`, `]`
    and end of text are learnt. Returns row ids, groups, places kept and, per group, tokens wanted.
    """
    t = m.c["tok"]
    comma, plain = numbers(m)
    B, R, C = cols.shape
    c, v = cols.reshape(B, -1), rgb.reshape(B, -1, 3)
    one = torch.ones_like(c)
    ids = torch.stack([plain[c], one * t["tail"], one * t["lb"], comma[v[..., 0]],
                       comma[v[..., 1]]], -1)
    ext = torch.cat([ids[:, :EXT], plain[v[:, :EXT, 2:]], one[:, :EXT, None] * t["rb"]], -1)
    row_of = torch.arange(R).repeat_interleave(C)
    want = torch.stack([comma[v[..., 0]], comma[v[..., 1]], plain[v[..., 2]]], -1)
    few = one[:, :EXT]
    want_ext = torch.stack([few * t["lb"], few * t["rb"], few * t["eos"]], -1)
    groups = [(ids, row_of), (ext, row_of[:EXT])]
    return comma[rows], groups, [[2, 3, 4], [1, 5, 6]], [want, want_ext]


def spoken(m, batch, among="legal"):
    """What is said about the places of a batch: logits (B, 3 n, choices) of r and g question by
    question, then b; the targets (B, 3 n); final states and wanted tokens of both groups."""
    img, rows, cols, rgb = batch
    comma, plain = numbers(m)
    row_ids, groups, keep, want = questions(m, rows, cols, rgb)
    hs = m.packed(img, row_ids, groups, keep)
    num, W = hs[0], m.head.weight
    v = rgb.reshape(len(rgb), -1, 3)
    if among == "full":
        logits = torch.cat([m.head(num[:, :, :2]).flatten(1, 2), m.head(num[:, :, 2])], 1)
        target = torch.cat([comma[v[..., :2]].flatten(1), plain[v[..., 2]]], 1)
    else:
        logits = torch.cat([F.linear(num[:, :, :2], W[comma]).flatten(1, 2),
                            F.linear(num[:, :, 2], W[plain])], 1)
        target = torch.cat([v[..., :2].flatten(1), v[..., 2]], 1)
    return logits, target, hs, want


def loss_of(m, batch, among="legal"):
    """The loss, and its parts (r, g, b, full vocabulary) for the log.

    All questions: cross-entropy among the 256 numbers that are legal there, or among the whole
    vocabulary when `among` is full. FULL questions a picture, and all trivial tokens: cross-entropy
    among the whole vocabulary, so that plain greedy decoding stays within the grammar too.
    """
    return loss_of_spoken(m, *spoken(m, batch, among))


def loss_of_spoken(m, logits, target, hs, want):
    """loss_of() of what spoken() gave."""
    num = hs[0]
    n = num.shape[1]
    ce = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none")
    ce = ce.view(target.shape)
    rg = ce[:, :2 * n].reshape(-1, n, 2)
    each = torch.stack([rg[..., 0].mean(), rg[..., 1].mean(), ce[:, 2 * n:].mean()])
    h = torch.cat([num[:, :FULL].flatten(0, 2), hs[1].flatten(0, 2)])
    w = torch.cat([want[0][:, :FULL].flatten(), want[1].flatten()])
    full = F.cross_entropy(m.head(h).float(), w)
    return each.sum() + FULL_WEIGHT * full, torch.cat([each.detach(), full.detach()[None]])


@torch.no_grad()
def answer(m, img, rows, cols, how):
    """Answers (B, R*C, 3) to a grid of questions, one channel after the other, among the legal
    numbers. how: 'mode' or 'median' of each channel's distribution given the channels before it."""
    t = m.c["tok"]
    comma, plain = numbers(m)
    B, R, C = cols.shape
    c = cols.reshape(B, -1)
    one = torch.ones_like(c)
    seq = [plain[c], one * t["tail"], one * t["lb"]]
    out = []
    row_of = torch.arange(R).repeat_interleave(C)
    for ch in range(3):
        ids = torch.stack(seq, -1)
        h = m.packed(img, comma[rows], [(ids, row_of)], [[2 + ch]])[0][:, :, 0]
        logits = m.head(h).float()[..., plain if ch == 2 else comma]
        if how == "mode":
            v = logits.argmax(-1)
        else:
            v = (logits.softmax(-1).cumsum(-1) < 0.5).sum(-1).clamp(max=255)
        out.append(v)
        if ch < 2:
            seq.append(comma[v])
    return torch.stack(out, -1)


def heldout(folder, size=IMAGE):
    """(what the model sees, the 64x64 truth) of every set-aside picture, in the order of names."""
    out = []
    for f in sorted(glob.glob(folder + "/*.png")):
        im = Image.open(f).convert("RGB")
        out.append((torch.from_numpy(data.ready(im, size)),
                    torch.from_numpy(data.truth(im).astype(np.int64))))
    return out


def quick_eval(m, held, spell="whole"):
    """Mean absolute error on 320 pixels of each set-aside picture (10,240 in all), the same ones
    every time. Answers by digits have no median here: nan."""
    r = np.random.default_rng(7)
    err = {"mode": 0.0, "median": 0.0 if spell == "whole" else math.nan}
    with torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(held), 16):
            part = held[i:i + 16]
            img = torch.stack([a for a, _ in part])
            rows = torch.from_numpy(np.stack([r.permutation(64)[:20] for _ in part]))
            cols = torch.from_numpy(np.stack([[r.permutation(64)[:16] for _ in range(20)]
                                              for _ in part]))
            right = torch.stack([t[rw[:, None], cl] for (_, t), rw, cl in zip(part, rows, cols)])
            right = right.reshape(len(part), -1, 3)
            for how in err:
                if spell == "whole":
                    got = answer(m, img, rows, cols, how)
                elif how == "mode":
                    got = digits.answer(m, img, rows, cols)
                off = (got - right).abs().float()
                err[how] += off.mean().item() * len(part)
    return {k: v / len(held) for k, v in err.items()}


def options(argv=None):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", help="folder of the run: last.pt, config.json, log.csv")
    ap.add_argument("--pack", help="folder made by tools/data/build_pack.py")

    def number(name, value, text):
        ap.add_argument("--" + name, type=type(value), default=value,
                        help=f"{text} (default: {value})")

    number("patch", 4, "side of a patch")
    number("concat", 4, "patches in a row that make one token")
    number("E", 128, "width of the vision tower")
    number("vlayers", 1, "its layers")
    number("vmlp", 256, "its MLP's width")
    number("D", 192, "width of the decoder")
    number("heads", 6, "its heads")
    number("ffn", 512, "its MLP's width")
    number("layers", 3, "its layers")
    number("theta", 1e6, "base of its rotary positions")
    number("steps", 4500, "length of the schedule: the learning rate falls as a cosine over it")
    number("stop", 0, "leave after this step, with a checkpoint; 0: at the schedule's end")
    number("every", 100, "steps between checkpoints")
    number("lr", 1e-3, "highest learning rate")
    number("minlr", 2e-5, "last learning rate")
    number("warmup", 100, "steps of linear warm-up")
    number("ema", 0.995, "decay of the averaged weights")
    number("B", 8, "pictures per step")
    number("R", 16, "rows asked per picture")
    number("C", 16, "columns asked per row")
    number("seed", 1, "of the initial weights and of every batch")
    number("threads", 2, "threads of the computation")
    number("init", "built", "initial weights: built, fourier or random")
    number("augment", "all", "changes to pictures: all, crop or none")
    number("loss", "legal", "cross-entropy of numbers: among the legal ones, or full, as the paper")
    number("spell", "whole", "numbers of answers: whole, or digits (digits.py)")
    number("coarse", 0, "1: targets of 8x8, 16x16, 32x32, 64x64 block means, a quarter each")
    number("vision", "", "checkpoint of pretrain.py to take the vision tower from")
    number("freeze", 0, "1: the vision tower is not trained")
    return ap.parse_args(argv)


def optimiser(m, lr):
    """AdamW; matrices decay, but not embeddings, positions, norms and biases."""
    decay, rest = [], []
    for k, p in m.named_parameters():
        if not p.requires_grad:
            continue
        (decay if p.ndim >= 2 and "pos" not in k and "embed" not in k else rest).append(p)
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.01},
                              {"params": rest, "weight_decay": 0.0}],
                             lr=lr, betas=(0.9, 0.98), eps=1e-8, fused=True)


def rate(a, step):
    """Learning rate of a step: linear warm-up times a cosine from lr to minlr."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / a.steps))
    return min(1, (step + 1) / a.warmup) * (a.minlr + (a.lr - a.minlr) * cosine)


def is_vision(name):
    """Does a parameter belong to the vision tower? (The connector, `proj`, does not.)"""
    return name.startswith(("patch.", "cls", "pos", "blocks."))


def load_vision(m, path):
    s = torch.load(path, weights_only=True)
    m.load_state_dict({k: s.get(k, v) for k, v in m.state_dict().items()})


class Run:
    """Everything that a checkpoint holds: weights, their average, optimiser, step, running loss."""

    def __init__(self, a):
        self.path = a.out + "/last.pt"
        torch.manual_seed(a.seed)  # biases that init() leaves alone are drawn on construction
        self.m = LaMM(config(a))
        init(self.m, a.seed, a.init)
        if a.vision:
            load_vision(self.m, a.vision)
        for name, p in self.m.named_parameters():
            p.requires_grad = not (a.freeze and is_vision(name))
        self.opt = optimiser(self.m, a.lr)
        self.ema = {k: v.detach().clone() for k, v in self.m.state_dict().items()}
        self.step, self.ce = 0, None
        if os.path.exists(self.path):
            s = torch.load(self.path, weights_only=True)
            self.m.load_state_dict(s["model"])
            self.opt.load_state_dict(s["opt"])
            self.ema, self.step, self.ce = s["ema"], s["step"], s.get("ce")
            print("resumed at", self.step, flush=True)

    @torch.no_grad()
    def average(self, decay):
        """The average of recent weights is what is judged and exported."""
        new = max(1 - decay, 1 / (self.step + 1))
        torch._foreach_lerp_(list(self.ema.values()), list(self.m.state_dict().values()), new)

    def save(self):
        torch.save({"model": self.m.state_dict(), "ema": self.ema, "opt": self.opt.state_dict(),
                    "step": self.step, "ce": self.ce}, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)


class Log:
    """log.csv: one row per evaluation. Rows of steps behind the checkpoint are dropped: those steps
    are run again."""

    def __init__(self, path, step):
        rows = []
        if os.path.exists(path):
            with open(path, newline="", encoding="utf-8") as f:
                rows = [r for r in csv.reader(f) if r and r[0].isdigit() and int(r[0]) <= step]
        with open(path + ".tmp", "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([COLUMNS] + rows)
        os.replace(path + ".tmp", path)
        self.path = path

    def add(self, *row):
        with open(self.path, "a", newline="", encoding="utf-8") as f:
            csv.writer(f).writerow(row)


def batches(a, pack, step):
    """A queue that a thread fills with the batches from `step` on."""
    q = queue.Queue(6)

    def feed(s):
        while s < a.steps:
            side = 8 << (4 * s // a.steps) if a.coarse else 64
            q.put(data.batch(pack, a.seed, s, a.B, a.R, a.C, IMAGE, a.augment, side))
            s += 1

    threading.Thread(target=feed, args=(step,), daemon=True).start()
    return q


def main():
    a = options()
    if not a.out or not a.pack:
        sys.exit("train: --out and --pack are needed")
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    pack, held = data.Pack(a.pack), heldout(a.pack + "/heldout")
    run = Run(a)
    m, end = run.m, min(a.stop or a.steps, a.steps)
    print("parameters", sum(p.numel() for p in m.parameters()), flush=True)
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(m.c, f)
    log = Log(a.out + "/log.csv", run.step)
    asked = []  # signals; the loop leaves after the step it is in
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: asked.append(number))
    if run.step == 0:
        print("start", quick_eval(m, held, a.spell), flush=True)
    shadow = LaMM(m.c)
    loss_fn = torch.compile(digits.loss_of if a.spell == "digits" else loss_of, dynamic=False)
    row_of = torch.arange(a.R).repeat_interleave(a.C)
    q, per_step = batches(a, pack, run.step), a.B * a.R * a.C
    first, t0 = run.step, time.time()
    leave = False
    while run.step < end and not leave:
        lr = rate(a, run.step)
        for g in run.opt.param_groups:
            g["lr"] = lr
        batch = q.get()
        with torch.autocast("cpu", torch.bfloat16):
            if a.spell == "digits":
                loss, ce = loss_fn(m, digits.prepare(m, batch), row_of)
            else:
                loss, ce = loss_fn(m, batch, a.loss)
        run.opt.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        run.opt.step()
        run.step += 1
        run.average(a.ema)
        run.ce = ce if run.ce is None else run.ce * 0.97 + ce * 0.03
        if run.step % 20 == 0:
            speed = (run.step - first) * per_step / (time.time() - t0)
            print(f"step {run.step} ce {[round(x, 3) for x in run.ce.tolist()]} |g| {norm:.2f} "
                  f"lr {lr:.2e} q/s {speed:.0f}", flush=True)
        leave = bool(asked)
        if run.step % a.every == 0 or run.step == end or leave:
            run.save()
            shadow.load_state_dict(run.ema)
            e = quick_eval(shadow, held, a.spell)
            log.add(run.step, run.step * per_step, *run.ce.tolist(), e["mode"], e["median"],
                    time.time())
            print("  eval", run.step, "questions", run.step * per_step,
                  {k: round(v, 2) for k, v in e.items()}, flush=True)


if __name__ == "__main__":
    main()
