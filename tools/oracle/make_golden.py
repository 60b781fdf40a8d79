"""Write the golden vectors that the C tests hold lammd against.

    python3 tools/oracle/make_golden.py tests/golden            everything but the wide model
    python3 tools/oracle/make_golden.py tests/golden wide       that one (a minute, 6 GB)
    python3 tools/oracle/make_golden.py tests/golden mini models/lamm-mini     after each training

pictures/<side>.rgb         raw (side, side, 3) bytes, made by picture()
<model>/answers-<kind>.txt  "x y r g b" for every place of the grid, from the plain loop
mini/answers-mode.txt       the SHA-256 of the weights, then "x y r g b p p p"
<model>/taps.safetensors    every named tensor for one picture and one prompt, f32, and the prompt:
                            `ids`, i32, -1 standing for the picture. Tensors of the wide model are
                            thinned: SAMPLES places chosen by rng, and the norm of all
"""
import hashlib
import json
import os
import sys

import numpy as np
import torch

import ask
import lamm
import make_models
import rng
import stfile
import tokmake


def picture(side):
    """A code-made picture: shades, a disc, a chequered corner. Integers only."""
    y, x = np.mgrid[0:side, 0:side].astype(np.int64) * 256 // side
    rgb = np.stack([x, y, 255 - (x + y) // 2], axis=-1)
    disc = (x - 150) ** 2 + (y - 90) ** 2 < 60**2
    rgb[disc] = [230, 40, 60]
    corner = (x < 96) & (y > 160)
    rgb[corner] = np.where(((x // 16 + y // 16) % 2)[corner][:, None] == 1, 250, 20)
    return torch.from_numpy(rgb.astype(np.uint8))


class Recorder(dict):
    def __call__(self, name, tensor):
        self[name] = tensor.to(torch.float32).reshape(-1, tensor.shape[-1])


def taps(asker, x, y):
    """Every tensor of the asker's picture and one pixel prompt, and the prompt."""
    rec, model = Recorder(), asker.m
    feats = model.see(asker.rgb, rec)
    ids = asker.prompt(x, y) + asker.lead
    rec("logits", model.decode(model.embed(feats, ids)[None], rec)[0])
    rec["ids"] = torch.tensor(ids, dtype=torch.int32)
    return rec


SAMPLES, QUESTIONS, CLOSE = 1024, 300, 2e-4


def thin(rec):
    out = {"ids": rec.pop("ids")}
    for name, t in rec.items():
        flat = t.flatten()
        if len(flat) <= SAMPLES:
            out[name] = t
            continue
        n = np.arange(SAMPLES, dtype=np.uint64)
        at = rng.u64(rng.name_seed(name), n) % np.uint64(len(flat))
        out[name] = flat[torch.from_numpy(at.astype(np.int64))]
        out[name + ".norm"] = flat.double().norm().float().reshape(1)
    return out


def unstored(root, name):
    """A model that the C side makes for itself: a picture between made-up tokens."""
    config, dtype = make_models.UNSTORED[name]
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    model = lamm.Model(config, make_models.make(make_models.shapes(config), dtype))
    side = config["vision_config"]["image_size"]
    with open(os.path.join(root, "pictures", f"{side}.rgb"), "wb") as f:
        f.write(picture(side).numpy().tobytes())
    rec = Recorder()
    feats = model.see(picture(side), rec)
    ids = [1, 5, ask.IMAGE, 7, 49, 11, 11, 20]
    rec("logits", model.decode(model.embed(feats, ids)[None], rec)[0])
    rec["ids"] = torch.tensor(ids, dtype=torch.int32)
    stfile.write(os.path.join(folder, "taps.safetensors"), thin(rec) if name == "wide" else rec)


def small(root, name):
    folder = os.path.join(root, name)
    asker = ask.Asker.load(folder, picture)
    stfile.write(os.path.join(folder, "taps.safetensors"), taps(asker, 3, 12))
    grid = asker.c["pixel_grid"]
    for kind in ("mode", "median", "mean"):
        with open(os.path.join(folder, f"answers-{kind}.txt"), "w") as f:
            for y in range(grid):
                for x in range(grid):
                    got = asker.mode(x, y) if kind == "mode" else asker.estimate(x, y, kind)
                    print(x, y, *got[0], file=f)
    print(f"{name}: closest calls {asker.least_gap}")


def mini(root, model_folder):
    """Greedy answers of the default model at QUESTIONS places of one picture, but for the few that
    hang by less than f32 can tell."""
    folder = os.path.join(root, "mini")
    os.makedirs(folder, exist_ok=True)
    asker = ask.Asker.load(model_folder, picture)
    side, grid = asker.c["vision_config"]["image_size"], asker.c["pixel_grid"]
    with open(os.path.join(root, "pictures", f"{side}.rgb"), "wb") as f:
        f.write(picture(side).numpy().tobytes())
    with open(os.path.join(model_folder, "model.safetensors"), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    places = np.random.default_rng(1).permutation(grid * grid)[:QUESTIONS]
    with open(os.path.join(folder, "answers-mode.txt"), "w") as f:
        print(digest, file=f)
        for at in sorted(int(p) for p in places):
            x, y = at % grid, at // grid
            asker.least_gap["mode"] = 1.0
            rgb, probs = asker.mode(x, y)
            if asker.least_gap["mode"] >= CLOSE:
                print(x, y, *rgb, *(f"{p:.6f}" for p in probs), file=f)


def main(root, more, *rest):
    os.makedirs(os.path.join(root, "pictures"), exist_ok=True)
    if more == "mini":
        mini(root, *rest)
        return
    if more == "wide":
        unstored(root, "wide")
        return
    with open(os.path.join(root, "pictures", "32.rgb"), "wb") as f:
        f.write(picture(32).numpy().tobytes())
    unstored(root, "odd")
    small(root, "tiny")
    small(root, "tiny-digits")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], *(sys.argv[2:] or [""]))
