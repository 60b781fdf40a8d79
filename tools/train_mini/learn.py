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

With --pixels photographs are asked for 256 colours each, of the decoder alone; --teach is how much of
that loss is the divergence from the first edition's own answer instead of the cross-entropy. With
--games and --play prompts of both games are answered too (play.py).
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
import play
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
    """The dense stage's, without the channels that text tokens have for other things: lay.REST of those for names
    are left, and those behind lay.WIDTH but for the last four."""

    def __init__(self, names, D=lay.WIDTH):
        super().__init__(lay.T_REST + lay.REST + max(0, D - 4 - lay.WIDTH), names)

    def forward(self, tok):
        return super().forward(torch.cat([tok[..., :lay.T_REST + lay.REST], tok[..., lay.WIDTH:-4]], -1))


def step_fn(m, asker, old, photos):
    """Final states; the dense stage's loss and its parts; how far the channels that the first
    edition's decoder reads have moved from what its own tower says."""
    def run(b):
        tok = m.see(b["img"])
        states, on = m.tree(m.prefix(tok[:, None]), b["ids"], b["depth"], b["sees"], b["kept"], b["looks"], b["spots"])
        found = torch.stack([mean_where(-on[i], b["which"] == i) for i in (mix.SPEAKS, mix.ANSWERS, mix.EDGES)])
        extra, parts = dense.dense_loss(asker, tok[photos:], b["dense"])
        with torch.no_grad():
            was = old.see(b["img"])[..., :dense.KEPT].float()
        moved = (tok[..., :dense.KEPT].float() - was).pow(2).mean()
        return states, extra, found, torch.cat([parts, moved.detach()[None], found.detach()]), moved
    return run


def mean_where(x, where):
    return (x * where).sum() / where.sum().clamp(min=1)


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
    number("minutes", 0.0, "end of the schedule that way, wherever it then is: rates follow the clock, not steps")
    number("stop", 0, "leave after this step; 0: at the end")
    number("every", 100, "steps between checkpoints")
    number("lr", 7e-4, "highest learning rate")
    number("minlr", 3e-5, "last learning rate")
    number("slow", 1.0, "times that is the rate of all that point.py didn't add: colours suffer from high ones")
    number("warmup", 60, "steps of linear warm-up")
    number("ema", 0.99, "decay of the averaged weights")
    number("B", 8, "pictures per step")
    number("photos", 1, "of these photographs, asked for colours only")
    number("colours", 2, "of these scenes, asked for colours only")
    number("pixels", 0, "photographs per step about which the decoder alone is asked 256 pixels each")
    number("teach", 0.0, "share of the pixels' loss that is the first edition's answer instead of the truth")
    ap.add_argument("--games", help="folder of recorded rounds (tools/games/record.py)")
    number("play", 0, "prompts of one game per step that are answered, the games by turns")
    number("playing", 1.0, "weight of their loss")
    number("seeing", 2.0, "weight of the dense stage's questions")
    number("pointing", 1.0, "weight of where the heads look that point (point.py)")
    number("keep", 1000.0, "weight of the mean squared move of a token's old channels")
    number("seed", 1, "of every batch")
    number("freeze", 0, "1: the vision tower and the connector are not trained")
    number("compile", 1, "0: without torch.compile, which takes minutes")
    number("threads", 2, "threads of the computation")
    return ap.parse_args(argv)


def optimiser(m, asker, a):
    """AdamW as train.py's; the layer that point.py added and the asker learn at the whole rate, all else at --slow."""
    new = f"layers.{m.c['point'][1][0]}." if "point" in m.c else None
    groups = {}
    for k, p in m.named_parameters():
        decay = 0.01 if p.ndim >= 2 and "pos" not in k and "embed" not in k else 0.0
        speed = 1.0 if new and k.startswith(new) else a.slow
        groups.setdefault((decay, speed), []).append(p)
    groups.setdefault((0.0, 1.0), []).extend(asker.parameters())
    return torch.optim.AdamW([{"params": p, "weight_decay": d, "speed": s} for (d, s), p in groups.items()],
                             lr=a.lr, betas=(0.9, 0.98), eps=1e-8, fused=True)


