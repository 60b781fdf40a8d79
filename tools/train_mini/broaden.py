"""Give a checkpoint more channels and as many more heads, which add nothing at first.

    python3 tools/train_mini/broaden.py RUN HEADS RUN2

Every token gets HEADS times 32 channels more (the decoder's width grows, the size of a head stays), every layer of
the decoder HEADS more heads. Text tokens and the old maps know nothing of them; on picture tokens the new channels
are random maps of what the tower sees, for look.py to make something of. Norms divide by the same as before as long
as the new channels are empty. What the optimiser remembers is dropped. RUN2 gets last.pt and config.json.
"""
import json
import math
import os
import sys

import torch

SEEN = 0.02  # the connector's new rows: over 512 numbers of about 1 that makes channels of about 0.5


def padded(t, rows, columns=0):
    """t (r, c) with more rows and columns of zeros."""
    return torch.nn.functional.pad(t, (0, columns, 0, rows))


def broader(s, c, heads):
    """The state s of a model with config c, and the new config."""
    D, n = c["D"], heads * c["D"] // c["heads"]
    out = dict(s)
    torch.manual_seed(heads)
    out["proj.weight"] = torch.cat([s["proj.weight"], torch.randn(n, s["proj.weight"].shape[1]) * SEEN])
    out["proj.bias"] = torch.cat([s["proj.bias"], torch.zeros(n)])
    for k in ("embed.weight", "head.weight"):
        out[k] = padded(s[k], 0, n)
    norms = ["norm.weight"]
    for i in range(c["layers"]):
        a = f"layers.{i}."
        norms += [a + "norm1.weight", a + "norm2.weight"]
        parts = [torch.cat([padded(w, 0, n), torch.randn(n, D + n) * 0.3 * D ** -0.5])
                 for w in s[a + "qkv.weight"].chunk(3)]
        out[a + "qkv.weight"] = torch.cat(parts)
        out[a + "o.weight"] = padded(s[a + "o.weight"], n, n)
        out[a + "gate_up.weight"] = padded(s[a + "gate_up.weight"], 0, n)
        out[a + "down.weight"] = padded(s[a + "down.weight"], n)
    for k in norms:
        w = s[k] * math.sqrt(D / (D + n))
        out[k] = torch.cat([w, w.mean().expand(n)])
    return out, dict(c, D=D + n, heads=c["heads"] + heads)


def main(run, heads, run2):
    s = torch.load(run + "/last.pt", weights_only=True)
    with open(run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    state, c = broader(s["ema"], c, int(heads))
    os.makedirs(run2, exist_ok=True)
    torch.save({"model": state, "ema": state, "step": s["step"]}, run2 + "/last.pt")
    with open(run2 + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
