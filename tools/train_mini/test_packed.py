"""Packed questions give the logits of plain full prompts.

    python3 tools/train_mini/test_packed.py --tokenizer models/lamm-mini/tokenizer.model

First the pixel questions of train.py, then trees of all tasks about a scene made by code, with one
picture and with two, then both games. At last, where the processor has AMX, the gradients of attend.py against
f32: at most a tenth further off than PyTorch's own in bf16.
"""
import argparse
import os
import sys

import numpy as np
import torch
from PIL import Image

import attend
import data
import mix
import play
import train
from init import init
from model import LaMM

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data"))
import scenes  # noqa: E402

BOUND = 1e-4


def pixels(m):
    g = torch.Generator().manual_seed(1)
    img = torch.randn(2, 3, 128, 128, generator=g)
    rows = torch.randint(0, 64, (2, 3), generator=g)
    cols = torch.randint(0, 64, (2, 3, 4), generator=g)
    rgb = torch.randint(0, 256, (2, 3, 4, 3), generator=g)
    worst = 0.0
    row_ids, groups, keep, _ = train.questions(m, rows, cols, rgb)
    for (ids, row_of), places, h in zip(groups, keep, m.packed(img, row_ids, groups, keep)):
        for q in range(ids.shape[1]):
            text = torch.cat([row_ids[:, row_of[q]:row_of[q] + 1], ids[:, q]], 1)
            plain = m.plain(img, text)[:, [p + 1 for p in places]]
            worst = max(worst, ((plain - m.head(h[:, q])).abs().max() / plain.abs().max()).item())
    return worst


def trees(m, w, pictures):
    """The largest difference, and how many prompts of each kind of target were compared."""
    worst, counts = 0.0, dict.fromkeys(mix.KINDS, 0)
    for seed in range(12):
        r = np.random.default_rng(seed)
        scene = scenes.make_scene(r, count=3)
        im = Image.fromarray(scene.image)
        tree = mix.Tree()
        mix.ask_pixels(tree, w, data.truth(im), r, 3, 3)
        mix.ask_scene(tree, w, scene, r, dict(masks=2, boxes=2, questions=2))
        b = mix.packed([tree])
        img = torch.from_numpy(np.stack([data.ready(im, 128)] * pictures))
        img[1:] = img[1:].flip(3)
        x = m.prefix(m.see(img)[None])
        h = m.tree(x, b["ids"], b["depth"], b["sees"], b["kept"])
        for k in range(0, len(tree.aims), 5):
            at = b["kept"][0, k]
            way = b["sees"][0, at].nonzero().flatten()  # the prompt as one would write it
            plain = m.decode(x, b["ids"][:, way])[0, -1]
            worst = max(worst, ((plain - m.head(h[0, k])).abs().max() / plain.abs().max()).item())
            counts[mix.KINDS[b["kind"][0, k]]] += 1
    return worst, counts


def games(m, w):
    worst, answers = 0.0, play.Answers(w)
    for game, action in (("car", torch.tensor([[3, 16, 10], [20, 10, 12]])), ("space", torch.tensor([4, 1]))):
        x = torch.randn(2, play.BACK[game], 3, 128, 128)
        tok = m.see(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        ids = answers.tokens(game, action)
        plain = m.decode(m.prefix(tok), ids)
        off = plain - m.head(answers.states(m, tok, ids))
        worst = max(worst, (off.abs().max() / plain.abs().max()).item())
    return worst


def gradients(how, q, k, v, mask, dout):
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
    how(*leaves, mask).backward(dout)
    return [t.grad.float() for t in leaves]


def attention():
    """The largest error of a gradient, relative to that of PyTorch's in bf16."""
    torch.manual_seed(1)
    worst = 0.0
    for B, H, T, S, hidden in ((2, 4, 1025, 1025, 0), (1, 6, 100, 77, 0.6), (2, 6, 258, 770, 0.6), (1, 1, 1, 33, 0)):
        q, k, v, dout = (torch.randn(B, H, n, attend.HEAD).bfloat16() for n in (T, S, S, T))
        mask = torch.rand(B, T, S) >= hidden if hidden else None
        if mask is not None:
            mask[:, :, 0] = True
        true = gradients(attend.plain, q.float(), k.float(), v.float(), mask, dout.float())
        for t, ours, theirs in zip(true, gradients(attend.attend, q, k, v, mask, dout),
                                   gradients(attend.plain, q, k, v, mask, dout)):
            worst = max(worst, ((ours - t).norm() / (theirs - t).norm()).item())
    return worst


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tokenizer", required=True)
    with torch.no_grad():
        packed(ap.parse_args())
    if attend.LIB:
        worst = attention()
        print(f"gradients of attention on AMX: {worst:.2f} times the error of PyTorch's")
        assert worst < 1.1
    else:
        print("skip: no AMX, or no gcc: attention is PyTorch's")


def packed(a):
    c = train.config(train.options(["--tokenizer", a.tokenizer]))
    w = mix.Words(a.tokenizer)
    c["tok"].update(w.tok)
    m = LaMM(c)
    init(m, 1)
    worst = pixels(m)
    print(f"pixel questions: largest relative difference {worst:.1e}")
    assert worst < BOUND
    for pictures in (1, 2):
        worst, counts = trees(m, w, pictures)
        print(f"trees behind {pictures} pictures: {worst:.1e}, compared {counts}")
        assert worst < BOUND and all(counts.values())
    worst = games(m, w)
    print(f"games: {worst:.1e}")
    assert worst < BOUND


if __name__ == "__main__":
    main()
