"""invaders.py - lines to learn from about recorded rounds of Space Invaders: see convert.py space.

A frame alone is asked for its things, by boxes, masks and questions: what is nearly as small as a
pixel of the model's square is only found by a tower that was asked for it. Four frames in a row
are asked for the expert's action, and as a chat for what the expert thinks, behind the same
pictures. The answers to one question are balanced by leaving lines out: of an answer that is a
share p of all lines, a part (least p / p) ** balance stays. With 1 all answers come equally often,
so that what comes most often is no answer any more. What is asked is in words of lammd's own.
Boxes and thoughts are record.py's. Needs numpy and Pillow.
"""
import collections
import json
import os
import sys
import zlib

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "games"))
import gunner
import sights

FRAMES, GRID = 4, 64
NEAR = 2          # of the aim: one step of the cannon
CANNON_Y = (185, 195)
MOVES = {gunner.FIRE: "nowhere", gunner.RIGHTFIRE: "right", gunner.LEFTFIRE: "left"}
SIDES = ("left", "middle", "right")
AIM = "the place to shoot from"
ACT = (  # what lammd asks, as engine/sample.c has it
    "You are playing a Space Invaders game. <Objective> Destroy the space invaders by shooting "
    "your laser cannon at them before they reach the Earth. Avoid getting hit by space invaders. "
    "<Tips> The invaders in the back rows are worth more points. <Action Space> [0: NOOP, 1: "
    "FIRE, 2: RIGHT, 3: LEFT, 4: RIGHTFIRE, 5: LEFTFIRE] [Space Invaders] Choose an action from "
    "the Action Space:")


# ---- one frame ----

class Frame:
    """picture (h, w, 3), things (15, 4), thoughts (4), action; name: its file."""

    def __init__(self, picture, things, thoughts, action, name):
        self.picture, self.name, self.action = picture, name, int(action)
        self.aim, self.stand, self.right, self.left = (int(v) for v in thoughts)
        self.things = {}
        self.slots = [tuple(b) for b in np.asarray(things).tolist()]
        for kind, box in zip(sights.NAMES, self.slots):
            if box[0] >= 0:
                self.things.setdefault(kind, []).append(box)

    def one(self, kind):
        """The box of the only thing of its kind, or None."""
        boxes = self.things.get(kind, [])
        return boxes[0] if len(boxes) == 1 else None


def middle(box):
    return (box[0] + box[2]) / 2


def wider(box, shape):
    """A pixel more on either side, so that a line one pixel wide has a place on the grid."""
    return (max(0, box[0] - 1), box[1], min(shape[1], box[2] + 1), box[3])


def bombs(f):
    """(sentence, box): of two bombs by what tells them apart."""
    boxes = f.things.get("bomb", [])
    if len(boxes) == 1:
        return [("the bomb", boxes[0])]
    if not boxes:
        return []
    out, (a, b) = [], boxes
    if abs(a[3] - b[3]) > 6:
        low, high = (a, b) if a[3] > b[3] else (b, a)
        out += [("the lower bomb", low), ("the upper bomb", high)]
    if abs(middle(a) - middle(b)) > 4:
        left, right = sorted((a, b), key=middle)
        out += [("the left bomb", left), ("the right bomb", right)]
    return out


def invaders(f):
    """(sentence, box) of the block, and of its lowest ones at both ends and above the cannon."""
    out, cannon = [("the invaders", b) for b in f.things.get("block", [])], f.one("cannon")
    lowest = f.things.get("invader", [])
    if len(lowest) > 1:
        out += [("the lowest invader on the left", lowest[0]), ("the lowest invader on the right", lowest[-1])]
    if cannon:
        out += [("the lowest invader above the cannon", b) for b in lowest
                if b[0] <= middle(cannon) < b[2]]
    return out


def named(f):
    """(sentence, box) of what one sentence tells from all else."""
    out = [(f"the {kind}", f.one(kind)) for kind in ("cannon", "shot", "saucer") if f.one(kind)]
    out += bombs(f) + invaders(f)
    first = sights.NAMES.index("shield")
    out += [(f"the {side} shield", box) for side, box in zip(SIDES, f.slots[first:first + 3]) if box[0] >= 0]
    cannon = f.one("cannon")
    if cannon:
        out.append((AIM, (cannon[0] + f.aim, CANNON_Y[0], cannon[2] + f.aim, CANNON_Y[1])))
    return [(text, wider(box, f.picture.shape)) if box[2] - box[0] < 3 else (text, box) for text, box in out]


# ---- masks ----

def places(mask):
    """bool (h, w) -> bool (h, w): all of each place of the pixel grid that the mask touches."""
    h, w = mask.shape
    y, x = np.arange(h) * GRID // h, np.arange(w) * GRID // w
    grid = np.zeros((GRID, GRID), bool)
    at = np.nonzero(mask)
    grid[y[at[0]], x[at[1]]] = True
    return grid[y][:, x]


def kinds(f):
    """(sentence, mask) of all things of a kind."""
    names = {"cannon": "the cannon", "bomb": "the bombs", "shot": "the shot", "saucer": "the saucer",
             "shield": "the shields", "block": "the invaders"}
    for kind, text in names.items():
        mask = np.zeros(f.picture.shape[:2], bool)
        for x1, y1, x2, y2 in f.things.get(kind, []):
            own = f.picture[y1:y2, x1:x2] == sights.COLOURS[kind]
            mask[y1:y2, x1:x2] |= own.all(2)
        if mask.any():
            yield text, places(mask)


