#!/usr/bin/env python3
"""photos.py - packs of real photographs out of public git repositories, with a NOTICE.

    photos.py clothing --repo URL_OR_CLONE --out OUT [--commit C]
    photos.py all --out OUT                           # each from its own repository, by git clone

    OUT/NAME/00000.jpg ...      the pictures, shrunk
    OUT/NAME/index.jsonl        a line a file: file, source path, name, ...
    OUT/NAME/NOTICE             repository, commit, authors, licence; of coco, of each picture
    OUT/NAME.jsonl              what `lammd train` may learn from them (docs/training-data.md)

clothing  garments on a floor or table, 10 names, CC0
grocery   fruit, vegetables and cartons in shops, MIT
emoji     shaded drawings with alpha, MIT; they have no lines, for they are things to paste
coco      the photographs of COCO whose own licence allows it, with panoptic masks

Set aside for exams, and in no OUT/NAME.jsonl: a picture whose sha256 begins with 0 to 2, and of
names those that are reserved (scenes.is_reserved). A clone may be bare: only git is asked, the
repository's own code is not run. Needs numpy, Pillow and git.
"""
import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata

from PIL import Image

import scenes

REPOS = {"clothing": "https://github.com/alexeygrigorev/clothing-dataset-small",
         "grocery": "https://github.com/marcusklasson/GroceryStoreDataset",
         "emoji": "https://github.com/shuding/fluentui-emoji-unicode",
         "coco": "https://github.com/lightly-ai/coco128_yolo"}
AUTHORS = {"clothing": ("Alexey Grigorev and the contributors of the clothing dataset", "CC0-1.0"),
           "grocery": ("Copyright (c) 2019 Marcus Klasson", "MIT"),
           "emoji": ("Copyright (c) Microsoft Corporation", "MIT"),
           "coco": ("annotations: the COCO Consortium, CC-BY-4.0; photographs: as below", "per picture")}
SIDES = {"clothing": 176, "grocery": 176, "emoji": 112, "coco": 288}  # short; of emoji the long one
COCO_LICENCES = {4, 5, 7, 8}  # CC BY, CC BY-SA, no known restrictions, US government
QUALITY = {"clothing": 88, "grocery": 88, "coco": 90}  # of JPEG
MAX_BYTES = 32 << 20
MAX_PIXELS = 90_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


# ---- a repository at a commit ----

def git(repo, *args, text=True):
    done = subprocess.run(["git", "-C", repo, *args], capture_output=True, text=text)
    if done.returncode:
        why = done.stderr if text else done.stderr.decode(errors="replace")
        sys.exit(f"photos.py: git {args[0]} in {repo}: {why.strip()}")
    return done.stdout


