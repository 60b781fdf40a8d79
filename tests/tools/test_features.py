"""test_features.py - tools/data/features.py: whose pictures it looks at, and what it writes.

Run by run.py. Pictures are made here, and a network of ours looks at them.
"""
import contextlib
import hashlib
import io
import json
import os
import struct
import sys
import tarfile
from unittest import mock

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import features

HEAD, ENTRY = 16 + 4 * features.CHANNELS, 36


def noise(seed, w=40, h=30, **how):
    pixels = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **how)
    return out.getvalue()


def turned():
    exif = Image.Exif()
    exif[features.EXIF_TURN] = 6
    return noise(9, exif=exif)


def network():
    """112 mixes of some pixels of each square."""
    mixes = np.random.default_rng(1).normal(size=(27, 112)).astype(np.float32)

    def see(x):
        h, w = x.shape[2] // 16, x.shape[3] // 16
        cells = x[0].reshape(3, h, 16, w, 16)[:, :, ::6, :, ::6].transpose(1, 3, 0, 2, 4)
        return np.tanh(cells.reshape(h, w, 27) @ mixes / 8).transpose(2, 0, 1)

    return see


def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as to:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            to.addfile(info, io.BytesIO(data))
    return out.getvalue()


def seen(tmp, *data):
    argv = ["features.py", *(f"{tmp}/{d}" for d in data), "--out", f"{tmp}/f.bin"]
    with mock.patch.object(features, "network", network), mock.patch.object(sys, "argv", argv), \
            contextlib.redirect_stdout(io.StringIO()):
        features.main()
    return features.read(f"{tmp}/f.bin")


def test_features(tmp):
    blobs = [noise(i) for i in range(4)]
    lines = [{"task": "mask", "image": "a.png", "sentence": "x", "mask": "mask.png"},
             {"task": "pixels", "image": "turned.png"}, {"messages": []}]
    for name, data in {"a.png": blobs[0], "mask.png": noise(7), "turned.png": turned(),
                       "x.jsonl": "\n".join(map(json.dumps, lines)).encode()}.items():
        put(f"{tmp}/lines/{name}", data)
    put(f"{tmp}/shards/x.tar", tar({"b.png": blobs[1], "no.png": noise(8),
                                    "x.jsonl": b'{"task": "pixels", "images": ["b.png"]}\n'}))
    for name, data in {"c.png": blobs[2], "d.PNG": blobs[3], "again.png": blobs[0]}.items():
        put(f"{tmp}/plain/{name}", data)
    got = seen(tmp, "lines/x.jsonl", "shards", "plain")
    magic, n, channels = struct.unpack("<8sII", got[:16])
    assert (magic, n, channels) == (b"lammdfe1", 4, features.CHANNELS), (magic, n, channels)
    entries = [struct.unpack("<32sHH", got[HEAD + i * ENTRY:][:ENTRY]) for i in range(n)]
    assert [e[0] for e in entries] == sorted(hashlib.sha256(b).digest() for b in blobs)
    assert entries[0][1:] == (18, 14), entries[0]  # 40 x 30 at about 256 x 256 pixels
    assert len(got) == HEAD + n * (ENTRY + 18 * 14 * channels)
    scale = np.frombuffer(got, "<f4", channels, 16)
    levels = np.frombuffer(got, np.int8, offset=HEAD + ENTRY * n).reshape(-1, channels)
    square = float(((levels * scale) ** 2).mean())
    assert abs(square - 1) < 0.03, square
