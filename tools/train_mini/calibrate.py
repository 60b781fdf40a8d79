"""Find the temperature at which a checkpoint's probabilities are true: one number, nothing else.

    python3 tools/train_mini/calibrate.py --run RUN --pack PACK
    python3 tools/train_mini/export.py ... TEMPERATURE

Training in bf16 with a noisy optimiser leaves the averaged weights more exact than the
probabilities they were trained to give. Dividing all logits by one number mends that and changes no greedy
answer: the order of the logits stays. The number is the one with the least cross-entropy on
TRAINING pictures (whole ones, without recolouring), never on the set-aside ones. export.py divides
the weight of the last norm by it, which is kept in f32.
"""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import data
import evaluate
import train


def logits(m, pack, pictures, r):
    """Logits among the 256 legal numbers and the right ones, for 256 questions a picture."""
    comma, plain = train.numbers(m)
    out, right = [], []
    for i in pictures:
        im = Image.fromarray(pack.get(int(i)))
        img, t = torch.from_numpy(data.ready(im, train.IMAGE))[None], data.truth(im)
        rows = r.permutation(64)[:16]
        cols = np.stack([r.permutation(64)[:16] for _ in rows])
        rgb = torch.from_numpy(t[rows[:, None], cols].astype(np.int64))[None]
        ids, groups, keep, _ = train.questions(m, torch.from_numpy(rows)[None], torch.from_numpy(cols)[None], rgb)
        h = m.packed(img, ids, groups[:1], keep[:1])[0][0]  # (questions, 3, D)
        out.append(torch.cat([F.linear(h[:, :2], m.head.weight[comma]), F.linear(h[:, 2:], m.head.weight[plain])], 1))
        right.append(rgb.reshape(-1, 3))
    return torch.cat(out).flatten(0, 1), torch.cat(right).flatten()


def best(x, right):
    """The temperature of least cross-entropy, by golden section on its logarithm."""
    def loss(t):
        return F.cross_entropy(x / np.exp(t), right).item()

    low, high, ratio = np.log(0.02), np.log(5), (5 ** 0.5 - 1) / 2
    while high - low > 1e-3:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2)), loss(0.0), loss((low + high) / 2)


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", required=True)
    ap.add_argument("--pack", required=True)
    ap.add_argument("--pictures", type=int, default=64)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    m, step = evaluate.weights(a.run)
    pack, r = data.Pack(a.pack), np.random.default_rng(5)
    x, right = logits(m, pack, r.permutation(len(pack))[:a.pictures], r)
    t, before, after = best(x, right)
    print(f"step {step}, {len(right)} numbers of {a.pictures} training pictures: temperature {t:.4f}, "
          f"cross-entropy {before:.3f} before, {after:.3f} after")


if __name__ == "__main__":
    main()