class Repo:
    """Paths and blobs of one commit."""

    def __init__(self, path, commit):
        self.path = path
        self.commit = git(path, "rev-parse", "--verify", commit + "^{commit}").strip()
        rows = git(path, "ls-tree", "-r", "-l", "-z", self.commit, text=False).decode().split("\0")
        self.files = {}
        for row in filter(None, rows):
            head, name = row.split("\t", 1)
            mode, kind, blob, size = head.split()
            if kind == "blob" and mode.startswith("100") and int(size) <= MAX_BYTES:
                self.files[name] = blob
        self.cat = subprocess.Popen(["git", "-C", path, "cat-file", "--batch"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, name):
        self.cat.stdin.write(self.files[name].encode() + b"\n")
        self.cat.stdin.flush()
        head = self.cat.stdout.readline().split()
        if len(head) != 3:
            sys.exit(f"photos.py: {self.path}: {name} is not there; was it cloned whole?")
        data = self.cat.stdout.read(int(head[2]))
        self.cat.stdout.read(1)
        return data

    def matching(self, pattern):
        """(name, match) of the files, sorted."""
        return [(n, m) for n in sorted(self.files) if (m := re.fullmatch(pattern, n))]

    def close(self):
        self.cat.stdin.close()
        self.cat.stdout.close()
        self.cat.wait()


# ---- pictures ----

def shrunk(data, side):
    """RGB with its short side at most `side`."""
    im = Image.open(io.BytesIO(data))
    if im.width * im.height > MAX_PIXELS:
        raise ValueError("too many pixels")
    im = im.convert("RGB")
    k = side / min(im.size)
    return im if k >= 1 else im.resize([max(1, round(k * s)) for s in im.size], Image.BICUBIC)


def jpeg(im, pack):
    out = io.BytesIO()
    im.save(out, "JPEG", quality=QUALITY[pack], optimize=True)
    return out.getvalue()


class Pack:
    """OUT/NAME with its index, and the lines beside it."""

    def __init__(self, out, name):
        self.folder, self.name, self.lines_path = f"{out}/{name}", name, f"{out}/{name}.jsonl"
        os.makedirs(self.folder, exist_ok=True)
        self.rows, self.lines, self.skipped = [], [], 0

    def add(self, file, data, row, lines=()):
        """lines: what may be learnt of it, without the picture's name; left out of exams."""
        with open(f"{self.folder}/{file}", "wb") as f:
            f.write(data)
        self.rows.append({"file": file, **row})
        if hashlib.sha256(data).hexdigest()[0] not in "012":
            self.lines += [{**line, "image": f"{self.name}/{file}"} for line in lines]

    def skip(self, name, why):
        self.skipped += 1
        print(f"skipped: {name}: {why}")

    def close(self, notice):
        for path, rows in ((f"{self.folder}/index.jsonl", self.rows), (self.lines_path, self.lines)):
            if not rows:
                continue
            with open(path, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(r) + "\n" for r in rows)
        with open(f"{self.folder}/NOTICE", "w", encoding="utf-8") as f:
            f.write(notice)


def named_lines(name):
    """A photograph of one kind of thing: what it is, and its pixels."""
    if scenes.is_reserved(name):
        return [{"task": "pixels"}]
    return [{"task": ["pixels", "vqa"], "question": "what is in the picture?", "answer": name}]


# ---- the packs ----

def words(s):
    return s.replace("-", " ").lower()


def build_clothing(repo, pack):
    found = repo.matching(r"(train|validation|test)/([a-z-]+)/[^/]+\.jpg")
    for i, (path, m) in enumerate(found):
        try:
            data = jpeg(shrunk(repo.read(path), SIDES["clothing"]), "clothing")
        except (OSError, ValueError) as e:
            pack.skip(path, e)
            continue
        row = {"source": path, "name": m[2], "split": m[1]}
        pack.add(f"{i:05d}.jpg", data, row, named_lines(m[2]))


def build_grocery(repo, pack):
    found = repo.matching(r"dataset/(train|val|test)/([^/]+)/([^/]+)(/[^/]+)?/[^/]+\.jpg")
    for i, (path, m) in enumerate(found):
        try:
            data = jpeg(shrunk(repo.read(path), SIDES["grocery"]), "grocery")
        except (OSError, ValueError) as e:
            pack.skip(path, e)
            continue
        row = {"source": path, "name": words(m[3]), "kind": words((m[4] or "/" + m[3])[1:]),
               "group": words(m[2]), "split": m[1]}
        pack.add(f"{i:05d}.jpg", data, row, named_lines(row["name"]))


def code_name(codes):
    """The Unicode names of the characters, without joiners and variation selectors."""
    return " ".join(unicodedata.name(chr(int(c, 16)), "").lower() for c in codes
                    if c not in ("200d", "fe0f")).strip()


def build_emoji(repo, pack):
    tones = {f"1f3f{x}" for x in "bcdef"}
    for path, m in repo.matching(r"assets/([0-9a-f]+(?:-[0-9a-f]+)*)_3d\.png"):
        codes = m[1].split("-")
        name = code_name(codes)
        if tones & set(codes) or not name:
            continue
        try:
            im = Image.open(io.BytesIO(repo.read(path))).convert("RGBA")
        except (OSError, ValueError) as e:
            pack.skip(path, e)
            continue
        im = im.crop(im.getchannel("A").getbbox() or (0, 0, *im.size))
        im.thumbnail((SIDES["emoji"], SIDES["emoji"]), Image.BICUBIC)
        out = io.BytesIO()
        im.save(out, "PNG", optimize=True)
        pack.add(m[1] + ".png", out.getvalue(), {"name": name, "code": codes})


def category(name):
    """`wall-other-merged` is a wall."""
    return re.sub(r"-(merged|other|stuff)", "", name).replace("-", " ")


def coco_lines(segments, mask, size, is_left_out=scenes.is_reserved):
    """A mask for each name that is there, and a box where there is but one such thing. A box's last
    tenth of a pixel may lie over the edge: it is cut. is_left_out: of a name."""
    out = []
    for name in sorted({s["name"] for s in segments}):
        same = [s for s in segments if s["name"] == name]
        if any(s["iscrowd"] for s in same):
            continue
        spoken = category(name)
        line = {"task": ["mask"], "sentence": spoken, "orient": "stored",
                "mask": {"file": mask, "ids": [s["id"] for s in same]}}
        x, y, w, h = same[0]["bbox"]
        if len(same) == 1 and same[0]["thing"] and w > 1 and h > 1:
            line["task"] += ["refer", "identify"]
            line["box"] = [x, y, round(min(x + w, size[0]), 1), round(min(y + h, size[1]), 1)]
        if not is_left_out(spoken):
            out.append(line)
    return [{"task": "pixels", "orient": "stored"}] + out


def add_coco(repo, pack, split, image, note, things):
    """One photograph of a licence that allows it, and its mask, shrunk alike."""
    file = image["file_name"]
    base = f"panoptic_segmentation/annotations/panoptic_{split}2017/"
    try:
        photo = shrunk(repo.read(f"images/{split}2017/{file}"), SIDES["coco"])
        mask = Image.open(io.BytesIO(repo.read(base + note["file_name"]))).convert("RGB")
    except (OSError, ValueError, KeyError) as e:
        return pack.skip(file, e)
    k = photo.width / mask.width
    mask = mask.resize(photo.size, Image.NEAREST)
    out = io.BytesIO()
    mask.save(out, "PNG", optimize=True)
    name = os.path.splitext(file)[0] + ".png"
    with open(f"{pack.folder}/{name}", "wb") as f:
        f.write(out.getvalue())
    segments = []
    for s in note["segments_info"]:
        segments.append({"id": s["id"], "name": things[s["category_id"]]["name"],
                         "thing": things[s["category_id"]]["isthing"],
                         "bbox": [round(v * k, 1) for v in s["bbox"]], "iscrowd": s["iscrowd"]})
    pack.add(file, jpeg(photo, "coco"), {"mask": name, "license": image["license"],
                                 "flickr_url": image.get("flickr_url"), "segments": segments},
             coco_lines(segments, f"{pack.name}/{name}", photo.size))


def build_coco(repo, pack):
    for split in ("train", "val"):
        path = f"panoptic_segmentation/annotations/panoptic_{split}2017.json"
        if path not in repo.files:
            continue
        p = json.loads(repo.read(path))
        things = {c["id"]: c for c in p["categories"]}
        notes = {a["image_id"]: a for a in p["annotations"]}
        for image in sorted(p["images"], key=lambda i: i["file_name"]):
            if image["license"] in COCO_LICENCES and image["id"] in notes:
                add_coco(repo, pack, split, image, notes[image["id"]], things)


BUILDERS = {"clothing": build_clothing, "grocery": build_grocery, "emoji": build_emoji, "coco": build_coco}


def notice(name, url, commit, pack):
    author, licence = AUTHORS[name]
    text = (f"Pictures of {url}\nat commit {commit}, shrunk.\n"
            f"Authors: {author}\nLicence: {licence}\n")
    if name == "coco":
        words_of = {4: "CC-BY-2.0", 5: "CC-BY-SA-2.0", 7: "no known copyright restrictions",
                    8: "United States government work"}
        text += "\n" + "".join(f"{r['file']}\t{words_of[r['license']]}\t{r['flickr_url']}\n" for r in pack.rows)
    return text


def build(name, path, url, commit, out):
    """The pack, closed; sys.exit when nothing was found."""
    repo, pack = Repo(path, commit), Pack(out, name)
    BUILDERS[name](repo, pack)
    repo.close()
    if not pack.rows:
        sys.exit(f"photos.py: {url} has no picture of {name} at {repo.commit}")
    pack.close(notice(name, url, repo.commit, pack))
    print(f"{name}: {len(pack.rows)} pictures, {len(pack.lines)} lines, {pack.skipped} skipped, "
          f"commit {repo.commit}")
    return pack


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pack", choices=[*REPOS, "all"])
    ap.add_argument("--repo", help="a clone (bare or not), or its URL (default: the pack's own)")
    ap.add_argument("--commit", default="HEAD", help="default: %(default)s")
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    if a.pack == "all" and (a.repo or a.commit != "HEAD"):
        ap.error("all takes neither --repo nor --commit")
    for name in REPOS if a.pack == "all" else [a.pack]:
        url = a.repo or REPOS[name]
        if os.path.isdir(url):
            build(name, url, REPOS[name], a.commit, a.out)
            continue
        with tempfile.TemporaryDirectory() as tmp:
            if subprocess.run(["git", "clone", "--bare", "--quiet", "--", url, tmp + "/repo"]).returncode:
                sys.exit(f"photos.py: git clone {url} failed")
            build(name, tmp + "/repo", url, a.commit, a.out)


if __name__ == "__main__":
    main()
