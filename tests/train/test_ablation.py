"""test_ablation.py - recipes/ablation.ini at one step a stage, and the tables that are made of it.
"""
import json
import os
import subprocess
import sys

import shards
import suite
from lab import PROGRAM, ROOT, events, losses, tensors, whole

STAGES = ["names", "connect", "see", "balance", "frozen-see", "frozen-balance", "plain-connect",
          "plain-see", "plain-balance", "plain-frozen-see", "plain-frozen-balance", "masks",
          "frozen-masks", "plain-masks", "plain-frozen-masks", "games", "frozen-games", "plain-games",
          "plain-frozen-games"]


def evaluated(*words):
    r = subprocess.run([PROGRAM, "eval", *words, "--json", "-"], capture_output=True, text=True,
                       timeout=10 * suite.SOON, check=False)
    assert r.returncode == 0, (words, r.stderr)
    return json.loads(r.stdout)


def arrow(a, b, noise):
    return "~" if abs(b - a) <= noise else "↑" if b > a else "↓"


def arrows_hold(rows, against, key, n):
    """A share's arrow leaves out what lies within two standard errors."""
    for row, base in zip(rows, against):
        if base is None:
            assert "arrow" not in row[key] and "paper_arrow" not in row[key]
            continue
        a, b = rows[base][key], row[key]
        noise = 2 * ((a["here"] * (100 - a["here"]) + b["here"] * (100 - b["here"])) / n) ** 0.5 if n else 0
        assert b["arrow"] == arrow(a["here"], b["here"], noise), (key, a, b)
        if "paper" in a and "paper" in b:
            assert b["paper_arrow"] == arrow(a["paper"], b["paper"], 0)


def test_ablation(p):
    data, out = p.path("ablation-data"), p.path("ablation")
    shards.ablation(data)
    subprocess.run([sys.executable, os.path.join(ROOT, "tools/weights.py"), "new",
                    os.path.join(ROOT, "models/shapes/ablation"), "--out", os.path.join(data, "start")],
                   check=True, stdout=subprocess.DEVNULL, timeout=suite.SOON)
    r = subprocess.run([PROGRAM, "train", os.path.join(ROOT, "recipes/ablation.ini"), "--set", "DATA=" + data,
                        "--out", out, "--steps", "1", "--threads", "2"], capture_output=True, text=True,
                       timeout=20 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    assert [row["stage"] for row in losses(out) if row["kind"] == "learn"] == STAGES
    assert not events(out, "left_out"), events(out, "left_out")[0]
    frozen, adapted = (tensors(out, f"stage-{STAGES.index(s) + 1}/model.safetensors")
                       for s in ("frozen-balance", "see"))
    named = tensors(out, "stage-1/model.safetensors")
    tower = [k for k in named if k.startswith("visual_encoder.")]
    assert all(frozen[k] == named[k] for k in tower) and any(adapted[k] != named[k] for k in tower)
    ask_tables(data, out)


def ask_tables(data, out):
    scores = os.path.join(data, "scores.json")
    table = subprocess.run([PROGRAM, "eval", "ablation", out, "--json", scores], capture_output=True, text=True,
                           timeout=10 * suite.SOON, check=True).stdout
    with open(scores, encoding="utf-8") as f:
        whole = json.load(f)
    t, n = whole["tables"], whole["n"]
    assert n == {"re": 2, "rec": 8, "vqa": 4, "ciou": 8, "ciou_given_boxes": 8, "car": 4,
                 "car_steering": 4, "space": 4}, n
    exam = os.path.join(data, "exam")
    see = ["--model", os.path.join(out, f"stage-{STAGES.index('see') + 1}")]
    asked = evaluated("pvp", os.path.join(exam, "photos"), *see)
    assert t["2"][1]["re"]["here"] == t["8"][1]["re"]["here"] == asked["mode"]["mae_levels"]
    assert whole["without_looking"]["re"] == asked["thumbnail_1"]["mae_levels"]
    assert whole["without_looking"]["re_mosaic"] == asked["thumbnail_8"]["mae_levels"]
    assert t["2"][1]["rec"]["here"] == evaluated("rec", os.path.join(exam, "scenes"), *see)["all"]["p_at_05"]
    last = ["--model", os.path.join(out, "model")]
    assert t["4"][0]["stage"] == "plain-frozen-games" == STAGES[-1]
    asked = evaluated("game", os.path.join(exam, "car-racing"), *last)
    assert t["4"][0]["car_steering"]["here"] == asked["agreement"]["steering"]
    masks = ["--model", os.path.join(out, f"stage-{STAGES.index('masks') + 1}"), "--given-boxes"]
    asked = evaluated("seg", os.path.join(exam, "scenes"), *masks)
    assert t["7"][3]["ciou_given_boxes"]["here"] == asked["all"]["ciou_grid"]
    assert [r["ciou"]["paper"] for r in t["7"]] == [62.42, 67.28, 67.31, 72.61]
    for key, many in (("re", 0), ("rec", 8), ("vqa", 4)):
        arrows_hold(t["2"], [None, 0], key, many)
        arrows_hold(t["8"], [None, 0, 1], key, many)
    arrows_hold(t["7"], [None, 0, 0, 0], "ciou", 8)
    arrows_hold(t["4"], [None, 0, 0, 0], "car_steering", 0)
    assert all(f"Table {k}:" in table for k in (2, 4, 7, 8)) and f"{t['2'][1]['re']['here']:.2f} " in table


def test_ablation_refused(p):
    def refused(text, *words):
        r = subprocess.run([PROGRAM, "eval", "ablation", *words], capture_output=True, text=True,
                           timeout=suite.SOON, check=False)
        assert r.returncode == 1 and text in r.stderr and len(r.stderr.splitlines()) <= 2, r.stderr
    refused("nothing/recipe.ini", p.path("nothing"))
    refused("no [stage frozen-see], so it is no run of recipes/ablation.ini", whole(p))
    refused("leave --model out", whole(p), "--model", p.model)
