"""lab.py - what the tests of `lammd train` share: a folder with a small model, drawn data and
recipes; the program run on them; what a run left; and when two runs are one.
"""
import contextlib
import csv
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.environ.get("LAMMD", os.path.join(ROOT, "lammd"))
MINI = os.path.join(ROOT, "models/lamm-mini")
sys.dont_write_bytecode = True
sys.path[:0] = [HERE, os.path.join(ROOT, "tests")]
import shards  # noqa: E402
import small  # noqa: E402
import suite  # noqa: E402

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


def built(name):
    """A file that `make test` builds beside the runners of the tests."""
    folders = [os.path.join(os.path.dirname(PROGRAM), f) for f in ("", "release", "build/release")]
    for path in (os.path.join(f, "tests", name) for f in folders):
        if os.path.exists(path):
            return path
    raise Skip(f"tests/{name} is not built: make test builds it")


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

    def train(self, recipe, out, *more, status=0, env=None):
        r = subprocess.run(self.words(recipe, out, *more), capture_output=True, text=True,
                           timeout=10 * suite.SOON, check=False, env=env and {**os.environ, **env})
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


def tensors(*parts):
    return small.read(os.path.join(*parts))


_whole = {}


def whole(p, steps=12):
    """The short run that was never ended; made once."""
    if steps not in _whole:
        _whole[steps] = p.path(f"whole-{steps}")
        p.train(p.short(steps), f"whole-{steps}")
    return _whole[steps]


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
