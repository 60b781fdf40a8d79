"""A sheet of pictures beside what the model answered about them: docs/seen.png.

    python3 tools/train_mini/sheet.py --truth PACK/heldout --answers ANSWERS --out PNG [NAME...]

TRUTH holds photographs of any size, ANSWERS the 64x64 PNG files that `lammd reconstruct` wrote,
under the same names (the extension may differ). Without NAMEs all that have an answer are shown.
One row a picture: the original at 64x64, its 8x8 thumbnail enlarged (the bar a model has to beat),
the answer, and the error, four times enlarged. Figures: mean absolute error per channel, in levels.

Only answers are shown: a picture without one, or with one of a wrong size, ends the program.
Needs Python and Pillow.
"""
import argparse
import os
import sys

from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat

SIDE, SCALE, GAP, LINE = 64, 3, 6, 14
CELL = SIDE * SCALE
COLUMNS = ("original at 64x64", "8x8 thumbnail", "what the model says", "error x4")


def by_stem(folder):
    return {os.path.splitext(f)[0]: os.path.join(folder, f) for f in sorted(os.listdir(folder))
            if f.lower().endswith((".png", ".jpg", ".jpeg"))}


def truth(path):
    """The target of a pixel question: Pillow's bicubic 64x64 of the whole picture."""
    return Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC)


def thumbnail(im):
    return im.resize((8, 8), Image.BOX).resize(im.size, Image.NEAREST)


def error(a, b):
    """Mean absolute difference per channel."""
    return sum(ImageStat.Stat(ImageChops.difference(a, b)).mean) / 3


def row(im, answer):
    """The four panels of a picture, each with its label."""
    thumb = thumbnail(im)
    off = ImageChops.difference(im, answer).point(lambda v: min(255, 4 * v))
    return [(im, ""), (thumb, f"{error(im, thumb):.1f}"), (answer, f"{error(im, answer):.1f}"),
            (off, "")]


def sheet(rows):
    width = len(COLUMNS) * (CELL + GAP) + GAP
    out = Image.new("RGB", (width, LINE + 2 * GAP + len(rows) * (CELL + LINE + GAP)), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default()
    for x, title in enumerate(COLUMNS):
        draw.text((GAP + x * (CELL + GAP), GAP), title, fill="black", font=font)
    for y, panels in enumerate(rows):
        top = LINE + 2 * GAP + y * (CELL + LINE + GAP)
        for x, (im, label) in enumerate(panels):
            left = GAP + x * (CELL + GAP)
            out.paste(im.resize((CELL, CELL), Image.NEAREST), (left, top))
            draw.text((left, top + CELL + 1), label, fill="black", font=font)
    return out


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--truth", required=True, help="folder of photographs")
    ap.add_argument("--answers", required=True, help="folder of the model's 64x64 pictures")
    ap.add_argument("--out", required=True, help="PNG to write")
    ap.add_argument("names", nargs="*", metavar="NAME", help="pictures to show, without extension")
    a = ap.parse_args(argv)
    truths, answers = by_stem(a.truth), by_stem(a.answers)
    names = a.names or [n for n in truths if n in answers]
    for n in names:
        if n not in truths or n not in answers:
            sys.exit(f"sheet: {n}: no {'photograph' if n not in truths else 'answer'}")
    if not names:
        sys.exit("sheet: no picture has an answer")
    rows = []
    for n in names:
        answer = Image.open(answers[n]).convert("RGB")
        if answer.size != (SIDE, SIDE):
            sys.exit(f"sheet: {answers[n]}: {answer.width}x{answer.height}, not {SIDE}x{SIDE}")
        rows.append(row(truth(truths[n]), answer))
    sheet(rows).save(a.out, optimize=True)


if __name__ == "__main__":
    main()
