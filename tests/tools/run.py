#!/usr/bin/env python3
"""run.py - the tools that need no PyTorch: packs, scenes, games, weights, the tokenizer.

    tests/tools/run.py [--long] [substring...]

Needs python3-pil and python3-numpy; skips aloud without them. Pictures, packages and resource files
are made here, in a folder that is gone afterwards. Ends with `N passed, N failed`.
"""
import contextlib
import csv
import glob
import hashlib
import io
import os
import struct
import subprocess
import sys
import tempfile
import traceback
import unittest
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tools/data"), os.path.join(ROOT, "tests")]
import suite  # noqa: E402, F401 (takes --long)
try:
    import numpy as np
    from PIL import Image
    import build_pack
    import scenes
    import test_battery
    import test_bundle
    import test_calibrate
    import test_cutouts
    import test_features
    import test_games
    import test_invaders
    import test_own_pairs
    import test_shards
    import test_sheet
    import test_weights
except ImportError as e:
    print(f"skip: tools: {e}: apt-get install python3-pil python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

FIELDS = ["package", "version", "path_in_package", "width", "height", "sha256"]


def png(w, h, seed, mode="RGB"):
    """Bytes of a picture of noise."""
    r = np.random.default_rng(seed)
    pixels = r.integers(0, 256, (h, w, len(mode)), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels, mode).save(out, "PNG")
    return out.getvalue()


def sha(blob):
    return hashlib.sha256(blob).hexdigest()


def found(set_aside, w=40, h=30):
    """The first picture of noise that is (not) set aside."""
    return next(b for b in (png(w, h, s) for s in range(1000))
                if (sha(b)[0] == "0") == set_aside)


def row(package, path, blob):
    return dict(zip(FIELDS, [package, "1", path, "0", "0", sha(blob)]))


def place(out, package, path, blob):
    """A file as if its package had been unpacked."""
    path = os.path.join(out, "unpacked", package, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(blob)


def build(rows, out, debs="/nonexistent"):
    """build_pack.build with its output: ((training, set aside, missing), text)."""
    by_package = {}
    for r in rows:
        by_package.setdefault(r["package"], []).append(r)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        counts = build_pack.build(by_package, debs, out)
    return counts, said.getvalue()


def packed(out):
    """{name: pixels} of a pack's pictures to learn from."""
    return {os.path.basename(p): np.asarray(Image.open(p)) for p in glob.glob(out + "/photos/*")}


def rcc(blobs):
    """A Qt resource file, version 1: a root and its files, every other one deflated."""
    heap, tree = b"", struct.pack(">IHII", 0, 2, len(blobs), 1)
    for i, b in enumerate(blobs):
        tree += struct.pack(">IHHHI", 0, i % 2, 0, 0, len(heap))
        if i % 2:
            b = struct.pack(">I", len(b)) + zlib.compress(b)
        heap += struct.pack(">I", len(b)) + b
    return b"qres" + struct.pack(">IIII", 1, 20, 20 + len(tree), 0) + tree + heap


def test_split_rule(tmp):
    assert build_pack.is_set_aside("0" + "f" * 63)
    assert not any(build_pack.is_set_aside(c + "0" * 63) for c in "123456789abcdef")
    train, held = found(False), found(True)
    for name, blob in (("t.png", train), ("h.png", held)):
        place(tmp, "some", name, blob)
    counts, _ = build([row("some", "t.png", train), row("some", "h.png", held)], tmp)
    assert counts == (1, 1, 0), counts
    pictures = packed(tmp)
    assert list(pictures) == [f"some-{sha(train)[:12]}.png"], pictures
    assert np.array_equal(pictures.popitem()[1], np.asarray(Image.open(io.BytesIO(train))))
    kept = glob.glob(tmp + "/heldout/*")
    assert [os.path.basename(k) for k in kept] == [f"some-{sha(held)[:12]}.png"], kept
    assert np.array_equal(np.asarray(Image.open(kept[0])), np.asarray(Image.open(io.BytesIO(held))))


def test_real_manifest(_):
    """The counts that NOTICE.md and the model card state."""
    rows = [r for rs in build_pack.manifest(ROOT + "/tools/data/train_manifest.tsv").values()
            for r in rs]
    aside = sum(build_pack.is_set_aside(r["sha256"]) for r in rows)
    assert (len(rows), aside) == (782, 32), (len(rows), aside)
    assert len({r["sha256"] for r in rows}) == 782
    assert all(len(r["sha256"]) == 64 and not r["path_in_package"].startswith("/") for r in rows)


def test_resize(_):
    def size(w, h):
        return build_pack.shrink(Image.new("RGB", (w, h))).size
    assert size(1000, 576) == (500, 288)
    assert size(576, 1000) == (288, 500)
    assert size(288, 4000) == (288, 4000)
    assert size(100, 50) == (100, 50)  # never enlarged
    assert size(289, 289) == (288, 288)


def test_pictures_are_named_by_package_and_sha(tmp):
    blobs = [b for b in (png(20 + s, 50 - s, s) for s in range(12)) if sha(b)[0] != "0"]
    for i, b in enumerate(blobs):
        place(tmp, "p" + str(i % 2), f"{i}.png", b)
    rows = [row("p" + str(i % 2), f"{i}.png", b) for i, b in enumerate(blobs)]
    counts, said = build(rows, tmp)
    assert counts == (len(blobs), 0, 0), counts
    pictures, pixels = packed(tmp), hashlib.sha256()
    assert len(pictures) == len(blobs)
    for i, blob in [*enumerate(blobs)][0::2] + [*enumerate(blobs)][1::2]:  # package by package
        got = pictures[f"p{i % 2}-{sha(blob)[:12]}.png"]
        assert np.array_equal(got, np.asarray(Image.open(io.BytesIO(blob))))
        pixels.update(got.tobytes())
    assert "digest " + pixels.hexdigest()[:16] in said, said


def test_same_bytes_again(tmp):
    blob, packs = found(False, 700, 400), []
    for run in "ab":
        out = os.path.join(tmp, run)
        place(out, "some", "t.png", blob)
        _, said = build([row("some", "t.png", blob)], out)
        (name, pixels), = packed(out).items()
        assert pixels.shape == (288, 504, 3)
        with open(f"{out}/photos/{name}", "rb") as f:
            packs.append((name, f.read(), said))
    assert packs[0] == packs[1]


def test_wrong_missing_and_broken(tmp):
    good = found(False)
    broken = next(b for b in (good[:200] + bytes([n]) for n in range(256)) if sha(b)[0] != "0")
    place(tmp, "some", "good.png", good)
    place(tmp, "some", "changed.png", good + b"x")
    place(tmp, "some", "broken.png", broken)
    rows = [row("some", "changed.png", png(9, 9, 9)), row("some", "gone.png", png(9, 9, 8)),
            row("some", "broken.png", broken), row("some", "good.png", good),
            row("absent", "a.png", png(9, 9, 7))]
    counts, said = build(rows, tmp, tmp)
    assert counts == (1, 0, 4), (counts, said)
    for words in ("missing: some changed.png", "missing: some gone.png", "skipped: absent",
                  "missing: some broken.png does not decode", "missing: absent a.png"):
        assert words in said, (words, said)


def test_nothing_found_is_an_error(tmp):
    try:
        build([row("absent", "a.png", png(9, 9, 7))], tmp, tmp)
    except SystemExit as e:
        assert "no training picture" in str(e.code)
    else:
        raise AssertionError("an empty pack was written")


def test_stale_pictures_go(tmp):
    blobs = {"t.png": found(False), "h.png": found(True), "u.png": found(False, 41)}
    for name, blob in blobs.items():
        place(tmp, "some", name, blob)
    rows = [row("some", name, blob) for name, blob in blobs.items()]
    build(rows, tmp)
    assert len(packed(tmp)) == 2 and len(glob.glob(tmp + "/heldout/*")) == 1
    build(rows[:1], tmp)
    assert list(packed(tmp)) == [f"some-{sha(blobs['t.png'])[:12]}.png"]
    assert glob.glob(tmp + "/heldout/*") == []


def test_resource_file(tmp):
    blobs = [found(False), png(31, 17, 5), found(True)]
    place(tmp, "game", "share/a.rcc", rcc(blobs))
    place(tmp, "game", "share/cut.rcc", rcc(blobs)[:60])
    counts, said = build([row("game", f"rcc:a/{i}.webp", b) for i, b in enumerate(blobs)], tmp)
    assert sum(counts) == 3 and counts[2] == 0, (counts, said)
    assert list(build_pack.rcc_files(rcc(blobs))) == blobs[::-1]
    assert list(build_pack.rcc_files(b"no resource file")) == []


def test_transparent_is_white(_):
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    out = io.BytesIO()
    clear.save(out, "PNG")
    assert build_pack.decode(out.getvalue()).getpixel((1, 1)) == (255, 255, 255)


def test_too_many_pixels(_):
    out = io.BytesIO()
    Image.new("1", (10000, 9001)).save(out, "PNG")
    try:
        build_pack.decode(out.getvalue())
    except ValueError as e:
        assert "above" in str(e)
    else:
        raise AssertionError("decoded")


def test_failing_download_is_skipped(tmp):
    """A stand-in for apt-get that knows one package only; build_pack goes on with that one."""
    blob = found(False)
    tool = os.path.join(tmp, "bin", "apt-get")
    os.makedirs(os.path.dirname(tool))
    with open(tool, "w", encoding="utf-8") as f:
        f.write('#!/bin/sh\ncase $3 in good*) touch good_1_all.deb;; *) exit 100;; esac\n')
    os.chmod(tool, 0o755)
    table = os.path.join(tmp, "manifest.tsv")
    with open(table, "w", newline="", encoding="utf-8") as f:
        w = csv.DictWriter(f, FIELDS, delimiter="\t")
        w.writeheader()
        w.writerows([row("bad", "b.png", png(9, 9, 1)), row("good", "g.png", blob)])
    place(tmp + "/pack", "good", "g.png", blob)
    done = subprocess.run(
        [sys.executable, ROOT + "/tools/data/build_pack.py", "--manifest", table, "--debs",
         tmp + "/debs", "--out", tmp + "/pack", "--download"], text=True, capture_output=True,
        env={**os.environ, "PATH": os.path.dirname(tool) + ":" + os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    assert "skipped: bad: apt-get download failed" in done.stdout, done.stdout
    assert done.stdout.endswith("1 for training, 0 set aside, 1 missing\n"), done.stdout
    assert os.listdir(tmp + "/debs") == ["good_1_all.deb"]


def test_package_file_of_the_version(tmp):
    for name in ("a_1%3a2_all.deb", "a_3_all.deb", "ab_9_all.deb"):
        open(os.path.join(tmp, name), "w").close()
    assert build_pack.deb_of(tmp, "a", "1:2").endswith("a_1%3a2_all.deb")
    assert build_pack.deb_of(tmp, "a", "4").endswith("a_3_all.deb")
    assert build_pack.deb_of(tmp, "b", "1") is None


# ---- scenes ----

def hand_scene():
    """A red square on the left (8x8), a small blue one right of it, a big green disc (name: ball)
    on the right; side 128, so that every number below can be checked by hand."""
    image = np.full((128, 128, 3), 200, np.uint8)
    ids = np.zeros((128, 128), np.uint8)
    for k, (x1, y1, x2, y2), rgb in ((1, (8, 40, 24, 56), (220, 20, 20)),
                                     (2, (48, 90, 58, 100), (20, 60, 220)),
                                     (3, (80, 10, 120, 50), (30, 160, 50))):
        ids[y1:y2, x1:x2] = k
        image[y1:y2, x1:x2] = rgb
    names = {1: "square", 2: "square", 3: "ball"}
    return scenes.Scene(image, ids, [scenes.measure(image, ids, k, names[k]) for k in names],
                        ["square", "ball", "cup"])


def test_scene_is_measured(_):
    a, b, c = hand_scene().things
    assert (a.colour, a.box, a.area) == ("red", (8, 40, 24, 56), 256), a
    assert (b.colour, b.box, b.area) == ("blue", (48, 90, 58, 100), 100), b
    assert (c.colour, c.box, c.area, c.centre) == ("green", (80, 10, 120, 50), 1600, (100, 30)), c
    assert scenes.box_of(hand_scene(), (1, 3)) == (8, 10, 120, 56)


def test_scene_sentences_by_hand(_):
    """Everything that is said of the scene, over many draws, against what a person would say."""
    right = {
        "the red square": (1,), "the blue square": (2,), "the ball": (3,), "the green ball": (3,),
        "the red thing": (1,), "the blue thing": (2,), "the green thing": (3,),
        "the left-most thing": (1,), "the right-most thing": (3,), "the top-most thing": (3,),
        "the bottom-most thing": (2,), "the biggest thing": (3,), "the smallest thing": (2,),
        "the left-most square": (1,), "the right-most square": (2,), "the top-most square": (1,),
        "the bottom-most square": (2,), "the biggest square": (1,), "the smallest square": (2,),
        "the second thing from the left": (2,), "the second thing from the right": (2,),
        "all red things": (1,), "all blue things": (2,), "all green things": (3,),
        "all things": (1, 2, 3), "the cup": ()}
    said = {}
    for seed in range(40):
        for s in scenes.sentences(hand_scene(), np.random.default_rng(seed)):
            assert said.setdefault(s.text, s.ids) == s.ids, s
    for text, ids in right.items():
        assert said.pop(text) == ids, text
    assert "the square" not in said  # two of them
    for text, ids in said.items():
        words = text.split()
        if ids == ():  # something that is not there
            there = {("red", "square"), ("blue", "square"), ("green", "ball")}
            assert tuple(words[1:]) not in there and text not in right, text
            continue
        assert "of" in words or words[2] in ("above", "below"), text
    assert said["the thing left of the blue square"] == (1,)
    assert said["the thing right of the blue square"] == (3,)
    assert said["the thing above the red square"] == (3,)
    assert said["the thing below the red square"] == (2,)
    assert "the thing right of the red square" not in said  # two are


def test_scene_questions_by_hand(_):
    right = {
        "how many things are there?": "3", "how many red things are there?": "1",
        "what colour is the ball?": "green", "what colour is the left-most thing?": "red",
        "what colour is the smallest square?": "blue", "is there a cup?": "no",
        "is there a square?": "yes", "is there a blue thing?": "yes",
        "in which quarter is the ball?": "top right", "in which quarter is the blue thing?": "bottom left",
        "is the red square left of the ball?": "yes", "is the ball below the blue square?": "no",
        "is the green ball larger than the red thing?": "yes",
        "is the blue thing larger than the red square?": "no"}
    for seed in range(900):
        for q in scenes.questions(hand_scene(), np.random.default_rng(seed)):
            assert q.answer in q.choices, q
            if q.text.startswith("is there"):
                words = q.text.rstrip("?").split(" ", 3)[3]
                there = words in ("square", "ball") or words in ("red thing", "blue thing", "green thing")
                assert (q.answer == "yes") == there, q
            assert right.get(q.text, q.answer) == q.answer, q
            right.pop(q.text, None)
    assert not right, right


def test_scene_parts_by_hand(_):
    """What the parts of sentences and questions speak of."""
    right = {
        "the red square": (1,), "the blue square": (2,), "the ball": (3,), "the green ball": (3,), "the red thing": (1,),
        "the blue thing": (2,), "the green thing": (3,), "the left-most thing": (1,), "the smallest thing": (2,),
        "the left-most square": (1,), "the second thing from the left": (2,), "all blue things": (2,),
        "a square": (1, 2), "a ball": (3,), "a red thing": (1,), "red things": (1,)}
    whole = set()
    for seed in range(200):
        r = np.random.default_rng(seed)
        for s in scenes.sentences(hand_scene(), r) + scenes.questions(hand_scene(), r):
            at = 0
            for part, ids in s.about:
                at = s.text.index(part, at) + len(part)
                assert right.get(part, ids) == ids and ids, (s.text, part, ids)
                whole.add((s.text, part))
    for text, part in (("the thing left of the blue square", "the blue square"), ("the ball", "the ball"),
                       ("is the red square left of the ball?", "the red square"), ("is there a square?", "a square"),
                       ("is the red square left of the ball?", "the ball"), ("what colour is the ball?", "the ball")):
        assert (text, part) in whole, (text, part)


def test_scene_ambiguity_is_not_asked(_):
    s = hand_scene()
    s.things[0].colour = None  # may look red: `the blue thing` could mean it
    said = {x.text for x in scenes.sentences(s, np.random.default_rng(1))}
    assert "the green thing" not in said and "the green ball" in said, said
    assert not any(t.startswith("all blue") or "is not" in t for t in said), said
    s = hand_scene()
    # Side by side: there is no left-most.
    s.things[0].box, s.things[1].box = (40, 40, 56, 56), (41, 90, 57, 106)
    assert "the left-most thing" not in {x.text for x in scenes.sentences(s, np.random.default_rng(1))}


def test_scenes_made_by_code(_):
    """Truth measured again from the id map; three fifths of each thing seen; the same rng, the same
    scene."""
    for seed in range(30):
        s = scenes.make_scene(np.random.default_rng(seed))
        again = scenes.make_scene(np.random.default_rng(seed))
        assert np.array_equal(s.image, again.image) and np.array_equal(s.id_map, again.id_map)
        assert s.image.shape == (128, 128, 3) and set(np.unique(s.id_map)) - {0} == {t.id for t in s.things}
        for t in s.things:
            ys, xs = np.nonzero(s.id_map == t.id)
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == t.box and len(xs) == t.area
        for x in scenes.sentences(s, np.random.default_rng(seed)):
            assert s.mask(x.ids).any() == bool(x.ids), x


def test_reserved_names_are_never_drawn(_):
    """Neither as a thing nor in a sentence; and the other way round."""
    assert scenes.is_reserved("Star") and not scenes.is_reserved("circle")
    for reserved in (False, True):
        seen = set()
        for seed in range(60):
            r = np.random.default_rng(seed)
            s = scenes.make_scene(r, sprites=FakeSprites(), reserved=reserved)
            seen |= {t.name for t in s.things} | set(s.names)
            for x in scenes.sentences(s, r):
                words = " ".join(x.text.split()[1:])
                seen |= {n for n in scenes.SHAPES + FakeSprites.name if words.endswith(n)}
        assert seen and all(scenes.is_reserved(n) == reserved for n in seen), seen


class FakeSprites(scenes.Sprites):
    """Two sprites with names on either side of the rule."""
    name = [next(n for n in ("duck", "fox", "bee", "owl", "cow", "ant", "elk", "hen", "pig", "rat")
                 if scenes.is_reserved(n) == r) for r in (False, True)]

    def __init__(self):
        self.which = {False: [0], True: [1]}

    def get(self, i):
        a = np.zeros((40, 30, 4), np.uint8)
        a[5:35, 5:25] = (200, 40, 40, 255) if i else (40, 40, 200, 255)
        return a


def test_colours_by_name(_):
    for name, rgb in scenes.SAMPLES.items():
        assert scenes.colour_of(np.array([rgb])) == name, name
    half = np.array([(215, 35, 35)] * 5 + [(40, 95, 220)] * 5)
    assert scenes.colour_of(half) is None
    assert scenes.colour_of(np.concatenate([half, half[:1]])) == "red"


def main():
    suites = (test_battery, test_bundle, test_calibrate, test_cutouts, test_features, test_games,
              test_invaders, test_own_pairs, test_shards, test_sheet, test_weights)
    found = dict(globals())
    for suite_of in suites:
        found.update(vars(suite_of))
    tests = {k[5:]: f for k, f in found.items() if k.startswith("test_") and callable(f)}
    passed = failed = skipped = 0
    for name, test in tests.items():
        if sys.argv[1:] and not any(s in name for s in sys.argv[1:]):
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                test(tmp)
            passed += 1
        except unittest.SkipTest as e:
            print(f"skip: tools {name}: {e}")
            skipped += 1
        except Exception:  # a test may fail in any way; the others still run
            traceback.print_exc()
            print(f"FAIL tools {name}")
            failed += 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
