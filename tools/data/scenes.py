"""Scenes with computed truth: things pasted on a ground, and sentences and questions about them.

    scene = make_scene(rng, sprites=None, photos=None)    # image, id_map, things
    sentences(scene, rng)                                # what [segmentation], [refer] are asked
    questions(scene, rng)                                # what [vqa] is asked

Nothing is typed by hand: names come with the things, colours are named from the pixels after all
recolouring, places and sizes are measured in the id map, and a sentence is a small program that is
run over the things; its text is written from the same program. What is ambiguous (two left-most
things a few pixels apart, two red ones) is not asked.

Without `sprites` all things are shapes drawn by code, without `photos` all grounds are, so that
tests need no package. A name whose crc32 (lower case) is divisible by 5 is reserved for judging:
`reserved=False` draws from the other names only, `reserved=True` from the reserved ones only.
Everything is a function of `rng`, a numpy Generator. Needs numpy and Pillow.
"""
import dataclasses
import zlib

import numpy as np
from PIL import Image, ImageDraw

SIDE = 128
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey",
           "black"]
SAMPLES = {  # a colour of each name for shapes, before jitter
    "red": (215, 35, 35), "orange": (245, 135, 20), "yellow": (245, 220, 40),
    "green": (45, 165, 60), "blue": (40, 95, 220), "purple": (125, 50, 185),
    "pink": (245, 110, 190), "brown": (120, 70, 30), "white": (245, 245, 245),
    "grey": (135, 135, 135), "black": (18, 18, 18)}
SHAPES = ["circle", "square", "triangle", "star", "ring", "cross", "diamond", "heart", "moon",
          "arrow", "bar", "pentagon", "drop", "wheel", "house", "bolt", "cup", "flag"]
VISIBLE = 0.6   # of a thing must be seen, or it is not put there
APART = 0.05    # of the side: places nearer than this are not compared
BIGGER = 1.3    # areas closer than this factor are not compared
QUARTERS = ["top left", "top right", "bottom left", "bottom right"]


@dataclasses.dataclass
class Thing:
    """id: its value in the id map. box: x1, y1, x2, y2 in pixels, x2 and y2 just outside.
    colour: a name of COLOURS, or None if no name fits half of its pixels."""
    id: int
    name: str
    colour: str
    box: tuple
    area: int

    @property
    def centre(self):
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclasses.dataclass
class Scene:
    """image: uint8 (side, side, 3). id_map: uint8 (side, side), 0 is ground. names: those that may
    be spoken of though they are absent."""
    image: np.ndarray
    id_map: np.ndarray
    things: list
    names: list

    @property
    def side(self):
        return len(self.id_map)

    def mask(self, ids):
        return np.isin(self.id_map, list(ids))


@dataclasses.dataclass
class Sentence:
    """ids: the things meant: one, several (`all ...`) or none (absent). about: what its parts speak
    of, as pairs of a part's text and ids."""
    text: str
    kind: str
    ids: tuple
    about: tuple = ()


@dataclasses.dataclass
class Question:
    """choices: all answers that the form of the question allows. about: as of a Sentence."""
    text: str
    kind: str
    answer: str
    choices: list
    about: tuple = ()


def is_reserved(name):
    return zlib.crc32(name.lower().encode()) % 5 == 0


# ---- colours ----

