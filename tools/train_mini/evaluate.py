"""All 4,096 pixels of every set-aside picture: mode, median, and the baselines beside them.

    python3 tools/train_mini/evaluate.py --run RUN --pack PACK [--sheet sheet.png]
"""
import argparse
import json

import numpy as np
import torch
from PIL import Image

import train
from model import LaMM


def blocks(t, n):
    """The picture replaced by the averages of n x n blocks."""
    k = 64 // n
    m = t.reshape(n, k, n, k, 3).mean((1, 3), keepdims=True)
    return np.broadcast_to(m, (n, k, n, k, 3)).reshape(64, 64, 3)


def whole(m, img, how):
    rows = torch.arange(64)[None]
    cols = torch.arange(64).expand(64, 64)[None]
    out = [train.answer(m, img[None], rows[:, i:i + 16], cols[:, i:i + 16], how) for i in range(0, 64, 16)]
    return torch.cat(out, 1)[0].view(64, 64, 3).numpy()


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--run", required=True)
    ap.add_argument("--pack", required=True)
    ap.add_argument("--sheet")
    a = ap.parse_args()
    m = LaMM(json.load(open(a.run + "/config.json")))
    s = torch.load(a.run + "/last.pt", weights_only=False)
    m.load_state_dict(s["ema"])
    rows, sums = [], {}
    for img, t in train.heldout(a.pack + "/heldout", 128):
        t = t.numpy().astype(float)
        got = {k: whole(m, img, k) for k in ("mode", "median")}
        got.update({f"{n}x{n}": blocks(t, n) for n in (1, 4, 8, 16, 32)})
        for k, v in got.items():
            sums.setdefault(k, []).append(np.abs(v - t).mean())
        e = np.abs(got["median"] - t).mean(2, keepdims=True).repeat(3, 2) * 4
        rows.append(np.concatenate([t, got["mode"], got["median"], e.clip(0, 255)], 1))
        print(len(rows), {k: round(float(v[-1]), 2) for k, v in sums.items()}, flush=True)
    print("step", s["step"], {k: round(float(np.mean(v)), 2) for k, v in sums.items()})
    if a.sheet:
        sheet = np.concatenate(rows[::max(1, len(rows) // 10)][:10], 0).astype(np.uint8)
        Image.fromarray(sheet).resize((sheet.shape[1] * 3, sheet.shape[0] * 3), Image.NEAREST).save(a.sheet)


if __name__ == "__main__":
    main()
