"""Give the decoder of a checkpoint more gated units, which add nothing at first.

    python3 tools/train_mini/widen.py RUN UNITS RUN2

Every layer's MLP gets UNITS more: gates and values are small random numbers, what they add is zero. What the
optimiser remembers is kept, of new units it remembers nothing. RUN2 gets last.pt and config.json.
"""
import json
import os
import sys

import torch


def taller(t, units, fresh):
    """gate_up (2 * ffn, D) with more rows in both halves; fresh(shape) makes them."""
    gate, up = t.chunk(2)
    new = [fresh((units, t.shape[1])) for _ in range(2)]
    return torch.cat([gate, new[0], up, new[1]])


def wider(t, units):
    return torch.cat([t, t.new_zeros(t.shape[0], units)], 1)


def main(run, units, out):
    units = int(units)
    s = torch.load(run + "/last.pt", weights_only=True)
    with open(run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    torch.manual_seed(units)
    new = {k: [torch.randn(units, c["D"]) * c["D"] ** -0.5 for _ in range(2)] for k in range(c["layers"])}
    for part in ("model", "ema"):
        for n in range(c["layers"]):
            up, down = (f"layers.{n}.{k}.weight" for k in ("gate_up", "down"))
            made = iter(new[n])
            s[part][up] = taller(s[part][up], units, lambda _, made=made: next(made))
            s[part][down] = wider(s[part][down], units)
    for st in s["opt"]["state"].values():
        for k in ("exp_avg", "exp_avg_sq"):
            if st[k].shape == (2 * c["ffn"], c["D"]):
                st[k] = taller(st[k], units, torch.zeros)
            elif st[k].shape == (c["D"], c["ffn"]):
                st[k] = wider(st[k], units)
    c["ffn"] += units
    os.makedirs(out, exist_ok=True)
    torch.save(s, out + "/last.pt")
    with open(out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