def colour_names(rgb):
    """Indices into COLOURS of pixels (n, 3), by hue, saturation and value."""
    c = np.asarray(rgb, np.float32) / 255
    v, low = c.max(-1), c.min(-1)
    d = v - low
    s = d / np.maximum(v, 1e-6)
    r, g, b = c[..., 0], c[..., 1], c[..., 2]
    safe = np.maximum(d, 1e-6)
    h = np.where(v == r, (g - b) / safe % 6, np.where(v == g, (b - r) / safe + 2, (r - g) / safe + 4))
    h = h * 60
    out = np.zeros(h.shape, np.int64)
    for upto, name in ((15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (255, "blue"),
                       (292, "purple"), (342, "pink"), (361, "red")):
        from_ = {15: 0, 42: 15, 68: 42, 165: 68, 255: 165, 292: 255, 342: 292, 361: 342}[upto]
        out[(h >= from_) & (h < upto)] = COLOURS.index(name)
    out[(out == COLOURS.index("orange")) & (v < 0.68)] = COLOURS.index("brown")
    out[(out == COLOURS.index("red")) & (v < 0.45) & (h < 15) & (s < 0.8)] = COLOURS.index("brown")
    out[(out == COLOURS.index("red")) & (s < 0.5) & (v > 0.75)] = COLOURS.index("pink")
    plain = s < 0.17
    out[plain] = COLOURS.index("grey")
    out[plain & (v > 0.85)] = COLOURS.index("white")
    out[(v < 0.2) | (plain & (v < 0.25))] = COLOURS.index("black")
    return out


def colour_of(pixels):
    """The colour name that fits more than half of the pixels, or None."""
    counts = np.bincount(colour_names(pixels), minlength=len(COLOURS))
    best = int(counts.argmax())
    return COLOURS[best] if counts[best] * 2 > counts.sum() else None


# ---- grounds and shapes made by code ----

def ground(rng, side):
    """A flat colour, a gradient, soft noise, or stripes, none of them loud."""
    base = rng.integers(20, 236, 3).astype(np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    kind = rng.integers(4)
    out = np.broadcast_to(base, (side, side, 3)).copy()
    if kind == 1:
        t = np.clip(x * rng.normal() + y * rng.normal() + rng.random(), 0, 1)[..., None]
        out = out * (1 - t) + rng.integers(0, 256, 3) * t
    elif kind == 2:
        for n in (3, 8, 24):
            z = Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8))
            z = np.asarray(z.resize((side, side), Image.BICUBIC), np.float32) - 128
            out += z * rng.uniform(0, 0.35)
    elif kind == 3:
        wave = np.sin((x * rng.normal() + y * rng.normal()) * rng.uniform(10, 60))
        out += wave[..., None] * rng.uniform(-40, 40, 3)
    out += rng.normal(size=(side, side, 1)) * rng.uniform(0, 6)
    return np.clip(out, 0, 255).astype(np.uint8)


def polygon(name):
    """Corners in [-1, 1] of the shapes that have corners, or None."""
    def regular(n, turn=0.0, inner=None):
        out = []
        for i in range(n if inner is None else 2 * n):
            r = 1.0 if inner is None or i % 2 == 0 else inner
            a = np.pi * (2 * i / (n if inner is None else 2 * n) + turn) - np.pi / 2
            out.append((r * np.cos(a), r * np.sin(a)))
        return out
    return {
        "square": [(-.85, -.85), (.85, -.85), (.85, .85), (-.85, .85)],
        "triangle": [(0, -.95), (.95, .85), (-.95, .85)],
        "star": regular(5, 0.0, 0.42),
        "cross": [(-.3, -1), (.3, -1), (.3, -.3), (1, -.3), (1, .3), (.3, .3), (.3, 1), (-.3, 1),
                  (-.3, .3), (-1, .3), (-1, -.3), (-.3, -.3)],
        "diamond": [(0, -1), (.7, 0), (0, 1), (-.7, 0)],
        "arrow": [(-1, -.3), (.2, -.3), (.2, -.8), (1, 0), (.2, .8), (.2, .3), (-1, .3)],
        "bar": [(-1, -.3), (1, -.3), (1, .3), (-1, .3)],
        "pentagon": regular(5),
        "house": [(0, -1), (1, -.1), (.7, -.1), (.7, 1), (-.7, 1), (-.7, -.1), (-1, -.1)],
        "bolt": [(.3, -1), (-.6, .15), (-.05, .15), (-.3, 1), (.6, -.2), (.05, -.2)],
        "cup": [(-.9, -.7), (.9, -.7), (.5, .9), (-.5, .9)],
        "flag": [(-.9, -1), (1, -.55), (-.65, 0), (-.65, 1), (-.9, 1)],
    }.get(name)


