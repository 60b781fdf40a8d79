"""small.py - lamm-mini with two layers and a quarter of its picture: its true widths, its
tokenizer, and steps that take milliseconds.

    small.write("models/lamm-mini", "/tmp/small")
"""
import json
import os
import shutil
import struct

import numpy as np

LAYERS, SIDE, PATCHES = 2, 64, 16  # SIDE: of the picture; PATCHES: of a side


def read(path):
    """-> {name: (dtype, shape, bytes)}"""
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        base = f.read()
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], base[v["data_offsets"][0]:v["data_offsets"][1]])
            for k, v in head.items()}


def save(path, tensors):
    head, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(d for _, _, d in tensors.values()))


def layer_of(name):
    parts = name.split(".")
    return int(parts[2]) if parts[1:2] in (["blocks"], ["layers"]) else 0


def write(model, to):
    os.makedirs(to, exist_ok=True)
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["vision_config"].update(image_size=SIDE, num_hidden_layers=LAYERS)
    config["text_config"].update(num_hidden_layers=LAYERS)
    with open(os.path.join(to, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    shutil.copy(os.path.join(model, "tokenizer.model"), to)
    kept = {k: v for k, v in read(os.path.join(model, "model.safetensors")).items()
            if layer_of(k) < LAYERS}
    name = "visual_encoder.pos_embed"
    dtype, (one, n, e), data = kept[name]
    places = np.frombuffer(data, np.float32).reshape(n, e)
    side = round((n - 1) ** 0.5)
    grid = places[1:].reshape(side, side, e)[:PATCHES, :PATCHES].reshape(-1, e)
    kept[name] = (dtype, [one, 1 + PATCHES * PATCHES, e], np.concatenate([places[:1], grid]).tobytes())
    save(os.path.join(to, "model.safetensors"), kept)
