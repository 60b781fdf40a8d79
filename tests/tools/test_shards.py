"""test_shards.py - tools/data/photos.py on small made-up repositories, and write_shards.py.

Run by run.py. What lines say is held against the pixels.
"""
import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import unittest

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools/data"))
import photos
import scenes
import write_shards


def raises_exit(words, call, *args):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            call(*args)
    except SystemExit as e:
        assert words in str(e), e
    else:
        raise AssertionError(f"no exit with {words!r}")


def picture(kind, size, seed, mode="RGB"):
    rng, out = np.random.default_rng(seed), io.BytesIO()
    small = rng.integers(0, 256, (5, 4, len(mode)), np.uint8)
    Image.fromarray(small, mode).resize(size).save(out, kind)
    return out.getvalue()


def repository(folder, files):
    """A git repository with these files; its path and commit."""
    if not shutil.which("git"):
        raise unittest.SkipTest("git is not installed")
    for name, data in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{name}") or folder, exist_ok=True)
        with open(f"{folder}/{name}", "wb") as f:
            f.write(data)
    me = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    for args in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "x"]):
        subprocess.run(["git", *args], cwd=folder, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True,
                          text=True).stdout.strip()


def pack(tmp, name, files, commit="HEAD"):
    """(index rows, lines, folder, text) of the pack of a repository with these files."""
    os.makedirs(tmp + "/repo", exist_ok=True)
    at = repository(tmp + "/repo", files)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        photos.build(name, tmp + "/repo", "https://example.org/x", commit, tmp + "/out")
    folder = f"{tmp}/out/{name}"
    with open(folder + "/index.jsonl", encoding="utf-8") as f:
        rows = [json.loads(r) for r in f]
    lines = []
    if os.path.exists(folder + ".jsonl"):
        with open(folder + ".jsonl", encoding="utf-8") as f:
            lines = [json.loads(r) for r in f]
    with open(folder + "/NOTICE", encoding="utf-8") as f:
        notice = f.read()
    assert at in notice and "https://example.org/x" in notice, notice
    return rows, lines, folder, said.getvalue()


