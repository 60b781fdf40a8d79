"""test_words.py - what the command line says: plans, keys, samples, the bench, and what is refused.
"""
import json
import os
import re
import shutil
import subprocess

import small
import suite
from lab import PROGRAM, ROOT, SHORT, losses, read, same, whole


def test_pace_of_a_packed_step(p):
    """pack = no asks as much, one question a picture."""
    text = SHORT.format(steps=2, pairs=p.pairs).replace("questions = 4", "questions = 2\npack = no")
    p.train(p.recipe("unpacked.ini", text), "unpacked")
    rows = [r for r in losses(p.path("unpacked")) if r["kind"] == "learn"]
    assert all(r["talks"] == "4" for r in rows), rows


def test_plan(p):
    r = p.train(p.short(), "none", "--plan")
    assert "stage one: 12 steps of 2 samples with 4 questions: 96 questions" in r.stdout, r.stdout
    assert r.stdout.count("together  ") == 2 and not os.path.exists(p.path("none"))
    assert r.stdout.count("together, one of 2 ranks") == 2, r.stdout
    r = p.train(p.short(), "none", "--plan", "--memory-mib", "12", status=1)
    assert "takes" in r.stderr and "there are 12" in r.stderr, r.stderr
    p.refused("training takes", p.short(), "--memory-mib", "12")


def test_plan_for_programs(p):
    """--json says the same, of all stages, in bytes."""
    r = p.train(p.short(), "none", "--plan", "--json")
    plan = json.loads(r.stdout)
    assert plan["status"] == "fits" and plan["text"] == "" and len(plan["stages"]) == 2, plan
    text = p.train(p.short(), "none", "--plan").stdout
    for stage in plan["stages"]:
        memory = stage["memory"]
        assert sum(memory[name] for name in memory if name not in ("together", "checkpoint")) == memory["together"], stage
        assert f"{memory['together'] / 2**20:.1f} MiB" in text and stage["available"] is None, (stage, text)
        for ranks in stage["of_ranks"]:
            assert f"one of {ranks['ranks']} ranks" in text and f"{ranks['together'] / 2**20:.1f} MiB" in text
    assert plan["stages"][0]["name"] == "one" and plan["stages"][0]["steps"] == 12 and plan["stages"][0]["samples"] == 2
    r = p.train(p.short(), "none", "--plan", "--json", "--memory-mib", "12", status=1)
    plan = json.loads(r.stdout)
    assert plan["status"] == "too_big" and plan["text"] in r.stderr and "there are 12" in plan["text"], (plan, r.stderr)
    assert len(plan["stages"]) == 2 and plan["stages"][0]["available"] == 12 << 20 < plan["stages"][0]["memory"]["together"]


def test_plan_of_seven_billion(p):
    """Sizes alone: no weights are needed, and no card. A rank of the paper's four takes 17 GB
    where the tower is frozen and 33 where it learns, within a tenth."""
    words = [PROGRAM, "train", os.path.join(ROOT, "recipes/pae-lamm.ini"), "--plan", "--set", "DATA=/nowhere",
             "--model", os.path.join(ROOT, "models/shapes/pae-lamm-7b")]
    has_cuda = os.path.exists(os.path.join(os.path.dirname(PROGRAM), "lammd-cuda.so"))
    for device in ["cpu", "cuda"] if has_cuda else ["cpu"]:
        r = subprocess.run(words + ["--device", device], capture_output=True, text=True, timeout=suite.SOON, check=False)
        assert r.returncode == 0 and "56.6" in r.stdout, (r.stdout, r.stderr)
        assert f"counted as backend {device} keeps it" in r.stdout, r.stdout
        each = [float(gb) for gb in re.findall(r"one of 4 ranks .* MiB +([0-9.]+) GB", r.stdout)]
        assert len(each) == 3, r.stdout
        if device == "cuda":
            assert all(abs(got / want - 1) < 0.1 for got, want in zip(each, (17, 33, 17))), each


def test_keys_are_documented(_):
    r = subprocess.run([PROGRAM, "train", "--keys"], capture_output=True, text=True, check=True)
    assert "| `steps` | a whole number from 1 on | must be given | of this stage |" in r.stdout
    page = read(ROOT, "docs/training.md").decode()
    for table in r.stdout.strip().split("\n\n"):
        assert table in page, "docs/training.md has other keys:\n" + table


def test_samples(p):
    """--samples writes what each step asks, the same each time."""
    from PIL import Image
    for name in "ab":
        p.train(p.short(), "none", "--samples", p.path(name + ".jsonl"), "--steps", "3")
    assert read(p.path("a.jsonl")).replace(b"a.jsonl", b"b.jsonl") == read(p.path("b.jsonl"))
    lines = [json.loads(line) for line in read(p.path("a.jsonl")).splitlines()]
    heads = [line for line in lines if "stage" in line]
    assert [h["stage"] for h in heads] == ["one", "two"] and heads[0]["options"]["rate"] == 1e-3
    asked = [line for line in lines if "step" in line]
    assert [(a["step"], a["item"]) for a in asked] == [(s, i) for s in range(6) for i in range(2)]
    for a in asked:
        for name in a["pictures"]:
            assert Image.open(p.path(name)).size == (small.SIDE, small.SIDE)
        for talk in a["talks"]:
            assert talk["turns"][0]["question"] and talk["turns"][0]["answer"], talk
    assert not os.path.exists(p.path("none"))


