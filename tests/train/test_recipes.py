"""test_recipes.py - every recipe of recipes/ at twenty steps (--long: fifty), but for the ablation;
losses beside the paper's; stages that begin with others' results.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import small
import suite
from lab import PROGRAM, ROOT, checkpoints, events, losses, read, same, tensors


def check_run(p, out, steps, tasks):
    out = p.path(out)
    rows = losses(out)
    learnt = [r for r in rows if r["kind"] == "learn"]
    assert [int(r["step"]) for r in learnt] == list(range(1, steps + 1))
    assert all(float(r["loss"]) > 0 and float(r["norm"]) > 0 and r["skipped"] == "0" for r in learnt)
    judged = [r for r in rows if r["kind"] == "judge"]
    assert judged[0]["step"] == "0" and judged[-1]["step"] == str(steps)
    for t in tasks:
        assert any(r[t] for r in learnt), t
    assert not events(out, "left_out"), events(out, "left_out")[0]
    assert events(out)[-1]["event"] == "end"
    assert read(out, "losses.png")[:4] == b"\x89PNG"
    card = read(out, "adapter" if os.path.isdir(os.path.join(out, "adapter")) else "model",
                "README.md").decode()
    for t in tasks:
        assert re.search(rf"\| {t} \| \d+\.\d+ \| \d+\.\d+ \|", card), card
    assert re.search(r"\| data \| [0-9a-f]{64} \|", card) and p.tmp not in card


STEPS = suite.count(20, 50)


def recipe(p, name, stages, tasks, *sets):
    """STEPS of each stage as the recipe has it, but for what `sets` makes smaller: fewer pictures a
    step, so that all of it takes some seconds of processor."""
    words = [w for s in ("run.judge_samples=4", *sets) for w in ("--set", s)]
    p.train(os.path.join(ROOT, "recipes", name + ".ini"), name, "--steps", str(STEPS), *words)
    check_run(p, name, STEPS * stages, tasks)


def test_recipe_own(p):
    """What it rehearses is learnt, and neither judged nor a task of the card."""
    recipe(p, "own", 1, ["refer", "vqa"], "PAIRS=" + p.pairs)
    assert all(r["pixels"] and r["mask"] for r in losses(p.path("own")) if r["kind"] == "learn")
    rows = [r for r in losses(p.path("own")) if r["kind"] == "judge"]
    assert not any(r["pixels"] or r["mask"] for r in rows)
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"]), rows
    assert not os.path.exists(p.path("own", "adapter", "overlay.safetensors"))
    served = subprocess.run([PROGRAM, "ask", "vqa", os.path.join(p.pairs, "000.png"), "question=what is blue?",
                             "--model", p.path("own", "model")], capture_output=True, text=True,
                            timeout=suite.SOON, check=False)
    assert served.returncode == 0 and json.loads(served.stdout)["answer"], (served.stdout, served.stderr)


def test_recipe_pae_lamm(p):
    """The tower that stage 2 adapted goes through stage 3 into the result, unchanged."""
    recipe(p, "pae-lamm", 3, ["pixels", "refer"], "DATA=" + p.data, "connect.samples=2", "see.samples=2",
           "balance.samples=2")
    out = p.path("pae-lamm")
    first, second, last = (tensors(out, d, "overlay.safetensors") for d in ("stage-1", "stage-2", "adapter"))
    name = "visual_encoder.blocks.0.attn.qkv.weight"
    assert name not in first and second[name] == last[name]
    assert second["llama_proj.weight"] != last["llama_proj.weight"]
    adapter = tensors(out, "adapter/adapter_model.safetensors")
    assert len(adapter) == 2 * 2 * small.LAYERS  # A and B of q and v
    assert any(v[1] == [64, 256] for v in adapter.values())


def test_recipe_segment(p):
    recipe(p, "segment", 1, ["mask", "refer"], "DATA=" + p.data)


def test_recipe_car_racing(p):
    recipe(p, "car-racing", 1, ["drive"], "DATA=" + p.data, "drive.samples=2")


def test_recipe_space_invaders(p):
    recipe(p, "space-invaders", 1, ["shoot"], "DATA=" + p.data, "shoot.samples=1")


def write_features(path, pictures):
    """data/features.h: 48 numbers for each square of the pictures, drawn by their digests."""
    seen = sorted({hashlib.sha256(read(name)).digest() for name in pictures})
    with open(path, "wb") as f:
        f.write(struct.pack("<8sII", b"lammdfe1", len(seen), 48) + struct.pack("<48f", *[1 / 127] * 48))
        for digest in seen:
            f.write(struct.pack("<32sHH", digest, 4, 4))
        for digest in seen:
            f.write(digest * (4 * 4 * 48 // len(digest)))


def test_recipe_lamm_mini(p):
    # The scenes' lines are of the same kinds.
    scenes, real, space = (os.path.join(p.data, name) for name in ("scenes", "real", "space"))
    os.symlink("scenes", os.path.join(p.data, "wide"))
    shutil.copytree(scenes, real)
    shutil.copytree(scenes, space)
    lines = os.path.join(scenes, "scenes.jsonl")
    for name in ("clothing", "grocery", "coco"):
        shutil.copy(lines, os.path.join(real, name + ".jsonl"))
    for name in ("frames", "rows"):
        shutil.copy(lines, os.path.join(space, name + ".jsonl"))
    pictures = sorted(name for name in os.listdir(scenes) if name.endswith(".png"))
    with open(os.path.join(space, "rows.jsonl"), "a", encoding="utf-8") as f:
        for i in range(4):
            f.write(json.dumps({"task": "act", "game": "space_invaders", "action": i, "images": pictures[:4]}) + "\n")
    write_features(os.path.join(p.data, "features.bin"), [os.path.join(scenes, name) for name in pictures])
    recipe(p, "lamm-mini", 2, ["pixels", "mask", "refer"], "DATA=" + p.data,
           "find.samples=2", "find.hold_layer=1", "run.judge_samples=32")
    model = tensors(p.path("lamm-mini"), "model/model.safetensors")
    assert {k: v[:2] for k, v in model.items()} == {
        k: v[:2] for k, v in tensors(p.model, "model.safetensors").items()}
    # What it made can be trained again, and answers.
    p.train(p.short(), "again", "--model", p.path("lamm-mini", "model"), "--steps", "1")


# ---- losses beside the paper's ----

LOSSES = """
[run]
checkpoint_every = 5
judge_every = 10
judge_samples = 4
[stage one]
steps = 20
samples = 2
questions = 8
tower = yes
text = full
rate = 3e-4
average = 0.9
dense_inside = 1
dense_box = 1
dense_colour = 20
teacher = {teacher}
teach = 0.5
teach_vqa = 0
[data scenes]
path = {data}/scenes
crop = 0.7
"""


def test_dense_questions_and_a_teacher(p):
    """They are learnt, told, gone on with bit for bit, and no part of the result."""
    file = p.recipe("losses.ini", LOSSES.format(teacher=p.model, data=p.data))
    p.train(file, "losses")
    rows = losses(p.path("losses"))
    for name in ("dense_inside", "dense_box", "dense_colour"):
        told = [float(r[name]) for r in rows if r["kind"] == "judge"]
        assert len(told) == 3 and told[-1] < 0.9 * told[0], (name, told)
    assert "dense_inside" in events(p.path("losses"), "judge")[0]
    model = tensors(p.path("losses"), "model/model.safetensors")
    assert model.keys() == tensors(p.model, "model.safetensors").keys()
    run = p.start(file, "losses-cut")
    suite.wait_for(lambda: os.path.isdir(p.path("losses-cut")) and checkpoints(p.path("losses-cut")))
    run.kill()
    run.communicate(timeout=suite.SOON)
    p.train(file, "losses-cut", "--threads", "1")
    same(p.path("losses-cut"), p.path("losses"))
    plan = p.train(file, "none", "--plan").stdout
    assert "the teacher" in plan, plan
    p.train(file, "none", "--samples", p.path("losses.jsonl"), "--steps", "1")


def test_refused_teachers(p):
    text = LOSSES.format(teacher=p.path("no-teacher"), data=p.data)
    p.refused("teacher " + p.path("no-teacher"), p.recipe("losses.ini", text))
    text = LOSSES.format(teacher=os.path.join(ROOT, "tests/golden/tiny"), data=p.data)
    r = p.refused("teacher", p.recipe("losses.ini", text))
    assert "the model that learns" in r.stderr, r.stderr
    other = re.sub("teacher = .*", "", text)
    p.refused("no teacher is given", p.recipe("losses.ini", other))
    other = re.sub("teach = .*", "teach = 0", text)
    p.refused("nothing to teach", p.recipe("losses.ini", other))
    other = text.replace("tower = yes", "tower = no\nconnector = no")
    p.refused("both are frozen", p.recipe("losses.ini", re.sub("teach.* = .*", "", other)))


# ---- stages that begin with others' results ----

BRANCHES = """
[run]
checkpoint_every = 2
judge_every = 0
result = model
[stage one]
steps = 4
samples = 2
questions = 4
tower = yes
text = {text}
lora_r = 4
rate = 1e-3
[stage two]
like = one
[stage three]
like = two
from = one
tower = no
rate = {rate}
rate_start = 0
rate_end = 0
[stage four]
like = one
from = two
[data pairs]
path = {pairs}
"""


def test_branches(p):
    """A stage begins with what `from` names: with a rate of 0 that is what it hands on."""
    for text, names in (("full", ["model"]), ("lora", ["adapter_model", "overlay"])):
        p.train(p.recipe("still.ini", BRANCHES.format(rate=0, text=text, pairs=p.pairs)), "still-" + text)
        for name in names:
            one, two, three = (tensors(p.path("still-" + text), f"stage-{k}/{name}.safetensors")
                               for k in (1, 2, 3))
            assert one == three and one != two, (text, name)
    recipe = p.recipe("branches.ini", BRANCHES.format(rate="1e-3", text="full", pairs=p.pairs))
    p.train(recipe, "branches")
    for step in (5, 10, 15):  # in the stages two, three and four
        run = p.start(recipe, "branches-killed")
        end = time.monotonic() + 10 * suite.SOON
        while run.poll() is None and time.monotonic() < end:
            saved = checkpoints(p.path("branches-killed")) if os.path.isdir(p.path("branches-killed")) else []
            if saved and int(re.search(r"\d+", saved[-1])[0]) >= step - 1:
                run.send_signal(signal.SIGKILL)
            time.sleep(0.002)
        run.communicate(timeout=suite.SOON)
    p.train(recipe, "branches-killed")
    same(p.path("branches"), p.path("branches-killed"))
    for k in (1, 2, 3):
        name = f"stage-{k}/model.safetensors"
        assert read(p.path("branches"), name) == read(p.path("branches-killed"), name)
