#!/usr/bin/env python3
"""run.py - `lammd eval gate` and `lammd train --gate`: figures worked out again, and what becomes
of them when a run is ended in the middle.

    tests/gate/run.py [--long] [substring...]

The model is lamm-mini with two layers (tests/train/small.py), the data are drawn (shards.py). Sums,
resamples and decisions are computed anew from each question's scores, with numpy; boxes are held
against `lammd eval rec`. `bench mix --train` is run, too. Needs python3-pil and python3-numpy.
Skips aloud. Ends with `N passed, N failed, N skipped`.
"""
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests/train")]
import suite  # noqa: E402 (takes --long)
try:
    import numpy as np
    import shards
    import small
except ImportError as e:
    print(f"skip: gate: {e}: apt-get install python3-pil python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

RESAMPLES, SEED, ITEMS_MIN, PICTURES_MIN = 4000, 18, 30, 8  # as cli/gate/ has them
METRICS = {"pixels": ("mae_levels", False, 1, .5), "mask": ("ciou", True, 100, 1),
           "refer": ("p_at_05", True, 100, 1), "vqa": ("word_f1", True, 100, 1),
           "identify": ("word_f1", True, 100, 1)}
RECIPE = """
[run]
judge_every = 0
judge_samples = 2
validation = 0.5
result = both
gate = {gate}
[stage learn]
steps = {steps}
samples = 2
questions = 4
lora_r = 4
lora_targets = q, k, v, o
rate = {rate}
[data pairs]
path = {pairs}
"""


class Place:
    """The folder of all tests: a model, data, recipes."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.model = self.path("small")
        small.write(MINI, self.model)
        self.pairs = self.path("pairs")
        shards.pairs(self.pairs, 40)
        shards.write(self.path("data"))
        self.made = {}

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def run(self, *words, ok=True):
        r = subprocess.run([PROGRAM, *words, "--threads", "2"], capture_output=True, text=True,
                           timeout=10 * suite.SOON, check=False)
        assert (r.returncode == 0) == ok, (words, r.returncode, r.stderr)
        return r

    def recipe(self, name, steps=2, rate=1e-3, gate="yes"):
        path = self.path(name + ".ini")
        with open(path, "w", encoding="utf-8") as f:
            f.write(RECIPE.format(steps=steps, rate=rate, pairs=self.pairs, gate=gate))
        return ["train", path, "--model", self.model, "--out", self.path(name)]

    def once(self, name, make):
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def spoilt(self):
        """What a run with far too high a rate came to: worse at nearly everything."""
        return self.once("spoilt", lambda: self.run(*self.recipe("spoilt", 12, 0.1, "no")) and self.path("spoilt"))

    def gate(self, *words, items=None):
        """Its answer; and with `items` what it asked, from that folder."""
        folder = ["-o", self.path(items)] if items else []
        g = json.loads(self.run("eval", "gate", "--model", self.model, *words, *folder, "--json", "-").stdout)
        return (g, [json.loads(line) for line in read(self.path(items), "items.jsonl").splitlines()]) if items else g

    def merged(self):
        """The spoilt model, about all data: what most of the tests look at."""
        return self.once("merged", lambda: self.gate(*self.against(), items="items"))

    def against(self):
        return ["--against", self.spoilt() + "/model", "--data", self.pairs, "--data", self.path("data", "refcoco"),
                "--limit", "1000"]

    def unmerged(self):
        """The same, as an adapter, about the pairs alone."""
        return self.once("unmerged", lambda: self.gate("--adapter", self.spoilt() + "/adapter", "--data", self.pairs,
                                                       items="unmerged-items"))


def read(*parts):
    with open(os.path.join(*parts), "rb") as f:
        return f.read()


def events(out, kind):
    return [e for e in map(json.loads, read(out, "events.jsonl").splitlines()) if e["event"] == kind]


# ---- the bootstrap, again ----

def rng(seed, n):
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (n.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        return z ^ (z >> np.uint64(31))


def clusters(items):
    """(clusters, 4): sums of num and den, before and after."""
    sums = collections.defaultdict(lambda: np.zeros(4))
    for i in items:
        sums[int(i["cluster"], 16)] += i["num"] + i["den"]
    return np.array([sums[k] for k in sorted(sums)])


def figure(s, k, scale):
    den = s[..., 2 + k]
    return np.where(den > 0, scale * s[..., k] / np.where(den > 0, den, 1), 0)


def compare(items, higher, scale, tolerance):
    c = clusters(items)
    m = len(c)
    draws = (rng(SEED, np.arange(RESAMPLES * m)) % np.uint64(m)).astype(int).reshape(RESAMPLES, m)
    again = c[draws].sum(1)
    diff = figure(again, 1, scale) - figure(again, 0, scale)
    gain = diff if higher else -diff
    all_ = c.sum(0)
    low, high = np.quantile(diff, [.025, .975])
    return {"n": len(items), "pictures": m, "before": figure(all_, 0, scale), "after": figure(all_, 1, scale),
            "low": low, "high": high, "p_worse": ((gain >= -tolerance).sum() + 1) / (RESAMPLES + 1),
            "p_better": ((gain <= 0).sum() + 1) / (RESAMPLES + 1)}


def holm(p, alpha=0.025):
    holds = [False] * len(p)
    for left, i in zip(range(len(p), 0, -1), np.argsort(p, kind="stable")):
        if p[i] > alpha / left:
            break
        holds[i] = True
    return holds


def check_rows(rows, items, is_battery):
    by_task = collections.defaultdict(list)
    for i in items:
        by_task[i["task"]].append(i)
    assert [r["task"] for r in rows] == list(by_task)
    for r in rows:
        name, higher, scale, tolerance = METRICS[r["task"]]
        assert (r["metric"], r["higher_is_better"], r["tolerance"]) == (name, higher, tolerance)
        for key, value in compare(by_task[r["task"]], higher, scale, tolerance).items():
            assert abs(r[key] - value) < 1e-3, (r["task"], key, r[key], value)
        if is_battery:
            blind = [{**i, "num": [i["guess"][0], i["num"][0]], "den": [i["guess"][1], i["den"][0]]}
                     for i in by_task[r["task"]]]
            c = compare(blind, higher, scale, tolerance)
            assert abs(r["chance"] - c["before"]) < 1e-3
            assert r["at_chance"] == (c["low"] <= 0 if higher else c["high"] >= 0)
    able = [r for r in rows if r["pictures"] >= PICTURES_MIN and not r.get("at_chance")]
    for r, worse, better in zip(able, holm([r["p_worse"] for r in able]), holm([r["p_better"] for r in able])):
        assert r["decision"] == ("worse" if worse else "better" if better else "not_worse"), r
    assert all(r["decision"] == "not_decided" for r in rows if r not in able)


def check_gate(g, items):
    for part in ("data", "battery"):
        check_rows(g["tasks" if part == "data" else "battery"], [i for i in items if i["part"] == part],
                   part == "battery")
    assert g["version"] == 1 and g["items"] == sum(r["n"] for r in g["tasks"])
    rows = [r["decision"] for r in g["tasks"]]
    if g["items"] < ITEMS_MIN:
        want = "not_decided"
    elif "worse" in rows + [r["decision"] for r in g["battery"]]:
        want = "worse"
    else:
        want = next((w for w in ("better", "not_worse") if w in rows), "not_decided")
    assert g["decision"] == want, (g["decision"], want)


# ---- the command ----

def test_figures(p):
    g, items = p.merged()
    check_gate(g, items)
    assert [r["task"] for r in g["battery"]] == ["pixels", "mask", "refer", "vqa"]
    assert {r["task"] for r in g["tasks"]} >= {"refer", "mask"}
    if suite.count(0, 1):  # the same again; test_ended_in_the_middle has it, too
        assert p.gate(*p.against()) == g


def data_items(items, task):
    return [i for i in items if i["part"] == "data" and i["task"] == task]


def test_adapter_is_the_model(p):
    """An adapter unmerged, and the model that has it merged, answer nearly alike."""
    (a, own), (b, items) = p.unmerged(), p.merged()
    pairs = {i["cluster"] for i in own if i["part"] == "data"}
    same = [{"task": x["task"], **compare([i for i in data_items(items, x["task"]) if i["cluster"] in pairs],
                                          *METRICS[x["task"]][1:])} for x in a["tasks"]]
    for x, y in zip(a["tasks"] + a["battery"], same + b["battery"], strict=True):
        assert abs(x["before"] - y["before"]) < 1e-3 and x["n"] == y["n"] and x["task"] == y["task"], (x, y)
        assert abs(x["after"] - y["after"]) < (3 if x["task"] == "pixels" else 8), (x, y)


def test_boxes_are_those_of_rec(p):
    pairs = {i["cluster"] for i in p.unmerged()[1] if i["part"] == "data"}
    refer = [i for i in data_items(p.merged()[1], "refer") if i["cluster"] not in pairs]
    row = compare(refer, *METRICS["refer"][1:])
    for key, model in (("before", p.model), ("after", p.spoilt() + "/model")):
        r = json.loads(p.run("eval", "rec", p.path("data", "refcoco"), "--model", model, "--json", "-").stdout)
        assert r["sentences"] == row["n"] and abs(r["all"]["p_at_05"] - row[key]) < 1e-3, (r["all"], row)


def test_same_model_is_not_worse(p):
    g = p.gate("--against", p.model, "--data", p.pairs)
    assert g["decision"] == "not_worse" and g["why"], g
    for r in g["tasks"] + g["battery"]:
        assert r["difference"] == r["low"] == r["high"] == 0 and r["before"] == r["after"]


def test_few_are_not_decided(p):
    g = p.gate("--against", p.spoilt() + "/model", "--data", p.pairs, "--limit", "10")
    assert g["decision"] == "not_decided" and "30 are needed" in g["why"], g
    assert all(r["n"] == 10 and r["available"] > 10 for r in g["tasks"])
    if suite.count(0, 1):  # nothing at all to judge by
        g = p.gate("--against", p.spoilt() + "/model")
        assert g["decision"] == "not_decided" and g["items"] == 0 and not g["tasks"] and g["battery"]


def test_refuses(p):
    def refused(text, *words):
        r = p.run("eval", "gate", "--model", p.model, *words, ok=False)
        assert text in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr

    refused("give one of them")
    refused("give one of them", "--adapter", "a", "--against", "b")
    refused("nowhere", "--adapter", p.path("nowhere"))
    refused("nowhere", "--against", p.path("nowhere"))
    refused("nowhere", "--against", p.model, "--data", p.path("nowhere"))
    bad = p.path("bad.jsonl")
    with open(bad, "w", encoding="utf-8") as f:
        f.write('{"task": "vqa", "image": "no.png", "question": "what?", "answer": "a"}\n')
    refused("1 bad lines; line 1", "--against", p.model, "--data", bad)
    refused("for the base model", "--adapter", p.spoilt() + "/adapter", "--model", p.spoilt() + "/model")


# ---- in a run ----

def test_in_a_run(p):
    words = p.recipe("run", gate="no")
    p.run(*words)
    assert not os.path.exists(p.path("run", "gate.json"))
    assert "Decision" not in read(p.path("run", "adapter", "README.md")).decode()
    said = p.run(*words, "--gate").stderr
    g = json.loads(read(p.path("run", "gate.json")))
    assert f"gate: {g['decision']}: {g['why']}" in said, said
    assert g["items"] > 0 and g["tasks"] and g["battery"]
    for folder in ("adapter", "model"):
        assert read(p.path("run", folder, "gate.json")) == read(p.path("run", "gate.json"))
        card = read(p.path("run", folder, "README.md")).decode()
        assert f"Decision: {g['decision']}. {g['why']}." in card
        assert all(f"| {r['task']}, battery | {r['metric']} |" in card for r in g["battery"])
    assert [e["phase"] for e in events(p.path("run"), "phase")][-2:] == ["export", "evaluate"]
    assert events(p.path("run"), "gate")[0]["decision"] == g["decision"]
    # what it was judged by is what was kept apart
    pictures = len([f for f in os.listdir(p.pairs) if f.endswith((".png", ".jpg"))])
    assert max(r["pictures"] for r in g["tasks"]) <= pictures / 2 + 1
    by = g["judged_by"]
    with open(p.path("run", "adapter", "lammd.json"), encoding="utf-8") as f:
        assert by["base"] == json.load(f)["base"]
    assert by["battery_seed"] == 18 and len(by["adapter"]) == 64 and by["adapter"] != by["base"]
    assert [d["share"] for d in by["validation"]] == [0.5] and len(by["validation"][0]["digest"]) == 64


def test_ended_in_the_middle(p):
    """And gone on with: it asks again, and writes the same bytes as the run that wasn't ended."""
    words = p.recipe("ended")
    for sign in (signal.SIGTERM, signal.SIGKILL)[:suite.count(1, 2)]:
        shutil.rmtree(p.path("ended"), ignore_errors=True)
        with subprocess.Popen([PROGRAM, *words, "--threads", "1"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as run:
            suite.wait_for(lambda: os.path.exists(p.path("ended", "events.jsonl"))
                           and '"evaluate"' in read(p.path("ended", "events.jsonl")).decode())
            run.send_signal(sign)
            said = run.communicate(timeout=suite.SOON)[1]
        assert not os.path.exists(p.path("ended", "gate.json")), sign
        if sign == signal.SIGTERM:
            assert run.returncode == 0 and "the same command goes on from there" in said, said
            assert events(p.path("ended"), "stop") and not events(p.path("ended"), "failed")
        p.run(*words)
        assert events(p.path("ended"), "end")
        if os.path.exists(p.path("run", "gate.json")):  # of test_in_a_run
            assert read(p.path("ended", "gate.json")) == read(p.path("run", "gate.json"))
        assert not [f for f in os.listdir(p.path("ended", "adapter")) if f.endswith(".tmp")]


def test_bench_beside_a_run(p):
    r = p.run("bench", "mix", "--train", "--model", p.model, "--repeat", "1", "--limit", "4", "--json")
    out = json.loads(r.stdout)
    alone, beside = out["act_alone"], out["act_beside"]
    assert out["turns"] == 1 and out["steps"] >= 0 and alone["n"] == beside["n"] == 4, out
    assert abs(out["ratio"] - beside["p99_s"] / alone["p99_s"]) < 1e-2, out


def main():
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="lammd-gate-") as tmp:
        place = Place(tmp)
        for name, test in [(n, f) for n, f in globals().items() if n.startswith("test_")]:
            if sys.argv[1:] and not any(w in "gate_" + name for w in sys.argv[1:]):
                continue
            try:
                test(place)
                passed += 1
            except Exception:  # noqa: BLE001
                print(f"FAIL gate {name}\n{traceback.format_exc()}")
                failed += 1
            sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
