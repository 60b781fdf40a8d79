"""Batches of all tasks: a picture, and a tree of the prompts that are asked about it.

    Tree      tokens with parents; which of them are learnt from, what they should say, among what,
              and where in the picture they should look
    Words     text -> token ids with the real SentencePiece, remembered
    Mix       pictures and their trees: a function of (seed, step)

All prompts begin with the picture, so a picture's prompts form a tree: `</Img> [reconstruct] loc: [` with its
rows and columns, one `</Img> [segmentation] SENTENCE loc: [` a sentence with its rows and columns,
and chains for boxes, questions and descriptions. model.LaMM.tree computes every token once.

Kinds of targets, and what the cross-entropy is taken among:
    comma, plain   numbers 0..255 of colours (also 0..20 of CarRacing)
    mask           0 and 1
    corner, last   numbers 0..100 of boxes, the first three and the last
    text           the whole vocabulary: answers in words, every fixed token, end of text
"""
import os
import sys

import numpy as np
import torch

import data
import dense

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data"))
import scenes  # noqa: E402

KINDS = ["comma", "plain", "mask", "corner", "last", "text", "form"]
T, K, DEPTH = 512, 320, 96  # tokens of a tree, of these learnt from; longest way
M, SPOTS = 192, 256           # of a tree's tokens that are told where to look; picture tokens
SPEAKS, ANSWERS, EDGES = range(3)  # the heads that point: where a thing is spoken of, in an answer about it, in a box


class Words:
    """Ids of texts. What stands alone between pictures gets SentencePiece's dummy space."""

    def __init__(self, path):
        import sentencepiece as spm
        self.sp = spm.SentencePieceProcessor(model_file=path)
        self.known = {}
        self.text = self.sp.decode
        one = self.sp.piece_to_id

        def row(pattern, n):
            ids = [one(pattern.format(i)) for i in range(n)]
            assert 0 not in ids
            return ids
        self.comma, self.plain = row("{},", 256), row("{}", 256)
        self.corner, self.last = row("{}><", 101), row("{}>}}", 101)
        self.digit = row("▁{}", 10)
        self.eos = 2
        self.tok = {"bos": 1, "eos": 2, "open": one("▁[INST]▁<Img>"), "mid": one("▁</Img><Img>"),
                    "ask": one("▁</Img>▁[reconstruct]▁loc:▁["), "tail": one("]▁rgb:▁[/INST]"),
                    "mtail": one("]▁mask:▁[/INST]"), "seg": one("▁</Img>▁[segmentation]"),
                    "loc": one("▁loc:▁["), "inst": one("▁[/INST]"), "box": one("▁{<"),
                    "lb": one("▁["), "rb": one("]"), "separator": one(","),
                    "comma": self.comma, "plain": self.plain, "digit": self.digit,
                    "corner": self.corner, "last": self.last}
        assert 0 not in [v for v in self.tok.values() if isinstance(v, int)]

    def ids(self, text):
        if text not in self.known:
            self.known[text] = self.sp.encode(text)
        return self.known[text]

    def segment(self, sentence):
        """Ids up to the row of a mask question."""
        key = "\0seg" + sentence
        if key not in self.known:
            whole = self.ids(f"</Img> [segmentation] {sentence} loc: [10,11] mask: [/INST]")
            tail = [self.comma[10], self.plain[11], self.tok["mtail"]]
            assert whole[-3:] == tail, self.sp.id_to_piece(whole)
            self.known[key] = whole[:-3]
        return self.known[key]


class Tree:
    def __init__(self):
        self.ids, self.parent, self.depth, self.aims, self.looks = [], [], [], [], []

    def grow(self, ids, parent=-1):
        """A chain of tokens behind `parent`; the index of its last one."""
        for i in ids:
            self.ids.append(i)
            self.parent.append(parent)
            self.depth.append(self.depth[parent] + 1 if parent >= 0 else 0)
            parent = len(self.ids) - 1
        return parent

    def aim(self, at, kind, target, weight=1.0):
        """The token behind `at` should be `target` (an index among those of the kind)."""
        self.aims.append((at, KINDS.index(kind), target, weight))

    def look(self, at, which, spots):
        """A head of the token `at`, SPEAKS, ANSWERS or EDGES, should look at the picture tokens `spots` (SPOTS) bool."""
        if len(self.looks) < M and spots.any():
            self.looks.append((at, which, spots))

    def say(self, ids, parent, eos, kind="text", weight=1.0):
        """An answer in text: every token of it and the end are learnt."""
        for i in list(ids) + [eos]:
            self.aim(parent, kind, i, weight)
            if i != eos:
                parent = self.grow([i], parent)

    def room(self, tokens, aims):
        return len(self.ids) + tokens <= T and len(self.aims) + aims <= K


