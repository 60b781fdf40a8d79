"""test_faults.py - a disk that fails at any call: write, fsync or rename, with EIO or ENOSPC.

tests/plugin/badwrite.c stands before libc and lets one call of a run fail. However far the run had
come, it ends with a sentence, every checkpoint that bears its name is whole, and the same command
goes on to the bits of the run whose disk never failed.
"""
import collections
import errno
import itertools
import json
import os
import shutil
import struct

import suite
from lab import built, checkpoints, read, same

CALLS = ("write", "fsync", "rename")

# Checkpoints, a judgement, two stages that hand on, an adapter and a model: all that writes.
RECIPE = """
[run]
checkpoint_every = 1
judge_every = 2
judge_samples = 1
result = both
[stage one]
steps = 2
samples = 1
questions = 2
lora_r = 1
rate = 1e-3
[stage two]
like = one
[data pairs]
path = {pairs}
"""


def broken(p, out, how):
    return {"LD_PRELOAD": built("badwrite.so"), "BADWRITE_FOLDER": p.path(out), "BADWRITE": how}


def calls_of(p, recipe):
    """How often a whole run makes each call; the run stays as `sound`."""
    counted = p.path("calls.txt")
    p.train(recipe, "sound", env=broken(p, "sound", "count:" + counted))
    with open(counted, encoding="utf-8") as f:
        return collections.Counter(f.read().split())


def sampled(most, n):
    """At most n of the numbers 1 to most: the first and the last, and others evenly between."""
    return sorted({1 + round(k * (most - 1) / max(1, n - 1)) for k in range(n)})


def is_whole(path):
    """A safetensors file as long as its header says."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
    ends = [v["data_offsets"][1] for k, v in head.items() if k != "__metadata__"]
    return os.path.getsize(path) == 8 + n + max(ends)


def noted(out):
    """The checkpoints that events.jsonl tells of; without a line that is cut."""
    path = os.path.join(out, "events.jsonl")
    lines = read(path).split(b"\n")[:-1] if os.path.exists(path) else []
    return [e["file"] for e in map(json.loads, lines) if e["event"] == "checkpoint"]


def one_fault(p, recipe, call, at, code):
    """The run fails there, loses no checkpoint, and goes on to the end of the sound one."""
    what, out = f"{call} {at} fails with {errno.errorcode[code]}", p.path("fault")
    r = p.train(recipe, "fault", status=1, env=broken(p, "fault", f"{call}:{at}:{code}"))
    assert os.strerror(code) in r.stderr, (what, r.stderr)
    saved, told = checkpoints(out), noted(out)
    assert all(f.endswith(".safetensors") and is_whole(os.path.join(out, f)) for f in saved), (what, saved)
    assert not told or told[-1] in saved, (what, told, saved)
    said = p.train(recipe, "fault").stderr
    if saved and not saved[-1].startswith("step-00000004"):
        assert f"going on from step {int(saved[-1][5:13])} of 4" in said, (what, said)
    same(out, p.path("sound"))
    shutil.rmtree(out)
    return bool(saved)


def test_a_failing_disk_leaves_the_last_checkpoint_whole(p):
    recipe = p.recipe("faults.ini", RECIPE.format(pairs=p.pairs))
    calls = calls_of(p, recipe)
    assert calls["write"] > 50 and calls["fsync"] > 15 and calls["rename"] > 8, calls
    codes, with_checkpoint = itertools.cycle((errno.EIO, errno.ENOSPC)), 0
    for call in CALLS:
        for at in sampled(calls[call], suite.count(5, calls[call])):
            for _ in range(suite.count(1, 2)):
                with_checkpoint += one_fault(p, recipe, call, at, next(codes))
    assert with_checkpoint > 5, with_checkpoint
