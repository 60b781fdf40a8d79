"""How far a served model can be trusted: calibration, edges, the worst pictures.

    ./lammd serve --listen 127.0.0.1:8080 &
    python3 tools/train_mini/judge.py --server 127.0.0.1:8080 --out calibration.png FOLDER

Every pixel of every picture in FOLDER is asked over HTTP by `mode` and by `median`, with what the
model says of its own certainty. Prints, in Markdown:
  by stated error   pixels sorted by the error the model expects; does it come true?
  by probability    numbers sorted by the probability the model gave them; how often are they right?
  by edge distance  pixels sorted by their distance from the nearest edge of the truth
  by picture        the worst ten, with what sets a picture apart: its edges and its saturation
The PNG shows the first two as a reliability plot, of bins with LEAST members or more. An edge is a step of EDGE levels or more, in the
mean of the channels, between neighbours. Needs Python, numpy and Pillow.
"""
import argparse
import http.client
import json
import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE, EDGE = 64, 24
STATED = [0, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8, 256]  # levels
PROBABILITY = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0001]
DISTANCE = [0, 1, 2, 3, 4, 8, SIDE + 1]
FIELDS = ["x", "y", "r", "g", "b", "entropy", "expected_error", "prob_r", "prob_g", "prob_b"]
SATURATED = (4, 251)  # a channel outside of these


# ---- asking ----

def ask(server, path, estimate, key=None):
    """(64, 64, 3) answers, (64, 64) stated error, (64, 64, 3) probabilities of one picture."""
    with open(path, "rb") as f:
        body = f.read()
    kind = "image/png" if body[:4] == b"\x89PNG" else "image/jpeg"
    connection = http.client.HTTPConnection(server, timeout=300)
    who = {"Authorization": "Bearer " + key} if key else {}
    connection.request("POST", f"/v1/reconstruct?estimate={estimate}&uncertainty=true", body,
                       {"Content-Type": kind, "Accept": "text/event-stream", **who})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    if reply.status != 200:
        sys.exit(f"judge: {path}: {reply.status} {text[:300]}")
    return arrays(text, path)


def arrays(text, path):
    rgb, stated = np.full((SIDE, SIDE, 3), -1.0), np.zeros((SIDE, SIDE))
    prob = np.zeros((SIDE, SIDE, 3))
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if lines.get("event") == "start" and json.loads(lines["data"])["fields"] != FIELDS:
            sys.exit("judge: the server's pixels have other fields than this tool knows")
        if lines.get("event") != "pixels":
            continue
        v = np.array(json.loads(lines["data"])["values"]).reshape(-1, len(FIELDS))
        x, y = v[:, 0].astype(int), v[:, 1].astype(int)
        rgb[y, x], stated[y, x], prob[y, x] = v[:, 2:5], v[:, 6], v[:, 7:]
    if rgb.min() < 0:
        sys.exit(f"judge: {path}: not every pixel was answered")
    return rgb, stated, prob


def truth(path):
    im = Image.open(path).convert("RGB")
    return np.asarray(im.resize((SIDE, SIDE), Image.BICUBIC), float)


# ---- sorting ----

def edge_distance(t):
    """Steps (king's moves) from each pixel to the nearest that takes part in an edge; 64: none."""
    grey = t.mean(2)
    near = np.zeros(grey.shape, bool)
    down, across = np.abs(np.diff(grey, axis=0)) >= EDGE, np.abs(np.diff(grey, axis=1)) >= EDGE
    near[1:] |= down
    near[:-1] |= down
    near[:, 1:] |= across
    near[:, :-1] |= across
    out = np.where(near, 0, SIDE)
    for d in range(1, SIDE):
        padded = np.pad(near, 1)
        grown = np.zeros_like(near)
        for y in range(3):
            for x in range(3):
                grown |= padded[y:y + SIDE, x:x + SIDE]
        out[grown & ~near] = d
        near = grown
    return out


def by_bins(edges, key, *columns):
    """[(low, high, count, mean of key, mean of each column)] of the bins that have members."""
    rows = []
    for low, high in zip(edges, edges[1:]):
        inside = (key >= low) & (key < high)
        n = int(inside.sum())
        if n:
            rows.append((low, high, n, key[inside].mean(), *(c[inside].mean() for c in columns)))
    return rows


def judge(pictures):
    """pictures: {name: (truth, {estimate: (rgb, stated, prob)})}. Every table, as lists of rows."""
    def all_of(f):
        return np.concatenate([np.ravel(f(t, a)) for t, a in pictures.values()])

    def error(how):
        return all_of(lambda t, a: np.abs(a[how][0] - t).mean(2))

    tables = {}
    for how in ("mode", "median"):
        tables["stated", how] = by_bins(STATED, all_of(lambda t, a: a[how][1]), error(how))
        hit = all_of(lambda t, a: a[how][0] == t)
        tables["probability", how] = by_bins(PROBABILITY, all_of(lambda t, a: a[how][2]), hit)
    distance = all_of(lambda t, a: edge_distance(t))
    tables["distance"] = by_bins(DISTANCE, distance, error("mode"), error("median"))
    worst = []
    for name, (t, a) in pictures.items():
        off = [float(np.abs(a[how][0] - t).mean()) for how in ("mode", "median")]
        saturated = ((t < SATURATED[0]) | (t > SATURATED[1])).mean()
        worst.append((name, *off, (edge_distance(t) == 0).mean(), saturated))
    tables["worst"] = sorted(worst, key=lambda r: -r[2])[:10]
    tables["error"] = {how: float(error(how).mean()) for how in ("mode", "median")}
    return tables