def packed(trees):
    """Arrays of a batch of trees: ids, depth, sees, kept, and kind, target, weight of what is kept; looks, and which
    (-1: none), spots of these."""
    B = len(trees)
    ids, depth = np.zeros((B, T), np.int64), np.zeros((B, T), np.int64)
    sees = np.zeros((B, T, T), bool)
    kept, kind = np.zeros((B, K), np.int64), np.full((B, K), -1)
    target, weight = np.zeros((B, K), np.int64), np.zeros((B, K), np.float32)
    looks, which, spots = np.zeros((B, M), np.int64), np.full((B, M), -1), np.zeros((B, M, SPOTS), bool)
    for b, t in enumerate(trees):
        n, k = len(t.ids), len(t.aims)
        assert n <= T and k <= K and max(t.depth) < DEPTH, (n, k, max(t.depth))
        ids[b, :n], depth[b, :n] = t.ids, t.depth
        s = sees[b]
        for i, p in enumerate(t.parent):
            if p >= 0:
                s[i] = s[p]
            s[i, i] = True
        s[np.arange(n, T), np.arange(n, T)] = True
        if k:
            kept[b, :k], kind[b, :k], target[b, :k], weight[b, :k] = map(list, zip(*t.aims))
        for i, (at, head, where) in enumerate(t.looks):
            looks[b, i], which[b, i], spots[b, i] = at, head, where
    return {k: torch.from_numpy(v) for k, v in dict(
        ids=ids, depth=depth, sees=sees, kept=kept, kind=kind, target=target, weight=weight, looks=looks, which=which,
        spots=spots).items()}


# ---- the prompts of a picture ----

def ask_pixels(tree, w, truth, r, rows, columns):
    """rows x columns questions about the 64x64 picture; the first eight to the end of the answer."""
    root = tree.grow([w.tok["ask"]])
    full = 0
    for y in r.permutation(64)[:rows]:
        at_row = tree.grow([w.comma[y]], root)
        for x in r.permutation(64)[:columns]:
            c = [int(v) for v in truth[y, x]]
            tail = tree.grow([w.plain[x], w.tok["tail"]], at_row)
            lb = tree.grow([w.tok["lb"]], tail)
            red = tree.grow([w.comma[c[0]]], lb)
            green = tree.grow([w.comma[c[1]]], red)
            tree.aim(lb, "comma", c[0])
            tree.aim(red, "comma", c[1])
            tree.aim(green, "plain", c[2])
            if full < 2:
                full += 1
                blue = tree.grow([w.plain[c[2]]], green)
                end = tree.grow([w.tok["rb"]], blue)
                for at, want in ((tail, w.tok["lb"]), (blue, w.tok["rb"]), (end, w.eos),
                                 (lb, w.comma[c[0]]), (red, w.comma[c[1]]), (green, w.plain[c[2]])):
                    tree.aim(at, "form", want)


def near(mask):
    """Places within 1.5 pixels of the mask's border."""
    p = np.pad(mask, 1, mode="edge")
    return (p[2:, 1:-1] != mask) | (p[:-2, 1:-1] != mask) | (p[1:-1, 2:] != mask) | (p[1:-1, :-2] != mask)


def ask_mask(tree, w, sentence, mask, others, r, where, rows=4, columns=3):
    """Is the pixel at row, column part of what the sentence means? Rows and columns are drawn from
    the thing, its border, the other things and the whole picture. where: a function that tells the end of the
    sentence, and the ends of some prompts, where to look."""
    root = tree.grow(w.segment(sentence))
    where(root)
    border = near(mask)
    pools = [np.flatnonzero(m.ravel()) for m in (mask, border, others, np.ones_like(mask))]
    pools = [p for p in pools if len(p)]
    full = True
    for i in range(rows):
        p = pools[r.integers(len(pools))] if r.random() < 0.8 else pools[0]
        y = int(p[r.integers(len(p))]) // 64
        at_row = tree.grow([w.comma[y]], root)
        done = set()
        for j in range(columns):
            line = [np.flatnonzero(m[y]) for m in (mask, border, others)]
            line = line[r.integers(3)] if r.random() < 0.8 else ()
            x = int(line[r.integers(len(line))]) if len(line) else int(r.integers(64))
            if x in done:
                continue
            done.add(x)
            at = tree.grow([w.plain[x], w.tok["mtail"]], at_row)
            tree.aim(at, "mask", int(mask[y, x]))
            if j == 0:
                where(at)
            if full:
                full = False
                tree.aim(at, "form", w.digit[int(mask[y, x])])
                end = tree.grow([w.digit[int(mask[y, x])]], at)
                tree.aim(end, "form", w.eos)


