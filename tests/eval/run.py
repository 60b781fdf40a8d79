#!/usr/bin/env python3
"""run.py - `lammd eval` on real files in public formats, every figure worked out again.

    tests/eval/run.py [--long] [substring...]

The files come from tools/data/convert.py and from scenes that are drawn here. It does not matter
what the model answers: hits, overlaps and scores are computed anew from its answers. Where its
answers are made the truth, it must be right. `bench mix` is run, too. Needs python3-pil and
python3-numpy; masks are compared with pycocotools' where that is installed. Skips aloud. Ends with
`N passed, N failed, N skipped`.
"""
import collections
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
import types

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
GRID = 64
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tools/data"), os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)
try:
    import numpy as np
    from PIL import Image
    import convert
except ImportError as e:
    print(f"skip: eval: {e}: apt-get install python3-pil python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)


class Skip(Exception):
    """Something outside is missing; the text says what."""


def lammd(*words, ok=True):
    r = subprocess.run([PROGRAM, "eval", *words, "--model", MINI], capture_output=True, text=True,
                       timeout=10 * suite.SOON, check=False)
    assert (r.returncode == 0) == ok, (words, r.returncode, r.stderr)
    return r


def report(*words):
    return json.loads(lammd(*words, "--json", "-").stdout)


def refused(text, *words):
    r = lammd(*words, ok=False)
    assert r.returncode == 1 and text in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr


def put(path, what):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(what, f)
    return path


def get(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def near(a, b):
    assert abs(a - b) < 1e-3, (a, b)


# ---- scenes ----

def drawn(seed, w=90, h=60):
    """A red bar and a blue disc on grey, at places of their own."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 110, (h, w, 3)).astype(np.uint8)
    ids = np.zeros((h, w), np.uint8)
    x, y = int(rng.integers(5, 30)), int(rng.integers(5, 20))
    ids[y:y + 14, x:x + 23] = 1
    yy, xx = np.mgrid[0:h, 0:w]
    ids[(xx - int(rng.integers(60, 75))) ** 2 + (yy - 40) ** 2 < 150] = 2
    image[ids == 1], image[ids == 2] = (200, 30, 30), (30, 60, 200)
    return types.SimpleNamespace(image=image, id_map=ids, mask=lambda who: np.isin(ids, list(who)))


def said_of(_):
    s = [("the red bar", "name", (1,)), ("the disc", "name", (2,)), ("all things", "all", (1, 2)),
         ("the green star", "absent", ())]
    return [types.SimpleNamespace(text=t, kind=k, ids=i) for t, k, i in s]


def asked_of(seed):
    yes_no = ["yes", "no"]
    q = [("is the red bar left of the blue disc?", "place", "yes", yes_no),
         ("is the red bar below the blue disc?", "place", "no", yes_no),
         ("is there a cup?", "exists", "no", yes_no),
         ("how many things are there?", "count", "2", [str(i) for i in range(1, 9)]),
         ("what colour is the disc?", "colour", "blue", ["red", "blue", "green"])]
    q = q[seed % 2:]
    return [types.SimpleNamespace(text=t, kind=k, answer=a, choices=c) for t, k, a, c in q]


def folder(tmp, n=5):
    """n scenes as files; returns them."""
    files = convert.Files(tmp)
    scenes = [drawn(i) for i in range(n)]
    for i, s in enumerate(scenes):
        files.add(s, said_of(s), asked_of(i))
    files.write()
    return scenes


# ---- masks ----

def decoded(runs, h, w):
    """Run lengths -> mask, the other way round than convert.counts."""
    flat = np.concatenate([np.full(n, i % 2, np.uint8) for i, n in enumerate(runs)])
    return flat.reshape(w, h).T


def test_run_lengths(_):
    assert convert.counts([[0, 1, 0], [1, 1, 0]]) == [1, 3, 2]
    assert convert.counts([[1, 1], [1, 1]]) == [0, 4] and convert.counts([[0, 0]]) == [2]
    assert convert.text([1, 3, 2]) == "132"
    assert convert.text([1, 3, 2, 2, 38]) == "132OT1"  # as in test_coco.c
    for seed in range(5):
        mask = np.random.default_rng(seed).random((17, 30)) < 0.3
        assert (decoded(convert.counts(mask), 17, 30) == mask).all()


def coco():
    try:
        import pycocotools.mask
    except ImportError:
        raise Skip("pycocotools is not installed (pip install pycocotools)") from None
    return pycocotools.mask


def test_run_lengths_like_pycocotools(_):
    theirs = coco()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 90, 2)) < rng.random()
        ours = convert.rle(mask)
        assert ours["counts"].encode() == theirs.encode(np.asfortranarray(mask, np.uint8))["counts"]
        assert (theirs.decode(ours) == mask).all()


def polygons(rng, w, h):
    return [np.round(rng.uniform(-0.2, 1.2, (int(rng.integers(3, 12)), 2)) * [w, h], 2).ravel().tolist()
            for _ in range(int(rng.integers(1, 4)))]


def test_polygons_like_pycocotools(tmp):
    """The true masks that eval sees are those of pycocotools, however they are written."""
    theirs = coco()
    files, masks = convert.Files(tmp), []
    for i in range(30):
        rng = np.random.default_rng(i)
        s = drawn(i, int(rng.integers(20, 200)), int(rng.integers(20, 200)))
        files.add(s, [], [])
        h, w = s.id_map.shape
        shapes = polygons(rng, w, h)
        rle = theirs.merge(theirs.frPyObjects(shapes, h, w))
        masks.append(theirs.decode(rle))
        if i % 3 == 1:
            shapes = {"size": [h, w], "counts": rle["counts"].decode()}
        elif i % 3 == 2:
            shapes = {"size": [h, w], "counts": convert.counts(masks[i])}
        files.annotations.append({"id": i, "image_id": i, "bbox": [0, 0, 1, 1],
                                  "segmentation": shapes})
        files.refs.append({"image_id": i, "ann_id": i, "sentences": [{"sent": "it"}]})
    files.write()
    out = report("seg", tmp, "--given-boxes", "-o", tmp + "/o")
    whole = 0
    for i, (item, mask) in enumerate(zip(out["items"], masks)):
        assert (shot(tmp, i, "truth") == nearest(mask)).all(), i
        check_overlap(item["full"], enlarged(shot(tmp, i, "seen"), mask.shape), mask)
        whole += mask.size
    near(out["all"]["whole_full"], 100 * sum(int(m.sum()) for m in masks) / whole)


# ---- boxes ----

def iou(a, b):
    """With the +1 of the public script."""
    w = max(0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    h = max(0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    def size(x):
        return (x[2] - x[0] + 1) * (x[3] - x[1] + 1)
    either = size(a) + size(b) - w * h
    return w * h / either if either > 0 else 0


def corners(b):
    return [b[0], b[1], b[0] + b[2], b[1] + b[3]]


def check_boxes(out, truth):
    """Hits of answers and of the whole picture; truth: each sentence's (bbox, width, height)."""
    assert len(out["items"]) == len(truth) == out["sentences"]
    hits = whole = 0
    for item, (b, w, h) in zip(out["items"], truth):
        spoken = [v / 100 * s for v, s in zip(item["box"], (w, h, w, h))]
        assert item["hit"] == (iou(spoken, corners(b)) > 0.5), item
        hits += item["hit"]
        whole += iou([0, 0, w, h], corners(b)) > 0.5
    near(out["all"]["p_at_05"], 100 * hits / len(truth))
    near(out["all"]["whole_picture"], 100 * whole / len(truth))
    return hits


def test_rec(tmp):
    folder(tmp)
    out, plain = report("rec", tmp), report("rec", tmp + "/minigpt.json")
    said = get(tmp + "/minigpt.json")
    assert [i["sentence"] for i in out["items"]] == [s["sents"] for s in said]
    assert out["items"] == plain["items"] and out["kinds"] == plain["kinds"]
    check_boxes(out, [(s["bbox"], s["width"], s["height"]) for s in said])
    near(out["average_of_splits"], out["splits"]["scenes"]["p_at_05"])
    assert out["kinds"]["name"]["sentences"] == 10 and out["kinds"]["all"]["sentences"] == 5
    # its own boxes as the truth of some, the whole picture of the others
    for s, item in zip(said, out["items"]):
        x1, y1, x2, y2 = (v / 100 * side for v, side in
                          zip(item["box"], (s["width"], s["height"]) * 2))
        good = x1 <= x2 and y1 <= y2
        s["bbox"] = [x1, y1, x2 - x1, y2 - y1] if good else [0, 0, s["width"], s["height"]]
        s["split"] = "own" if good else "whole"
    put(tmp + "/minigpt.json", said)
    again = report("rec", tmp + "/minigpt.json")
    check_boxes(again, [(s["bbox"], s["width"], s["height"]) for s in said])
    for name in again["splits"]:
        near(again["splits"][name]["p_at_05" if name == "own" else "whole_picture"], 100)
    near(again["average_of_splits"],
         sum(s["p_at_05"] for s in again["splits"].values()) / len(again["splits"]))


# ---- masks ----

def shot(tmp, i, what):
    with Image.open(f"{tmp}/o/{i:06}.{what}.png") as im:
        return np.asarray(im)[..., 0] > 127


def nearest(mask, size=(GRID, GRID)):
    """Each pixel is the one its centre lies in."""
    ys, xs = ((2 * np.arange(n) + 1) * of // (2 * n) for n, of in zip(size, np.shape(mask)))
    return np.asarray(mask, bool)[np.ix_(ys, xs)]


def enlarged(small, shape):
    return nearest(small, shape)


def check_overlap(got, a, b):
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    assert got == [int((a & b).sum()), int((a | b).sum())], (got, (a & b).sum(), (a | b).sum())


def check_masks(tmp, out, masks):
    for i, (item, mask) in enumerate(zip(out["items"], masks)):
        seen = shot(tmp, i, "seen")
        assert (shot(tmp, i, "truth") == nearest(mask)).all()
        check_overlap(item["grid"], seen, nearest(mask))
        check_overlap(item["full"], enlarged(seen, mask.shape), mask)
    for size in ("grid", "full"):
        both, either = np.sum([i[size] for i in out["items"]], 0)
        near(out["all"]["ciou_" + size], 100 * both / either)
    near(out["all"]["whole_full"], 100 * np.sum([m.sum() for m in masks]) / np.sum([m.size for m in masks]))


def test_seg_given_boxes(tmp):
    scenes = folder(tmp, 3)
    masks = [s.mask(i) for s in scenes for i in ((1,), (2,), (1, 2))]
    out = report("seg", tmp, "--given-boxes", "-o", tmp + "/o")
    check_masks(tmp, out, masks)
    for i, item in enumerate(out["items"]):  # nothing outside the box
        h, w = masks[i].shape
        x, y, bw, bh = convert.box_of(masks[i])
        box = [int(100 * v / s) for v, s in zip((x, y, x + bw, y + bh), (w, h, w, h))]
        assert item["box"] == box
        x1, y1 = (v * GRID // 100 for v in box[:2])
        x2, y2 = (-(-v * GRID // 100) for v in box[2:])
        seen = shot(tmp, i, "seen")
        seen[y1:y2, x1:x2] = False
        assert not seen.any()
    near(out["average_of_splits_grid"], out["splits"]["scenes"]["ciou_grid"])


def test_seg_own_boxes_and_limit(tmp):
    scenes = folder(tmp, 3)
    out = report("seg", tmp, "--limit", "4", "-o", tmp + "/o")
    assert out["sentences"] == 4 and all("box" in i for i in out["items"])
    check_masks(tmp, out, [s.mask(i) for s in scenes for i in ((1,), (2,), (1, 2))][:4])
    boxes = report("rec", tmp, "--limit", "4")["items"]
    assert [i["box"] for i in out["items"]] == [i["box"] for i in boxes]


def test_seg_its_own_mask_is_right(tmp):
    folder(tmp, 1)
    out = report("seg", tmp, "--whole-grid", "-o", tmp + "/o")
    coco_file = get(tmp + "/instances.json")
    for i, a in enumerate(coco_file["annotations"]):
        size = a["segmentation"]["size"]
        a["segmentation"] = convert.rle(enlarged(shot(tmp, i, "seen"), size))
    put(tmp + "/instances.json", coco_file)
    again = report("seg", tmp, "--whole-grid")
    own = [i for i in again["items"] if i["full"][1]]
    assert all(i["full"][0] == i["full"][1] for i in own)
    if own:
        near(again["all"]["ciou_full"], 100)
    assert len(out["items"]) == len(again["items"]) == 3


def test_seg_polygons_and_runs_agree(tmp):
    """One rectangle, written three ways, the third in two parts that overlap."""
    scenes = folder(tmp, 1)
    x, y, w, h = convert.box_of(scenes[0].mask((1,)))
    whole = scenes[0].mask((1,))

    def rectangle(x1, x2):
        return [x1, y, x2, y, x2, y + h, x1, y + h]
    ways = [[rectangle(x, x + w)], [rectangle(x, x + 9), rectangle(x + 5, x + w)], convert.rle(whole),
            {"size": list(whole.shape), "counts": convert.counts(whole)}]
    coco_file, refs = get(tmp + "/instances.json"), []
    coco_file["annotations"] = [
        {"id": k, "image_id": 0, "bbox": [x, y, w, h], "segmentation": way} for k, way in enumerate(ways)]
    for k in range(len(ways)):
        refs.append({"image_id": 0, "ann_id": k, "sentences": [{"sent": "the red bar"}]})
    put(tmp + "/annotations.json", {**coco_file, "refs": refs})  # all in one file
    out = report("seg", tmp, "--given-boxes", "-o", tmp + "/o")
    assert len(out["items"]) == 4
    check_masks(tmp, out, [whole] * 4)


# ---- questions ----

def plain(text):
    return text.replace("<unk>", "").strip().lower()


def constant(pairs):
    """The best single answer's share of `pairs`: lists of {answer: score}."""
    sums = collections.Counter()
    for p in pairs:
        sums.update(p)
    return 100 * max(sums.values()) / len(pairs)


def check_answers(out, truth):
    """truth: (type, {answer: score}) of each question."""
    assert len(out["items"]) == len(truth) == out["questions"]
    by_type = collections.defaultdict(list)
    for item, (kind, scores) in zip(out["items"], truth):
        near(item["score"], scores.get(item["said"], 0))
        by_type[kind].append((item["score"], scores))
    for kind, rows in list(by_type.items()) + [(None, sum(by_type.values(), []))]:
        figures = out["types"][kind] if kind else out["all"]
        assert figures["questions"] == len(rows)
        near(figures["accuracy"], 100 * sum(s for s, _ in rows) / len(rows))
        near(figures["best_constant"], constant([scores for _, scores in rows]))


def test_vqa_gqa(tmp):
    folder(tmp)
    path = tmp + "/gqa.json"
    asked = get(path)
    out = report("vqa", path)
    assert out["set"] == "GQA" and [i["question"] for i in out["items"]] == [q["question"] for q in asked.values()]
    check_answers(out, [(q["types"]["structural"], {q["answer"]: 1}) for q in asked.values()])
    # every second answer becomes what it says, in other letters
    for k, (q, item) in enumerate(zip(asked.values(), out["items"])):
        q["answer"] = f"  {item['said'].upper()}<unk> " if k % 2 == 0 else "none of this"
    own = sum(1 for k, i in enumerate(out["items"])
              if k % 2 == 0 and plain(i["said"].upper()) == i["said"])
    put(path, asked)
    again = report("vqa", path)
    assert own > 0 and sum(i["score"] for i in again["items"]) == own
    near(again["all"]["accuracy"], 100 * own / len(asked))


def test_vqa_vsr(tmp):
    folder(tmp)
    with open(tmp + "/vsr.jsonl", encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    assert [s["caption"] for s in lines[:3]] == [
        "the red bar is left of the blue disc.", "the red bar is below the blue disc.",
        "there is a cup."] and [s["label"] for s in lines[:3]] == [1, 0, 0]
    truth = [(s["relation"], {["false", "true"][s["label"]]: 1}) for s in lines]
    out = report("vqa", tmp + "/vsr.jsonl")
    assert out["set"] == "VSR"
    check_answers(out, truth)
    assert report("vqa", put(tmp + "/list.json", lines))["items"] == out["items"]
    assert report("vqa", put(tmp + "/one.jsonl", lines[0]))["items"] == out["items"][:1]


def test_vqa_vizwiz(tmp):
    folder(tmp)
    path = tmp + "/vizwiz.json"
    asked = get(path)
    said = [i["said"] for i in report("vqa", path)["items"]]
    truth = []
    for k, q in enumerate(asked):  # k of ten say what it says
        q["answers"] = [{"answer": said[k] or "nothing"}] * (k % 6) + [{"answer": "Other"}] * (10 - k % 6)
        scores = {"other": 1.0}
        if k % 6:
            scores[said[k] or "nothing"] = min(k % 6 / 3, 1)
        truth.append((q["answer_type"], scores))
    put(path, asked)
    out = report("vqa", path)
    assert out["set"] == "VizWiz"
    check_answers(out, truth)


def test_vqa_choices(tmp):
    folder(tmp)
    path = tmp + "/choices.json"
    asked = get(path)
    out = report("vqa", path)
    check_answers(out, [(q["type"], {q["choices"][q["answer"]]: 1}) for q in asked])
    near(out["all"]["chance"], 100 * sum(1 / len(q["choices"]) for q in asked) / len(asked))
    assert all(i["said"] in q["choices"] for i, q in zip(out["items"], asked))
    for q, item in zip(asked, out["items"]):
        q["answer"] = item["said"]  # as a text now
    near(report("vqa", put(path, asked))["all"]["accuracy"], 100)


def test_vqa_names_of_pictures(tmp):
    """IconQA's folders, HM's lines, and COCO's names with a number behind."""
    folder(tmp, 1)
    picture = tmp + "/images/000000.png"
    os.makedirs(tmp + "/images/17")
    os.link(picture, tmp + "/images/17/image.png")
    os.link(picture, tmp + "/images/COCO_train2014_000000123456.png")
    icon = {"question": "what?", "choices": ["a", "b"], "answer": 1, "image_id": "17"}
    assert report("vqa", put(tmp + "/i.json", [icon]))["items"][0]["file"] == "17/image.png"
    with open(tmp + "/hm.jsonl", "w", encoding="utf-8") as f:
        for label in (0, 1, 1):
            f.write(json.dumps({"img": "000000.png", "text": "some words", "label": label}) + "\n")
    out = report("vqa", tmp + "/hm.jsonl")
    assert out["set"] == "HM" and out["all"]["constant"] == "yes"
    near(out["all"]["best_constant"], 200 / 3)
    said = [{"img_id": "COCO_train2014_000000123456_7", "sents": "it", "bbox": [1, 2, 3, 4],
             "width": 90, "height": 60}]
    assert report("rec", put(tmp + "/m.json", said))["sentences"] == 1


# ---- games ----

def record(path, n, action):
    """A recording as tools/games writes it, in two episodes with a gap in the second."""
    rng = np.random.default_rng(3)
    step = np.arange(n)
    step[n // 2:] -= n // 2
    step[3 * n // 4:] += 5
    np.savez(path, frames=rng.integers(0, 256, (n, 24, 32, 3), dtype=np.uint8), action=action,
             episode=(np.arange(n) >= n // 2).astype(np.int64), step=step)


def play(tmp, action):
    record(tmp + "/r.npz", len(action), action)
    with contextlib.redirect_stdout(None):
        convert.convert_rollout(types.SimpleNamespace(record=tmp + "/r.npz", out=tmp, count=500))
    return get(tmp + "/rollout.json")


def test_game(tmp):
    rng = np.random.default_rng(5)
    for n_values, most, frames in ((3, 20, 2), (1, 5, 4)):
        action = rng.integers(0, most + 1, (24, 3)) if n_values == 3 else rng.integers(0, most + 1, 24)
        rollout = play(tmp, action)
        steps = rollout["steps"]
        assert len(steps) == 24 - 3 * (frames - 1)  # without the first of each of three runs
        assert all(len(s["frames"]) == frames for s in steps)
        out = report("game", tmp)
        said = np.array([i["action"] for i in out["items"]])
        true = np.array([s["action"] for s in steps]).reshape(len(steps), -1)
        near(out["agreement"]["same_action"], 100 * (said == true).all(1).mean())
        best = collections.Counter(map(tuple, true.tolist())).most_common(1)[0][1]
        near(out["best_constant"]["same_action"], 100 * best / len(steps))
        if n_values == 3:
            middle = np.sort(true, 0)[(len(steps) - 1) // 2]
            for k, axis in enumerate(("steering", "gas", "brake")):
                near(out["agreement"][axis], np.abs(said - true)[:, k].mean())
                near(out["best_constant"][axis], np.abs(true - middle)[:, k].mean())
        for s, a in zip(steps, said.tolist()):  # what it does becomes what was done
            s["action"] = a if n_values == 3 else a[0]
        put(tmp + "/rollout.json", rollout)
        again = report("game", tmp + "/rollout.json")["agreement"]
        near(again["same_action"], 100)
        assert n_values == 1 or again["steering"] == again["gas"] == again["brake"] == 0


def test_in_a_row(_):
    at = convert.in_a_row(np.array([1, 1, 1, 2, 2, 2]), np.array([5, 6, 7, 8, 9, 11]), 2)
    assert at.tolist() == [1, 2, 4]
    assert convert.in_a_row(np.array([1, 1, 1, 1]), np.array([0, 1, 2, 3]), 4).tolist() == [3]


# ---- bad files ----

def test_bad_references(tmp):
    folder(tmp, 1)
    base = tmp + "/instances.json"
    good, refs = get(base), get(tmp + "/refs.json")

    def bad(text, mode, change):
        files = json.loads(json.dumps({"instances": good, "refs": refs}))
        change(files["instances"], files["refs"])
        put(base, files["instances"])
        put(tmp + "/refs.json", files["refs"])
        refused(text, mode, tmp)
    bad('refs[1]: "ann_id" must be a whole number', "rec", lambda c, r: r[1].update(ann_id="7"))
    bad("refs[1]: no annotation 77", "rec", lambda c, r: r[1].update(ann_id=77))
    bad("refs[0]: no image 4", "rec", lambda c, r: r[0].update(image_id=4))
    bad('refs[2]: "sentences" must be', "rec", lambda c, r: r[2].update(sentences=[]))
    bad('refs[2]: "sent" must be a text', "rec", lambda c, r: r[2].update(sentences=[{"sent": 3}]))
    bad("[0]: must be an object", "rec", lambda c, r: r.__setitem__(0, []))
    bad('annotations[0]: "bbox" must be 4 numbers', "rec", lambda c, r: c["annotations"][0].update(bbox=[1, 2, 3]))
    bad('"bbox" has a negative side', "rec", lambda c, r: c["annotations"][0].update(bbox=[1, 2, -3, 4]))
    bad("annotations has the id 0 twice", "rec", lambda c, r: c["annotations"][1].update(id=0))
    bad('"annotations" must be an array', "rec", lambda c, r: c.update(annotations={}))
    bad("is of another image", "rec", lambda c, r: c["annotations"][0].update(image_id=1))
    bad("is 90 x 60, not 91 x 60", "rec", lambda c, r: c["images"][0].update(width=91))
    bad('"width" is 99999, not in', "rec", lambda c, r: c["images"][0].update(width=99999))
    bad("must be a file below", "rec", lambda c, r: c["images"][0].update(file_name="../x.png"))
    bad("must be a file below", "rec", lambda c, r: c["images"][0].update(file_name="/etc/passwd"))
    bad("gone.png: no such picture", "rec", lambda c, r: c["images"][0].update(file_name="gone.png"))
    for text, way in (("at least three corners", [[1, 2, 3, 4]]), ("at least three corners", [[1, 2, 3, 4, 5, 6, 7]]),
                      ("numbers only", [[1, 2, 3, 4, 5, "6"]]), ("far outside", [[1, 2, 3, 4, 5, 6e9]]),
                      ("must be polygons or run lengths", []), ("must be polygons or run lengths", None),
                      ("size is not [60, 90]", {"size": [90, 60], "counts": "0"}),
                      ("not COCO's text", {"size": [60, 90], "counts": "\n"}),
                      ("less than 90 x 60", {"size": [60, 90], "counts": [10, 10]}),
                      ("more than 90 x 60", {"size": [60, 90], "counts": [5400, 10]}),
                      ("whole numbers within", {"size": [60, 90], "counts": [5400.5]}),
                      ('"counts" must be', {"size": [60, 90]})):
        def change(c, _, w=way):
            c["annotations"][0]["segmentation"] = w
        bad(text, "seg", change)


def test_bad_questions(tmp):
    folder(tmp, 1)
    path = tmp + "/q.json"
    one = {"image": "000000.png", "question": "what?", "answer": "it"}

    def bad(text, what):
        refused(text, "vqa", put(path, what))
    bad('[1]: "answer" must be a text', [one, {**one, "answer": 3}])
    bad('[0]: "question" must be a text', [{**one, "question": ""}])
    bad("[1]: must be an object", [one, 7])
    bad("no question", [])
    bad('"label" is 2, not in 0 .. 1', [{"image": "000000.png", "caption": "x", "label": 2}])
    bad('"choices" must be an array of 2 .. 64', [{**one, "choices": ["it"]}])
    bad('"choices" must be an array of 2 .. 64', [{**one, "choices": [str(i) for i in range(65)]}])
    bad('"answer" is none of the choices', [{**one, "choices": ["a", "b"]}])
    bad('"answer" is none of the choices', [{**one, "choices": ["a", "b"], "answer": 2}])
    bad('"answers" must be an array that is not empty', [{**one, "answers": []}])
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"image": "000000.png", "caption": "x", "label": 1}\n{"image": oops}\n')
    refused("line 2", "vqa", path)
    for text, what in (("duplicate", '{"a": {}, "a": {}}'), ("nests deeper", "[" * 40), ("is empty", ""),
                       ("of more than", "[" + "0," * (17 << 20) + "0]")):
        with open(path, "w", encoding="utf-8") as f:
            f.write(what)
        refused(text, "vqa", path)
    # a question that the model refuses counts as wrong, and is told
    r = lammd("vqa", put(path, [one, {**one, "question": "x" * 5000}]), "--json", "-")
    assert json.loads(r.stdout)["refused"] == 1 and "refused and counts as wrong" in r.stderr


def test_bad_rollouts(tmp):
    rollout = play(tmp, np.tile([10, 15, 10], (8, 1)))

    def bad(text, **change):
        put(tmp + "/rollout.json", {**rollout, **change})
        refused(text, "game", tmp)
    frames = rollout["steps"][0]["frames"]
    bad('game "chess" is neither', game="chess")
    bad("no step", steps=[])
    bad('steps[0]: "frames" must be 2 names', steps=[{"frames": frames[:1], "action": [0, 0, 0]}])
    bad('steps[0]: "action" must be three whole numbers of 0 .. 20', steps=[{"frames": frames, "action": [0, 0, 21]}])
    bad('steps[0]: "action" must be three', steps=[{"frames": frames, "action": 3}])
    bad("must be a file below", steps=[{"frames": ["../a.png"] * 2, "action": [0, 0, 0]}])
    bad('steps[0]: "frames" must be a text', steps=[{"frames": [1, 2], "action": [0, 0, 0]}])


def test_bad_command_lines(tmp):
    for words in ((), ("pvp",), ("dance", tmp), ("rec", tmp, "more")):
        r = subprocess.run([PROGRAM, "eval", *words], capture_output=True, text=True, check=False)
        assert r.returncode == 2 and "usage: lammd eval MODE PATH" in r.stderr
    refused("neither annotations.json nor instances.json", "rec", tmp)
    refused("No such file", "vqa", tmp + "/none.json")
    folder(tmp, 1)
    refused("no such folder", "rec", tmp, "--images", tmp + "/none")


# ---- all together ----

def test_tables(tmp):
    """What people read: a line for each kind, the baselines, and a file beside the table."""
    folder(tmp, 2)
    r = lammd("rec", tmp, "--json", tmp + "/r.json")
    assert get(tmp + "/r.json")["sentences"] == 6 and "mean box" in r.stdout and "together" in r.stdout
    assert "true box" in lammd("seg", tmp, "--given-boxes", "--limit", "2").stdout
    assert "constant" in lammd("vqa", tmp + "/gqa.json").stdout
    assert "mode" in lammd("pvp", tmp + "/images", "--limit", "1").stdout


def test_bench_mix(_):
    r = subprocess.run([PROGRAM, "bench", "mix", "--quick", "--repeat", "1", "--json", "--model", MINI],
                       capture_output=True, text=True, timeout=10 * suite.SOON, check=True)
    out = json.loads(r.stdout)
    for name in ("act_alone", "act_beside"):
        a = out[name]
        assert a["n"] == 40 and 0 < a["p50_s"] <= a["p99_s"] <= a["most_s"], a
    near(out["bar_s"], 1.5 * out["act_alone"]["p99_s"] + out["pass_s"])
    assert out["turns"] == 1 and out["pass_s"] > 0 and out["bulk_places_per_second"] > 0


def test_bench_pix4096_with_several_rows(_):
    command = [PROGRAM, "bench", "pix4096", "--quick", "--repeat", "2", "--limit", "40", "--rows", "128,512,1",
               "--model", MINI]
    r = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300, check=True)
    out = json.loads(r.stdout)
    assert [o["rows_max"] for o in out[:2]] == [128, 512] and 1 < out[2]["rows_max"] < 128, out
    assert len({o["open_s"] for o in out}) == 1  # opened once
    assert len({(o["rows"], o["rows_plain"]) for o in out}) == 1 and all(o["act_s"] > 0 for o in out), out
    text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert text.count("opening") == 1 and text.count("rows a pass") == 3 and text.count("act, one frame") == 3, text
    refused = subprocess.run([PROGRAM, "bench", "mix", "--rows", "1,2"], capture_output=True, text=True)
    assert refused.returncode == 2 and "one --rows" in refused.stderr, refused


def test_pvp(tmp):
    folder(tmp, 1)
    out = report("pvp", tmp + "/images", "-o", tmp + "/o")
    with Image.open(tmp + "/o/000000.truth.png") as t, Image.open(tmp + "/o/000000.mode.png") as m:
        levels = np.abs(np.asarray(t, int) - np.asarray(m, int)).mean()
    near(out["mode"]["mae_levels"], levels)
    near(out["mode"]["re_percent"], levels * 300 / 255)


def test_scenes(tmp):
    """The generator's own scenes, by the command of convert.py."""
    if not os.path.exists(ROOT + "/tools/data/scenes.py"):
        raise Skip("tools/data/scenes.py is not there")
    command = [sys.executable, ROOT + "/tools/data/convert.py", "scenes", "--out"]
    for where in ("a", "b"):
        subprocess.run([*command, f"{tmp}/{where}", "--count", "4", "--reserved"], check=True,
                       stdout=subprocess.DEVNULL)
    for name in ("refs.json", "instances.json", "gqa.json", "vsr.jsonl", "vizwiz.json", "choices.json"):
        with open(f"{tmp}/a/{name}", "rb") as a, open(f"{tmp}/b/{name}", "rb") as b:
            assert a.read() == b.read(), name
    assert report("rec", tmp + "/a")["sentences"] == len(get(tmp + "/a/refs.json"))
    report("seg", tmp + "/a", "--limit", "3")
    for name in ("gqa.json", "vsr.jsonl", "vizwiz.json", "choices.json"):
        out = report("vqa", f"{tmp}/a/{name}")
        assert len(out["items"]) == out["questions"] > 4


def main():
    tests = {k[5:]: f for k, f in globals().items() if k.startswith("test_")}
    passed = failed = skipped = 0
    for name, test in tests.items():
        if sys.argv[1:] and not any(s in name for s in sys.argv[1:]):
            continue
        try:
            with tempfile.TemporaryDirectory() as tmp:
                test(tmp)
            passed += 1
        except Skip as e:
            print(f"skip: eval {name}: {e}")
            skipped += 1
        except Exception:  # a test may fail in any way; the others still run
            traceback.print_exc()
            print(f"FAIL eval {name}")
            failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