def silhouette(name, px):
    """The alpha (px, px) of a shape, 0..1."""
    k = 3
    n = px * k
    im = Image.new("L", (n, n), 0)
    d = ImageDraw.Draw(im)
    p = polygon(name)

    def disc(cx, cy, r, fill):
        d.ellipse([(cx - r + 1) / 2 * (n - 1), (cy - r + 1) / 2 * (n - 1),
                   (cx + r + 1) / 2 * (n - 1), (cy + r + 1) / 2 * (n - 1)], fill=fill)

    def corners(pts, fill=255):
        d.polygon([((x + 1) / 2 * (n - 1), (y + 1) / 2 * (n - 1)) for x, y in pts], fill=fill)

    if p:
        corners(p)
    elif name == "heart":
        disc(-.48, -.42, .5, 255)
        disc(.48, -.42, .5, 255)
        corners([(-.93, -.2), (.93, -.2), (0, .95)])
    elif name == "drop":
        disc(0, .35, .62, 255)
        corners([(0, -1), (.55, .1), (-.55, .1)])
    else:  # circle, ring, moon, wheel
        disc(0, 0, 1, 255)
        if name == "ring":
            disc(0, 0, .55, 0)
        elif name == "moon":
            disc(.5, -.15, .85, 0)
        elif name == "wheel":
            disc(0, 0, .75, 0)
            corners([(-.12, -.9), (.12, -.9), (.12, .9), (-.12, .9)])
            corners([(-.9, -.12), (.9, -.12), (.9, .12), (-.9, .12)])
    return np.asarray(im.resize((px, px), Image.BOX), np.float32) / 255


def shape(rng, name, px):
    """A shape as RGBA (px, px, 4) float, lightly shaded, a little turned."""
    im = Image.fromarray((silhouette(name, px) * 255).astype(np.uint8))
    im = im.rotate(rng.uniform(-14, 14), Image.BICUBIC)
    alpha = np.asarray(im, np.float32) / 255
    colour = np.array(SAMPLES[COLOURS[rng.integers(len(COLOURS))]], np.float32)
    colour = colour * rng.uniform(0.88, 1.08) + rng.normal(size=3) * 6
    y, x = np.mgrid[0:px, 0:px].astype(np.float32) / px - 0.5
    shade = 1 + (x * rng.normal() + y * rng.normal()) * 0.12
    rgb = np.clip(colour * shade[..., None] + rng.normal(size=(px, px, 1)) * rng.uniform(0, 5), 0, 255)
    return np.concatenate([rgb, alpha[..., None] * 255], -1)


# ---- sprites of a pack made by build_sprites.py ----

class Sprites:
    """Pictures with names and alpha: arrays of a pack of build_sprites.py, or of cutouts.py."""

    def __init__(self, path):
        z = np.load(path)
        self.flat, self.off, self.shape = z["flat"], z["off"], z["shape"]
        self.name = [str(n) for n in z["name"]]
        self.which = {r: [i for i, n in enumerate(self.name) if is_reserved(n) == r]
                      for r in (False, True)}
        looks = {n: self.name.count(n) for n in set(self.name)}
        self.often = {r: np.cumsum([looks[self.name[i]] ** 0.5 for i in self.which[r]])
                      for r in (False, True)}

    def get(self, i):
        h, w = self.shape[i]
        return self.flat[self.off[i]:self.off[i + 1]].reshape(h, w, 4)

    def draw(self, rng, reserved):
        """A name. Those with several looks come more often than their looks alone make them."""
        often = self.often[reserved]
        return self.name[self.which[reserved][np.searchsorted(often, rng.random() * often[-1])]]


def sprite(rng, a, px):
    """A sprite with its longer side at px, sometimes mirrored, a little brighter or darker."""
    h, w = a.shape[:2]
    k = px / max(h, w)
    im = Image.fromarray(a, "RGBA").resize((max(3, round(w * k)), max(3, round(h * k))), Image.BOX)
    out = np.array(im, np.float32)
    if rng.random() < 0.3:
        out = out[:, ::-1]
    out[..., :3] = np.clip(out[..., :3] * rng.uniform(0.85, 1.1) + rng.uniform(-8, 8), 0, 255)
    return out


# ---- putting a scene together ----

COUNTS = [0.22, 0.25, 0.2, 0.13, 0.08, 0.06, 0.04, 0.02]  # of scenes with 1, 2 ... 8 things


