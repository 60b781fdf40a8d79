"""test_masks.py - `eval rec` and `eval seg`: boxes, masks, and the forms that masks come in."""

import convert
import numpy as np
from lab import GRID, Skip, drawn, folder, get, near, put, report
from PIL import Image

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