# ---- questions ----

def yes(is_so):
    return "yes" if is_so else "no"


def side_of(x, near):
    return "here" if abs(x) <= near else "right" if x > 0 else "left"


def thoughts(f):
    """(question, answer) of what the expert thinks."""
    hit = [("stands", f.stand), ("goes right", f.right), ("goes left", f.left)]
    return [(f"will the cannon be hit if it {does}?", yes(t < gunner.HORIZON)) for does, t in hit] + [
        (f"where is {AIM}?", side_of(f.aim, NEAR)),
        ("where should the cannon go?", MOVES[f.action])]


def questions(f):
    """(question, answer) of one frame."""
    cannon, falling = f.one("cannon"), f.things.get("bomb", [])
    out = [("how many bombs are there?", ("no", "one", "two")[len(falling)]),
           ("is there a saucer?", yes("saucer" in f.things))]
    if not cannon:
        return out + [("is there a cannon?", "no")]
    third = (gunner.MAX_X - gunner.MIN_X) / 3
    at = int((cannon[0] + 1 - gunner.MIN_X) // third)
    out += [("is there a cannon?", "yes"), ("where is the cannon?", SIDES[min(2, max(0, at))])]
    above = [cannon[0] - 1 <= middle(b) <= cannon[2] + 1 for b in falling]
    out.append(("is a bomb above the cannon?", yes(any(above))))
    if falling:
        low = max(falling, key=lambda b: b[3])
        out.append(("where is the lowest bomb?", side_of(middle(low) - middle(cannon), 5)))
    return out + thoughts(f)


def moves(row):
    """(question, answer) of frames in a row."""
    first, last = row[0].one("block"), row[-1].one("block")
    if not first or not last or first[0] == last[0] or abs(first[0] - last[0]) > 8:
        return []
    return [("which way do the invaders go?", "right" if last[0] > first[0] else "left")]


# ---- lines ----

def frame_lines(f, rle):
    """rle: a mask as COCO writes it."""
    out = [{"task": ["refer", "identify"] if text != AIM else "refer", "sentence": text,
            "box": [float(v) for v in box]} for text, box in named(f)]
    out += [{"task": "mask", "sentence": text, "mask": rle(mask)} for text, mask in kinds(f)]
    out += [{"task": "vqa", "question": q, "answer": a} for q, a in questions(f)]
    return [{**line, "image": f.name} for line in out]


def row_lines(row):
    """Of frames in a row, the newest last. What is asked as an act is asked in the chat, too, so
    that it is learnt behind the same pictures as the thoughts."""
    f, images = row[-1], [g.name for g in row]
    asked = [(ACT, str(f.action))] + (thoughts(f) + moves(row) if f.one("cannon") else [])
    return [{"task": "act", "game": "space_invaders", "action": f.action, "images": images}] + [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}], "images": images}
        for q, a in asked]


def asked_of(line):
    """(question, answer) that are balanced, or None."""
    if "action" in line:
        return "act", line["action"]
    if "messages" in line:
        return "chat " + line["messages"][0]["content"], line["messages"][1]["content"]
    return (line["question"], line["answer"]) if "question" in line else None


def balanced(lines, balance):
    """Without some of the lines whose answers come more often than others to the same question."""
    have = collections.Counter(map(asked_of, lines))
    least = {}
    for pair, n in have.items():
        if pair:
            least[pair[0]] = min(n, least.get(pair[0], n))
    out = []
    for i, line in enumerate(lines):
        pair = asked_of(line)
        lot = zlib.crc32(f"{i} {line.get('image') or line['images'][-1]}".encode()) / 2 ** 32
        if not pair or lot < (least[pair[0]] / have[pair]) ** balance:
            out.append(line)
    return out


# ---- files ----

def frames_of(record):
    """Lists of Frames, in a row each."""
    with np.load(record) as z:
        frames, action, episode, step, things, thought = (
            z[k] for k in ("frames", "action", "episode", "step", "things", "thoughts"))
    run = []
    for i, picture in enumerate(frames):
        if run and (episode[i] != episode[i - 1] or step[i] != step[i - 1] + 1):
            yield run
            run = []
        name = f"{episode[i]}-{step[i]:05}.png"
        run.append(Frame(picture, things[i], thought[i], action[i], name))
    if run:
        yield run


def convert(records, out, balance, every, rle):
    """Writes frames.jsonl of every `every`th frame, rows.jsonl of all rows, and pictures."""
    os.makedirs(out, exist_ok=True)
    alone, rows, n = [], [], 0
    for run in (run for record in records for run in frames_of(record)):
        for k, f in enumerate(run):
            Image.fromarray(f.picture).save(f"{out}/{f.name}")
            if n % every == 0:
                alone += frame_lines(f, rle)
            if k >= FRAMES - 1:
                rows += row_lines(run[k - FRAMES + 1:k + 1])
            n += 1
    rows, alone = balanced(rows, balance), balanced(alone, balance)
    for name, lines in (("frames", alone), ("rows", rows)):
        with open(f"{out}/{name}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    acts = collections.Counter(line["action"] for line in rows if "action" in line)
    print(f"{out}: {n} frames, {len(alone)} lines about one, {len(rows)} about {FRAMES} in a row, "
          f"of those actions {dict(sorted(acts.items()))}")