def draw_thing(rng, sprites, reserved, n, side, names):
    """(name, RGBA) of a thing whose size suits a scene of n."""
    largest = {1: 0.75, 2: 0.6, 3: 0.5, 4: 0.42}.get(n, 0.34)
    px = int(side * rng.uniform(max(0.16, largest * 0.4), largest))
    if names:  # a second one of a name that is there already
        name = names[rng.integers(len(names))]
    elif sprites is not None and rng.random() < 0.6:
        which = sprites.which[reserved]
        name = sprites.name[which[rng.integers(len(which))]]
    else:
        known = shape_names(reserved)
        name = known[rng.integers(len(known))]
    if name in SHAPES:
        return name, shape(rng, name, px)
    same = [i for i in sprites.which[reserved] if sprites.name[i] == name]
    return name, sprite(rng, sprites.get(same[rng.integers(len(same))]), px)


def shape_names(reserved):
    return [s for s in SHAPES if is_reserved(s) == reserved]


def put(image, ids, k, rgba, x, y):
    """Paste; in the id map a pixel belongs to what covers at least half of it. Where k was put."""
    h, w = rgba.shape[:2]
    a = rgba[..., 3:] / 255
    part = image[y:y + h, x:x + w]
    part[:] = part * (1 - a) + rgba[..., :3] * a
    ids[y:y + h, x:x + w][a[..., 0] >= 0.5] = k


def make_scene(rng, sprites=None, photos=None, reserved=False, side=SIDE, count=None):
    """A scene of 1 to 8 things (or `count`). sprites: a Sprites, photos: a function of rng that
    returns a PIL picture of any size."""
    if photos is not None and rng.random() < 0.55:
        image = np.asarray(photos(rng).convert("RGB").resize((side, side), Image.BICUBIC), np.float32).copy()
    else:
        image = ground(rng, side).astype(np.float32)
    ids = np.zeros((side, side), np.uint8)
    n = count or 1 + int(rng.choice(len(COUNTS), p=COUNTS))
    placed, areas, names = [], [], []
    for _ in range(4 * n):
        if len(placed) == n:
            break
        again = names if names and rng.random() < 0.15 else None
        name, rgba = draw_thing(rng, sprites, reserved, n, side, again)
        h, w = rgba.shape[:2]
        whole = int((rgba[..., 3] >= 127.5).sum())
        if whole < 30:
            continue
        x, y = int(rng.integers(side - w + 1)), int(rng.integers(side - h + 1))
        new_image, new_ids = image.copy(), ids.copy()
        put(new_image, new_ids, len(placed) + 1, rgba, x, y)
        seen = np.bincount(new_ids.ravel(), minlength=len(placed) + 2)[1:]
        if any(s < VISIBLE * a for s, a in zip(seen, areas + [whole])):
            continue
        if not stands_out(image, new_image, new_ids == len(placed) + 1):
            continue
        image, ids = new_image, new_ids
        placed.append(name)
        areas.append(whole)
        names.append(name)
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    things = [measure(image, ids, k, name) for k, name in enumerate(placed, 1)]
    spoken = list(shape_names(reserved)) if sprites is None else \
        list(shape_names(reserved)) + [sprites.name[i] for i in sprites.which[reserved]]
    return Scene(image, ids, things, spoken)


def stands_out(before, after, where, least=60):
    """Can a thing be told from what it covers?"""
    off = np.abs(after[where] - before[where]).sum(-1)
    return off.mean() > least


def measure(image, ids, k, name):
    where = ids == k
    ys, xs = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1)
    return Thing(k, name, colour_of(image[where]), box, int(where.sum()))


def box_of(scene, ids):
    """The box around all of these things."""
    b = [t.box for t in scene.things if t.id in ids]
    return (min(x[0] for x in b), min(x[1] for x in b), max(x[2] for x in b), max(x[3] for x in b))


# ---- programs over a scene ----

EXTREMES = {  # superlative: what of a thing is compared, and which end wins
    "left-most": (lambda t: t.centre[0], min), "right-most": (lambda t: t.centre[0], max),
    "top-most": (lambda t: t.centre[1], min), "bottom-most": (lambda t: t.centre[1], max),
    "biggest": (lambda t: t.area, max), "smallest": (lambda t: t.area, min)}
RELATIONS = {
    "left of": lambda a, b: b.centre[0] - a.centre[0],
    "right of": lambda a, b: a.centre[0] - b.centre[0],
    "above": lambda a, b: b.centre[1] - a.centre[1],
    "below": lambda a, b: a.centre[1] - b.centre[1]}


