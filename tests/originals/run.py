#!/usr/bin/env python3
"""run.py - lammd against the original implementations, at true widths with few layers.

    tests/originals/run.py [--long] [substring...]

What a user does: the files that LLaMA-2, EVA-CLIP and MiniGPT-v2 are published as go through `lammd
import`, and the engine computes with what came out. Every tensor on the way is held against timm's
EVA, transformers' LLaMA and peft's LoRA: against their recorded answers in any case, and against
the packages themselves where they are installed. So are answers of a server: pixels by the prompt
that it makes, and the log probabilities of choices. The files are made (tools/oracle/originals.py).
TESTS names the folder with model_taps. Needs python3-numpy, and for the server what tests/http
needs. Ends with `N passed, N failed`.
"""
import base64
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILT = os.environ.get("TESTS", os.path.join(ROOT, "build/release/tests"))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
GOLDEN = os.path.join(ROOT, "tests/golden/originals")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tools/oracle"), os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)
try:
    import numpy as np
    import originals
    import rng
except ImportError as e:
    print(f"skip: originals: {e}: apt-get install python3-numpy")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)
try:  # before anything is pickled: without torch, checkpoints.py puts names in its place
    import reference
    import served
    import torch
except ModuleNotFoundError as e:
    reference, MISSING = None, str(e)

NEAR = 2e-5  # the largest difference over the largest value
ROUNDED = 2e-3  # the same where import rounded W + alpha / r * B A to fp16, which has 11 bits
NEED = 4 << 30
# Of a served answer's probabilities, and nats of a choice; the same with the rounding. A choice
# here has a likelihood of e^-48 to e^-218, so that its sum is large.
SERVED, SERVED_ROUNDED = 1e-3, 5e-2
# As tools/oracle/served.py has them, which needs the packages.
POINTS, QUESTION, CHOICES = [[0, 0], [5, 40], [63, 12]], "is there a red thing?", ["yes", "no", "a red disc", "7"]


class Skip(Exception):
    """Something outside is missing; the text says what."""


class Lab:
    """The originals, and two models of them: the LoRA merged, and beside its base. Made once."""

    def __init__(self, tmp):
        self.tmp, self.taps = tmp, {}
        originals.write_llama(self.path("llama"), originals.LAYERS)
        originals.write_tower(self.path("eva.pth"), originals.BLOCKS)
        originals.write_learnt(self.path("learnt.pth"), originals.LAYERS)
        with open(self.path("picture"), "wb") as f:
            f.write(originals.picture().tobytes())
        self.bring("merged")
        self.bring("base", "--keep-adapter", self.path("adapter"))

    def path(self, name):
        return os.path.join(self.tmp, name)

    def bring(self, name, *more):
        words = [PROGRAM, "import", *map(self.path, ("llama", "eva.pth", "learnt.pth")), "-o", self.path(name),
                 "--any-tokenizer", "--no-copy", *more]
        r = subprocess.run(words, capture_output=True, text=True, timeout=suite.SOON, check=False)
        assert r.returncode == 0, r.stderr

    def ours(self, model, ids, picture="-", adapter="-"):
        """name -> tensor, computed once."""
        key = (model, tuple(ids), picture, adapter)
        if key not in self.taps:
            words = [os.path.join(BUILT, "model_taps"), self.path(model), adapter, picture, self.path("taps"),
                     *map(str, ids)]
            r = subprocess.run(words, capture_output=True, text=True, timeout=suite.SOON, check=False)
            assert r.returncode == 0, r.stderr
            self.taps[key] = originals.ck.read(self.path("taps"))
        return self.taps[key]

    def whole(self):
        return self.ours("base", originals.WHOLE, picture=self.path("picture"), adapter=self.path("adapter"))

    def text(self):
        return self.ours("base", originals.TEXT)

    def merged(self):
        return self.ours("merged", originals.TEXT)


def error(got, want):
    assert got.shape == want.shape and np.isfinite(got).all()
    return float(np.abs(got - want).max() / np.abs(want).max())


# ---- recorded ----

def sampled(name, flat, count):
    places = rng.u64(rng.name_seed(name), np.arange(count, dtype=np.uint64)) % np.uint64(len(flat))
    return flat[places.astype(np.int64)]


def against_record(taps, record, near=NEAR):
    golden = originals.ck.read(os.path.join(GOLDEN, record + ".safetensors"))
    names = [n for n in golden if not n.endswith(".norm")]
    assert sorted(taps) == sorted(names), (sorted(taps), sorted(names))
    worst = {}
    for name in names:
        flat, want = taps[name].floats().ravel(), golden[name].floats()
        norm, length = np.linalg.norm(flat.astype(np.float64)), float(golden[name + ".norm"].floats()[0])
        worst[name] = max(error(sampled(name, flat, len(want)), want), abs(norm / length - 1))
    tell(record, worst, near)


def tell(what, worst, near):
    name = max(worst, key=worst.get)
    print(f"{what}: {len(worst)} tensors, the farthest is {name}: {worst[name]:.1e}")
    assert worst[name] <= near, worst


def test_recorded_whole(lab):
    """A picture of 448, tower, connector, and a prompt around it; the LoRA beside its base."""
    against_record(lab.whole(), "whole")


def test_recorded_text(lab):
    """Without the LoRA."""
    against_record(lab.text(), "text")


def test_recorded_merged(lab):
    against_record(lab.merged(), "lora", ROUNDED)
    moved = error(lab.merged()["logits"].floats(), lab.text()["logits"].floats())
    assert moved > 100 * ROUNDED, f"the LoRA hardly matters: {moved}"