def corners(box, side):
    """x1, y1, x2, y2 of a box in pixels as 0..100, truncated."""
    return [100 * v // side for v in box]


def box_text(c):
    return "{<%d><%d><%d><%d>}" % tuple(c)


def edges(mask, box):
    """Picture tokens that show the left, upper, right, lower edge of what mask (side, side) holds: four (SPOTS) bool."""
    x1, y1, x2, y2 = box
    out, h, w = [], len(mask) // 32, len(mask) // 8
    for rows, columns in ((slice(None), slice(x1, x1 + 2)), (slice(y1, y1 + 1), slice(None)),
                          (slice(None), slice(x2 - 2, x2)), (slice(y2 - 1, y2), slice(None))):
        part = np.zeros_like(mask)
        part[rows, columns] = mask[rows, columns]
        out.append(part.reshape(32, h, 8, w).any((1, 3)).ravel())
    return out


def say_box(tree, w, at, c, where=lambda _: None, edge=None):
    """The answer {<x1><y1><x2><y2>} behind `at`. where: as of ask_mask, for its tokens. edge: edges()."""
    tree.aim(at, "form", w.tok["box"])
    where(at)
    at = tree.grow([w.tok["box"]], at)
    for i, v in enumerate(c):
        where(at)
        if edge:
            tree.look(at, EDGES, edge[i])
        tree.aim(at, "last" if i == 3 else "corner", v)
        at = tree.grow([w.last[v] if i == 3 else w.corner[v]], at)
    tree.aim(at, "form", w.eos)


def phrase(t):
    return f"{t.colour} {t.name}" if t.colour else t.name


def describe(scene):
    """`a red circle, a duck and a blue star`, the biggest first."""
    p = [scenes.a_or_an(phrase(t)) for t in sorted(scene.things, key=lambda t: -t.area)[:4]]
    return p[0] if len(p) == 1 else ", ".join(p[:-1]) + " and " + p[-1]


def ask_words(tree, w, text, answer, kind="text", weight=1.0):
    """Returns the place of the prompt's last token."""
    at = tree.grow(w.ids("</Img> " + text + " [/INST]"))
    tree.say(w.ids(answer), at, w.eos, kind, weight)
    return at


def point(tree, w, begin, head, text, about, spots, meant=None):
    """The last words of the parts of a text, which stands behind `head` from the token `begin` on, look at what they
    speak of, by both heads unless a sentence as a whole means something: then its last word looks at that.
    about, meant: see scenes.Sentence. spots: picture tokens of ids."""
    at, whole = 0, w.ids(head + text)
    for part, ids in about:
        at = text.index(part, at) + len(part)
        ahead = w.ids(head + text[:at])
        if ids and whole[:len(ahead)] == ahead:
            tree.look(begin + len(ahead) - 1, SPEAKS, spots(ids))
            if meant is None:
                tree.look(begin + len(ahead) - 1, ANSWERS, spots(ids))
    if meant:
        tree.look(begin + len(whole) - 1, ANSWERS, spots(meant))


def ask_scene(tree, w, scene, r, o):
    """Everything about a scene but its colours, as far as there is room. o: how much of each."""
    grid = {t.id: dense.blocks_of(scene.id_map == t.id) for t in scene.things}
    any_ = dense.blocks_of(scene.id_map > 0)
    shown = {k: dense.per_token(g).sum(1) for k, g in grid.items()}

    def spots(ids):
        return np.any([shown[i] >= min(2, shown[i].max()) for i in ids], 0) & (sum(shown[i] for i in ids) > 0)

    def answers(ids):
        return lambda at: tree.look(at, ANSWERS, spots(ids)) if ids else None
    said = scenes.sentences(scene, r)
    meant = [s for s in said if len(s.ids) == 1] or said
    several = [s for s in said if len(s.ids) != 1]
    chosen = meant[:o["masks"]]
    if several and r.random() < 0.6:
        chosen = chosen[:-1] + several[:1] if len(chosen) > 1 else chosen + several[:1]
    for s in chosen:
        if not tree.room(44, 16):
            break
        m = np.zeros((64, 64), bool)
        for i in s.ids:
            m |= grid[i]
        begin, head = len(tree.ids), "</Img> [segmentation] "
        ask_mask(tree, w, s.text, m, any_ & ~m, r, answers(s.ids))
        point(tree, w, begin, head, s.text, s.about, spots, s.ids)
    for s in [s for s in meant if s.ids][::-1][:o["boxes"]]:
        head = "</Img> [refer] give me the location of "
        at = w.ids(head + s.text + " [/INST]")
        if tree.room(len(at) + 5, 6):
            begin = len(tree.ids)
            box = scenes.box_of(scene, s.ids)
            say_box(tree, w, tree.grow(at), corners(box, scene.side), answers(s.ids), edges(scene.mask(s.ids), box))
            point(tree, w, begin, head, s.text, s.about, spots, s.ids)
    for q in scenes.questions(scene, r)[:o["questions"]]:
        if tree.room(30, 4):
            begin, head = len(tree.ids), "[vqa] Based on the image, respond to this question with a short answer: "
            at = ask_words(tree, w, head + q.text, q.answer)
            point(tree, w, begin, "</Img> " + head, q.text, q.about, spots)
            if len(q.about) == 1:
                answers(q.about[0][1])(at)
    t = scene.things[r.integers(len(scene.things))]
    c = corners(t.box, scene.side)
    kind = r.integers(8)
    if kind == 0 and tree.room(50, 40):
        ask_words(tree, w, "[caption] Briefly describe this image.", describe(scene))
    elif kind in (1, 2) and tree.room(30, 12):
        ask_words(tree, w, f"[identify] {box_text(c)}", "the " + phrase(t))
    elif kind == 3 and tree.room(40, 20):
        ask_words(tree, w, f"[detection] {t.name}", f"<p>{t.name}</p> " + "<delim>".join(
            box_text(corners(x.box, scene.side)) for x in scene.things if x.name == t.name))
    elif kind == 4 and tree.room(90, 80) and len(scene.things) <= 3:
        ask_words(tree, w, "[grounding] please describe this image in details", " and ".join(
            f"<p>{scenes.a_or_an(phrase(x))}</p> {box_text(corners(x.box, scene.side))}"
            for x in sorted(scene.things, key=lambda x: -x.area)))


class Mix:
    """Batches of B pictures: `photos` photographs and `colours` scenes asked for colours only, the
    others scenes asked everything."""

    def __init__(self, words, pack, sprites, seed, B, photos, colours=0, size=128):
        self.w, self.pack, self.sprites, self.seed = words, pack, sprites, seed
        self.B, self.photos, self.colours, self.size = B, photos, colours, size
        self.names, self.crop = dense.name_table(sprites), dense.photos_of(pack)
        self.o = dict(masks=8, boxes=6, questions=5)

    def batch(self, step):
        from PIL import Image
        r = np.random.default_rng([self.seed, 99, step])
        img, trees, seen = np.empty((self.B, 3, self.size, self.size), np.float32), [], []
        for b in range(self.B):
            tree = Tree()
            if b < self.photos:
                im = data.sample(self.pack, r)
                img[b] = data.ready(im, self.size)
                ask_pixels(tree, self.w, data.truth(im), r, 12, 8)
            else:
                scene = self.scene(r)
                im = Image.fromarray(scene.image)
                img[b] = data.ready(im, self.size)
                if b < self.photos + self.colours:
                    ask_pixels(tree, self.w, data.truth(im), r, 12, 8)
                else:
                    ask_pixels(tree, self.w, data.truth(im), r, 5, 4)
                    ask_scene(tree, self.w, scene, r, self.o)
                seen.append(dense.targets(scene, self.names))
            trees.append(tree)
        out = packed(trees)
        out["img"] = torch.from_numpy(img)
        out["dense"] = {k: torch.from_numpy(np.stack([t[k] for t in seen])) for k in seen[0]} if seen else {}
        return out

    def scene(self, r):
        while True:
            s = scenes.make_scene(r, self.sprites, self.crop)
            if s.things:
                return s