def test_bench(p):
    words = [PROGRAM, "bench", "train", "--model", p.model, "--repeat", "1", "--quick"]
    r = subprocess.run(words, capture_output=True, text=True, timeout=10 * suite.SOON, check=False)
    assert "256 questions" in r.stdout and "activations" in r.stdout, r.stdout
    del words[words.index("--quick")]
    r = subprocess.run(words + ["--json"], capture_output=True, text=True, timeout=20 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    rows = json.loads(r.stdout)
    tables = [row for row in rows if "questions" in row]
    assert [row["questions"] for row in tables][:4] == [256, 64, 16, 1]
    assert tables[0]["questions_per_second"] > tables[3]["questions_per_second"]
    assert tables[0]["rows"] < tables[0]["rows_plain"] / 4
    shown = {(row["operation"], row["threads"]): row for row in rows if "operation" in row}
    for name in ("head", "tower attention", "tree attention"):
        row = next(row for (operation, threads), row in shown.items() if operation.startswith(name) and threads == 1)
        assert row["forward_gflops"] > 0 and row["peak_gflops"] > 0, row
        assert row["dx_share" if name == "head" else "back_share"] > 0, row


# ---- what is refused ----

def test_refused_recipes(p):
    text = SHORT.format(steps=12, pairs=p.pairs)
    cases = [
        ("samplse = 2", 'short.ini:7: [stage] knows no "samplse"; did you mean "samples"?'),
        ("samples = 0", '"samples": it takes a whole number from 1 to 16384'),
        ("ratio_refer = 0", "every ratio is 0"),
        ("ratio_mask = 1", "ratio_mask is above 0, but no data has a line of that task"),
        ("lora_r = x", "whole number"),
    ]
    for line, said in cases:
        key = line.split(" ")[0]
        other = re.sub(rf"(?m)^{key} = .*\n", "", text, count=1) if key in text else text
        p.refused(said, p.recipe("short.ini", other.replace("[stage one]\n", "[stage one]\n" + line + "\n", 1)))
    p.refused("nothing is known of ${PAIRS}", os.path.join(ROOT, "recipes/own.ini"))
    p.refused("No such file", p.path("nowhere.ini"))
    assert subprocess.run([PROGRAM, "train"], capture_output=True, check=False).returncode == 2


def test_refused_data(p):
    own = os.path.join(ROOT, "recipes/own.ini")
    p.refused("[data pairs]: ", own, "--set", "PAIRS=" + p.path("nothing-here"))
    bad = p.path("bad")
    shutil.copytree(p.pairs, bad)
    with open(os.path.join(bad, "pairs.jsonl"), "a", encoding="utf-8") as f:
        f.write('{"task": "refer", "image": "000.png", "sentence": "x", "box": [0, 0, 999, 9]}\n')
        f.write('{"task": "refer", "image": "gone.png", "sentence": "x", "box": [0, 0, 9, 9]}\n')
    r = p.refused("2 bad lines", own, "--set", "PAIRS=" + bad)
    assert "pairs.jsonl:61: " in r.stderr and "pairs.jsonl:62: " in r.stderr, r.stderr
    with open(own, encoding="utf-8") as f:
        text = f.read().replace("[data pairs]", "[data pairs]\nbad_lines = 2")
    p.train(p.recipe("lenient.ini", text), "lenient", "--set", "PAIRS=" + bad, "--steps", "1")


def test_refused_folders(p):
    """A folder with a run of another recipe, of other data, or of another model."""
    shutil.copytree(whole(p), p.path("other"))
    other = p.recipe("other.ini", SHORT.format(steps=12, pairs=p.pairs).replace("rate = 1e-3", "rate = 1e-4"))
    r = p.refused("has a run that this one can't go on with; give another --out", other, out="other")
    assert "recipe" in r.stderr, r.stderr
    more = p.path("more")
    shutil.copytree(p.pairs, more)
    with open(os.path.join(more, "pairs.jsonl"), "a", encoding="utf-8") as f:
        f.write('{"task": "vqa", "image": "000.png", "question": "q", "answer": "a"}\n')
    r = p.refused("can't go on with", p.recipe("more.ini", SHORT.format(steps=12, pairs=more)), out="other")
    assert "data" in r.stderr, r.stderr
    model = p.path("model-2")
    shutil.copytree(p.model, model)
    weights = small.read(os.path.join(model, "model.safetensors"))
    dtype, shape, data = weights["lm_head.weight"]
    weights["lm_head.weight"] = (dtype, shape, data[2:] + data[:2])
    small.save(os.path.join(model, "model.safetensors"), weights)
    p.refused("can't go on with", p.short(), "--model", model, out="other")
    p.refused("nowhere", p.short(), "--model", p.path("nowhere"))
    p.train(p.short(), "other")  # and the right one still can
    same(p.path("other"), whole(p))
