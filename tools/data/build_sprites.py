"""Build the sprites of lamm-mini's scenes from Debian packages.

    python3 tools/data/build_sprites.py --debs DEBS --out SPRITES.npz [--download]

Takes from the packages (licences in NOTICE.md; nothing of them enters the repository):

tuxpaint-stamps-default      drawings and photographs with alpha; the name is the first line of the
                             .txt beside each. Symbols, flags, and what fills its frame are left out
fonts-noto-color-emoji       glyphs of things, plants, animals, food, vehicles; no faces, people,
                             flags or signs
unicode-cldr-core            the emoji's English short names

A name has at most three words of plain letters and none that the sentences of scenes.py use with a
meaning of their own (colours, left, big ...). The file holds `flat` (RGBA bytes one after the
other, longer side at most 96), `off`, `shape`, `name`, `source`. Which names are reserved for
judging is a rule, not a list: scenes.is_reserved.
"""
import argparse
import glob
import json
import os
import re
import tempfile
import xml.etree.ElementTree as xml

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import build_pack
import scenes

PACKAGES = [("tuxpaint-stamps-default", "2022.06.04-1"),
            ("fonts-noto-color-emoji", "2.042-0+deb12u1"), ("unicode-cldr-core", "41-0.1")]
SIDE = 96
FULL = 0.95  # a sprite that covers more of its frame than this is a picture, not a thing
TAKEN = set(scenes.COLOURS) | set("""left right top bottom middle big biggest small smallest large
    larger thing things all second above below not same gray with and or of""".split())
EMOJI = [(0x1F324, 0x1F32C), (0x1F32D, 0x1F37F), (0x1F380, 0x1F393), (0x1F3A0, 0x1F3BB),
         (0x1F3BD, 0x1F3C0), (0x1F3C6, 0x1F3C9), (0x1F3CD, 0x1F3D3), (0x1F3E0, 0x1F3F0),
         (0x1F3F8, 0x1F3FA), (0x1F400, 0x1F43F), (0x1F451, 0x1F462), (0x1F484, 0x1F484),
         (0x1F488, 0x1F48A), (0x1F48D, 0x1F48E), (0x1F4A1, 0x1F4A3), (0x1F4BA, 0x1F4FF),
         (0x1F50B, 0x1F517), (0x1F525, 0x1F52E), (0x1F56F, 0x1F570), (0x1F576, 0x1F579),
         (0x1F680, 0x1F6A4), (0x1F6B2, 0x1F6B2), (0x1F6CB, 0x1F6D2), (0x1F6E0, 0x1F6FC),
         (0x1F941, 0x1F94F), (0x1F950, 0x1F96F), (0x1F97E, 0x1F97F), (0x1F980, 0x1F9AE),
         (0x1F9C0, 0x1F9CB), (0x1F9E2, 0x1F9FF), (0x1FA70, 0x1FAA8), (0x1FAB0, 0x1FAB6),
         (0x1FAD0, 0x1FAD6), (0x2600, 0x2604), (0x2614, 0x2615), (0x26BD, 0x26C4)]


def good_name(text):
    """The name in lower case, or None if the sentences can't use it."""
    name = text.strip().rstrip(".!").lower()
    words = name.split()
    if not re.fullmatch(r"[a-z]+( [a-z]+){0,2}", name) or TAKEN & set(words):
        return None
    if words[0] in ("a", "an", "the"):
        name = " ".join(words[1:])
    return name or None


def trimmed(im):
    """Cut to what is not clear, longer side at most SIDE; None if there is no thing in it."""
    box = im.getchannel("A").point(lambda v: 255 * (v > 20)).getbbox()
    if not box:
        return None
    im = im.crop(box)
    alpha = np.asarray(im.getchannel("A"))
    if (alpha > 127).mean() > FULL or (alpha > 127).mean() < 0.12:
        return None
    k = min(1, SIDE / max(im.size))
    return np.asarray(im.resize((max(1, round(im.width * k)), max(1, round(im.height * k))), Image.BOX))


