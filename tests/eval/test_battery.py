"""test_battery.py - `eval battery`: every figure worked out again from the answers; the table."""
import json
import os
import sys

import numpy as np
from lab import MINI, ROOT, folder, get, lammd, near, put
from test_answers import play

sys.path.insert(0, os.path.join(ROOT, "tests/train"))
import small  # noqa: E402

PICTURES = 8
HEAD = "date label model sha256 exam part figure n value low high".split() + ["without looking"]


def exam(tmp):
    """A folder with a part of every kind."""
    os.makedirs(tmp + "/exam/scenes")
    os.makedirs(tmp + "/exam/space")
    folder(tmp + "/exam/scenes", PICTURES)
    play(tmp + "/exam/space", np.arange(20) % 3)
    put(tmp + "/exam/scenes/names.json",
        [{"image": f"00000{i}.png", "names": ["red", "bar"], "type": "drawn"} for i in (0, 1)] +
        [{"image": "000002.png", "names": ["a b", "disc"], "question": "what is in the picture?"}])
    os.makedirs(tmp + "/exam/pixels")
    os.link(tmp + "/exam/scenes/images/000000.png", tmp + "/exam/pixels/a.png")
    parts = [("pixels", "pvp", "pixels"), ("things", "rec", "scenes"), ("things", "seg", "scenes"),
             ("words", "vqa", "scenes/choices.json"), ("names", "vqa", "scenes/names.json"),
             ("space", "game", "space")]
    put(tmp + "/exam/battery.json", {"digest": "e1", "parts": [
        {"name": n, "mode": m, "path": p} for n, m, p in parts]})
    return tmp + "/exam"


def model(tmp):
    small.write(MINI, tmp + "/small")
    return tmp + "/small"


def wilson(right, n):
    z, p = 1.959964, right / n
    roots = np.roots([1 + z * z / n, -2 * p - z * z / n, p * p])  # where |p - q| is z errors of q
    return 100 * min(roots), 100 * max(roots)


def check_share(figure, right, n):
    assert figure["n"] == n
    near(figure["value"], 100 * right / n)
    low, high = wilson(right, n)
    near(figure["low"], max(low, 0))
    near(figure["high"], min(high, 100))


def check_figures(out):
    figures = {(f["part"], f["figure"]): f for f in out["figures"]}
    pvp, rec, seg, words, names, space = out["parts"]
    levels = figures["pixels", "mode, levels"]
    near(levels["value"], pvp["items"][0]["mode"])
    assert "low" not in levels  # of a single picture
    near(levels["without_looking"]["8x8 thumbnail"], pvp["thumbnail_8"]["mae_levels"])
    bins = pvp["mode"]["calibration"]["bins"]
    assert sum(b["n"] for b in bins) == 3 * 64 * 64 == figures["pixels", "mode, stated error off"]["n"]
    near(sum(b["n"] * b["found"] for b in bins) / (3 * 64 * 64), pvp["mode"]["mae_levels"])
    assert [b["stated"] for b in bins] == sorted(b["stated"] for b in bins)
    near(figures["pixels", "mode, stated error off"]["value"],
         sum(b["n"] * abs(b["stated"] - b["found"]) for b in bins) / (3 * 64 * 64))
    check_share(figures["things", "P@0.5"], sum(i["hit"] for i in rec["items"]), 3 * PICTURES)
    near(figures["things", "mean IoU"]["value"], 100 * np.mean([i["iou"] for i in rec["items"]]))
    both, either = np.sum([i["grid"] for i in seg["items"]], 0)
    ciou = figures["things", "cIoU"]
    near(ciou["value"], 100 * both / max(either, 1))
    each = [np.sum([i["grid"] for i in seg["items"][k:k + 3]], 0) for k in range(0, 24, 3)]
    drawn = np.random.default_rng(1).integers(0, PICTURES, (4000, PICTURES))
    sums = np.array(each)[drawn].sum(1)
    low, high = np.quantile(100 * sums[:, 0] / np.maximum(sums[:, 1], 1), [0.025, 0.975])
    assert abs(ciou["low"] - low) < 2 and abs(ciou["high"] - high) < 2, (ciou, low, high)
    check_share(figures["words", "right answers"], sum(i["score"] for i in words["items"]), words["questions"])
    near(figures["words", "right answers"]["without_looking"]["chance"], words["all"]["chance"])
    said = [i["said"] for i in names["items"]]
    right = sum(any(f" {n} " in f" {s} " for n in ns) for s, ns in zip(said, (["red", "bar"], ["red", "bar"], ["disc"])))
    check_share(figures["names", "right answers"], right, 3)
    same = sum(i["same"] for i in space["items"])
    check_share(figures["space", "same action"], same, space["steps"])
    assert sum(r["same"] for r in space["recall"].values()) == same
    check_share(figures["space", "recall of action 1"], space["recall"]["1"]["same"], space["recall"]["1"]["steps"])


def test_battery(tmp):
    here, table = exam(tmp), tmp + "/table.tsv"
    command = ["battery", here, "--table", table, "--label"]
    first = json.loads(lammd(*command, "one", "--json", "-", model=model(tmp)).stdout)
    check_figures(first)
    battery = get(here + "/battery.json")
    battery["parts"] = battery["parts"][-2:]  # the same exam, less of it
    put(here + "/battery.json", battery)
    said = lammd(*command, "two", model=tmp + "/small").stdout
    assert "two: small" in said and "before" in said and "habit" in said
    with open(table, encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    assert rows[0] == HEAD and all(len(r) == len(HEAD) for r in rows)
    n = len(first["figures"])
    assert [r[1] for r in rows[1:]] == ["one"] * n + ["two"] * (len(rows) - 1 - n)
    for row, figure in zip(rows[1:], first["figures"]):
        assert row[5:8] == [figure["part"], figure["figure"], str(figure["n"])]
        near(float(row[8]), figure["value"])
    old = {tuple(r[5:7]): r[7:] for r in rows[1:1 + n]}
    assert all(old[tuple(r[5:7])] == r[7:] for r in rows[1 + n:])  # the same answers


def test_battery_says_what_is_wrong(tmp):
    def refused(text, *words):
        r = lammd("battery", tmp, *words, ok=False)
        assert r.returncode == 1 and text in r.stderr, r.stderr
    refused("battery.json")
    for text, battery in (('"digest" must be a text', {"parts": []}), ('must be an array', {"digest": "e"}),
                          ('"parts" must not be empty', {"digest": "e", "parts": []}),
                          ('parts[0]: "mode" must be a text', {"digest": "e", "parts": [{"name": "a", "path": "b"}]}),
                          ("must be a file below", {"digest": "e", "parts": [{"name": "a", "mode": "rec", "path": "../b"}]}),
                          ("without tabs", {"digest": "e", "parts": [{"name": "a\tb", "mode": "rec", "path": "b"}]})):
        put(tmp + "/battery.json", battery)
        refused(text)
    put(tmp + "/battery.json", {"digest": "e", "parts": [{"name": "a", "mode": "gate", "path": "b"}]})
    refused('no mode "gate"')
    refused("always the same", "--whole-grid")
    refused("without tabs", "--label", "a\tb")
    put(tmp + "/table.tsv", {})
    refused("is no table of lammd eval battery", "--table", tmp + "/table.tsv")