# ---- showing ----

def print_tables(t, out=sys.stdout):
    def table(head, rows):
        print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}", file=out)
        for r in rows:
            print(f"| {' | '.join(r)} |", file=out)

    print("mean error: " + ", ".join(f"{k} {v:.2f}" for k, v in t["error"].items()), file=out)
    for how in ("mode", "median"):
        table((f"{how}: stated error, levels", "pixels", "stated", "found"),
              [(f"{lo:g} to {hi:g}", f"{n:,}", f"{s:.2f}", f"{f:.2f}")
               for lo, hi, n, s, f in t["stated", how]])
        table((f"{how}: probability given", "numbers", "given", "right"),
              [(f"{lo:.1f} to {min(hi, 1):.1f}", f"{n:,}", f"{s:.3f}", f"{f:.3f}")
               for lo, hi, n, s, f in t["probability", how]])
    table(("pixels from an edge", "pixels", "mode", "median"),
          [(f"{lo}" if hi == lo + 1 else f"{lo} and more" if hi == DISTANCE[-1] else f"{lo} to {hi - 1}",
            f"{n:,}", f"{a:.2f}", f"{b:.2f}") for lo, hi, n, _, a, b in t["distance"]])
    table(("worst pictures", "mode", "median", "pixels at an edge", "numbers saturated"),
          [(n, f"{a:.2f}", f"{b:.2f}", f"{e:.0%}", f"{s:.1%}") for n, a, b, e, s in t["worst"]])


PANEL, MARGIN, LEAST = 320, 48, 100  # a point of the plot stands for LEAST members or more
COLOURS = {"mode": (31, 105, 180), "median": (214, 96, 20)}


def panel(pen, font, left, title, axes, points, log):
    """One square plot of found against stated, the diagonal in grey."""
    low, high, ticks = axes

    def at(a, b):
        part = [(np.log(v / low) / np.log(high / low) if log else (v - low) / (high - low))
                for v in (max(a, low), max(b, low))]
        return left + part[0] * PANEL, MARGIN + (1 - part[1]) * PANEL

    for v in ticks:
        pen.line([at(v, low), at(v, high)], (230, 230, 230))
        pen.line([at(low, v), at(high, v)], (230, 230, 230))
        pen.text((at(v, low)[0] - 8, MARGIN + PANEL + 5), f"{v:g}", "black", font)
        pen.text((left - 28, at(low, v)[1] - 6), f"{v:g}", "black", font)
    pen.line([at(low, low), at(high, high)], (120, 120, 120), 2)
    pen.text((left, MARGIN - 34), title, "black", font)
    for i, (how, rows) in enumerate(points.items()):
        places = [at(r[3], r[4]) for r in rows if r[2] >= LEAST]
        pen.line(places, COLOURS[how], 2)
        for x, y in places:
            pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=COLOURS[how])
        pen.text((left + 10, MARGIN + 8 + 14 * i), how, COLOURS[how], font)


def plot(t):
    out = Image.new("RGB", (2 * PANEL + 4 * MARGIN, PANEL + 2 * MARGIN), "white")
    pen, font = ImageDraw.Draw(out), ImageFont.load_default()
    hows = ("mode", "median")
    panel(pen, font, MARGIN, "error found (up) against error stated, levels",
          (0.25, 32, (0.25, 0.5, 1, 2, 4, 8, 16, 32)), {h: t["stated", h] for h in hows}, True)
    panel(pen, font, PANEL + 3 * MARGIN, "share that is right (up) against probability given",
          (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)), {h: t["probability", h] for h in hows}, False)
    return out


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--server", default="127.0.0.1:8080")
    ap.add_argument("--key", default=os.environ.get("LAMMD_KEY"), help="of a server that asks for one")
    ap.add_argument("--out", help="PNG of the reliability plot")
    ap.add_argument("folder")
    a = ap.parse_args(argv)
    pictures = {}
    for name in sorted(os.listdir(a.folder)):
        path = os.path.join(a.folder, name)
        if name.lower().endswith((".png", ".jpg", ".jpeg")):
            answers = {how: ask(a.server, path, how, a.key) for how in ("mode", "median")}
            pictures[os.path.splitext(name)[0]] = truth(path), answers
    if not pictures:
        sys.exit(f"judge: {a.folder}: no pictures")
    tables = judge(pictures)
    print_tables(tables)
    if a.out:
        plot(tables).save(a.out, optimize=True)


if __name__ == "__main__":
    main()
