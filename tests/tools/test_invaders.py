"""test_invaders.py - what is on the screen of Space Invaders, and lines about it.

Run by run.py. Screens are painted here, of a memory of our own; the test of the real game skips
aloud where its package is missing.
"""
import collections
import contextlib
import importlib.util
import io
import json
import os
import re
import sys
import unittest

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools/data"), os.path.join(ROOT, "tools/games")]
import convert
import gunner
import invaders
import sights
from test_games import memory

BLACK, GROUND_COLOUR = (0, 0, 0), (80, 89, 22)


def screen(ram):
    """A picture on which every thing fills the box that the memory tells, the earlier in front."""
    frame = np.zeros((210, 160, 3), np.uint8)
    frame[sights.GROUND:] = GROUND_COLOUR
    for name, (x1, y1, x2, y2) in reversed(list(zip(sights.NAMES, sights.expected(ram).tolist()))):
        if x1 >= 0 and name != "block":
            frame[y1:y2, x1:x2] = sights.COLOURS[name]
    return frame


def state(cannon=70, bombs=((60, 50), (80, 72)), shot=(40, 90), **more):
    ram = memory(cannon=cannon, bombs=bombs, **more)
    ram[sights.SHOT_Y], ram[sights.SHOT_X] = shot
    return ram


def seen(ram, frame=None):
    """{name: boxes} of what is there."""
    out = {}
    for name, box in zip(sights.NAMES, sights.things(screen(ram) if frame is None else frame, ram).tolist()):
        if box[0] >= 0:
            out.setdefault(name, []).append(tuple(box))
    return out


def frame_of(ram, thoughts=(0, 24, 24, 24), action=gunner.FIRE, name="a.png"):
    picture = screen(ram)
    return invaders.Frame(picture, sights.things(picture, ram), thoughts, action, name)


# ---- sights ----

def test_invaders_sights(_):
    ram = state(saucer=100, dropped=5)
    got = seen(ram)
    assert got["cannon"] == [(69, 185, 77, 195)] and got["saucer"] == [(99, 12, 107, 20)]
    assert got["bomb"] == [(48, 122, 49, 132), (70, 162, 71, 172)] and got["shot"] == [(88, 82, 89, 94)]
    assert [b[0] for b in got["invader"]] == [39, 55, 71, 87, 103, 119]
    assert {b[1] for b in got["invader"]} == {131} and got["block"][0][2:] == (127, 141)
    assert [b[:1] + b[2:3] for b in got["shield"]] == [(42, 50), (74, 82), (106, 114)]


def test_invaders_sights_what_is_not_drawn_is_not_there(_):
    ram = state(bombs=((gunner.NONE, 63), (107, 71)), columns=[1, 4])
    got = seen(ram)
    assert "bomb" not in got and "saucer" not in got  # none; below the ground
    assert len(got["invader"]) == 2
    burnt = screen(ram)
    burnt[185:195] = BLACK
    burnt[157:175, 42:50] = BLACK
    less = seen(ram, burnt)
    assert "cannon" not in less and len(less["shield"]) == 2
    assert "invader" not in seen(memory(columns=[])) and "block" not in seen(memory(columns=[]))


def test_invaders_sights_follows_the_picture(_):
    """What moved since, or was eaten away, has the box of its pixels."""
    ram = state()
    frame = screen(ram)
    frame[185:195, 68:80] = BLACK
    frame[186:195, 70:78] = sights.COLOURS["cannon"]
    assert seen(ram, frame)["cannon"] == [(70, 186, 78, 195)]


def test_invaders_thoughts(_):
    fire, aim, *steps = gunner.Gunner().think(memory(columns=[], bombs=[(80, 71)]))
    assert fire == gunner.RIGHTFIRE and aim == 0
    assert steps[0] < gunner.HORIZON and steps[1] == steps[2] == gunner.HORIZON, steps
    assert gunner.Gunner().think(memory(cannon=60, columns=[0], block=40))[1] < 0


# ---- lines ----

def answers(pairs):
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_invaders_names(_):
    boxes = answers(invaders.named(frame_of(state(), (6, 24, 24, 24))))
    assert boxes["the lower bomb"] == boxes["the right bomb"] == (69, 162, 72, 172)  # a pixel wider
    assert boxes["the upper bomb"] == boxes["the left bomb"] and "the bomb" not in boxes
    assert boxes["the lowest invader above the cannon"] == (71, 121, 79, 131)
    assert boxes["the lowest invader on the left"][0] == 39 and boxes["the middle shield"][0] == 74
    assert boxes[invaders.AIM] == (75, 185, 83, 195) and boxes["the cannon"] == (69, 185, 77, 195)
    alone = answers(invaders.named(frame_of(state(bombs=[(60, 50)]))))
    assert "the bomb" in alone and not any("er bomb" in text for text in alone)


def test_invaders_questions(_):
    got = answers(invaders.questions(frame_of(state(), (-7, 9, 24, 24), gunner.LEFTFIRE)))
    want = {"how many bombs are there?": "two", "is there a saucer?": "no", "is there a cannon?": "yes",
            "where is the cannon?": "middle", "is a bomb above the cannon?": "yes",
            "where is the lowest bomb?": "here", "will the cannon be hit if it stands?": "yes",
            "will the cannon be hit if it goes left?": "no", f"where is {invaders.AIM}?": "left",
            "where should the cannon go?": "left"}
    assert want.items() <= got.items(), got
    gone = frame_of(state(cannon=0))
    gone.things.pop("cannon", None)
    assert answers(invaders.questions(gone))["is there a cannon?"] == "no"


