#!/usr/bin/env python3
"""ablation.py - all that recipes/ablation.ini and `lammd eval ablation` read, in one folder.

    photos.py all --out PACKS                   photographs, from public repositories
    ablation.py --photos PACKS --out DATA [--no-games]

    DATA/start                  the model to begin with (tools/weights.py)
    DATA/photos                 photographs of clothing, grocery and coco that aren't set aside
    DATA/scenes                 3,000 scenes of shapes pasted on them, as shards
    DATA/rounds                 six recorded rounds in each of three folders, for each game
    DATA/exam/photos            16 of those that are set aside
    DATA/exam/scenes            25 scenes on them
    DATA/exam/car-racing, space-invaders        500 steps of other rounds

Rounds need Gymnasium and ALE (tools/games/README.md). The same arguments give the same pictures,
scenes and start. Needs numpy and Pillow.
"""
import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys

TOOLS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAM = {"clothing": 6, "grocery": 6, "coco": 4}  # photographs of each pack
GAMES = {"car": "car-racing", "space": "space-invaders"}
ROUNDS, SETS, FIRST = 6, 3, 10500                # in a set; sets; seed of the first round
EXAM_ROUNDS, EXAM_FIRST, EXAM_STEPS = 4, 20000, 500


def tool(name, *words):
    subprocess.run([sys.executable, os.path.join(TOOLS, name), *map(str, words)], check=True)


def is_set_aside(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[0] in "012"


def split_photos(packs, out):
    """Photographs to learn from, and the first of those that are set aside."""
    learn, exam = f"{out}/photos", f"{out}/exam/photos"
    for folder in (learn, exam):
        os.makedirs(folder, exist_ok=True)
    for pack, n in EXAM.items():
        paths = sorted(glob.glob(f"{packs}/{pack}/*.jpg"))
        aside = {p for p in paths if is_set_aside(p)}
        if len(aside) < n or len(aside) == len(paths):
            sys.exit(f"ablation.py: {packs}/{pack} has too few photographs: is it of photos.py?")
        for p in paths:
            if p not in aside:
                shutil.copyfile(p, f"{learn}/{pack}-{os.path.basename(p)}")
        for p in sorted(aside)[:n]:
            shutil.copyfile(p, f"{exam}/{pack}-{os.path.basename(p)}")


def rounds(out, game, folder, seed, episodes, steps):
    """Recorded rounds as a folder of frames and rollout.json."""
    record = f"{out}/record/{game}-{seed}"
    tool("games/record.py", game, "--out", record, "--files", 1, "--episodes", episodes, "--seed", seed)
    tool("data/convert.py", "rollout", f"{record}/{game}-train-0.npz", "--out", folder, "--count", steps)
    shutil.rmtree(record)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--photos", required=True, metavar="PACKS", help="what photos.py made")
    p.add_argument("--out", required=True, metavar="DATA")
    p.add_argument("--scenes", type=int, default=3000, help="to learn from (default: %(default)s)")
    p.add_argument("--exam-scenes", type=int, default=25, help="to be judged by (default: %(default)s)")
    p.add_argument("--no-games", action="store_true", help="leave out what needs Gymnasium and ALE")
    o = p.parse_args()
    split_photos(o.photos, o.out)
    tool("weights.py", "new", os.path.join(os.path.dirname(TOOLS), "models/shapes/ablation"), "--out",
         f"{o.out}/start")
    tool("data/write_shards.py", "--out", f"{o.out}/scenes", "--scenes", o.scenes, "--photos", f"{o.out}/photos")
    tool("data/convert.py", "scenes", "--out", f"{o.out}/exam/scenes", "--count", o.exam_scenes, "--seed", 7,
         "--photos", f"{o.out}/exam/photos")
    for game, name in GAMES.items():
        if o.no_games:
            break
        for k in range(SETS):
            rounds(o.out, game, f"{o.out}/rounds/{name}-{k}", FIRST + ROUNDS * k, ROUNDS, 5000)
        rounds(o.out, game, f"{o.out}/exam/{name}", EXAM_FIRST, EXAM_ROUNDS, EXAM_STEPS)


if __name__ == "__main__":
    main()
