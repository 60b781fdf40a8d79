"""Train lamm-mini on pixel questions. Resumable at any step: every batch is a function of (seed, step)."""
import argparse
import csv
import glob
import json
import math
import os
import queue
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data
from init import init
from model import LaMM


def tokens(path):
    import sentencepiece as spm
    sp = spm.SentencePieceProcessor(model_file=path)
    one = lambda s: sp.piece_to_id(s)
    t = {"bos": 1, "eos": 2, "open": one("▁[INST]▁<Img>"), "ask": one("▁</Img>▁[reconstruct]▁loc:▁["),
         "tail": one("]▁rgb:▁[/INST]"), "lb": one("▁["), "rb": one("]"),
         "comma": [one(f"{n},") for n in range(256)], "plain": [one(f"{n}") for n in range(256)]}
    assert all(v != 0 for k, v in t.items() if isinstance(v, int)) and 0 not in t["comma"] + t["plain"]
    return t, sp.get_piece_size()


def config(args):
    tok, vocab = tokens(args.tokenizer)
    return dict(image=128, patch=4, E=args.E, vheads=4, vlayers=args.vlayers, vmlp=args.vmlp, D=args.D, heads=args.heads,
                ffn=args.ffn, layers=args.layers, theta=args.theta, vocab=vocab, tok=tok)


FULL = 16
EXT = 8  # questions per picture whose answer is trained to the end of its text


def questions(m, rows, cols, rgb):
    """Token groups of a batch: the bulk stops at g, the first EXT go on to `]`."""
    t = m.c["tok"]
    comma, plain = torch.tensor(t["comma"]), torch.tensor(t["plain"])
    B, R, C = cols.shape
    c, v = cols.reshape(B, -1), rgb.reshape(B, -1, 3)
    one = torch.ones_like(c)
    ids = torch.stack([plain[c], one * t["tail"], one * t["lb"], comma[v[..., 0]], comma[v[..., 1]]], -1)
    ext = torch.stack([ids[:, :EXT, i] for i in range(5)] + [plain[v[:, :EXT, 2]], one[:, :EXT] * t["rb"]], -1)
    row_of = torch.arange(R).repeat_interleave(C)
    want = torch.stack([comma[v[..., 0]], comma[v[..., 1]], plain[v[..., 2]]], -1)
    wext = torch.stack([one[:, :EXT] * t["lb"], one[:, :EXT] * t["rb"], one[:, :EXT] * t["eos"]], -1)
    return comma[rows], [(ids, row_of), (ext, row_of[:EXT])], [[2, 3, 4], [1, 5, 6]], [want, wext]


def loss_of(m, batch):
    img, rows, cols, rgb = batch
    comma, plain = torch.tensor(m.c["tok"]["comma"]), torch.tensor(m.c["tok"]["plain"])
    r, groups, keep, want = questions(m, rows, cols, rgb)
    hs = m.packed(img, r, groups, keep)
    # The bulk: among the 256 numbers that are legal there. Of FULL questions a picture, and of all trivial
    # tokens: among the whole vocabulary, so that plain greedy decoding stays within the grammar too.
    W = m.head.weight
    num = hs[0]
    lg = torch.cat([F.linear(num[:, :, :2], W[comma]).flatten(1, 2), F.linear(num[:, :, 2], W[plain])], 1)
    tgt = torch.cat([rgb.reshape(len(rgb), -1, 3)[..., :2].flatten(1), rgb.reshape(len(rgb), -1, 3)[..., 2]], 1)
    ce = F.cross_entropy(lg.flatten(0, 1).float(), tgt.flatten(), reduction="none").view(tgt.shape)
    h = torch.cat([hs[0][:, :FULL].flatten(0, 2), hs[1].flatten(0, 2)])
    w = torch.cat([want[0][:, :FULL].flatten(), want[1].flatten()])
    full = F.cross_entropy(m.head(h).float(), w)
    n = num.shape[1]
    each = torch.stack([ce[:, :2 * n].reshape(-1, n, 2)[..., 0].mean(), ce[:, :2 * n].reshape(-1, n, 2)[..., 1].mean(), ce[:, 2 * n:].mean()])
    return each.sum() + 0.3 * full, torch.cat([each.detach(), full.detach()[None]])


@torch.no_grad()
def answer(m, img, rows, cols, how):
    """Answers of a grid of questions, one channel after the other. how: 'mode' or 'median'."""
    t = m.c["tok"]
    comma, plain = torch.tensor(t["comma"]), torch.tensor(t["plain"])
    B, R, C = cols.shape
    c = cols.reshape(B, -1)
    one = torch.ones_like(c)
    seq = [plain[c], one * t["tail"], one * t["lb"]]
    out = []
    row_of = torch.arange(R).repeat_interleave(C)
    for ch in range(3):
        ids = torch.stack(seq, -1)
        h = m.packed(img, comma[rows], [(ids, row_of)], [[2 + ch]])[0][:, :, 0]
        lg = m.head(h).float()[..., plain if ch == 2 else comma]
        if how == "mode":
            v = lg.argmax(-1)
        else:
            v = (lg.softmax(-1).cumsum(-1) < 0.5).sum(-1).clamp(max=255)
        out.append(v)
        if ch < 2:
            seq.append(comma[v])
    return torch.stack(out, -1)


