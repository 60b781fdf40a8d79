"""test_files.py - files that are wrong, commands that are, and all of them together."""
import json
import os
import re
import subprocess
import sys

import numpy as np
import suite
from lab import MINI, PROGRAM, ROOT, Skip, folder, get, lammd, near, put, refused, report
from PIL import Image
from test_answers import play

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
    assert all(o["see_s"] > 0 for o in out), "a cold job found its picture"
    assert len({(o["rows"], o["rows_plain"]) for o in out}) == 1 and all(o["act_s"] > 0 for o in out), out
    text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert text.count("opening") == 1 and text.count("rows a pass") == 3 and text.count("act, one frame") == 3, text
    refused = subprocess.run([PROGRAM, "bench", "mix", "--rows", "1,2"], capture_output=True, text=True)
    assert refused.returncode == 2 and "one --rows" in refused.stderr, refused


def test_bench_ops(_):
    command = [PROGRAM, "bench", "ops", "--repeat", "1", "--limit", "40", "--model", MINI, "--device", "cpu"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    rows = int(re.search(r"a prompt of (\d+) rows, (\d+) tokens", text)[1])
    assert rows > 256, "the picture was known"
    for name in ("prompt ", "generation", "until the first token"):
        assert float(re.search(rf"  {name} +([0-9.]+)", text)[1]) > 0, text
    table = {r[1].strip(): r for r in (line.split("|") for line in text.splitlines() if line.startswith("| "))}
    gemm = table["gemm 256 -> 768"]
    assert all(float(gemm[i].rstrip(" %")) > 0 for i in (5, 6, 7, 8, 9)), gemm
    assert table["rmsnorm"][6].strip() == "-" and float(table["rmsnorm"][8]) > 0, table["rmsnorm"]
    assert "attn_tree" in table and "GB/s read from memory" in text
    out = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert out["prompt_rows"] == rows and out["tokens"] > 0, out
    assert all(out[k] > 0 for k in ("prompt_tokens_per_second", "first_token_s", "tokens_per_second")), out


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
