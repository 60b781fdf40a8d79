"""Draw a run's log.csv: the error on set-aside pictures against the questions seen.

    python3 tools/train_mini/curve.py RUN/log.csv curve.png

Both axes are logarithmic: questions asked in training, and the mean absolute error per channel in
levels (0..255) of `mode` and `median`. The grey line is the bar of the first edition, an 8x8
thumbnail at 20.7 levels. Needs Python and Pillow.
"""
import csv
import math
import sys

from PIL import Image, ImageDraw, ImageFont

BAR = 20.7  # an 8x8 thumbnail, on 168 reserved photographs
WIDTH, HEIGHT, FINE = 760, 420, 4  # lines are drawn FINE times larger and shrunk, to be smooth
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 34, 46
MODE, MEDIAN, GREY = (31, 105, 180), (214, 96, 20), (120, 120, 120)


def read(path):
    """[(questions, mode, median)]; a row of a step that was run twice counts once, the last."""
    rows = {}
    with open(path, newline="", encoding="utf-8") as f:
        for r in csv.reader(f):
            if r and r[0].isdigit():  # columns as in train.py: COLUMNS
                rows[int(r[0])] = int(r[1]), float(r[6]), float(r[7])
    return [rows[step] for step in sorted(rows)]


def ticks(low, high):
    """1, 2, 5, 10, 20, ... within a range."""
    steps = [m * 10 ** e for e in range(-1, 10) for m in (1, 2, 5)]
    return [t for t in steps if low <= t <= high]


def short(n):
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:g} {unit}"
    return f"{n:g}"


class Plane:
    """Maps (questions, error) to a place on the canvas, both by their logarithms."""

    def __init__(self, points):
        errors = [BAR, *(e for p in points for e in p[1:])]
        self.x = points[0][0] * 0.9, points[-1][0] * 1.6  # room for the last labels
        self.y = min(errors) * 0.8, max(errors) * 1.3

    def at(self, questions, err):
        def part(v, low, high):
            return math.log(v / low) / math.log(high / low)
        return (LEFT + part(questions, *self.x) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - part(err, *self.y) * (HEIGHT - TOP - BOTTOM))


def draw(points):
    p = Plane(points)
    big = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), "white")
    pen = ImageDraw.Draw(big)

    def line(places, colour, width):
        pen.line([(x * FINE, y * FINE) for x, y in places], fill=colour, width=int(width * FINE),
                 joint="curve")

    for q in ticks(*p.x):
        line([p.at(q, p.y[0]), p.at(q, p.y[1])], (230, 230, 230), 1)
    for e in ticks(*p.y):
        line([p.at(p.x[0], e), p.at(p.x[1], e)], (230, 230, 230), 1)
    line([p.at(p.x[0], BAR), p.at(p.x[1], BAR)], GREY, 1.5)
    for i, colour in ((1, MODE), (2, MEDIAN)):
        places = [p.at(r[0], r[i]) for r in points]
        line(places, colour, 2)
        for x, y in places:
            pen.ellipse([FINE * v for v in (x - 3, y - 3, x + 3, y + 3)], fill=colour)
    out = big.resize((WIDTH, HEIGHT), Image.LANCZOS)
    label(out, p, points)
    return out


def label(out, p, points):
    pen, font = ImageDraw.Draw(out), ImageFont.load_default()

    def text(x, y, s, colour="black"):
        pen.text((x, y), s, fill=colour, font=font)

    for q in ticks(*p.x):
        x, y = p.at(q, p.y[0])
        text(x - 3 * len(short(q)), y + 6, short(q))
    for e in ticks(*p.y):
        x, y = p.at(p.x[0], e)
        text(x - 8 - 6 * len(short(e)), y - 6, short(e))
    text(8, 8, "error on set-aside pictures, levels per channel (of 255)")
    text(WIDTH - RIGHT - 190, HEIGHT - 18, "questions asked in training")
    x, y = p.at(p.x[0], BAR)
    text(x + 6, y - 14, f"8x8 thumbnail, {BAR}", GREY)
    for i, name, colour in ((1, "mode", MODE), (2, "median", MEDIAN)):
        x, y = p.at(points[-1][0], points[-1][i])
        text(x + 8, y - 6, f"{name} {points[-1][i]:.2f}", colour)


def main(log, png):
    points = read(log)
    if len(points) < 2:
        sys.exit(f"curve: {log}: fewer than two evaluations")
    draw(points).save(png, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
