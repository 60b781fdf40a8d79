"""How well a checkpoint sees, beside simple baselines, in PyTorch and without lammd.

    python3 tools/train_mini/evaluate.py --run RUN --pack PACK
    python3 tools/train_mini/evaluate.py --run RUN --pack PACK --pictures 2 --rounded
    python3 tools/train_mini/evaluate.py --run RUN --pack PACK --pictures 4 --free TOKENIZER

Plain: all 4,096 pixels of every set-aside picture, `mode` and `median` with the averaged weights in
f32; beside them the picture replaced by the averages of 1, 4x4, 8x8, 16x16 and 32x32 blocks.
--rounded: what is lost by storing the matrices in bf16, as export.py does.
--free: 256 pixels a picture are answered by greedy decoding over the whole vocabulary, to the end
of the text; counted are the answers that read `[r,g,b]` and those equal to the restricted ones.
"""
import argparse
import json
import re

import numpy as np
import torch

import export
import train
from model import LaMM

WELL_FORMED = re.compile(r"\[(\d{1,3}),(\d{1,3}),(\d{1,3})\]")
LONGEST = 12  # tokens; an answer has 6 with the end of text


def blocks(t, n):
    """The picture replaced by the averages of n x n blocks."""
    k = 64 // n
    m = t.reshape(n, k, n, k, 3).mean((1, 3), keepdims=True)
    return np.broadcast_to(m, (n, k, n, k, 3)).reshape(64, 64, 3)


def whole(m, img, how):
    """The 64x64 answers about one picture."""
    rows = torch.arange(64)[None]
    cols = torch.arange(64).expand(64, 64)[None]
    out = [train.answer(m, img[None], rows[:, i:i + 16], cols[:, i:i + 16], how)
           for i in range(0, 64, 16)]
    return torch.cat(out, 1)[0].view(64, 64, 3).numpy()


def weights(run):
    """A model with the averaged weights of the run's last checkpoint, and its step."""
    with open(run + "/config.json", encoding="utf-8") as f:
        m = LaMM(json.load(f))
    s = torch.load(run + "/last.pt", weights_only=True)
    m.load_state_dict(s["ema"])
    return m, s["step"]


def plain(m, held):
    sums = {}
    for n, (img, t) in enumerate(held, 1):
        t = t.numpy().astype(float)
        got = {how: whole(m, img, how) for how in ("mode", "median")}
        got.update({f"{b}x{b}": blocks(t, b) for b in (1, 4, 8, 16, 32)})
        for k, v in got.items():
            sums.setdefault(k, []).append(np.abs(v - t).mean())
        print(n, {k: round(float(v[-1]), 2) for k, v in sums.items()}, flush=True)
    print("mean", {k: round(float(np.mean(v)), 2) for k, v in sums.items()})


def rounded(m, held):
    """The same pictures before and after the rounding of the export."""
    images = [(img, t.numpy()) for img, t in held]
    before = [{how: whole(m, img, how) for how in ("mode", "median")} for img, _ in images]
    for _, t, keep in export.tensors(m.state_dict(), m.c):
        if not keep:  # a view of the model's own weight
            t.copy_(t.bfloat16())
    for n, ((img, t), old) in enumerate(zip(images, before), 1):
        for how, was in old.items():
            now = whole(m, img, how)
            moved = np.abs(now - was)
            print(f"{n} {how}: error {np.abs(was - t).mean():.3f} in f32, "
                  f"{np.abs(now - t).mean():.3f} in bf16; numbers changed "
                  f"{(moved > 0).mean():.2%}, by {moved.mean():.3f} on average, "
                  f"{moved.max()} at most", flush=True)


def free(m, held, tokenizer):
    """Greedy decoding over the whole vocabulary, in plain prompts, without any help."""
    from sentencepiece import SentencePieceProcessor
    sp = SentencePieceProcessor(model_file=tokenizer)
    t, r = m.c["tok"], np.random.default_rng(11)
    rows, cols = r.integers(0, 64, (2, 256))
    asked = well = same = 0
    for img, _ in held:
        begin = [[t["comma"][i], t["plain"][j], t["tail"]] for i, j in zip(rows, cols)]
        ids = torch.tensor(begin)
        seen = m.stem(m.see(img[None]))
        for _ in range(LONGEST):
            nxt = m.decode(seen.expand(len(ids), -1, -1), ids)[:, -1].argmax(-1)
            ids = torch.cat([ids, nxt[:, None]], 1)
        strict = whole(m, img, "mode")
        for i, j, row in zip(rows, cols, ids[:, 3:].tolist()):
            text = sp.decode(row[:row.index(t["eos"])]) if t["eos"] in row else ""
            found = WELL_FORMED.fullmatch(text.strip())
            rgb = [int(v) for v in found.groups()] if found else []
            asked += 1
            well += bool(rgb) and max(rgb) < 256
            same += rgb == strict[i, j].tolist()
        print(f"{asked} asked, {well} well formed, {same} as within the grammar", flush=True)


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", required=True, help="folder of the run")
    ap.add_argument("--pack", required=True, help="folder made by tools/data/build_pack.py")
    ap.add_argument("--pictures", type=int, help="only so many, spread over the set")
    ap.add_argument("--rounded", action="store_true", help="compare f32 with bf16 matrices")
    ap.add_argument("--free", metavar="TOKENIZER", help="count well-formed unrestricted answers")
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, step = weights(a.run)
    held = train.heldout(a.pack + "/heldout")
    if a.pictures:
        held = held[::max(1, len(held) // a.pictures)][:a.pictures]
    print("step", step, "pictures", len(held), flush=True)
    if a.rounded:
        rounded(m, held)
    elif a.free:
        free(m, held, a.free)
    else:
        plain(m, held)


if __name__ == "__main__":
    main()
