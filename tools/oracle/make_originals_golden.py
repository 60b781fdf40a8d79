"""Record what the original implementations compute at true widths, for tests that lack them.

    python3 tools/oracle/make_originals_golden.py tests/golden/originals      4 GB, some minutes
    python3 tools/oracle/make_originals_golden.py tests/golden/originals answers      these alone

timm's EVA giant with two blocks, transformers' LLaMA with one layer, and peft's LoRA around it read
the files of originals.py and compute in float64. Of each tensor that lammd's tap has, SAMPLES
numbers at places that rng chooses, and the norm of all (tests/golden/gold.h), f32.
Recorded with timm 1.0.31, transformers 5.24.0, peft 0.21.2, torch 2.15.0. answers.json is what a
server has to answer (served.py); recorded with timm 0.9.16, transformers 4.30.0, peft 0.5.0, torch
1.13.0.
"""
import json
import os
import sys
import tempfile

import numpy as np
import torch

import originals
import reference
import rng
import served
import stfile

SAMPLES = 512


class Recorder(dict):
    def __call__(self, name, tensor):
        flat = tensor.detach().reshape(-1).double()
        places = rng.u64(rng.name_seed(name), np.arange(SAMPLES, dtype=np.uint64)) % np.uint64(len(flat))
        self[name] = flat[torch.from_numpy(places.astype(np.int64))].float()
        self[name + ".norm"] = flat.norm().float().reshape(1)


def record_answers(out, folder, eva, learnt):
    wide, found = torch.float64, {}
    tower, proj = reference.tower(eva, originals.BLOCKS, wide), reference.connector(learnt, wide)
    for name in ("base", "lora"):
        model = reference.llama(folder, wide)
        model = model if name == "base" else reference.with_lora(model, learnt).to(wide)
        found[name] = served.Asker(served.Original(model, tower, proj)).answers(served.POINTS)
    with open(os.path.join(out, "answers.json"), "w", encoding="utf-8") as f:
        json.dump(found, f, indent=1)
        f.write("\n")


def main(out, only=None):
    os.makedirs(out, exist_ok=True)
    wide = torch.float64
    with tempfile.TemporaryDirectory() as tmp:
        folder, eva, learnt = (os.path.join(tmp, n) for n in ("llama", "eva.pth", "learnt.pth"))
        originals.write_llama(folder, originals.LAYERS)
        originals.write_tower(eva, originals.BLOCKS)
        originals.write_learnt(learnt, originals.LAYERS)
        record_answers(out, folder, eva, learnt)
        if only:
            return
        whole, text, lora = Recorder(), Recorder(), Recorder()
        feats = reference.see(reference.tower(eva, originals.BLOCKS, wide), reference.connector(learnt, wide),
                              originals.picture(), whole)
        model = reference.llama(folder, wide)
        reference.decode(model, originals.TEXT, None, text)
        model = reference.with_lora(model, learnt)
        reference.decode(model, originals.TEXT, None, lora)
        reference.decode(model, originals.WHOLE, feats, whole)
    for name, rec in (("whole", whole), ("text", text), ("lora", lora)):
        stfile.write(os.path.join(out, name + ".safetensors"), rec)


if __name__ == "__main__":
    main(*sys.argv[1:])