def stamps(folder):
    for path in sorted(glob.glob(folder + "/usr/share/tuxpaint/stamps/**/*.png", recursive=True)):
        text = path[:-4] + ".txt"
        part = path.split("/stamps/")[1].split("/")
        if {"symbols", "flags"} & set(part) or "mirror" in path or not os.path.exists(text):
            continue
        with open(text, encoding="utf-8", errors="replace") as f:
            name = good_name(f.readline())
        im = Image.open(path)
        if name and im.mode in ("RGBA", "LA", "P"):
            yield name, im.convert("RGBA")


def names_of_codes(cldr_folder):
    """(character, name) of each emoji whose name the sentences can use."""
    tree = xml.parse(cldr_folder + "/usr/share/unicode/cldr/common/annotations/en.xml")
    for a in tree.iter("annotation"):
        code = a.get("cp")
        if a.get("type") != "tts" or len(code) != 1:
            continue
        if not any(lo <= ord(code) <= hi for lo, hi in EMOJI):
            continue
        name = good_name(a.text)
        if name:
            yield code, name


def emoji(font_folder, cldr_folder):
    font = ImageFont.truetype(font_folder + "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", 109)
    for code, name in names_of_codes(cldr_folder):
        im = Image.new("RGBA", (136, 128))
        ImageDraw.Draw(im).text((0, 0), code, font=font, embedded_color=True)
        yield name, im


def fluent(folder, cldr_folder):
    """A second look of the same things: pictures of a folder with index.jsonl (file, code)."""
    known = dict(names_of_codes(cldr_folder))
    with open(folder + "/index.jsonl", encoding="utf-8") as f:
        for row in map(json.loads, f):
            if len(row["code"]) == 1 and chr(int(row["code"][0], 16)) in known:
                yield known[chr(int(row["code"][0], 16))], Image.open(f"{folder}/{row['file']}").convert("RGBA")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--debs", required=True, help="folder of package files")
    ap.add_argument("--out", required=True, help="the .npz to write")
    ap.add_argument("--download", action="store_true", help="fetch packages that are not there")
    ap.add_argument("--fluent", help="folder of Fluent emoji with index.jsonl, a second look of the glyphs")
    a = ap.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        folder = {}
        for package, version in PACKAGES:
            if a.download:
                build_pack.download(package, version, a.debs)
            folder[package] = build_pack.unpack(package, version, a.debs, tmp)
        sources = []
        if folder["tuxpaint-stamps-default"]:
            sources.append(("stamp", stamps(folder["tuxpaint-stamps-default"])))
        if folder["fonts-noto-color-emoji"] and folder["unicode-cldr-core"]:
            sources.append(("emoji", emoji(folder["fonts-noto-color-emoji"],
                                           folder["unicode-cldr-core"])))
        if a.fluent and folder["unicode-cldr-core"]:
            sources.append(("fluent", fluent(a.fluent, folder["unicode-cldr-core"])))
        for source, found in sources:
            for name, im in found:
                px = trimmed(im)
                if px is not None:
                    rows.append((name, source, px))
    if not rows:
        raise SystemExit("build_sprites: no package, no sprite")
    sizes = [px.size for _, _, px in rows]
    np.savez(a.out, flat=np.concatenate([px.ravel() for _, _, px in rows]),
             off=np.concatenate([[0], np.cumsum(sizes)]),
             shape=np.array([px.shape[:2] for _, _, px in rows]),
             name=np.array([n for n, _, _ in rows]), source=np.array([s for _, s, _ in rows]))
    aside = sum(scenes.is_reserved(n) for n, _, _ in rows)
    print(f"{len(rows)} sprites, {len({n for n, _, _ in rows})} names; {aside} sprites reserved;",
          {s: sum(r[1] == s for r in rows) for s in ("stamp", "emoji", "fluent")})


if __name__ == "__main__":
    main()
