"""Packed questions give the logits of plain full prompts.

    python3 tools/train_mini/test_packed.py --tokenizer models/lamm-mini/tokenizer.model
"""
import argparse

import torch

import train
from init import init
from model import LaMM


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tokenizer", required=True)
    a = ap.parse_args()
    m = LaMM(train.config(train.options(["--tokenizer", a.tokenizer])))
    init(m, 1)
    g = torch.Generator().manual_seed(1)
    img = torch.randn(2, 3, 128, 128, generator=g)
    rows = torch.randint(0, 64, (2, 3), generator=g)
    cols = torch.randint(0, 64, (2, 3, 4), generator=g)
    rgb = torch.randint(0, 256, (2, 3, 4, 3), generator=g)
    worst = 0.0
    with torch.no_grad():
        row_ids, groups, keep, _ = train.questions(m, rows, cols, rgb)
        for (ids, row_of), places, h in zip(groups, keep, m.packed(img, row_ids, groups, keep)):
            for q in range(ids.shape[1]):
                text = torch.cat([row_ids[:, row_of[q]:row_of[q] + 1], ids[:, q]], 1)
                plain = m.plain(img, text)[:, [p + 1 for p in places]]
                off = (plain - m.head(h[:, q])).abs().max() / plain.abs().max()
                worst = max(worst, off.item())
    print(f"largest relative difference {worst:.1e}")
    assert worst < 1e-4


if __name__ == "__main__":
    main()