class Run:
    def __init__(self, a, words, names):
        self.path = a.out + "/last.pt"
        going = os.path.exists(self.path)
        if going:
            with open(a.out + "/config.json", encoding="utf-8") as f:
                self.m = LaMM(json.load(f))
            self.asker = Asker(names, self.m.c["D"])
        else:
            self.m, asker = begin(a, words)
            self.asker = Asker(names)
            self.asker.load_state_dict(asker)
        self.opt = optimiser(self.m, self.asker, a)
        self.ema = {k: v.detach().clone() for k, v in self.m.state_dict().items()}
        self.step = 0
        if going:
            s = torch.load(self.path, weights_only=True)
            self.m.load_state_dict(s["model"])
            if "asker" in s:
                self.asker.load_state_dict(s["asker"])
            if "opt" in s:
                self.opt.load_state_dict(s["opt"])
            self.ema, self.step = s["ema"], s["step"]
            print("resumed at", self.step, flush=True)

    @torch.no_grad()
    def average(self, decay):
        new = max(1 - decay, 1 / (self.step + 1))
        torch._foreach_lerp_(list(self.ema.values()), list(self.m.state_dict().values()), new)

    def save(self):
        torch.save({"model": self.m.state_dict(), "asker": self.asker.state_dict(), "ema": self.ema,
                    "opt": self.opt.state_dict(), "step": self.step}, self.path + ".tmp")
        os.replace(self.path + ".tmp", self.path)


class Sources:
    """What a step is made of, in a queue that a thread fills from `step` on."""

    def __init__(self, a, words, sprites, step):
        self.a, self.pack = a, data.Pack(a.pack)
        self.mix = mix.Mix(words, self.pack, sprites, a.seed, a.B, a.photos, a.colours)
        self.games = play.Games(a.games, a.seed) if a.games else None
        self.q = queue.Queue(4)
        threading.Thread(target=self.feed, args=(step,), daemon=True).start()

    def feed(self, step):
        a = self.a
        while True:
            b = self.mix.batch(step)
            if a.pixels:
                b["pixels"] = data.batch(self.pack, a.seed + 1000, step, a.pixels, 16, 16, 128)
            if self.games and a.play:
                game = ("car", "car", "space")[step % 3]
                b["play"] = game, *self.games.prompts(step, game, a.play)
            self.q.put(b)
            step += 1


def colour_loss(m, old, batch, teach):
    """(loss, cross-entropies of r and g, of b): many questions about colours, to the decoder alone."""
    with torch.no_grad():
        tokens = m.see(batch[0]).float()
    said = train.spoken(m, (tokens, *batch[1:]))
    loss, parts = train.loss_of_spoken(m, *said)
    if teach:
        with torch.no_grad():
            wanted = train.spoken(old, (old.see(batch[0]).float(), *batch[1:]))[0].float().log_softmax(-1)
        off = F.kl_div(said[0].float().log_softmax(-1), wanted, reduction="none", log_target=True)
        loss = (1 - teach) * loss + teach * 3 * off.sum(-1).mean()
    return loss, torch.stack([parts[:2].mean(), parts[2]])


def play_loss(m, answers, game, img, action):
    """(loss, {name: cross-entropy}) of prompts of a game, to the decoder alone."""
    with torch.no_grad():
        tok = m.see(img.flatten(0, 1)).unflatten(0, img.shape[:2])
    return play.answer_loss(m, answers, tok, game, action)


class Means:
    """Running means by name, for the log."""

    def __init__(self):
        self.of = {}

    def add(self, parts):
        for k, v in parts.items():
            if v == v:
                self.of[k] = v if k not in self.of else 0.96 * self.of[k] + 0.04 * v

    def __str__(self):
        return " ".join(f"{k} {v:.4f}" for k, v in self.of.items())


SEEN = ["any", "colour", "box", "rank", "name", "fit", "part", "moved", "speaks", "answers", "edges"]
SCENE = ["img", "ids", "depth", "sees", "kept", "looks", "which", "spots", "dense"]  # of a batch


