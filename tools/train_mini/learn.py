"""Train the second edition of lamm-mini: all tasks at once, from the first edition and the dense stage.

    python3 tools/train_mini/learn.py --out RUN --first FIRST --first-tokenizer OLD --dense DENSE \
        --tokenizer TOKENIZER --pack PACK --sprites SPRITES.npz --steps 2500

FIRST and DENSE are folders with last.pt and config.json (train.py, dense.py). RUN/last.pt is
written every --every steps, at --stop and on SIGINT or SIGTERM; the same command goes on from it. A
batch is a function of (seed, step); --steps, the length of the cosine, is an option and no state.
RUN/log.csv gets a row with every evaluation.

The loss: for colours, masks and box corners cross-entropy among the numbers that are legal there;
for words, ends of text and fixed tokens (`text`, `form`) among the whole vocabulary. On scenes the
picture tokens are asked the dense stage's questions as well.
"""
import argparse
import csv
import json
import os
import queue
import signal
import sys
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
import dense
import lay
import mix
import train
from model import LaMM

WEIGHT = {"comma": 2.0, "plain": 1.0, "mask": 2.0, "corner": 1.2, "last": 0.4,
          "text": 1.0, "form": 0.3}
COLUMNS = ["step", "pictures"] + mix.KINDS + ["mode", "median", "time"]


def legal(m, kind):
    t = m.c["tok"]
    rows = {"comma": t["comma"], "plain": t["plain"], "mask": t["digit"][:2], "corner": t["corner"],
            "last": t["last"]}.get(kind)
    return m.head.weight if rows is None else m.head.weight[torch.tensor(rows)]


def loss_of(m, states, b):
    """(loss, mean cross-entropy of each kind)."""
    parts, total = [], 0.0
    for i, kind in enumerate(mix.KINDS):
        at = b["kind"] == i
        if not at.any():
            parts.append(torch.tensor(float("nan")))
            continue
        logits = F.linear(states[at], legal(m, kind)).float()
        ce = (F.cross_entropy(logits, b["target"][at], reduction="none") * b["weight"][at]).mean()
        total = total + WEIGHT[kind] * ce
        parts.append(ce.detach())
    return total, torch.stack(parts)


def begin(a, words):
    """The model with its initial weights, and the dense stage's maps."""
    import sentencepiece as spm
    with open(a.dense + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    c.update(tok=words.tok, vocab=words.sp.get_piece_size())
    m = LaMM(c)
    first = torch.load(a.first + "/last.pt", weights_only=True)["ema"]
    d = torch.load(a.dense + "/last.pt", weights_only=True)
    asker = lay.start(m, first, spm.SentencePieceProcessor(model_file=a.first_tokenizer), words,
                      d["model"], d["asker"])
    return m, asker


class Asker(dense.Asker):
    """The dense stage's, with fewer channels for names."""

    def __init__(self, names):
        super().__init__(dense.KEPT + sum(dense.SEEN) + lay.REST, names)

    def forward(self, tok):
        return super().forward(tok[..., :dense.KEPT + sum(dense.SEEN) + lay.REST])


def step_fn(m, asker, old, photos):
    """Final states; the dense stage's loss and its parts; how far the channels that the first
    edition's decoder reads have moved from what its own tower says."""
    def run(img, ids, depth, sees, kept, targets):
        tok = m.see(img)
        states = m.tree(m.prefix(tok[:, None]), ids, depth, sees, kept)
        extra, parts = dense.dense_loss(asker, tok[photos:], targets)
        with torch.no_grad():
            was = old.see(img)[..., :dense.KEPT].float()
        moved = (tok[..., :dense.KEPT].float() - was).pow(2).mean()
        return states, extra, torch.cat([parts, moved.detach()[None]]), moved
    return run


def first_edition(folder):
    with open(folder + "/config.json", encoding="utf-8") as f:
        m = LaMM(json.load(f))
    m.load_state_dict(torch.load(folder + "/last.pt", weights_only=True)["ema"])
    return m.requires_grad_(False)


def options(argv=None):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "first", "first-tokenizer", "dense", "tokenizer", "pack", "sprites"):
        ap.add_argument("--" + name, required=True)

    def number(name, value, text):
        ap.add_argument("--" + name, type=type(value), default=value, help=f"{text} (default: {value})")
    number("steps", 2500, "length of the schedule")
    number("stop", 0, "leave after this step; 0: at the end")
    number("every", 100, "steps between checkpoints")
    number("lr", 7e-4, "highest learning rate")
    number("minlr", 3e-5, "last learning rate")
    number("warmup", 60, "steps of linear warm-up")
    number("ema", 0.99, "decay of the averaged weights")
    number("B", 8, "pictures per step")
    number("photos", 1, "of these photographs, asked for colours only")
    number("colours", 2, "of these scenes, asked for colours only")
    number("pixels", 0, "photographs per step about which the decoder alone is asked 256 pixels each")
    number("seeing", 2.0, "weight of the dense stage's questions")
    number("keep", 1000.0, "weight of the mean squared move of a token's old channels")
    number("seed", 1, "of every batch")
    number("freeze", 0, "1: the vision tower and the connector are not trained")
    number("compile", 1, "0: without torch.compile, which takes minutes")
    number("threads", 2, "threads of the computation")
    return ap.parse_args(argv)