def heldout(folder, size):
    out = []
    for f in sorted(glob.glob(folder + "/*.png")):
        im = Image.open(f).convert("RGB")
        out.append((torch.from_numpy(data.ready(im, size)), torch.from_numpy(data.truth(im).astype(np.int64))))
    return out


def quick_eval(m, held):
    """240 fixed pixels of each set-aside picture."""
    r = np.random.default_rng(7)
    err = {"mode": 0.0, "median": 0.0}
    with torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(held), 16):
            part = held[i:i + 16]
            img = torch.stack([a for a, _ in part])
            rows = torch.from_numpy(np.stack([r.permutation(64)[:15] for _ in part]))
            cols = torch.from_numpy(np.stack([[r.permutation(64)[:16] for _ in range(15)] for _ in part]))
            tr = torch.stack([t[rw[:, None], cl] for (_, t), rw, cl in zip(part, rows, cols)]).reshape(len(part), -1, 3)
            for how in err:
                err[how] += (answer(m, img, rows, cols, how) - tr).abs().float().mean().item() * len(part)
    return {k: v / len(held) for k, v in err.items()}


def options(argv=None):
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", help="folder of the run: last.pt, config.json, log.csv")
    ap.add_argument("--pack", help="folder made by tools/data/build_pack.py")
    ap.add_argument("--tokenizer", required=True)
    for k, v in dict(E=128, vlayers=1, vmlp=256, D=192, heads=6, ffn=512, layers=3, theta=1e6, lr=1e-3, minlr=2e-5, warmup=100,
                     steps=4500, B=8, R=16, C=16, seed=1, threads=2, every=100, ema=0.995, stop=0).items():
        ap.add_argument("--" + k, type=type(v), default=v)
    return ap.parse_args(argv)


def main():
    a = options()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    m = LaMM(config(a))
    init(m, a.seed)
    n = sum(p.numel() for p in m.parameters())
    print("parameters", n, flush=True)
    json.dump(m.c, open(a.out + "/config.json", "w"))
    decay = [p for k, p in m.named_parameters() if p.ndim >= 2 and "pos" not in k and "embed" not in k]
    ids = {id(p) for p in decay}
    rest = [p for p in m.parameters() if id(p) not in ids]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
                            lr=a.lr, betas=(0.9, 0.98), eps=1e-8, fused=True)
    ema = {k: v.detach().clone() for k, v in m.state_dict().items()}
    step = 0
    ck = a.out + "/last.pt"
    if os.path.exists(ck):
        s = torch.load(ck, weights_only=False)
        m.load_state_dict(s["model"])
        opt.load_state_dict(s["opt"])
        ema = s["ema"]
        step = s["step"]
        print("resumed at", step)
    pack, held = data.Pack(a.pack), heldout(a.pack + "/heldout", 128)
    q = queue.Queue(6)

    def feed(s):
        while s < a.steps:
            q.put(data.batch(pack, a.seed, s, a.B, a.R, a.C, 128))
            s += 1

    threading.Thread(target=feed, args=(step,), daemon=True).start()
    log = open(a.out + "/log.csv", "a", newline="")
    w = csv.writer(log)
    shadow = LaMM(m.c)
    loss_fn = torch.compile(loss_of, dynamic=False)
    t0, tq, avg = time.time(), 0, None
    if step == 0:
        print("start", quick_eval(m, held), flush=True)
    while step < (a.stop or a.steps):
        f = min(1, (step + 1) / a.warmup)
        lr = f * (a.minlr + (a.lr - a.minlr) * 0.5 * (1 + math.cos(math.pi * step / a.steps)))
        for g in opt.param_groups:
            g["lr"] = lr
        b = q.get()
        with torch.autocast("cpu", torch.bfloat16):
            loss, ce = loss_fn(m, b)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        gn = torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        step += 1
        with torch.no_grad():  # the average of recent weights is what is judged and exported
            torch._foreach_lerp_(list(ema.values()), list(m.state_dict().values()), max(1 - a.ema, 1 / (step + 1)))
        tq += a.B * a.R * a.C
        avg = ce if avg is None else avg * 0.97 + ce * 0.03
        if step % 20 == 0:
            print(f"step {step} ce {[round(x, 3) for x in avg.tolist()]} |g| {gn:.2f} lr {lr:.2e} q/s {tq / (time.time() - t0):.0f}", flush=True)
        if step % a.every == 0 or step == a.steps:
            shadow.load_state_dict(ema)
            e = quick_eval(shadow, held)
            print("  eval", step, "questions", step * a.B * a.R * a.C, {k: round(v, 2) for k, v in e.items()}, flush=True)
            w.writerow([step, step * a.B * a.R * a.C, *avg.tolist(), e["mode"], e["median"], time.time()])
            log.flush()
            torch.save({"model": m.state_dict(), "ema": ema, "opt": opt.state_dict(), "step": step}, ck + ".tmp")
            os.replace(ck + ".tmp", ck)


if __name__ == "__main__":
    main()
