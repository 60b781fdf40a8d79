#!/usr/bin/env python3
"""run.py - `lammd train` as a user runs it: every recipe, ended at any moment and gone on with.

    tests/train/run.py [--long] [substring...]

The model is lamm-mini with two layers (small.py), the data are drawn (shards.py). What counts is
that a run that was killed, stopped or out of disk ends with the bits of the run that never was.
--long kills a hundred times in place of five. Needs python3-pil and python3-numpy; ranks need
mpirun, a full disk needs to mount a tmpfs. Skips aloud. Ends with `N passed, N failed, N skipped`.
"""
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)
try:
    import shards
    import small
except ImportError as e:
    print(f"skip: train: {e}: apt-get install python3-pil python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

# A run of two stages that takes a second or two.
SHORT = """
[run]
checkpoint_every = 5
judge_every = 8
judge_samples = 2
[stage one]
steps = {steps}
samples = 2
questions = 4
lora_r = 4
rate = 1e-3
[stage two]
steps = {steps}
samples = 2
questions = 4
lora_r = 4
rate = 1e-3
tower = yes
average = 0.9
[data pairs]
path = {pairs}
jitter = 0.2
"""


class Skip(Exception):
    """Something outside is missing; the text says what."""


class Place:
    """The folder of all tests: a model, data, recipes."""

    def __init__(self, tmp):
        self.tmp = tmp
        self.model = os.path.join(tmp, "small")
        self.data = os.path.join(tmp, "data")
        self.pairs = os.path.join(tmp, "pairs")
        small.write(MINI, self.model)
        shards.write(self.data)
        shards.pairs(self.pairs, 20)

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def recipe(self, name, text):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def short(self, steps=12):
        return self.recipe(f"short-{steps}.ini", SHORT.format(steps=steps, pairs=self.pairs))

    def words(self, recipe, out, *more):
        return [PROGRAM, "train", recipe, "--model", self.model, "--out", self.path(out), "--threads", "2",
                *more]

    def train(self, recipe, out, *more, status=0):
        r = subprocess.run(self.words(recipe, out, *more), capture_output=True, text=True,
                           timeout=10 * suite.SOON, check=False)
        assert r.returncode == status, (recipe, r.returncode, r.stderr)
        return r

    def start(self, recipe, out, *more):
        return subprocess.Popen(self.words(recipe, out, *more), stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def refused(self, text, recipe, *more, out="refused"):
        r = self.train(recipe, out, *more, status=1)
        assert text in r.stderr, (text, r.stderr)
        return r


def read(*parts):
    with open(os.path.join(*parts), "rb") as f:
        return f.read()


def events(out, kind=None):
    lines = [json.loads(line) for line in read(out, "events.jsonl").splitlines()]
    return [e for e in lines if kind is None or e["event"] == kind]


def losses(out):
    """losses.csv without what a clock says."""
    with open(os.path.join(out, "losses.csv"), encoding="utf-8", newline="") as f:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(f)]


def checkpoints(out):
    return sorted(f for f in os.listdir(out) if f.startswith("step-"))


def result(out):
    """What came of a run, all of it: two runs that are one have the same."""
    folder = next(f for f in ("adapter", "model") if os.path.isdir(os.path.join(out, f)))
    files = {f: read(out, folder, f) for f in sorted(os.listdir(os.path.join(out, folder)))}
    assert files["README.md"]
    return files, losses(out)


def same(a, b):
    (fa, la), (fb, lb) = result(a), result(b)
    assert fa.keys() == fb.keys()
    for name, data in fa.items():
        assert data == fb[name], f"{name} differs"
    assert la == lb


_whole = {}


def whole(p, steps=12):
    """The short run that was never ended; made once."""
    if steps not in _whole:
        _whole[steps] = p.path(f"whole-{steps}")
        p.train(p.short(steps), f"whole-{steps}")
    return _whole[steps]


# ---- recipes ----

def tensors(*parts):
    return small.read(os.path.join(*parts))


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


STEPS = 50


def recipe(p, name, stages, tasks, *sets):
    """STEPS of each stage as the recipe has it, but for what `sets` makes smaller: fewer pictures a
    step, so that all of it takes half a minute of processor."""
    words = [w for s in ("run.judge_samples=4", *sets) for w in ("--set", s)]
    p.train(os.path.join(ROOT, "recipes", name + ".ini"), name, "--steps", str(STEPS), *words)
    check_run(p, name, STEPS * stages, tasks)


def test_recipe_own(p):
    recipe(p, "own", 1, ["refer", "vqa"], "PAIRS=" + p.pairs)
    rows = [r for r in losses(p.path("own")) if r["kind"] == "judge"]
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"]), rows
    assert "visual_encoder.cls_token" not in tensors(p.path("own"), "adapter/overlay.safetensors")
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


def test_recipe_lamm_mini(p):
    recipe(p, "lamm-mini", 1, ["pixels", "mask", "refer"], "DATA=" + p.data, "continue.samples=2",
           "continue.questions=32", "run.judge_samples=12")
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


# ---- ends, and going on ----

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


# ---- the paper's question in small ----

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
    whole = evaluated("ablation", out)
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
    table = subprocess.run([PROGRAM, "eval", "ablation", out], capture_output=True, text=True,
                           timeout=10 * suite.SOON, check=False).stdout
    assert all(f"Table {k}:" in table for k in (2, 4, 7, 8)) and f"{t['2'][1]['re']['here']:.2f} " in table


def test_ablation_refused(p):
    def refused(text, *words):
        r = subprocess.run([PROGRAM, "eval", "ablation", *words], capture_output=True, text=True,
                           timeout=suite.SOON, check=False)
        assert r.returncode == 1 and text in r.stderr and len(r.stderr.splitlines()) <= 2, r.stderr
    refused("nothing/recipe.ini", p.path("nothing"))
    refused("no [stage frozen-see], so it is no run of recipes/ablation.ini", whole(p))
    refused("leave --model out", whole(p), "--model", p.model)


def end_by(p, out, sig, moments):
    """Runs the short recipe, ended at each of these shares of its time, until it's whole."""
    recipe_file = p.short()
    begin = time.monotonic()
    p.train(recipe_file, out + "-timed")
    seconds = time.monotonic() - begin
    shutil.rmtree(p.path(out + "-timed"))
    for part in moments:
        run = p.start(recipe_file, out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(seconds * part)
        run.send_signal(sig)
        said = run.communicate(timeout=suite.SOON)[1]
        if sig == signal.SIGTERM:
            assert run.returncode == 0, said
        shutil.rmtree(p.path(out, "adapter"), ignore_errors=True)
    return p.train(recipe_file, out)


def test_killed_at_any_moment(p):
    """Killed at so many random moments. A run that comes to its end all the same has the bits of
    the one that never was killed; then another begins."""
    random.seed(int(os.environ.get("SEED", "1")))
    want, kills, out = suite.count(5, 100), 0, p.path("killed")
    begin = time.monotonic()
    p.train(p.short(), "killed")
    seconds = time.monotonic() - begin
    for _ in range(10 * want):
        if kills == want:
            break
        run = p.start(p.short(), "killed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(seconds * random.random())
        run.kill()
        said = run.communicate(timeout=suite.SOON)[1]
        assert run.returncode in (0, -signal.SIGKILL), said
        kills += run.returncode != 0
        if run.returncode == 0:
            same(out, whole(p))
            shutil.rmtree(out)
    assert kills == want, kills
    p.train(p.short(), "killed")
    same(out, whole(p))


def test_stopped(p):
    run = p.start(p.short(), "stopped")
    suite.wait_for(lambda: os.path.exists(p.path("stopped", "losses.csv")) and len(losses(p.path("stopped"))) > 3)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=suite.SOON)[1]
    assert run.returncode == 0 and "the same command goes on from there" in said, said
    step = events(p.path("stopped"), "stop")[-1]["step"]
    assert f"step-{step:08}.safetensors" in checkpoints(p.path("stopped"))
    said = p.train(p.short(), "stopped").stderr
    assert f"going on from step {step} of 24" in said, said
    same(p.path("stopped"), whole(p))
    assert events(p.path("stopped"), "resume")[-1]["step"] == step


def test_keeps_two_and_the_best(p):
    out = whole(p)
    kept = checkpoints(out)
    assert 2 <= len(kept) <= 3 and kept[-1] == "step-00000024.safetensors", kept
    assert not [f for f in os.listdir(out) if f.endswith(".tmp")]


def test_ended_run_is_only_exported_again(p):
    shutil.copytree(whole(p), p.path("ended"))
    shutil.rmtree(p.path("ended", "adapter"))
    p.train(p.short(), "ended")
    same(p.path("ended"), whole(p))


def test_broken_checkpoint(p):
    """The newest one is cut: it is told, and the one before is gone on from."""
    shutil.copytree(whole(p), p.path("broken"))
    newest = p.path("broken", checkpoints(p.path("broken"))[-1])
    data = read(newest)
    with open(newest, "wb") as f:
        f.write(data[:len(data) // 2])
    said = p.train(p.short(), "broken").stderr
    assert "step-00000024" in said and "going on from step 2" in said, said
    same(p.path("broken"), whole(p))


def test_threads_give_the_same_bits(p):
    p.train(p.short(), "threads", "--threads", "1")
    same(p.path("threads"), whole(p))


def test_one_run_a_folder(p):
    first = p.start(p.short(12), "locked")
    suite.wait_for(lambda: os.path.exists(p.path("locked", "losses.csv")))
    said = p.refused("another lammd train is at work here", p.short(12), out="locked").stderr
    assert str(first.pid) in said, said
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=suite.SOON)


@contextlib.contextmanager
def small_disk(path, kib):
    os.makedirs(path)
    r = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "lammd-test", path], capture_output=True,
                       text=True, check=False)
    if r.returncode:
        raise Skip("can't mount a tmpfs: " + r.stderr.strip())
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_full_disk(p):
    """The disk fills up in mid-run: a sentence, a whole checkpoint, and with room it goes on."""
    size = max(os.path.getsize(os.path.join(whole(p), f)) for f in checkpoints(whole(p)))
    with small_disk(p.path("disk"), 8 * size // 1024) as disk:
        out = os.path.join(disk, "run")
        run = p.start(p.short(), "disk/run")
        suite.wait_for(lambda: os.path.isdir(out) and checkpoints(out))
        with contextlib.suppress(OSError), open(os.path.join(disk, "ballast"), "wb", buffering=0) as f:
            while True:
                f.write(bytes(4096))
        said = run.communicate(timeout=suite.SOON)[1]
        assert run.returncode == 1 and "No space left on device" in said, said
        assert "is whole: the same command goes on from there" in said, said
        said = p.train(p.short(), "disk/run", status=1).stderr
        assert "three checkpoints take" in said or "No space left" in said, said
        os.unlink(os.path.join(disk, "ballast"))
        p.train(p.short(), "disk/run")
        same(out, whole(p))


def test_no_room_to_begin(p):
    with small_disk(p.path("tight"), 512):
        p.refused("three checkpoints take", p.short(), out="tight/run")


def test_pace_of_a_packed_step(p):
    """pack = 1 asks as much, one question a picture."""
    text = SHORT.format(steps=2, pairs=p.pairs).replace("questions = 4", "questions = 2\npack = 1")
    p.train(p.recipe("unpacked.ini", text), "unpacked")
    rows = [r for r in losses(p.path("unpacked")) if r["kind"] == "learn"]
    assert all(r["talks"] == "4" for r in rows), rows


# ---- ranks ----

def test_ranks_give_the_same_bits(p):
    plugin = os.path.join(os.path.dirname(PROGRAM), "lammd-mpi.so")
    if not shutil.which("mpirun") or not os.path.exists(plugin):
        raise Skip("ranks: mpirun or lammd-mpi.so is not there")
    mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2"]
    words = p.words(p.short(), "ranks", "--comm", "mpi", "--threads", "1")
    r = subprocess.run(mpirun + words, capture_output=True, text=True, timeout=10 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    assert r.stderr.count("before: loss") == 1, r.stderr
    same(p.path("ranks"), whole(p))


# ---- plans, keys, samples, the bench ----

def test_plan(p):
    r = p.train(p.short(), "none", "--plan")
    assert "stage one: 12 steps of 2 samples with 4 questions: 96 questions" in r.stdout, r.stdout
    assert r.stdout.count("together  ") == 2 and not os.path.exists(p.path("none"))
    assert r.stdout.count("together, one of 2 ranks") == 2, r.stdout
    r = p.train(p.short(), "none", "--plan", "--memory-mib", "12", status=1)
    assert "takes" in r.stderr and "there are 12" in r.stderr, r.stderr
    p.refused("training takes", p.short(), "--memory-mib", "12")


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
    r = subprocess.run(words + ["--json"], capture_output=True, text=True, timeout=10 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    rows = json.loads(r.stdout)
    assert [row["questions"] for row in rows] == [256, 64, 16, 1]
    assert rows[0]["questions_per_second"] > 4 * rows[-1]["questions_per_second"]
    assert rows[0]["rows"] < rows[0]["rows_plain"] / 4
    r = subprocess.run(words, capture_output=True, text=True, timeout=10 * suite.SOON, check=False)
    assert "256 questions" in r.stdout and "activations" in r.stdout, r.stdout
    del words[words.index("--quick")]
    r = subprocess.run(words + ["--json"], capture_output=True, text=True, timeout=20 * suite.SOON, check=False)
    assert r.returncode == 0, r.stderr
    shown = {(row["operation"], row["threads"]): row for row in json.loads(r.stdout) if "operation" in row}
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


def main():
    wanted = sys.argv[1:]
    passed = failed = skipped = 0
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    with tempfile.TemporaryDirectory(prefix="lammd-train-") as tmp:
        place = Place(tmp)
        for name, test in tests:
            if wanted and not any(w in "train_" + name for w in wanted):
                continue
            try:
                test(place)
                passed += 1
            except Skip as why:
                print(f"skip: train {name}: {why}")
                skipped += 1
            except Exception:  # noqa: BLE001
                print(f"FAIL train {name}\n{traceback.format_exc()}")
                failed += 1
            sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