def extreme(scene, word, among):
    """The one that is clearly the left-most, biggest ... of at least two, or None."""
    key, end = EXTREMES[word]
    if len(among) < 2:
        return None
    order = sorted(among, key=key, reverse=end is max)
    a, b = key(order[0]), key(order[1])
    if word in ("biggest", "smallest"):
        return order[0] if max(a, b) >= BIGGER * min(a, b) else None
    return order[0] if abs(a - b) >= APART * scene.side else None


def unique(scene, name=None, colour=None):
    """The only thing of this name and colour (None: any), or None."""
    found = [t for t in scene.things
             if (name is None or t.name == name) and (colour is None or t.colour == colour)]
    # a thing without a colour name may look as if it had this one: then nothing is certain
    doubt = colour is not None and any(
        t.colour is None and (name is None or t.name == name) for t in scene.things if t not in found)
    return found[0] if len(found) == 1 and not doubt else None


def references(scene, t):
    """Texts that mean just this thing: [(text, kind)]."""
    out = []
    if unique(scene, t.name) is t:
        out.append((f"the {t.name}", "name"))
    if t.colour:
        if unique(scene, t.name, t.colour) is t:
            out.append((f"the {t.colour} {t.name}", "colour name"))
        if unique(scene, None, t.colour) is t:
            out.append((f"the {t.colour} thing", "colour"))
    for word in EXTREMES:
        if extreme(scene, word, scene.things) is t:
            out.append((f"the {word} thing", "most"))
    same = [o for o in scene.things if o.name == t.name]
    if 1 < len(same):
        for word in EXTREMES:
            if extreme(scene, word, same) is t:
                out.append((f"the {word} {t.name}", "most name"))
    return out


def by_relation(scene, t):
    """`the thing left of the red star`: the only thing there. [(text, kind, what it is told by)]"""
    out = []
    for other in scene.things:
        if other is t:
            continue
        named = [text for text, kind in references(scene, other) if kind != "most name"]
        if not named:
            continue
        for word, how in RELATIONS.items():
            d = [(how(o, other), o) for o in scene.things if o is not other]
            clear = all(abs(v) >= APART * scene.side for v, _ in d)
            there = [o for v, o in d if v > 0]
            if clear and there == [t]:
                out.append((f"the thing {word} {named[0]}", "relation", ((named[0], (other.id,)),)))
    return out


