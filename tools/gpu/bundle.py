#!/usr/bin/env python3
"""bundle.py - a training run in one file, for a machine with a card and nothing else.

    bundle.py RECIPE --data DATA --model MODEL [--teacher TEACHER] --out train.tar.gz [--mib 60]

    tar xzf train.tar.gz && sh lammd-train/run.sh 500       # there: 500 seconds of it
    sh lammd-train/run.sh 500 cpu                           # without a card: to rehearse, to go on

DATA is what the recipe calls ${DATA}. So that all fits into --mib MiB its pictures are encoded
anew, as JPEG with the short side at most --side, masks and boxes alike, and of each source as many
pictures, shards or rounds are taken as have room. The bundle has the program, the plugin, the
libraries that a bare machine lacks, model, teacher, recipe and data.

run.sh ends the run after so many seconds, with a checkpoint, and writes what was learnt until then
as lammd-train/run/model. The same command goes on, there or, with the folder brought back, on a
processor. Run this from the root of a checkout that is built. Needs Pillow.
"""
import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib

from PIL import Image

MIB = 1 << 20
ENDS = (".jpg", ".jpeg", ".png", ".webp")
COMMON = re.compile(r"/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so")
RUN = """#!/bin/sh
# run.sh SECONDS [cuda|cpu] - so much of the run; then run/model is what was learnt. See bundle.py.
set -eu
cd "$(dirname "$0")"
seconds=$1 device=${2:-cuda}
export LD_LIBRARY_PATH="$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
train() {
    "$@" ./lammd train recipe.ini --set DATA=data --model model --device "$device" --out run
}
train timeout --signal=TERM --kill-after=60 "$seconds" || [ $? = 124 ]
./lammd train recipe.ini --set DATA=data --model model --device "$device" --out run --export
tail -n 1 run/losses.csv
"""


# ---- data, smaller ----

def fitted(size, side):
    """The size with a short side of at most `side`."""
    k = min(1, side / min(size))
    return tuple(max(1, round(n * k)) for n in size)


def smaller(path, side, quality):
    """(JPEG, size before, size after)"""
    with Image.open(path) as im:
        size, im = im.size, im.convert("RGB").resize(fitted(im.size, side), Image.BICUBIC)
    out = io.BytesIO()
    im.save(out, "JPEG", quality=quality)
    return out.getvalue(), size, im.size


def scaled_mask(mask, folder, to, sizes):
    """A mask of a picture whose size changed, or None if it can't be told smaller."""
    (w, h), (nw, nh) = sizes
    name = mask if isinstance(mask, str) else mask.get("file")
    if name:
        if not os.path.exists(f"{to}/{name}"):
            with Image.open(f"{folder}/{name}") as im:
                im.resize((nw, nh), Image.NEAREST).save(f"{to}/{name}", optimize=True)
        return mask
    is_nothing = mask.get("counts") == [w * h]
    return {"size": [nh, nw], "counts": [nw * nh]} if is_nothing else None


def scaled_box(box, sizes):
    (w, h), (nw, nh) = sizes
    return [round(v * (nh / h if i % 2 else nw / w), 2) for i, v in enumerate(box)]


def scaled(row, folder, to, sizes):
    """The line as it is for the smaller picture, or None."""
    row = dict(row)
    if "box" in row:
        row["box"] = scaled_box(row["box"], sizes)
    if "phrases" in row:
        row["phrases"] = [{**p, "boxes": [scaled_box(b, sizes) for b in p["boxes"]]} for p in row["phrases"]]
    if "mask" in row:
        row["mask"] = scaled_mask(row["mask"], folder, to, sizes)
        if row["mask"] is None:
            return None
    return row


def copy_lines(folder, to, o, share):
    """Pictures that lines ask about, and the lines. share: of the pictures, by their names."""
    sizes = {}
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".jsonl")):
        with open(f"{folder}/{name}", encoding="utf-8") as f, open(f"{to}/{name}", "w", encoding="utf-8") as g:
            for line in f:
                row = json.loads(line)
                image = row.get("image")
                if image is None:
                    raise SystemExit(f"bundle.py: {folder}/{name}: lines of several pictures are not for bundles")
                if not is_taken(image, share):
                    continue
                if image not in sizes:
                    data, *sizes[image] = smaller(f"{folder}/{image}", o.side, o.quality)
                    with open(f"{to}/{image}", "wb") as h:
                        h.write(data)
                row = scaled(row, folder, to, sizes[image])
                if row:
                    g.write(json.dumps(row) + "\n")


def is_taken(name, share):
    return zlib.crc32(name.encode()) < share * 2 ** 32


