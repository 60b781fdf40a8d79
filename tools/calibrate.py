#!/usr/bin/env python3
"""calibrate.py - is a model as wrong as it says? Writes what makes it so.

    calibrate.py MODEL PICTURES [--lammd ./lammd] [--limit 16]

A network may expect twice the error that it makes. `lammd eval pvp` says what it states and what is
found, for each channel of each place. Their ratio becomes `colour_error_scale` in MODEL's
config.json: answers stay, and what they state becomes so many times as much (docs/model.md, section
9). PICTURES is a folder of photographs that the model was neither trained on nor is judged by. What
is found in five bins, from the surest answers to the least sure, is printed before and after.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys

KEY = "colour_error_scale"


def bins_of(o):
    """(answers, stated, found) of each bin of the model as its config is."""
    run = subprocess.run([o.lammd, "eval", "pvp", o.pictures, "--model", o.model, "--limit", str(o.limit),
                          "--json", "-"], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"calibrate.py: lammd eval pvp: {run.stderr.strip()}")
    return [(b["n"], b["stated"], b["found"]) for b in json.loads(run.stdout)["mode"]["calibration"]["bins"]]


def write(path, text):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".part", path)


def write_config(folder, config):
    """config.json, and its line in SHA256SUMS where the folder has that."""
    text, sums = json.dumps(config, indent=2) + "\n", os.path.join(folder, "SHA256SUMS")
    write(os.path.join(folder, "config.json"), text)
    if not os.path.exists(sums):
        return
    with open(sums, encoding="utf-8") as f:
        lines = [line.split() for line in f]
    digest = hashlib.sha256(text.encode()).hexdigest()
    write(sums, "".join(f"{digest if name == 'config.json' else old}  {name}\n" for old, name in lines))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", metavar="MODEL", help="its config.json is written anew")
    p.add_argument("pictures", metavar="PICTURES", help="a folder for `lammd eval pvp`")
    p.add_argument("--lammd", default="./lammd")
    p.add_argument("--limit", type=int, default=16, help="of pictures (default 16)")
    o = p.parse_args()
    with open(os.path.join(o.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    bins = bins_of(o)
    n = sum(b[0] for b in bins)
    stated, found = (sum(b[0] * b[k] for b in bins) / n for k in (1, 2))
    if not stated > 0 or not found > 0:
        raise SystemExit(f"calibrate.py: {n} answers state {stated:g} levels and are off by {found:g}: no scale")
    scale = found / stated
    config[KEY] = round(config.get(KEY, 1) * scale, 3)
    write_config(o.model, config)
    print(f"{KEY} {config[KEY]}: {n} answers stated {stated:.3f} levels and were off by {found:.3f}")
    for _, s, f in bins:
        print(f"  stated {s:6.3f}, now {s * scale:6.3f}; found {f:6.3f}: {100 * (s * scale / f - 1):+.0f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
