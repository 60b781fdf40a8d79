"""test_ends.py - a run ended at any moment, or out of disk, and gone on with, has the bits of the
run that never ended; and two at once.
"""
import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import suite
from lab import PROGRAM, Skip, checkpoints, events, losses, read, same, small_disk, whole


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


def test_export_of_a_paused_run(p):
    """What was learnt so far can be looked at; the run then goes on, to the bits of another one."""
    run = p.start(p.short(), "looked")
    suite.wait_for(lambda: os.path.isdir(p.path("looked")) and checkpoints(p.path("looked")))
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=suite.SOON)
    step = events(p.path("looked"), "stop")[-1]["step"]
    said = p.train(p.short(), "looked", "--export").stderr
    assert f"going on from step {step} of 24" in said and "is ready" in said, said
    assert f"{step} steps" in read(p.path("looked", "adapter", "README.md")).decode()
    assert not os.path.exists(p.path("looked", "step-00000024.safetensors")), "it learnt"
    p.train(p.short(), "looked")
    same(p.path("looked"), whole(p))
    p.refused("no checkpoint to export", p.short(), "--export", out="nothing")


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