def copy_pictures(folder, to, o, share=1.0):
    """A folder of pictures, perhaps with lines about them."""
    os.makedirs(to)
    names = sorted(os.listdir(folder))
    if any(n.endswith(".jsonl") for n in names):
        return copy_lines(folder, to, o, share)
    for name in names:
        if name.lower().endswith(ENDS) and is_taken(name, share):
            with open(f"{to}/{name}", "wb") as f:
                f.write(smaller(f"{folder}/{name}", o.side, o.quality)[0])


def copy_some_pictures(folder, to, o, room):
    """As many of them as have room."""
    copy_pictures(folder, to, o)
    used = size_of(to)
    if used > room:
        shutil.rmtree(to)
        copy_pictures(folder, to, o, 0.95 * room / used)


def copy_parts(folder, to, room):
    """Shards, or rounds, from the first on that have room."""
    used = 0
    for part in parts_of(folder):
        n = size_of(f"{folder}/{part}")
        if used + n > room:
            continue
        used += n
        os.makedirs(to, exist_ok=True)
        copy = shutil.copytree if os.path.isdir(f"{folder}/{part}") else shutil.copyfile
        copy(f"{folder}/{part}", f"{to}/{part}")
    if not used:
        raise SystemExit(f"bundle.py: {folder}: no part of it has room: make smaller shards, or give a larger --mib")


def size_of(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(size_of(f"{path}/{n}") for n in os.listdir(path))


def parts_of(folder):
    """What may be left out: shards, and folders of rounds. None: it is a folder of pictures."""
    names = sorted(os.listdir(folder))
    parts = [n for n in names if n.endswith(".tar") or os.path.exists(f"{folder}/{n}/rollout.json")]
    return parts or None


def copy_data(o, to, room):
    """Each source has an equal share; what one leaves is the others'. Shards and rounds come last,
    since they are of a size."""
    os.makedirs(to, exist_ok=True)
    names = [n for n in sorted(os.listdir(o.data)) if os.path.isdir(f"{o.data}/{n}")]
    names.sort(key=lambda n: bool(parts_of(f"{o.data}/{n}")))
    for i, name in enumerate(names):
        folder, left = f"{o.data}/{name}", (room - size_of(to)) / (len(names) - i)
        if parts_of(folder):
            copy_parts(folder, f"{to}/{name}", left)
        else:
            copy_some_pictures(folder, f"{to}/{name}", o, left)


# ---- the program ----

def libraries(program):
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"=> (/\S+) ", said)
    return [p for p in found if not COMMON.search(p)]


def copy_program(to):
    os.makedirs(f"{to}/lib")
    shutil.copy("lammd", f"{to}/lammd")
    plugin = "build/release/lammd-cuda.so"
    if os.path.exists(plugin):
        shutil.copy(plugin, f"{to}/lammd-cuda.so")
    else:
        print("bundle.py: no lammd-cuda.so was built: this bundle is for processors", file=sys.stderr)
    for path in libraries("lammd"):
        shutil.copy(path, f"{to}/lib")
    for path in [f"{to}/lammd", f"{to}/lammd-cuda.so"]:
        if os.path.exists(path):
            subprocess.run(["strip", "--strip-unneeded", path], check=True)


def copy_model(folder, to):
    os.makedirs(to)
    for name in os.listdir(folder):
        if name.endswith((".safetensors", ".json", ".model")):
            shutil.copy(f"{folder}/{name}", to)


def recipe_text(path, has_teacher):
    """The recipe, its paths the bundle's."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"^(model|out) *=.*\n", "", text, flags=re.M)
    return re.sub(r"^teacher *=.*\n", "teacher = teacher\n" if has_teacher else "", text, flags=re.M)


def packed(top, path):
    """Bytes of the bundle, which is written."""
    with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(top, "lammd-train")
    return os.path.getsize(path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("recipe")
    p.add_argument("--data", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--teacher")
    p.add_argument("--out", required=True)
    p.add_argument("--mib", type=int, default=60)
    p.add_argument("--side", type=int, default=128, help="short side of pictures (default: %(default)s)")
    p.add_argument("--quality", type=int, default=80, help="of JPEG (default: %(default)s)")
    o = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        top = f"{tmp}/lammd-train"
        os.makedirs(top)
        copy_program(top)
        copy_model(o.model, f"{top}/model")
        if o.teacher:
            copy_model(o.teacher, f"{top}/teacher")
        with open(f"{top}/recipe.ini", "w", encoding="utf-8") as f:
            f.write(recipe_text(o.recipe, o.teacher))
        with open(f"{top}/run.sh", "w", encoding="utf-8") as f:
            f.write(RUN)
        copy_data(o, f"{top}/data", o.mib * MIB - packed(top, o.out))  # pictures hardly get smaller
        n = packed(top, o.out)
    print(f"{o.out}: {n / MIB:.1f} MiB of {o.mib}")
    if n > o.mib * MIB:
        raise SystemExit("bundle.py: that is too much")


if __name__ == "__main__":
    main()
