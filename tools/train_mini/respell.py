"""Carry a checkpoint over to another tokenizer: rows of embed and head by the text of their pieces.

    python3 tools/train_mini/respell.py RUN OLD.model NEW.model RUN2

Weights, their average and what the optimiser remembers of them move together; rows of new pieces are
the mean of those never said. RUN2 gets last.pt and config.json.
"""
import json
import os
import sys

import torch

import mix


@torch.no_grad()
def rows(t, pairs, size, fresh):
    out = (t[3:259].mean(0) if fresh else torch.zeros_like(t[0])).repeat(size, 1)
    new, old = (torch.tensor(v) for v in zip(*pairs))
    out[new] = t[old]
    return out


def main(run, old, new, out):
    a, b = mix.Words(old), mix.Words(new)
    size = b.sp.get_piece_size()
    pairs = [(b.sp.piece_to_id(a.sp.id_to_piece(i)), i) for i in range(a.sp.get_piece_size())]
    pairs = [(j, i) for j, i in pairs if j or not i]
    s = torch.load(run + "/last.pt", weights_only=True)
    with open(run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    for part in ("model", "ema"):
        for name in ("embed.weight", "head.weight"):
            if part in s:
                s[part][name] = rows(s[part][name], pairs, size, True)
    for st in s.get("opt", {}).get("state", {}).values():
        for k in ("exp_avg", "exp_avg_sq"):
            if st[k].ndim == 2 and st[k].shape[0] == c["vocab"]:
                st[k] = rows(st[k], pairs, size, False)
    c.update(vocab=size, tok=b.tok)
    os.makedirs(out, exist_ok=True)
    torch.save(s, out + "/last.pt")
    with open(out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)
    print(len(pairs), "rows carried over,", size - len(pairs), "new")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
