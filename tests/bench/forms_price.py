#!/usr/bin/env python3
"""forms_price.py - what each form of weights and KV cache costs lamm-mini in answers, and in time.

    forms_price.py [--scenes 24] [--pictures 4] [--sentences 0] [--masks 60] [--seed 11]
                   [--threads 1] [--work build/forms] [--lammd ./lammd] [FORM[:KV]]...

Draws scenes (tools/data/convert.py) from a seed, and has each form asked about them by
`lammd eval`: all pixels of the first pictures (levels of error, by mode and by median), the boxes
of sentences (P@0.5), and masks inside true boxes (cIoU on the grid). 0 sentences: all. A line of
the table that it prints is one form: its figures, and the seconds of processor that its pictures
took, start and vision included. Forms are those of --weights-as and --kv-as; without any the
usual ones.
Needs numpy and Pillow.
"""
import argparse
import json
import os
import resource
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
USUAL = ["f32:f32", "bf16:f32", "f16:f32", "int8:f32", "int8x8:f32", "int4:f32", "int4x8:f32", "f32:bf16", "f32:int8",
         "int8:int8"]


def evaluate(o, form, kv, mode, path, *more):
    """The report, and the seconds of processor that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([o.lammd, "eval", mode, path, "--json", "-", "--device", "cpu", "--threads", str(o.threads),
                           "--weights-as", form, "--kv-as", kv, *map(str, more)], check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return json.loads(done.stdout), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(o, form, kv, scenes):
    seen, took = evaluate(o, form, kv, "pvp", f"{scenes}/images", "--limit", o.pictures)
    boxes, _ = evaluate(o, form, kv, "rec", scenes, "--limit", o.sentences)
    masks, _ = evaluate(o, form, kv, "seg", scenes, "--given-boxes", "--limit", o.masks)
    print(f"| {form} | {kv} | {seen['mode']['mae_levels']:.3f} | {seen['median']['mae_levels']:.3f} "
          f"| {boxes['all']['p_at_05']:.2f} | {masks['average_of_splits_grid']:.2f} | {took:.1f} |", flush=True)
    return seen["pictures"], boxes["sentences"], masks["sentences"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--scenes", type=int, default=24)
    ap.add_argument("--pictures", type=int, default=4)
    ap.add_argument("--sentences", type=int, default=0)
    ap.add_argument("--masks", type=int, default=60)
    ap.add_argument("--seed", type=int, default=11)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--work", default="build/forms")
    ap.add_argument("--lammd", default=f"{ROOT}/lammd")
    ap.add_argument("forms", nargs="*", metavar="FORM[:KV]", help="default: " + " ".join(USUAL))
    o = ap.parse_args()
    scenes = f"{o.work}/scenes-{o.scenes}-{o.seed}"
    if not os.path.exists(f"{scenes}/refs.json"):
        os.makedirs(o.work, exist_ok=True)
        subprocess.run([sys.executable, f"{ROOT}/tools/data/convert.py", "scenes", "--out", scenes, "--count",
                        str(o.scenes), "--seed", str(o.seed)], check=True, stdout=subprocess.DEVNULL)
    print("| weights | KV cache | pixels, levels, mode | median | boxes, P@0.5 | masks, cIoU | seconds of processor |")
    print("|---|---|---|---|---|---|---|")
    for text in o.forms or USUAL:
        form, _, kv = text.partition(":")
        n = line(o, form, kv or "auto", scenes)
    print(f"\n{n[0]} pictures, {n[1]} sentences, {n[2]} masks of {o.scenes} scenes of seed {o.seed}; {o.threads} threads")


if __name__ == "__main__":
    main()
