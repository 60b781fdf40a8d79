#!/usr/bin/env python3
"""run.py - ranks over MPI: sums bit for bit, and what happens when one is lost.

    tests/comm/run.py [--long] [substring...]

Needs mpirun and a plugin that was built (libopenmpi-dev, openmpi-bin); skips aloud without them.
TESTS names the folder with comm_ranks. Ends with `N passed, N failed`.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TESTS = os.environ.get("TESTS", os.path.join(ROOT, "build/release/tests"))
RANKS = os.path.join(TESTS, "comm_ranks")
PLUGIN = os.path.join(TESTS, "../lammd-mpi.so")
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, "tests")]
import suite  # noqa: E402 (takes --long)

LOST_S = 10  # promised
SLACK_S = 5  # for mpirun itself on a busy machine
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-np"]


def start(ranks, *words):
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")  # MPI keeps memory until the end
    return subprocess.Popen([*MPIRUN, str(ranks), RANKS, *words], stdout=subprocess.PIPE, env=env,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=ROOT)


def end(p, seconds=suite.SOON):
    """(status, output), or a failure when it doesn't end."""
    try:
        return p.wait(seconds), p.stdout.read()
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        raise AssertionError(f"still running after {seconds} s: {p.stdout.read()}") from None
    finally:
        p.stdout.close()


def good(ranks, word):
    status, said = end(start(ranks, word))
    assert status == 0, (status, said)
    assert sorted(re.findall(r"rank (\d+) good of (\d+)", said)) == \
        [(str(i), str(ranks)) for i in range(ranks)], said


def test_sums_of_1():
    good(1, "sums")


def test_sums_of_2():
    good(2, "sums")


def test_sums_of_4():
    for _ in range(suite.count(1, 20)):
        good(4, "sums")


def test_any_number_of_ranks_learns_the_same_bits():
    with tempfile.TemporaryDirectory() as tmp:
        files = []
        for ranks in (1, 2, 4):
            path = f"{tmp}/{ranks}.safetensors"
            status, said = end(start(ranks, "learn", path))
            assert status == 0, said
            with open(path, "rb") as f:
                files.append(f.read())
        assert files[0] == files[1] == files[2], "checkpoints differ"


def test_all_ranks_hear_that_the_disk_failed():
    status, said = end(start(2, "learn", "/none/x.safetensors"), 60)
    assert status != 0 and "rank 0: /none/x.safetensors.tmp: No such file" in said, (status, said)
    assert "rank 1: /none/x.safetensors: rank 0 could not write it" in said, said


def test_a_busy_rank_is_not_lost():
    good(2, "slow")


def test_three_ranks_are_refused():
    status, said = end(start(3, "sums"))
    assert status != 0 and "3 ranks" in said and "power of two" in said, (status, said)


def pids(p, ranks):
    """Of all ranks, once they are in their loops."""
    found = {}
    while len(found) < ranks:
        line = p.stdout.readline()
        assert line, found
        m = re.match(r"rank (\d+) pid (\d+)", line)
        if m:
            found[int(m[1])] = int(m[2])
    time.sleep(0.5)
    return found


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def lose(ranks, which, how):
    """A rank gets a signal: how long until mpirun ends, what was said. Nobody is left behind."""
    p = start(ranks, "loop")
    all_ranks = pids(p, ranks)
    begun = time.monotonic()
    os.kill(all_ranks[which], how)
    status, said = end(p, 60)
    took = time.monotonic() - begun
    assert status != 0, said
    assert took <= LOST_S + SLACK_S, f"{took:.1f} s: {said}"
    suite.wait_for(lambda: not any(is_there(pid) for pid in all_ranks.values()), 20)
    print(f"rank {which} of {ranks} got signal {how}: all ended after {took:.1f} s, status {status}")
    return said


def test_a_killed_rank_ends_the_run():
    for ranks, which in ((2, 0), (2, 1), (4, 3))[:suite.count(2, 3)]:
        lose(ranks, which, signal.SIGKILL)


def test_a_hung_rank_ends_the_run():
    said = lose(2, 1, signal.SIGSTOP)
    assert "event=rank_lost rank=1 of=2 seen_by=0: silent" in said, said


def ends(word, *want):
    begun = time.monotonic()
    status, said = end(start(2, word), 60)
    took = time.monotonic() - begun
    assert status != 0 and took <= LOST_S + SLACK_S, (status, took, said)
    assert not want or any(w in said for w in want), said
    print(f"{word}: ended after {took:.1f} s, status {status}")


def test_a_rank_that_leaves_early_ends_the_run():
    ends("leave", "rank=1 of=2 seen_by=0: it has left")


def test_a_rank_that_fails_ends_the_run():
    ends("fail")


def test_a_rank_that_gives_up_ends_the_run():
    ends("quit", "it has left", "mpirun")


def main():
    for what, is_there_ in (("mpirun", shutil.which("mpirun")), ("lammd-mpi.so", os.path.exists(PLUGIN)),
                            ("comm_ranks", os.path.exists(RANKS))):
        if not is_there_:
            print(f"skip: comm: no {what}: apt-get install libopenmpi-dev openmpi-bin, make")
            print("0 passed, 0 failed, 1 skipped")
            return False
    tests = [f for n, f in sorted(globals().items()) if n.startswith("test_")]
    chosen = [f for f in tests if not sys.argv[1:] or any(w in f.__name__ for w in sys.argv[1:])]
    failed = 0
    for f in chosen:
        try:
            f()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            traceback.print_exc()
            print(f"FAIL {f.__name__}")
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