def is_aside(folder, file):
    with open(f"{folder}/{file}", "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[0] in "012"


def test_photos_clothing(tmp):
    files = {f"train/hat/{i}.jpg": picture("JPEG", (400, 200 + i), i) for i in range(20)}
    files |= {"test/t-shirt/a.jpg": picture("JPEG", (90, 80), 1), "README.md": b"x",
              "train/hat/broken.jpg": b"no picture", "train/hat/x.gif": b"GIF89a"}
    rows, lines, folder, text = pack(tmp, "clothing", files)
    assert len(rows) == 21 and "skipped: train/hat/broken.jpg" in text, text
    assert rows[0] == {"file": "00000.jpg", "source": "test/t-shirt/a.jpg", "name": "t-shirt", "split": "test"}
    assert Image.open(folder + "/00000.jpg").size == (90, 80)  # never enlarged
    assert min(Image.open(f"{folder}/{rows[5]['file']}").size) == 176
    asked = {r["image"].split("/")[1] for r in lines}
    assert asked == {r["file"] for r in rows if not is_aside(folder, r["file"])}
    for line in lines:
        name = next(r["name"] for r in rows if r["file"] == line["image"].split("/")[1])
        assert line.get("answer") == (None if scenes.is_reserved(name) else name)


def test_photos_grocery(tmp):
    files = {"dataset/train/Fruit/Apple/Golden-Delicious/a.jpg": picture("JPEG", (200, 200), 1),
             "dataset/val/Vegetables/Red-Beet/b.jpg": picture("JPEG", (200, 200), 2),
             "dataset/iconic-images/Fruit/c.jpg": picture("JPEG", (200, 200), 3)}
    rows, _, _, _ = pack(tmp, "grocery", files)
    assert [(r["name"], r["kind"], r["group"], r["split"]) for r in rows] == [
        ("apple", "golden delicious", "fruit", "train"), ("red beet", "red beet", "vegetables", "val")]


def test_photos_emoji(tmp):
    big = np.zeros((256, 256, 4), np.uint8)
    big[10:210, 20:120] = 255
    out = io.BytesIO()
    Image.fromarray(big).save(out, "PNG")
    files = {f"assets/{n}.png": out.getvalue() for n in ("1f34e_3d", "1f34e_flat", "1f44b-1f3fb_3d",
                                                         "1f3c3-200d-2640-fe0f_3d")}
    rows, lines, folder, _ = pack(tmp, "emoji", files)
    assert [r["name"] for r in rows] == ["red apple", "runner female sign"] and not lines
    im = Image.open(folder + "/1f34e.png")
    assert im.size == (56, 112) and im.mode == "RGBA"  # what is seen alone


def coco_files():
    """One photograph that may be used, one whose licence forbids it, one without a mask."""
    base = "panoptic_segmentation/annotations/panoptic_train2017"
    ids = np.zeros((300, 400, 3), np.uint8)
    ids[:150, :200, 0], ids[:150, 200:, 1], ids[150:, :200, 0] = 7, 1, 9
    out = io.BytesIO()
    Image.fromarray(ids).save(out, "PNG")
    segments = [{"id": 7, "category_id": 1, "bbox": [0, 0, 200, 150], "iscrowd": 0},
                {"id": 256, "category_id": 2, "bbox": [200, 0, 200, 150], "iscrowd": 0},
                {"id": 9, "category_id": 3, "bbox": [0, 150, 200, 150], "iscrowd": 0}]
    p = {"images": [{"id": i, "file_name": f"{i}.jpg", "license": lic, "flickr_url": "http://f/x"}
                    for i, lic in ((1, 4), (2, 1), (3, 4))],
         "annotations": [{"image_id": i, "file_name": f"{i}.png", "segments_info": segments} for i in (1, 2)],
         "categories": [{"id": 1, "name": "zebra", "isthing": 1}, {"id": 2, "name": "wall-other-merged", "isthing": 0},
                        {"id": 3, "name": "kite", "isthing": 1}]}
    files = {f"images/train2017/{i}.jpg": picture("JPEG", (400, 300), i) for i in (1, 2, 3)}
    return files | {base + ".json": json.dumps(p).encode(), base + "/1.png": out.getvalue()}


def test_photos_coco(tmp):
    rows, lines, folder, _ = pack(tmp, "coco", coco_files())
    assert [r["file"] for r in rows] == ["1.jpg"]
    assert rows[0]["segments"][1] == {"id": 256, "name": "wall-other-merged", "thing": 0,
                                      "bbox": [192.0, 0.0, 192.0, 144.0], "iscrowd": 0}
    with open(folder + "/NOTICE", encoding="utf-8") as f:
        assert "1.jpg\tCC-BY-2.0\thttp://f/x\n" in f.read()
    made = photos.coco_lines(rows[0]["segments"], "coco/1.png", (384, 288))
    assert made[0] == {"task": "pixels", "orient": "stored"}
    spoken = [n for n in ("kite", "wall", "zebra") if not scenes.is_reserved(n)]
    assert [r["sentence"] for r in made[1:]] == spoken and len(spoken) >= 2
    wall = next(r for r in made[1:] if r["sentence"] == "wall")
    assert wall["task"] == ["mask"] and wall["mask"] == {"file": "coco/1.png", "ids": [256]}
    assert not lines or all(r["image"] == "coco/1.jpg" for r in lines)
    ids = np.asarray(Image.open(folder + "/1.png")).astype(int) @ (1, 256, 65536)
    assert ids.shape == (288, 384) and set(np.unique(ids)) == {0, 7, 9, 256}


def test_photos_of_a_commit(tmp):
    os.makedirs(tmp + "/repo")
    first = repository(tmp + "/repo", {"train/hat/a.jpg": picture("JPEG", (90, 80), 1)})
    os.remove(tmp + "/repo/train/hat/a.jpg")
    repository(tmp + "/repo", {"train/hat/b.jpg": picture("JPEG", (90, 80), 1)})
    for commit, name in ((first, "a"), ("HEAD", "b")):
        with contextlib.redirect_stdout(io.StringIO()):
            got = photos.build("clothing", tmp + "/repo", "url", commit, tmp + "/" + name)
        assert [r["source"] for r in got.rows] == [f"train/hat/{name}.jpg"]
    raises_exit("has no picture of grocery", photos.build, "grocery", tmp + "/repo", "url", "HEAD", tmp + "/c")
    raises_exit("rev-parse", photos.build, "clothing", tmp + "/repo", "url", "nowhere", tmp + "/c")


# ---- shards ----

def shards(tmp, *more):
    subprocess.run([sys.executable, ROOT + "/tools/data/write_shards.py", "--out", tmp, "--scenes", "12",
                    "--per-shard", "5", *more], check=True, capture_output=True)
    names = sorted(os.listdir(tmp))
    assert names == [f"shard-{k:05d}.tar" for k in range(3)], names
    return [f"{tmp}/{n}" for n in names]


def test_shards_are_true(tmp):
    for path in shards(tmp):
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}
        assert all(len(n) <= 100 for n in files)
        for line in map(json.loads, files["lines.jsonl"].splitlines()):
            assert line["image"] in files
            ids = np.asarray(Image.open(io.BytesIO(files[line["image"].replace(".jpg", ".png")])))[..., 0]
            assert Image.open(io.BytesIO(files[line["image"]])).size == ids.shape[::-1]
            if "mask" in line and "ids" in line["mask"]:
                where = np.isin(ids, line["mask"]["ids"])
                assert where.any()
                if "box" in line:
                    ys, xs = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
                    assert line["box"] == [xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]
            elif "mask" in line:
                assert line["mask"] == {"size": list(ids.shape), "counts": [ids.size]}
            for x1, y1, x2, y2 in line.get("about", ()):
                assert any(where[0].min() == y1 and where[0].max() == y2 - 1 and where[1].min() == x1 and
                           where[1].max() == x2 - 1 for where in (np.nonzero(ids == i) for i in range(1, ids.max() + 1)))
            if line.get("question", "").startswith("is there"):
                assert bool(line["about"]) == (line["answer"] == "yes")
            if "caption" in line:
                at = 0
                for p in line["phrases"]:
                    at = line["caption"].index(p["phrase"], at) + len(p["phrase"])
            if line["task"] == "detection":
                assert sum(len(p["boxes"]) for p in line["phrases"]) == ids.max()


def test_shards_again_are_the_same(tmp):
    os.makedirs(tmp + "/photos/below")
    with open(tmp + "/photos/below/a.jpg", "wb") as f:
        f.write(picture("JPEG", (300, 200), 1))
    digests = []
    for out in ("a", "b"):
        paths = shards(f"{tmp}/{out}", "--photos", tmp + "/photos", "--side", "64", "--seed", "7")
        digests.append([open(p, "rb").read() for p in paths])
    assert digests[0] == digests[1]
    names = {json.loads(r).get("sentence", "") for t in digests[0]
             for r in tarfile.open(fileobj=io.BytesIO(t)).extractfile("lines.jsonl")}
    assert len(names) > 10
    raises_exit("no picture below", write_shards.Photos, tmp + "/a")
