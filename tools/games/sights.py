"""sights.py - what is on the screen of Space Invaders, as boxes: of the memory and of the picture.

The game's memory (gunner.py has the addresses) says where a thing should be, the picture whether
it is drawn there: a box is drawn in around the pixels of the thing's own colour, and a thing
without such pixels is not there. So a bomb below the ground and a cannon that burns are left out.
Boxes are x1, y1, x2, y2 in pixels of the 160x210 picture, with x2 and y2 behind the last one. A
frame that is the larger of two raw ones shows what moves a pixel or two longer. Needs numpy.
"""
import numpy as np

import gunner

COLUMNS, SHIELDS = 6, 3
NAMES = ["cannon", "bomb", "bomb", "shot", "saucer"] + ["shield"] * SHIELDS + ["block"] \
    + ["invader"] * COLUMNS  # of the slots; an invader is the lowest of its column, left to right
COLOURS = {"cannon": (50, 132, 50), "bomb": (142, 142, 142), "shot": (142, 142, 142),
           "saucer": (151, 25, 122), "shield": (181, 83, 40), "block": (134, 134, 29),
           "invader": (134, 134, 29)}
NOWHERE = (-1, -1, -1, -1)
SHOT_X, SHOT_Y = 87, 85      # addresses
GROUND = 195                 # its first line
FIRST_SHIELD, SHIELD_GAP = 42, 32
LOWEST_Y, ROW_HEIGHT = 121, 18
WIDE, HIGH = 8, 10           # an invader, the cannon
SLACK = (2, 3)               # what moves may be this far from where the memory has it


def expected(ram):
    """int (15, 4): where the memory has each of NAMES."""
    ram = [int(v) for v in ram]
    out = [(ram[gunner.CANNON_X] - 1, 185, ram[gunner.CANNON_X] + 7, GROUND)]
    for (y, x), long in zip((*gunner.BOMBS, (SHOT_Y, SHOT_X)), (10, 10, 12)):
        top = 2 * ram[y] + 2
        there = ram[y] != gunner.NONE and top < GROUND
        out.append((ram[x] - 2, top, ram[x] - 1, min(GROUND, top + long)) if there else NOWHERE)
    x = ram[gunner.SAUCER_X]
    out.append((x - 1, 12, x + 7, 20) if 0 < x < 160 else NOWHERE)
    for left in range(FIRST_SHIELD, FIRST_SHIELD + SHIELDS * SHIELD_GAP, SHIELD_GAP):
        out.append((left, 157, left + WIDE, 175))
    return np.array(out + invaders(ram))


def invaders(ram):
    """Boxes of the block and of the lowest invader of each column."""
    lowest, everywhere = [], []
    for c in range(COLUMNS):
        rows = [k for k, at in enumerate(gunner.ROWS) if ram[at] >> c & 1]
        left = ram[gunner.BLOCK_X] - 1 + gunner.COLUMN_GAP * c
        tops = [LOWEST_Y - ROW_HEIGHT * k + 2 * ram[gunner.DROPPED] for k in rows]
        boxes = [(left, top, left + WIDE, top + HIGH) for top in tops]
        lowest.append(boxes[0] if boxes else NOWHERE)
        everywhere += boxes
    if not everywhere:
        return [NOWHERE] + lowest
    far = np.array(everywhere)
    return [(*far[:, :2].min(0).tolist(), *far[:, 2:].max(0).tolist())] + lowest


def drawn(frame, box, colour):
    """The box around the pixels of that colour near `box`; NOWHERE if there are none."""
    h, w = frame.shape[:2]
    x1, y1 = max(0, box[0] - SLACK[0]), max(0, box[1] - SLACK[1])
    x2, y2 = min(w, box[2] + SLACK[0]), min(h, GROUND, box[3] + SLACK[1])
    if box[0] < 0 or x1 >= x2 or y1 >= y2:
        return NOWHERE
    own = (frame[y1:y2, x1:x2] == colour).all(2)
    if not own.any():
        return NOWHERE
    ys, xs = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    return (x1 + xs[0], y1 + ys[0], x1 + xs[-1] + 1, y1 + ys[-1] + 1)


def things(frame, ram):
    """int16 (15, 4): the box of each of NAMES on the frame, or NOWHERE."""
    return np.array([drawn(frame, box, COLOURS[name])
                     for name, box in zip(NAMES, expected(ram).tolist())], np.int16)
