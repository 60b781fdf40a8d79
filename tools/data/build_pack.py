"""Build the training pack of lamm-mini from the pictures of a manifest of Debian packages.

    python3 tools/data/build_pack.py --manifest train_manifest.tsv --debs DEBS --out PACK [--download]

The manifest is a table of package, version, path_in_package, width, height, sha256. `--download`
fetches the packages with `apt-get download` into DEBS first. Every picture is checked by its sha256;
what is missing or changed is reported and left out. `rcc:` paths lie inside Qt resource files.

PACK/flat.npy    all training pictures, RGB bytes one after the other, short side at most 288
PACK/index.npz   where each begins, and its height and width
PACK/heldout/    the set-aside pictures (sha256 begins with 0), as they are, losslessly, for
                 `lammd eval pvp PACK/heldout`; they are never trained on

The pictures have many authors and licences (see NOTICE.md): the pack stays on your machine.
"""
import argparse
import csv
import glob
import hashlib
import io
import os
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image

SHORT_SIDE = 288
Image.MAX_IMAGE_PIXELS = 90_000_000


def rcc_files(data):
    """Contents of a Qt resource file: a tree of names and a heap of (perhaps deflated) bytes."""
    if data[:4] != b"qres":
        return
    version, tree, heap, _ = struct.unpack(">IIII", data[4:20])
    node_bytes = 14 if version < 2 else 22
    todo = [0]
    while todo:
        at = tree + todo.pop() * node_bytes
        flags, = struct.unpack(">H", data[at + 4:at + 6])
        if flags & 2:
            count, first = struct.unpack(">II", data[at + 6:at + 14])
            todo += range(first, first + count)
            continue
        offset, = struct.unpack(">I", data[at + 10:at + 14])
        size, = struct.unpack(">I", data[heap + offset:heap + offset + 4])
        blob = data[heap + offset + 4:heap + offset + 4 + size]
        yield zlib.decompress(blob[4:]) if flags & 1 else blob


def unpack(package, debs, out):
    folder = os.path.join(out, "unpacked", package)
    if not os.path.isdir(folder):
        found = sorted(glob.glob(os.path.join(debs, package + "_*.deb")))
        if not found:
            return None
        os.makedirs(folder)
        subprocess.check_call(["dpkg", "-x", found[-1], folder])
    return folder


def pictures(package, rows, folder):
    """sha256 -> bytes of the wanted pictures of one package."""
    wanted, got = {r["sha256"] for r in rows}, {}
    if any(r["path_in_package"].startswith("rcc:") for r in rows):
        for path in glob.glob(folder + "/**/*.rcc", recursive=True):
            with open(path, "rb") as f:
                for blob in rcc_files(f.read()):
                    h = hashlib.sha256(blob).hexdigest()
                    if h in wanted:
                        got[h] = blob
    for r in rows:
        path = os.path.join(folder, r["path_in_package"])
        if r["sha256"] not in got and os.path.isfile(path):
            with open(path, "rb") as f:
                blob = f.read()
            if hashlib.sha256(blob).hexdigest() == r["sha256"]:
                got[r["sha256"]] = blob
    return got


def decode(blob):
    im = Image.open(io.BytesIO(blob))
    if im.mode in ("RGBA", "LA", "P"):
        im = im.convert("RGBA")
        white = Image.new("RGBA", im.size, (255, 255, 255, 255))
        white.alpha_composite(im)
        im = white
    return im.convert("RGB")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--manifest", required=True)
    ap.add_argument("--debs", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--download", action="store_true")
    a = ap.parse_args()
    os.makedirs(a.out + "/heldout", exist_ok=True)
    by_package = {}
    with open(a.manifest) as f:
        for r in csv.DictReader(f, delimiter="\t"):
            by_package.setdefault(r["package"], []).append(r)
    if a.download:
        os.makedirs(a.debs, exist_ok=True)
        for package in by_package:
            subprocess.check_call(["apt-get", "download", "-qq", package], cwd=a.debs)
    train, missing, held = [], 0, 0
    for package, rows in by_package.items():
        folder = unpack(package, a.debs, a.out)
        got = pictures(package, rows, folder) if folder else {}
        for r in rows:
            h = r["sha256"]
            if h not in got:
                print("missing:", package, r["path_in_package"])
                missing += 1
                continue
            im = decode(got[h])
            if h[0] == "0":
                im.save(f"{a.out}/heldout/{package}-{h[:12]}.png", compress_level=1)
                held += 1
                continue
            s = SHORT_SIDE / min(im.size)
            if s < 1:
                im = im.resize([max(1, round(v * s)) for v in im.size], Image.LANCZOS)
            train.append(np.asarray(im))
        print(package, len(got), "of", len(rows), flush=True)
    np.save(a.out + "/flat.npy", np.concatenate([t.reshape(-1) for t in train]))
    np.savez(a.out + "/index.npz", off=np.cumsum([0] + [t.size for t in train]), shp=np.array([t.shape[:2] for t in train]))
    print(len(train), "for training,", held, "set aside,", missing, "missing")


if __name__ == "__main__":
    main()
