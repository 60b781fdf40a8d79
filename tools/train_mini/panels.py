"""Draw the learning curves of experiments.py: a panel for each question, the base in all of them.

`median` on set-aside pictures against questions seen, both logarithmic; runs without it are left
out. Needs Python and Pillow.
"""
import math

from PIL import Image, ImageDraw, ImageFont

PANEL_W, PANEL_H, COLUMNS, FINE = 330, 250, 2, 3
LEFT, TOP, RIGHT, BOTTOM = 40, 26, 14, 30
COLOURS = [(31, 105, 180), (214, 96, 20), (44, 140, 60), (170, 40, 140), (130, 110, 20), (90, 90, 200)]
TICKS_X = [50e3, 100e3, 200e3]
TICKS_Y = [2, 5, 10, 20, 50]


def scale(runs):
    """The ranges that hold every point of all runs."""
    xs = [r[0] for _, _, rows in runs for r in rows]
    ys = [r[2] for _, _, rows in runs for r in rows]
    return (min(xs) * 0.9, max(xs) * 1.1), (min(ys) * 0.85, max(ys) * 1.1)


def place(v, low, high):
    return math.log(v / low) / math.log(high / low)


def panel(big, small, left, top, title, lines, ranges):
    """One plot; `big` takes lines, FINE times enlarged, `small` takes the words."""
    xr, yr = ranges
    w, h = PANEL_W - LEFT - RIGHT, PANEL_H - TOP - BOTTOM

    def at(x, y):
        return (left + LEFT + place(x, *xr) * w, top + TOP + (1 - place(y, *yr)) * h)

    def line(points, colour, width):
        big.line([(x * FINE, y * FINE) for x, y in points], fill=colour, width=width * FINE)

    font = ImageFont.load_default()
    for x in (t for t in TICKS_X if xr[0] < t < xr[1]):
        line([at(x, yr[0]), at(x, yr[1])], (232, 232, 232), 1)
        small.append((at(x, yr[0])[0] - 14, top + PANEL_H - BOTTOM + 5, f"{x / 1e3:g} k", "black", font))
    for y in (t for t in TICKS_Y if yr[0] < t < yr[1]):
        line([at(xr[0], y), at(xr[1], y)], (232, 232, 232), 1)
        small.append((left + LEFT - 22, at(xr[0], y)[1] - 6, f"{y:g}", "black", font))
    small.append((left + LEFT, top + 6, title, "black", font))
    for i, (name, rows) in enumerate(lines):
        colour = (60, 60, 60) if name == "base" else COLOURS[(i - 1) % len(COLOURS)]
        points = [at(r[0], r[2]) for r in rows]
        line(points, colour, 2)
        for x, y in points:
            big.ellipse([FINE * v for v in (x - 2.5, y - 2.5, x + 2.5, y + 2.5)], fill=colour)
        small.append((left + PANEL_W - RIGHT - 130, top + TOP + 2 + 13 * i,
                      f"{name} {rows[-1][2]:.1f}", colour, font))


def draw(runs, png):
    """runs: [(panel, name, rows of experiments.read)]; the panel of the base is empty."""
    runs = [r for r in runs if not any(math.isnan(row[2]) for row in r[2])]
    base = [(n, rows) for p, n, rows in runs if not p]
    titles = list(dict.fromkeys(p for p, _, _ in runs if p))
    size = (COLUMNS * PANEL_W, -(-len(titles) // COLUMNS) * PANEL_H)
    out, words, ranges = Image.new("RGB", [FINE * v for v in size], "white"), [], scale(runs)
    for i, title in enumerate(titles):
        lines = base + [(n, rows) for p, n, rows in runs if p == title]
        panel(ImageDraw.Draw(out), words, i % COLUMNS * PANEL_W, i // COLUMNS * PANEL_H, title, lines, ranges)
    out = out.resize(size, Image.LANCZOS)
    pen = ImageDraw.Draw(out)
    for x, y, text, colour, font in words:
        pen.text((x, y), text, fill=colour, font=font)
    out.save(png, optimize=True)