def a_or_an(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def sentences(scene, rng):
    """Every kind of sentence that can be said about the scene, in random order."""
    out = []
    for t in scene.things:
        out += [Sentence(text, kind, (t.id,), ((text, (t.id,)),)) for text, kind in references(scene, t)]
        if len(scene.things) <= 4:
            out += [Sentence(text, kind, (t.id,), about) for text, kind, about in by_relation(scene, t)[:2]]
    order = sorted(scene.things, key=lambda t: t.centre[0])
    xs = [t.centre[0] for t in order]
    if len(order) >= 3 and min(b - a for a, b in zip(xs, xs[1:])) >= APART * scene.side:
        for side, t in (("left", order[1]), ("right", order[-2])):
            text = f"the second thing from the {side}"
            out.append(Sentence(text, "nth", (t.id,), ((text, (t.id,)),)))
    sure = all(t.colour for t in scene.things)
    for colour in sorted({t.colour for t in scene.things if t.colour}):
        those = tuple(t.id for t in scene.things if t.colour == colour)
        rest = tuple(t.id for t in scene.things if t.colour != colour)
        if sure:
            text = f"all {colour} things"
            out.append(Sentence(text, "all", those, ((text, those),)))
            if len(rest) == 1:
                text = f"the thing that is not {colour}"
                out.append(Sentence(text, "not", rest, ((text, rest),)))
    out.append(Sentence("all things", "all", tuple(t.id for t in scene.things)))
    out += absent(scene, rng, sure)
    return [out[i] for i in rng.permutation(len(out))]


def absent(scene, rng, sure):
    """Sentences that mean nothing here: a name, or a colour, that is not there."""
    out = []
    there = {t.name for t in scene.things}
    names = [n for n in scene.names if n not in there]
    if names:
        out.append(Sentence(f"the {names[rng.integers(len(names))]}", "absent", ()))
    colours = [c for c in COLOURS if all(t.colour != c for t in scene.things)]
    if sure and colours:
        c = colours[rng.integers(len(colours))]
        out.append(Sentence(f"the {c} thing", "absent", ()))
        name = scene.things[rng.integers(len(scene.things))].name
        out.append(Sentence(f"the {c} {name}", "absent", ()))
    return out


def questions(scene, rng):
    """Questions with computed answers, one or two of a kind, in random order."""
    q, yes_no = [], ["yes", "no"]
    things, sure = scene.things, all(t.colour for t in scene.things)

    def pick(a):
        return a[rng.integers(len(a))]

    def of(**what):
        return tuple(t.id for t in things if all(getattr(t, k) == v for k, v in what.items()))

    def named(t, but=()):
        """A reference to t that says nothing of what is asked."""
        refs = [r for r in references(scene, t) if r[1] not in but]
        return pick(refs)[0] if refs else None

    # is there ...: as often no as yes
    if rng.random() < 0.5:
        name = pick(things).name
        q.append(Question(f"is there {a_or_an(name)}?", "exists", "yes", yes_no, ((a_or_an(name), of(name=name)),)))
    else:
        gone = absent(scene, rng, False)
        if gone:
            q.append(Question(f"is there {a_or_an(gone[0].text[4:])}?", "exists", "no", yes_no))
    if sure:
        there = sorted({t.colour for t in things})
        gone = [c for c in COLOURS if c not in there]
        yes = rng.random() < 0.5
        c = pick(there if yes else gone)
        q.append(Question(f"is there {a_or_an(c)} thing?", "exists", "yes" if yes else "no", yes_no,
                          ((f"{a_or_an(c)} thing", of(colour=c)),) if yes else ()))
        c = pick(there)
        q.append(Question(f"how many {c} things are there?", "count",
                          str(sum(t.colour == c for t in things)), [str(i) for i in range(1, 9)],
                          ((f"{c} things", of(colour=c)),)))
    q.append(Question("how many things are there?", "count", str(len(things)),
                      [str(i) for i in range(1, 9)]))
    coloured = [t for t in things if t.colour]
    if coloured:
        t = pick(coloured)
        ref = "the thing" if len(things) == 1 else named(t, ("colour", "colour name"))
        if ref:
            q.append(Question(f"what colour is {ref}?", "colour", t.colour, COLOURS, ((ref, (t.id,)),)))
    t = pick(things)
    x, y = t.centre
    ref, half = named(t, ("most", "most name")), scene.side / 2
    if ref and min(abs(x - half), abs(y - half)) >= APART * scene.side:
        where = QUARTERS[2 * (y > half) + (x > half)]
        q.append(Question(f"in which quarter is {ref}?", "quarter", where, QUARTERS, ((ref, (t.id,)),)))
    if len(things) >= 2:
        i, j = rng.permutation(len(things))[:2]
        q += pairs(scene, things[i], things[j], rng, named)
    return [q[i] for i in rng.permutation(len(q))]


def pairs(scene, a, b, rng, named):
    """Questions about two things: where, which is larger, the same colour."""
    q, yes_no = [], ["yes", "no"]
    ra, rb = named(a, ("most", "most name")), named(b, ("most", "most name"))
    if not ra or not rb:
        return q
    about = ((ra, (a.id,)), (rb, (b.id,)))
    words = list(RELATIONS)
    word = words[rng.integers(4)]
    d = RELATIONS[word](a, b)
    if abs(d) >= APART * scene.side:
        q.append(Question(f"is {ra} {word} {rb}?", "place", "yes" if d > 0 else "no", yes_no,
                          about))
    if max(a.area, b.area) >= BIGGER * min(a.area, b.area):
        q.append(Question(f"is {ra} larger than {rb}?", "larger", "yes" if a.area > b.area else "no",
                          yes_no, about))
    if a.colour and b.colour and "colour" not in (ra, rb):
        na, nb = named(a, ("colour", "colour name", "most")), named(b, ("colour", "colour name", "most"))
        if na and nb and (a.colour == b.colour or rng.random() < 0.35):
            q.append(Question(f"do {na} and {nb} have the same colour?", "same",
                              "yes" if a.colour == b.colour else "no", yes_no,
                              ((na, (a.id,)), (nb, (b.id,)))))
    return q