class Teacher:
    """One step after the other: all losses, one change of the weights."""

    def __init__(self, a, run, words):
        self.a, self.run, self.old = a, run, first_edition(a.first)
        self.answers = play.Answers(words)
        self.means, self.begun, self.done = Means(), None, 0
        for name, p in run.m.named_parameters():
            p.requires_grad = not (a.freeze and (train.is_vision(name) or name.startswith(("ln_vision", "proj."))))
        self.params = [p for p in run.m.parameters() if p.requires_grad] + list(run.asker.parameters())
        self.forward = step_fn(run.m, run.asker, self.old, a.photos)
        self.colours = colour_loss
        if a.compile:
            self.forward = torch.compile(self.forward, dynamic=False)
            self.colours = torch.compile(self.colours, dynamic=False)

    def at(self):
        """Where in the schedule this is, in steps."""
        if not self.a.minutes:
            return self.run.step
        return min(1, (time.time() - self.begun) / (60 * self.a.minutes)) * self.a.steps if self.begun else 0

    def step(self, b):
        """Returns the gradient's norm."""
        a, opt = self.a, self.run.opt
        for g in opt.param_groups:
            g["lr"] = train.rate(a, self.at()) * min(1, (self.done + 1) / a.warmup) * g["speed"]
        opt.zero_grad(set_to_none=True)
        self.scenes(b)
        self.more(b)
        norm = torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        opt.step()
        self.run.step += 1
        self.done += 1
        if self.done == 3:  # all is compiled
            self.begun = time.time()
        self.run.average(a.ema)
        return norm

    def scenes(self, b):
        a, m = self.a, self.run.m
        with torch.autocast("cpu", torch.bfloat16):
            states, extra, found, seen, moved = self.forward({k: b[k] for k in SCENE})
            loss, ce = loss_of(m, states, b)
        (loss + a.seeing * extra + a.pointing * found.sum() + a.keep * moved).backward()
        self.means.add(dict(zip(mix.KINDS + SEEN, torch.cat([ce, seen]).tolist())))

    def more(self, b):
        """The losses that only some runs have."""
        m = self.run.m
        with torch.autocast("cpu", torch.bfloat16):
            if "pixels" in b:
                loss, ce = self.colours(m, self.old, b["pixels"], self.a.teach)
                loss.backward()
                self.means.add({"photo_rg": ce[0].item(), "photo_b": ce[1].item()})
            if "play" in b:
                loss, parts = play_loss(m, self.answers, *b["play"])
                (loss * self.a.playing).backward()
                self.means.add(parts)


def begin_log(path, step):
    """The log with today's columns, whatever columns it had."""
    log = train.Log(path, step)
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))[1:]
    with open(path, "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([COLUMNS] + rows)
    return log


def main():
    a = options()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    words, sprites = mix.Words(a.tokenizer), dense.scenes.Sprites(a.sprites)
    held = train.heldout(a.pack + "/heldout")[::2]
    run = Run(a, words, len(dense.name_table(sprites)))
    m, end = run.m, min(a.stop or a.steps, a.steps)
    sources = Sources(a, words, sprites, run.step)
    print("parameters", sum(p.numel() for p in m.parameters()), flush=True)
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(m.c, f)
    log = begin_log(a.out + "/log.csv", run.step)
    asked = []
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: asked.append(number))
    if run.step == 0:
        print("start", train.quick_eval(m, held), flush=True)
    shadow, teacher = LaMM(m.c), Teacher(a, run, words)
    t0, since, leave = time.time(), run.step, False
    while (a.minutes or run.step < end) and not leave:
        norm = teacher.step(sources.q.get())
        leave = bool(asked) or a.minutes and teacher.at() >= a.steps
        if run.step % 20 == 0:
            print(f"step {run.step} {teacher.means} |g| {norm:.2f} lr {train.rate(a, teacher.at()):.1e} "
                  f"s/step {(time.time() - t0) / (run.step - since):.2f}", flush=True)
            t0, since = time.time(), run.step
        if run.step % a.every == 0 or run.step == end or leave:
            run.save()
            shadow.load_state_dict(run.ema)
            e = train.quick_eval(shadow, held)
            log.add(run.step, run.step * a.B, *[round(teacher.means.of.get(k, 0), 5) for k in mix.KINDS],
                    e["mode"], e["median"], time.time())
            print("  eval", run.step, {k: round(v, 2) for k, v in e.items()}, flush=True)
            if a.play:
                print("  play", {k: round(v, 3) for k, v in
                                 play.judge(shadow, teacher.answers, sources.games).items()}, flush=True)
            t0, since = time.time(), run.step


if __name__ == "__main__":
    main()
