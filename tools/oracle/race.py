#!/usr/bin/env python3
"""race.py - a step of lammd against the same step in PyTorch, eager and compiled (train.py).

    race.py --pictures DIR [--model models/lamm-mini] [--lammd ./lammd] [--threads 1 2]
        [--questions 256] [--steps 6] [--rounds 1] [--keep DIR]

One picture with so many questions about its pixels a step, all weights learn, f32. The three take
turns, round by round, so that a machine's moods hit all. Printed are the medians of a step's time
by the clock, with the quarters around them, and the processor's time of a step, which others that
work on the machine disturb less. The first step of each run isn't counted; of the compiled one it
has the compiling, which is told, by the clock and by the processor (without what the compiler's own
processes take). Compiling takes minutes, on a busy machine many: what is done is told round by
round on stderr. Needs torch, numpy, pillow and sentencepiece.
"""
import argparse
import csv
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RECIPE = """[run]
judge_every = 0
judge_samples = 1
validation = 0
[stage all]
steps = {steps}
samples = 1
questions = {questions}
rows = 4096
tower = yes
text = full
rate = 1e-5
[data pictures]
path = {pictures}
tasks = pixels
"""


def run(words):
    """What it printed, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    r = subprocess.run(words, capture_output=True, text=True, check=False)
    if r.returncode:
        sys.exit(f"{' '.join(words)}\n{r.stdout}{r.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def lammd(a, tmp, threads, tag):
    """[seconds of a step], processor seconds of one: a long run's less a short one's."""
    spent = []
    for steps in (1, a.steps):
        out = os.path.join(tmp, f"lammd-{tag}-{steps}")
        spent.append(run([a.lammd, "train", os.path.join(tmp, "race.ini"), "--model", a.model, "--out", out,
                          "--threads", str(threads), "--steps", str(steps)])[1])
    with open(os.path.join(out, "losses.csv"), encoding="utf-8") as f:
        times = [float(r["seconds"]) for r in csv.DictReader(f) if r["kind"] == "learn"]
    return times[1:], (spent[1] - spent[0]) / (a.steps - 1), None


def torch(a, tmp, threads, tag, more):
    out = os.path.join(tmp, f"torch-{tag}")
    said, _ = run([sys.executable, os.path.join(HERE, "train.py"), os.path.join(tmp, "steps.jsonl"), "--model", a.model,
                   "--out", out, "--threads", str(threads), "--steps", str(a.steps)] + more)
    steps = [(float(s), float(p)) for s, p in re.findall(r"([0-9.]+) s, ([0-9.]+) s of processor time", said)]
    return [s for s, _ in steps[1:]], statistics.median(p for _, p in steps[1:]), steps[0]


def quarters(times):
    q = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return f"{q[1]:.2f} ({q[0]:.2f} to {q[2]:.2f})"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pictures", required=True)
    ap.add_argument("--model", default="models/lamm-mini")
    ap.add_argument("--lammd", default="./lammd")
    ap.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    ap.add_argument("--questions", type=int, default=256)
    ap.add_argument("--steps", type=int, default=6)
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--keep", help="folder for all files; not given: a temporary one")
    a = ap.parse_args()
    tmp = a.keep or tempfile.mkdtemp(prefix="race-")
    os.makedirs(tmp, exist_ok=True)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tmp, "compiled"))
    with open(os.path.join(tmp, "race.ini"), "w", encoding="utf-8") as f:
        f.write(RECIPE.format(steps=a.steps, questions=a.questions, pictures=os.path.abspath(a.pictures)))
    run([a.lammd, "train", os.path.join(tmp, "race.ini"), "--model", a.model, "--samples", os.path.join(tmp, "steps.jsonl")])
    for threads in a.threads:
        found = {}
        for turn in range(a.rounds):
            tag = f"{threads}-{turn}-{os.getpid()}"
            for name, racer in (("lammd", lambda: lammd(a, tmp, threads, tag)),
                                ("eager", lambda: torch(a, tmp, threads, tag + "e", [])),
                                ("compiled", lambda: torch(a, tmp, threads, tag + "c", ["--compile"]))):
                times, spent, first = racer()
                print(f"round {turn}, {threads} threads, {name}: {' '.join(f'{t:.2f}' for t in times)} s, "
                      f"processor {spent:.2f} s", file=sys.stderr, flush=True)
                found.setdefault(name, []).append((times, spent, first))
        ours = statistics.median(s for _, s, _ in found["lammd"])
        clock = statistics.median(t for times, _, _ in found["lammd"] for t in times)
        for name, turns in found.items():
            times = [t for run_, _, _ in turns for t in run_]
            spent = statistics.median(s for _, s, _ in turns)
            first = "" if turns[0][2] is None else ", first step {:.1f} s, processor {:.1f} s".format(*turns[0][2])
            print(f"{threads} threads, {name}: {quarters(times)} s, processor {spent:.2f} s; lammd is "
                  f"{statistics.median(times) / clock:.2f} and {spent / ours:.2f} times as fast{first}", flush=True)


if __name__ == "__main__":
    main()
