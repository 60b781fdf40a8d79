"""The tower alone, once more: how large are things, and where do they end?

    python3 tools/train_mini/look.py RUN RUN2 --first FIRST --pack PACK --sprites SPRITES.npz \
        --vlayers 5 --minutes 60

RUN is a run of learn.py. RUN2 gets its averaged weights, with --vlayers vision layers in all (new ones add
nothing at first), and trains the tower and the connector on the dense stage's questions, nothing else: the
decoder costs three quarters of a step of learn.py and learns no box that the tower doesn't know. The channels
that carry places and colours are held to the first edition's. learn.py goes on from RUN2 (with a fresh
optimiser).

The new layers and the maps of the questions learn at --lr, what was there at --slow times that. The length is
given in minutes: a run can't be repeated to the bit.
"""
import argparse
import json
import os
import queue
import signal
import sys
import threading
import time

import torch

import data
import dense
import learn
from model import LaMM


def options():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("run")
    ap.add_argument("out")
    for name in ("first", "pack", "sprites"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--vlayers", type=int, default=5)
    ap.add_argument("--slow-layers", type=int, default=3, help="layers that learn at --slow (default: 3)")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--B", type=int, default=12)
    ap.add_argument("--lr", type=float, default=1.5e-3)
    ap.add_argument("--slow", type=float, default=0.3)
    ap.add_argument("--keep", type=float, default=300.0)
    ap.add_argument("--ema", type=float, default=0.99)
    ap.add_argument("--seed", type=int, default=2)
    ap.add_argument("--threads", type=int, default=2)
    return ap.parse_args()


def deepened(run, vlayers):
    """(model, its state of the dense questions, its step)."""
    with open(run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    s = torch.load(run + "/last.pt", weights_only=True)
    torch.manual_seed(vlayers)
    m = LaMM(dict(c, vlayers=vlayers))
    missing = m.load_state_dict(s["ema"], strict=False).missing_keys
    assert all(k.startswith("blocks.") for k in missing), missing
    with torch.no_grad():
        for b in m.blocks[c["vlayers"]:]:
            dense.look_near(b, c["E"])
    return m, s.get("asker"), s["step"]


def groups(m, asker, a):
    """Parameters by how fast they learn; what is not among them stands still."""
    new, old = list(asker.parameters()), []
    for k, p in m.named_parameters():
        if k.startswith("blocks.") and int(k.split(".")[1]) >= a.slow_layers:
            new.append(p)
        elif k.startswith(("blocks.", "ln_vision", "proj.")) and not k.startswith("blocks.0."):
            old.append(p)
        else:
            p.requires_grad = False
    return [{"params": new, "speed": 1.0}, {"params": old, "speed": a.slow}]


def feed(a, q):
    pack, sprites = data.Pack(a.pack), dense.scenes.Sprites(a.sprites)
    names, photos = dense.name_table(sprites), dense.photos_of(pack)
    step = 0
    while True:
        q.put(dense.batch(sprites, photos, names, a.seed, step, a.B))
        step += 1


def acquaint(m, asker, q, steps=200):
    """A fresh map of names learns what the tokens say already, before they learn from it."""
    opt = torch.optim.Adam(asker.parameters(), lr=3e-3)
    for _ in range(steps):
        img, t = q.get()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            tok = m.see(img).float()
        loss, parts = dense.dense_loss(asker, tok, t)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
    print("names", round(parts[4].item(), 3), flush=True)


def rate(done):
    """Of the highest rate: a short rise, then half a cosine down to a fiftieth."""
    return min(1.0, done / 0.02 + 0.01) * (0.02 + 0.49 * (1 + torch.cos(torch.tensor(3.14159 * done)).item()))


def main():
    a = options()
    torch.set_num_threads(a.threads)
    m, asker_state, step = deepened(a.run, a.vlayers)
    asker = learn.Asker(len(dense.name_table(dense.scenes.Sprites(a.sprites))), m.c["D"])
    if asker_state:
        asker.load_state_dict(asker_state)
    first = learn.first_edition(a.first)
    opt = torch.optim.AdamW(groups(m, asker, a), lr=a.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    params = [p for g in opt.param_groups for p in g["params"]]
    ema = {k: v.detach().clone() for k, v in m.state_dict().items()}

    def loss_of(img, t):
        tok = m.see(img)
        loss, parts = dense.dense_loss(asker, tok, t)
        with torch.no_grad():
            held = first.see(img)[..., :dense.KEPT].float()
        moved = (tok[..., :dense.KEPT].float() - held).pow(2).mean()
        return loss + a.keep * moved, torch.cat([parts, moved.detach()[None]])

    loss_of = torch.compile(loss_of, dynamic=False)
    q, asked = queue.Queue(4), []
    threading.Thread(target=feed, args=(a, q), daemon=True).start()
    if not asker_state:
        acquaint(m, asker, q)
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda number, _: asked.append(number))
    means, begun, n, done = None, time.time(), 0, 0.0
    while done < 1 and not asked:
        img, t = q.get()
        done = (time.time() - begun) / (60 * a.minutes)
        for g in opt.param_groups:
            g["lr"] = a.lr * g["speed"] * rate(min(done, 1))
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = loss_of(img, t)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        n += 1
        torch._foreach_lerp_(list(ema.values()), list(m.state_dict().values()), max(1 - a.ema, 1 / (n + 1)))
        means = parts if means is None else means * 0.97 + parts * 0.03
        if n % 20 == 0:
            said = " ".join(f"{k} {v:.4f}" for k, v in zip(learn.SEEN, means.tolist()))
            print(f"step {n} {said} done {done:.3f} pic/s {n * a.B / (time.time() - begun):.2f}", flush=True)
        if n % 200 == 0 or done >= 1 or asked:
            os.makedirs(a.out, exist_ok=True)
            torch.save({"model": ema, "ema": ema, "asker": asker.state_dict(), "step": step}, a.out + "/last.pt.tmp")
            os.replace(a.out + "/last.pt.tmp", a.out + "/last.pt")
            with open(a.out + "/config.json", "w", encoding="utf-8") as f:
                json.dump(m.c, f)


if __name__ == "__main__":
    sys.exit(main())