def test_invaders_masks_have_places(_):
    """A bomb is one pixel wide, a place of the grid two and a half: none gets lost."""
    h, w = 210, 160
    for x in range(20, 140):
        bomb = np.zeros((h, w), bool)
        bomb[101:111, x] = True
        mask = invaders.places(bomb)
        assert (mask | bomb == mask).all()
        y, x2 = (((2 * np.arange(64) + 1) * n) // 128 for n in (h, w))
        assert mask[y][:, x2].sum() in (4, 5), x  # what is left of it on the grid
    texts = dict(invaders.kinds(frame_of(state())))
    assert {"the bombs", "the cannon", "the shields", "the shot"} <= set(texts)
    assert "the saucer" not in texts


def test_invaders_balance(_):
    lines = [{"question": "q", "answer": a, "image": f"{i}.png"}
             for i, a in enumerate(["no"] * 600 + ["yes"] * 300 + ["here"] * 100)]
    lines += [{"sentence": "the bomb", "image": "x.png"}] * 5
    for balance, least, most in ((0, (600, 300, 100), (600, 300, 100)),
                                 (1, (75, 75, 100), (125, 125, 100))):
        kept = invaders.balanced(lines, balance)
        count = collections.Counter(line.get("answer") for line in kept)
        assert count[None] == 5
        assert all(a <= count[k] <= b for k, a, b in zip(("no", "yes", "here"), least, most)), count
    half = collections.Counter(line.get("answer") for line in invaders.balanced(lines, 0.5))
    assert 200 < half["no"] < 290 and half["here"] == 100


def test_invaders_instruction(_):
    """It is what lammd asks."""
    with open(os.path.join(ROOT, "engine/sample.c"), encoding="utf-8") as f:
        text = f.read().split("sample_shoot_text[] =")[1].split(";")[0]
    assert "".join(re.findall(r'"(.*)"', text)) == invaders.ACT


def test_invaders_convert(tmp):
    """Rows stay within a run, and every name of a line is a file."""
    ram = [state(block=40 + i // 2) for i in range(7)]
    frames = np.stack([screen(r) for r in ram])
    np.savez(tmp + "/r.npz", frames=frames, action=np.array([1, 1, 1, 4, 5, 1, 1]),
             episode=np.array([10000] * 5 + [10001] * 2), step=np.array([3, 4, 5, 6, 7, 0, 1]),
             things=np.stack([sights.things(f, r) for f, r in zip(frames, ram)]),
             thoughts=np.array([[0, 24, 24, 24]] * 7, np.int16))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        invaders.convert([tmp + "/r.npz"], tmp + "/out", 0, 2, convert.rle)
    assert "7 frames" in said.getvalue()
    read = {}
    for name in ("frames", "rows"):
        with open(f"{tmp}/out/{name}.jsonl", encoding="utf-8") as f:
            read[name] = [json.loads(line) for line in f]
    acts = [line for line in read["rows"] if "action" in line]
    assert [line["action"] for line in acts] == [4, 5]
    assert acts[0]["images"] == [f"10000-0000{i}.png" for i in (3, 4, 5, 6)]
    assert {line["image"] for line in read["frames"]} == {
        "10000-00003.png", "10000-00005.png", "10000-00007.png", "10001-00001.png"}
    chats = {line["messages"][0]["content"]: line["messages"][1]["content"]
             for line in read["rows"] if "messages" in line and line["images"] == acts[1]["images"]}
    assert chats[invaders.ACT] == "5" and chats["which way do the invaders go?"] == "right"
    for line in read["frames"] + read["rows"]:
        for name in line.get("images") or [line["image"]]:
            assert os.path.exists(f"{tmp}/out/{name}")
    first = np.asarray(Image.open(f"{tmp}/out/10000-00003.png"))
    assert np.array_equal(first, frames[0])


# ---- the real game ----

def test_invaders_real(_):
    """The boxes hold the pixels: of what falls, is shot and stands nothing is drawn elsewhere."""
    if importlib.util.find_spec("ale_py") is None:
        raise unittest.SkipTest("ale_py is not installed: tools/games/README.md")
    import space
    table, seen_of = space.Invasion(0.25), collections.Counter()
    frame, over, expert = table.reset(20000), False, table.expert()
    missed = grey = 0
    for _ in range(400):
        action = expert.act()
        things = expert.notes(frame)["things"].tolist()
        rest = (frame == sights.COLOURS["bomb"]).all(2) & (np.arange(210) < sights.GROUND)[:, None]
        grey += rest.sum()
        for name, box in zip(sights.NAMES, things):
            seen_of[name] += box[0] >= 0
            if name in ("bomb", "shot") and box[0] >= 0:
                rest[box[1]:box[3], box[0]:box[2]] = False
        missed += rest.sum()
        frame, _, over = table.step(action)
        if over:
            break
    assert grey > 3000 and missed < 0.04 * grey, (missed, grey)
    assert seen_of["cannon"] > 150 and seen_of["bomb"] > 200 and seen_of["invader"] > 1500, seen_of