class Run:
    def __init__(self, a, words, names):
        self.path = a.out + "/last.pt"
        self.m, asker = begin(a, words)
        self.asker = Asker(names)
        self.asker.load_state_dict(asker)
        self.opt = train.optimiser(self.m, a.lr)
        self.opt.add_param_group({"params": list(self.asker.parameters()), "weight_decay": 0.0})
        self.ema = {k: v.detach().clone() for k, v in self.m.state_dict().items()}
        self.step, self.ce, self.held = 0, None, {}
        if os.path.exists(self.path):
            s = torch.load(self.path, weights_only=True)
            self.m.load_state_dict(s["model"])
            self.asker.load_state_dict(s["asker"])
            self.opt.load_state_dict(s["opt"])
            self.ema, self.step, self.ce = s["ema"], s["step"], s["ce"]
            self.held = s.get("held", {})
            print("resumed at", self.step, flush=True)

    @torch.no_grad()
    def average(self, decay):
        new = max(1 - decay, 1 / (self.step + 1))
        torch._foreach_lerp_(list(self.ema.values()), list(self.m.state_dict().values()), new)

    def held_values(self):
        """What act.py has set and training leaves alone: [(parameter, where, values)]."""
        p = dict(self.m.named_parameters())
        return [(p[k], w, p[k].detach()[w].clone()) for k, w in self.held.items()]

    def save(self):
        torch.save({"held": self.held, "model": self.m.state_dict(), "asker": self.asker.state_dict(), "ema": self.ema,
                    "opt": self.opt.state_dict(), "step": self.step, "ce": self.ce}, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)


def quick_eval(m, held):
    """As train.quick_eval, with the first edition's packing."""
    return train.quick_eval(m, held)


def main():
    a = options()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    words, sprites, pack = mix.Words(a.tokenizer), dense.scenes.Sprites(a.sprites), data.Pack(a.pack)
    source = mix.Mix(words, pack, sprites, a.seed, a.B, a.photos, a.colours)
    held = train.heldout(a.pack + "/heldout")[::2]
    run = Run(a, words, len(source.names))
    m, end = run.m, min(a.stop or a.steps, a.steps)
    print("parameters", sum(p.numel() for p in m.parameters()), flush=True)
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(m.c, f)
    log = train.Log(a.out + "/log.csv", run.step)
    with open(log.path, newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))[1:]
    with open(log.path, "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([COLUMNS] + rows)
    asked = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: asked.append(number))
    if run.step == 0:
        print("start", quick_eval(m, held), flush=True)
    shadow = LaMM(m.c)
    held_back = run.held_values()
    for name, p in m.named_parameters():
        p.requires_grad = not (a.freeze and (train.is_vision(name) or name.startswith(("ln_vision", "proj."))))
    forward = step_fn(m, run.asker, first_edition(a.first), a.photos)
    if a.compile:
        forward = torch.compile(forward, dynamic=False)
    q = queue.Queue(4)

    def feed(s):
        while True:
            b = source.batch(s)
            if a.pixels:
                b["pixels"] = data.batch(pack, a.seed + 1000, s, a.pixels, 16, 16, 128)
            q.put(b)
            s += 1
    threading.Thread(target=feed, args=(run.step,), daemon=True).start()
    params = [p for p in m.parameters() if p.requires_grad] + list(run.asker.parameters())
    t0, leave = time.time(), False
    while run.step < end and not leave:
        for g in run.opt.param_groups:
            g["lr"] = train.rate(a, run.step)
        b = q.get()
        with torch.autocast("cpu", torch.bfloat16):
            states, extra, seen, moved = forward(b["img"], b["ids"], b["depth"], b["sees"], b["kept"],
                                                 b["dense"])
            loss, ce = loss_of(m, states, b)
        loss = loss + a.seeing * extra + a.keep * moved
        run.opt.zero_grad(set_to_none=True)
        loss.backward()
        if a.pixels:  # many more questions about colours, to the decoder alone
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    tokens = m.see(b["pixels"][0])
                more, more_ce = train.loss_of(m, (tokens.float(), *b["pixels"][1:]))
            more.backward()
            ce[:2] = torch.stack([more_ce[:2].mean(), more_ce[2]])
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        run.opt.step()
        with torch.no_grad():
            for p, where, values in held_back:
                p[where] = values
        run.step += 1
        run.average(a.ema)
        ce = torch.cat([ce, seen])
        if run.ce is None or len(run.ce) != len(ce):
            run.ce = ce
        ok = ~ce.isnan()
        run.ce = torch.where(ok, torch.where(run.ce.isnan(), ce, run.ce * 0.96 + ce.nan_to_num() * 0.04), run.ce)
        if run.step % 20 == 0:
            print(f"step {run.step}", " ".join(f"{k} {v:.4f}" for k, v in zip(
                mix.KINDS + ["any", "colour", "box", "rank", "name", "moved"], run.ce.tolist())),
                f"|g| {norm:.2f} lr {g['lr']:.1e} pic/s {20 * a.B / (time.time() - t0):.1f}", flush=True)
            t0 = time.time()
        leave = bool(asked)
        if run.step % a.every == 0 or run.step == end or leave:
            run.save()
            shadow.load_state_dict(run.ema)
            e = quick_eval(shadow, held)
            log.add(run.step, run.step * a.B, *[round(v, 5) for v in run.ce[:len(mix.KINDS)].tolist()],
                    e["mode"], e["median"], time.time())
            print("  eval", run.step, {k: round(v, 2) for k, v in e.items()}, flush=True)
            t0 = time.time()


if __name__ == "__main__":
    main()
