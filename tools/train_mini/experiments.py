"""Short comparable runs that decide the recipe: one change each, the same questions seen.

    python3 tools/train_mini/experiments.py --runs RUNS --pack PACK --tokenizer TOKENIZER [NAME...]
    python3 tools/train_mini/experiments.py --runs RUNS --table           # Markdown
    python3 tools/train_mini/experiments.py --runs RUNS --draw experiments.png

A run that is there already is not run again. Every run sees QUESTIONS questions, has its whole
learning-rate schedule within them, starts from seed 1 and is judged on the same 10,240 pixels of
the set-aside pictures. One seed is worth +-1.5 levels while the error is large: `seed 2` and
`seed 3` are the base again, to know how much of a difference is luck.
"""
import argparse
import csv
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
QUESTIONS = 1 << 18
# panel of the drawing, name, what is different, options of train.py.
TRIALS = [
    ("", "base", "as the first edition", {}),
    ("seed", "seed-2", "another seed", {"seed": 2}),
    ("seed", "seed-3", "a third seed", {"seed": 3}),
    ("start", "fourier", "initial weights: only Fourier features of places and numbers", {"init": "fourier"}),
    ("start", "random", "initial weights: noise", {"init": "random"}),
    ("rate and batch", "lr-half", "learning rate 5e-4", {"lr": 5e-4}),
    ("rate and batch", "lr-double", "learning rate 2e-3", {"lr": 2e-3}),
    ("rate and batch", "constant", "learning rate constant at 1e-3", {"minlr": 1e-3}),
    ("rate and batch", "wider-batch", "32 pictures a step, a quarter of the steps", {"B": 32}),
    ("rate and batch", "more-pictures", "32 pictures a step, 64 questions each", {"B": 32, "R": 8, "C": 8}),
    ("rate and batch", "more-questions", "2 pictures a step, 1,024 questions each", {"B": 2, "R": 32, "C": 32}),
    ("rate and batch", "long-rows", "4 rows of 64 columns instead of 16 of 16", {"R": 4, "C": 64}),
    ("size", "deep-decoder", "4 decoder layers", {"layers": 4}),
    ("size", "wide-decoder", "decoder width 256, 8 heads", {"D": 256, "heads": 8, "ffn": 704}),
    ("size", "deep-tower", "2 vision layers", {"vlayers": 2}),
    ("size", "no-tower", "no vision layer", {"vlayers": 0}),
    ("size", "concat-2", "two patches a token, 512 tokens", {"concat": 2}),
    ("size", "low-theta", "rotary base 10^4", {"theta": 1e4}),
    ("data and loss", "crop-only", "augmentation: crops alone", {"augment": "crop"}),
    ("data and loss", "no-augment", "augmentation: none, whole photographs", {"augment": "none"}),
    ("data and loss", "full-loss", "numbers' cross-entropy among the whole vocabulary", {"loss": "full"}),
    ("data and loss", "digits", "answers digit by digit (`mode` only)", {"spell": "digits"}),
    ("data and loss", "coarse", "targets from 8x8 to 64x64, a quarter of the run each", {"coarse": 1}),
    ("tower", "tower-frozen", "vision tower as built, frozen", {"freeze": 1}),
    ("tower", "classes-frozen", "tower pre-trained on classes, frozen", {"vision": "tower.pt", "freeze": 1}),
    ("tower", "classes-adapted", "tower pre-trained on classes, adapted", {"vision": "tower.pt"}),
]


def steps_of(options):
    per_step = options.get("B", 8) * options.get("R", 16) * options.get("C", 16)
    return QUESTIONS // per_step


def run(name, options, a):
    out = os.path.join(a.runs, name)
    steps = steps_of(options)
    words = [sys.executable, os.path.join(HERE, "train.py"), "--out", out, "--pack", a.pack, "--tokenizer",
             a.tokenizer, "--steps", str(steps), "--every", str(max(1, steps // 4)),
             "--warmup", str(max(4, steps // 10)), "--threads", "1"]
    for k, v in options.items():
        words += ["--" + k, os.path.join(a.runs, v) if k == "vision" else str(v)]
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "log.txt"), "a", encoding="utf-8") as log:
        rc = subprocess.run(words, stdout=log, stderr=log, check=False).returncode
    print(name, "ends with", rc, read(a.runs, name)[-1:], flush=True)


def read(runs, name):
    """[(questions, mode, median, time)] of a run's evaluations; [] when there is none."""
    path = os.path.join(runs, name, "log.csv")
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8") as f:
        rows = [r for r in csv.reader(f) if r and r[0].isdigit()]
    return [(int(r[1]), float(r[6]), float(r[7]), float(r[8])) for r in rows]


def is_done(runs, name, options):
    rows = read(runs, name)
    return bool(rows) and rows[-1][0] >= steps_of(options) * options.get("B", 8) * options.get("R", 16) * options.get("C", 16)


def table(runs):
    def show(v):
        return "-" if math.isnan(v) else f"{v:.2f}"

    print("| run | what is different | `mode` | `median` | at half way: `median` | s per 100 k questions |")
    print("|---|---|---|---|---|---|")
    for _, name, what, options in TRIALS:
        rows = read(runs, name)
        if not is_done(runs, name, options):
            continue
        half = min(rows, key=lambda r: abs(r[0] - QUESTIONS / 2))
        speed = (rows[-1][3] - rows[0][3]) / (rows[-1][0] - rows[0][0]) * 1e5 if len(rows) > 1 else 0
        print(f"| {name} | {what} | {rows[-1][1]:.2f} | {show(rows[-1][2])} | {show(half[2])} | {speed:.0f} |")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--runs", required=True, help="folder of the runs")
    ap.add_argument("--pack")
    ap.add_argument("--tokenizer")
    ap.add_argument("--jobs", type=int, default=2, help="runs at once, a thread each (default: 2)")
    ap.add_argument("--table", action="store_true")
    ap.add_argument("--draw", metavar="PNG")
    ap.add_argument("names", nargs="*")
    a = ap.parse_args()
    if a.table:
        table(a.runs)
    elif a.draw:
        import panels
        panels.draw([(p, n, read(a.runs, n)) for p, n, _, o in TRIALS if is_done(a.runs, n, o)], a.draw)
    else:
        if not a.pack or not a.tokenizer:
            sys.exit("experiments: --pack and --tokenizer are needed")
        trials = {name: options for _, name, _, options in TRIALS}
        with ThreadPoolExecutor(a.jobs) as pool:
            for name in a.names or trials:
                if not is_done(a.runs, name, trials[name]):
                    pool.submit(run, name, trials[name], a)


if __name__ == "__main__":
    main()
