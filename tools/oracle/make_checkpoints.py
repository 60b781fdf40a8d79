"""Write the small files of torch.save that tests/unit/engine/import/ reads.

    python3 tools/oracle/make_checkpoints.py tests/golden/import

All four hold the same tensors. `nested` is what MiniGPT-v2's runner saves: the state dictionary
below `model`, an optimizer with its moments, a config of plain containers.
"""
import collections
import os
import sys

import torch


def state():
    """name -> tensor: number i of a tensor is i, or i / 2, or whatever fits the type."""
    def count(n, dtype):
        return torch.arange(n).to(dtype)

    whole = count(24, torch.float32)
    out = collections.OrderedDict()
    out["plain.weight"] = count(6, torch.float32).view(2, 3) / 2
    out["half.weight"] = count(8, torch.float16).view(4, 2)
    out["brain.weight"] = count(5, torch.bfloat16)
    out["turned.weight"] = whole.view(4, 6).t()
    out["part.weight"] = whole[8:20].view(3, 4)
    out["apart.weight"] = whole.view(4, 6)[:, 1:3]
    out["scalar"] = torch.tensor(7.5)
    out["empty"] = torch.zeros(0, 3)
    out["long.buffer"] = count(3, torch.int64)
    out["learnt"] = torch.nn.Parameter(count(4, torch.float32))
    return out


def nested():
    model = state()
    learnt = [torch.nn.Parameter(torch.ones(3, 2))]
    optimizer = torch.optim.AdamW(learnt, lr=1e-3)
    learnt[0].sum().backward()
    optimizer.step()
    config = {"model": {"arch": "minigpt_v2", "lora_r": 64, "lora_alpha": 32, "freeze_vit": True,
                        "ckpt": None, "prompt": ["[INST] {} [/INST]"]}, "run": {"lr": 1e-5, "seed": 2 ** 40}}
    return {"model": model, "optimizer": optimizer.state_dict(), "config": config, "scaler": None,
            "epoch": 3}


def main(folder):
    os.makedirs(folder, exist_ok=True)
    flat = state()
    flat._metadata = {"": {"version": 1}}  # what a module's state_dict() carries

    def save(what, name, **how):
        torch.save(what, os.path.join(folder, name), **how)

    save(nested(), "nested.pth")
    save(nested(), "nested-legacy.pth", _use_new_zipfile_serialization=False)
    save(flat, "flat.pth", pickle_protocol=4)
    save(flat, "flat-legacy.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main(sys.argv[1])
