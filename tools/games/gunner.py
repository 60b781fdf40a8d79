"""gunner.py - the scripted Space Invaders expert: dodge what falls, then stand where a shot will hit.

Reads nothing that the screen does not show, but reads it from the game's memory (INVADERS.. below).
Every step it tries the plans "go left or right for n steps, then stand" against the bombs in the
air, and of the safe ones takes the one that ends nearest to the place from which its next shot meets
an invader. Lengths are in the game's own units: one pixel across, two down. Needs the standard
library only.
"""

LEFT_OVER, ROWS, INVADERS_X, DROPPED = 17, 18, 26, 16
CANNON_X, SAUCER_X = 28, 30
BOMB_Y, BOMB_X, SHOT_Y, SHOT_X = (81, 82), (83, 84), 85, 87
NONE = 246                    # a y that means: not in the air
WALK, FALL, RISE = 2, 2, 4    # units of a step: cannon, bomb, own shot
MIN_X, MAX_X = 35, 117        # of the cannon
MUZZLE = 5                    # its shot's x beyond CANNON_X
TOP, BOTTOM = 90, 108         # heights at which a bomb meets the cannon
HORIZON = 24
LOW_ROW, ROW_GAP = 60, 9.4    # height of the lowest row, and between rows
COLUMN_GAP, MIDDLE = 16, 4.5  # between columns, and the middle of an invader
LEFT_EDGE, RIGHT_EDGE = 23, 129


class Gunner:
    """The expert of one episode; ask it once a step of four raw frames."""

    always_fire = True
    margin = 1
    saucer = True

    def __init__(self):
        self.seen = []

    def speed(self, x):
        """Units a step that the block of invaders moves, signed."""
        self.seen = (self.seen + [x])[-17:]
        s = self.seen
        steps = [b - a for a, b in zip(s, s[1:])]
        if any(abs(d) > 8 for d in steps):  # a new wave
            self.seen = [x]
            return 0.0
        moves = [d for d in steps if d]
        if not moves:
            return 0.0
        way = 1 if moves[-1] > 0 else -1
        return way * sum(abs(d) for d in steps) / len(steps)

    def targets(self, ram):
        """(cannon x from which a shot fired on arrival hits, worth) of each column."""
        block, speed = ram[INVADERS_X], self.v
        columns = [[k for k in range(6) if ram[ROWS + k] >> c & 1] for c in range(6)]
        alive = [c for c in range(6) if columns[c]]
        if not alive:
            return []
        lo, hi = LEFT_EDGE - 16 * alive[0], RIGHT_EDGE - 16 * alive[-1]
        out = []
        for c in alive:
            row = columns[c][0]
            height = LOW_ROW - ROW_GAP * row + ram[DROPPED]
            flight = max(1, (84 - height) / RISE)
            for wait in range(0, 24):
                x = block + speed * (flight + wait)
                if x > hi and speed > 0:
                    x = max(lo, 2 * hi - x)
                elif x < lo and speed < 0:
                    x = min(hi, 2 * lo - x)
                need = x + 16 * c + MIDDLE - MUZZLE
                if MIN_X - 3 <= need <= MAX_X + 3 and abs(need - ram[CANNON_X]) <= WALK * wait + 2:
                    out.append((wait, need, row))
                    break
        if self.saucer and 0 < ram[SAUCER_X] < 160 and self.saucer_v:
            for wait in range(0, 40):
                need = ram[SAUCER_X] + self.saucer_v * (wait + 84 // RISE - 2) + 2 - MUZZLE
                if MIN_X <= need <= MAX_X and abs(need - ram[CANNON_X]) <= WALK * wait + 1:
                    out.append((wait - 100, need, 9))
                    break
        return out

    def safe(self, ram, way, steps):
        """Whether going `way` for `steps` steps and standing then meets no bomb; else when."""
        for t in range(1, HORIZON):
            x = min(MAX_X, max(MIN_X, ram[CANNON_X] + way * WALK * min(t, steps)))
            for by, bx in zip(BOMB_Y, BOMB_X):
                if ram[by] == NONE:
                    continue
                if TOP <= ram[by] + FALL * t <= BOTTOM and -1 - self.margin <= ram[bx] - x <= 8 + self.margin:
                    return t
        return HORIZON

    def act(self, ram):
        """0..5 as rules.ACTIONS."""
        ram = [int(v) for v in ram]
        self.v = self.speed(ram[INVADERS_X])
        last = getattr(self, "last_saucer", 0)
        self.saucer_v = ram[SAUCER_X] - last if 0 < abs(ram[SAUCER_X] - last) <= 2 else 0
        self.last_saucer = ram[SAUCER_X]
        x = ram[CANNON_X]
        targets = self.targets(ram)
        wait, aim, row = min(targets) if targets else (0, x, 0)
        best = None
        for way, steps in [(0, 0)] + [(w, n) for n in (1, 2, 3, 4, 5, 6, 8, 10) for w in (-1, 1)]:
            end = min(MAX_X, max(MIN_X, x + way * WALK * steps))
            rank = (-self.safe(ram, way, steps), abs(end - aim), steps)
            if best is None or rank < best[0]:
                best = (rank, way)
        way = best[1]
        fire = self.always_fire or (ram[SHOT_Y] == NONE and abs(aim - x) <= 2)
        return {(0, 0): 0, (0, 1): 1, (1, 0): 2, (-1, 0): 3, (1, 1): 4, (-1, 1): 5}[way, int(fire)]