# ---- the packages themselves ----

def against_package(what, taps, theirs, near):
    assert sorted(taps) == sorted(theirs), (sorted(taps), sorted(theirs))
    tell("live " + what, {n: error(taps[n].floats(), want.numpy()) for n, want in theirs.items()}, near)


def test_live(lab):
    """In float32 on both sides."""
    if not reference:
        raise Skip(f"{MISSING}: pip install timm transformers peft; recorded answers are compared in any case")
    text, lora, whole = {}, {}, {}
    tower = reference.tower(lab.path("eva.pth"), originals.BLOCKS, torch.float32)
    proj = reference.connector(lab.path("learnt.pth"), torch.float32)
    feats = reference.see(tower, proj, originals.picture(), whole.__setitem__)
    model = reference.llama(lab.path("llama"), torch.float32)
    reference.decode(model, originals.TEXT, None, text.__setitem__)
    model = reference.with_lora(model, lab.path("learnt.pth"))
    reference.decode(model, originals.TEXT, None, lora.__setitem__)
    reference.decode(model, originals.WHOLE, feats, whole.__setitem__)
    against_package("whole", lab.whole(), whole, NEAR)
    against_package("text", lab.text(), text, NEAR)
    against_package("lora, merged", lab.merged(), lora, ROUNDED)


# ---- a server ----

def http_suite():
    """tests/http/lamm.py, whose name is tools/oracle's, too."""
    try:
        sys.path.append(os.path.join(ROOT, "tests/http"))
        spec = importlib.util.spec_from_file_location("http_lamm", os.path.join(ROOT, "tests/http/lamm.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        from PIL import Image
        return module, Image
    except ImportError as e:
        raise Skip(f"{e}: apt-get install python3-yaml python3-jsonschema python3-pil") from e


def served_answers(lab, model):
    """What a server with that model answers about the photo, as answers.json has it."""
    http, image = http_suite()
    png = io.BytesIO()
    image.fromarray(originals.picture(480)[120:360]).save(png, "PNG")
    about = {"image": base64.b64encode(png.getvalue()).decode()}
    with http.Server(model=lab.path(model)) as s:
        found = []
        for path, more in (("/v1/pixels", {"points": POINTS}), ("/v1/vqa", {"question": QUESTION, "choices": CHOICES})):
            r = s.ask("POST", path, json.dumps({**about, **more}), http.JSON)
            assert r.status == 200, r.body
            found.append(r.json())
    return {"pixels": found[0], "choices": {c["text"]: c["logprob"] for c in found[1]["choices"]}}


def against_answers(what, got, want, near):
    """The same colours; probabilities, and bits and nats, that are near."""
    worst = {}
    for i, (a, b) in enumerate(zip(got["pixels"], want["pixels"])):
        assert a["rgb"] == b["rgb"], (what, i, a, b)
        for key in ("prob", "entropy"):
            worst[f"pixel {i}, {key}"] = float(np.abs(np.subtract(a[key], b[key])).max())
    for text, nats in want["choices"].items():
        worst[f"choice {text}"] = abs(got["choices"][text] - nats)
    assert len(worst) == 2 * len(want["pixels"]) + len(CHOICES)
    tell(what, worst, near)


def recorded_answers():
    with open(os.path.join(GOLDEN, "answers.json"), encoding="utf-8") as f:
        return json.load(f)


def test_served(lab):
    """The whole chain through HTTP: a photo that has to be resized, the prompt, the network, the
    grammar."""
    want = recorded_answers()
    against_answers("served", served_answers(lab, "base"), want["base"], SERVED)
    against_answers("served, LoRA merged", served_answers(lab, "merged"), want["lora"], SERVED_ROUNDED)
    assert abs(want["base"]["choices"]["yes"] - want["lora"]["choices"]["yes"]) > 1, "the LoRA hardly matters"


def test_served_live(lab):
    """One pixel and all choices, in float32 on both sides."""
    if not reference:
        raise Skip(f"{MISSING}: pip install timm transformers peft sentencepiece; recorded answers are compared in any case")
    assert (served.POINTS, served.QUESTION, served.CHOICES) == (POINTS, QUESTION, CHOICES)
    tower = reference.tower(lab.path("eva.pth"), originals.BLOCKS, torch.float32)
    proj = reference.connector(lab.path("learnt.pth"), torch.float32)
    asker = served.Asker(served.Original(reference.llama(lab.path("llama"), torch.float32), tower, proj))
    got = served_answers(lab, "base")
    against_answers("live served", {**got, "pixels": got["pixels"][:1]}, asker.answers(POINTS[:1]), SERVED)


def free_memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1]) << 10 for line in f}["MemAvailable"]


def main():
    tests = [f for n, f in sorted(globals().items()) if n.startswith("test_")]
    chosen = [f for f in tests if not sys.argv[1:] or any(w in f.__name__ for w in sys.argv[1:])]
    if chosen and free_memory() < NEED:
        print(f"skip: originals: true widths need {NEED >> 30} GB of free memory\n0 passed, 0 failed, {len(chosen)} skipped")
        return 0
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as tmp:
        lab = Lab(tmp) if chosen else None
        for f in chosen:
            try:
                f(lab)
            except Skip as e:
                skipped += 1
                print(f"skip: {f.__name__[5:]}: {e}")
            except Exception:  # pylint: disable=broad-except
                failed += 1
                traceback.print_exc()
                print(f"FAIL {f.__name__}")
    print(f"{len(chosen) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
