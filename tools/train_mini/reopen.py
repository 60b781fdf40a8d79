"""A model folder as a run again: export.py backwards, so that training goes on from shipped weights.

    python3 tools/train_mini/reopen.py models/lamm-mini RUN [STEP]

RUN gets last.pt and config.json. Matrices come back rounded to bf16, as they were stored; what the optimiser
remembered and the dense stage's map of names are lost: look.py and learn.py begin with fresh ones.
"""
import json
import os
import struct
import sys

import numpy as np
import torch

import export
import mix
import train
from model import LaMM


def stored(path):
    """{name: f32 tensor} of a safetensors file with BF16 and F32 tensors."""
    with open(path, "rb") as f:
        blob = f.read()
    n = struct.unpack_from("<Q", blob)[0]
    out = {}
    for name, t in json.loads(blob[8:8 + n]).items():
        if name == "__metadata__":
            continue
        lo, hi = (8 + n + at for at in t["data_offsets"])
        raw = np.frombuffer(blob, np.uint8, hi - lo, lo).copy()
        x = torch.from_numpy(raw.view({"BF16": np.int16, "F32": np.float32}[t["dtype"]]))
        out[name] = (x.view(torch.bfloat16) if t["dtype"] == "BF16" else x).float().view(t["shape"])
    return out


def attributes(c, tok):
    """export.config backwards."""
    v, t = c["vision_config"], c["text_config"]
    return {"image": v["image_size"], "patch": v["patch_size"], "E": v["hidden_size"],
            "vheads": v["num_attention_heads"], "vlayers": v["num_hidden_layers"], "vmlp": v["intermediate_size"],
            "concat": c["connector_config"]["concat"], "D": t["hidden_size"], "ffn": t["intermediate_size"],
            "layers": t["num_hidden_layers"], "heads": t["num_attention_heads"], "vocab": t["vocab_size"],
            "theta": t["rope_theta"], "tok": tok}


def token_table(path):
    """What the trainer knows of the pieces; the first edition has none for boxes."""
    try:
        return mix.Words(path).tok
    except AssertionError:
        return train.tokens(path)[0]


def opened(model):
    """The graph with the folder's weights."""
    with open(model + "/config.json", encoding="utf-8") as f:
        m = LaMM(attributes(json.load(f), token_table(model + "/tokenizer.model")))
    s, have = m.state_dict(), stored(model + "/model.safetensors")
    # what export.tensors calls each weight is found by letting it name numbered weights: chunks have their own
    marks = {k: torch.arange(v.numel(), dtype=torch.float64).view(v.shape) + i * 1e9
             for i, (k, v) in enumerate(s.items())}
    keys = list(s)
    for name, mark, _ in export.tensors(marks, m.c):
        at = mark.flatten()[0].item()
        key, start = keys[int(at // 1e9)], int(at % 1e9)
        s[key].flatten()[start:start + mark.numel()] = have.pop(name).flatten()
    assert not have, sorted(have)
    m.load_state_dict(s)
    return m


def main(model, run, step="0"):
    m = opened(model)
    s = m.state_dict()
    os.makedirs(run, exist_ok=True)
    torch.save({"model": s, "ema": s, "step": int(step)}, run + "/last.pt")
    with open(run + "/config.json", "w", encoding="utf-8") as f:
        json.dump(m.c, f)
    print(sum(p.numel() for p in m.parameters()), "parameters")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
