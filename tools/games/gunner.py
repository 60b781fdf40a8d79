"""gunner.py - the scripted Space Invaders expert: dodge what falls, then stand where a shot hits.

Every step it tries the plans "go left or right for n steps, then stand" against the bombs in the
air, and of those that stay unhurt the longest takes the one that ends nearest to the place from
which the next shot hits: the invader that can be hit soonest, or the saucer whenever it can be hit
at all (200 points). It never lets go of the trigger: the game holds a shot back while one is in
the air.

It reads the game's memory, but only what the screen shows too. Units are the game's own: one pixel
across, two down. Addresses and lengths were found by watching games (kills, deaths, turns of the
block). Needs the standard library only.
"""
ROWS = range(18, 24)         # a byte per row of invaders, the lowest first; bit 0: left column
DROPPED, BLOCK_X = 16, 26    # how far the block has come down, and the left edge of its left column
CANNON_X, SAUCER_X = 28, 30
BOMBS = ((81, 83), (82, 84))  # y, x
NONE = 246                   # the y of a bomb that is not in the air

WALK, FALL, RISE = 2, 2, 4   # what a step moves: cannon, bomb, own shot
MIN_X, MAX_X = 35, 117       # of the cannon
BLOCK_MIN, BLOCK_MAX = 23, 129  # left edges of the outermost invaders at which the block turns
MUZZLE_X, MUZZLE_Y = 5, 84   # where a shot starts, seen from CANNON_X
WIDE = (-2, 9)               # a bomb so far right of CANNON_X hits, with a pixel of caution
HIGH = (90, 108)             # while it is this low
LOWEST, ROW_GAP = 60, 9.4    # y of the lowest row before it came down, and between rows
COLUMN_GAP, MIDDLE = 16, 4.5  # between columns, and the middle of an invader

HORIZON = 24                 # steps it looks ahead
PLANS = [(0, 0)] + [(way, n) for n in (1, 2, 3, 4, 5, 6, 8, 10) for way in (-1, 1)]
FIRE, RIGHTFIRE, LEFTFIRE = 1, 4, 5  # as rules.ACTIONS


def walked(x, way, steps):
    return min(MAX_X, max(MIN_X, x + way * WALK * steps))


class Block:
    """How fast the invaders move sideways, in the last 16 steps; fewer are faster."""

    def __init__(self):
        self.seen = []

    def speed(self, x):
        """Signed units a step."""
        self.seen = (self.seen + [x])[-17:]
        moves = [b - a for a, b in zip(self.seen, self.seen[1:])]
        if any(abs(m) > 8 for m in moves):  # a new wave
            self.seen, moves = [x], []
        way = next((m for m in reversed(moves) if m), 0)
        if not way:
            return 0.0
        return (1 if way > 0 else -1) * sum(map(abs, moves)) / len(moves)


class Gunner:
    """The expert of one game; ask it once a step of four raw frames."""

    def __init__(self):
        self.block, self.saucer = Block(), 0

    def invaders(self, ram, speed):
        """(steps to wait, cannon x, row) of the first chance at each column's lowest invader."""
        rows = [[k for k, at in enumerate(ROWS) if ram[at] >> c & 1] for c in range(6)]
        alive = [c for c in range(6) if rows[c]]
        for c in alive:
            low = BLOCK_MIN - COLUMN_GAP * alive[0]
            high = BLOCK_MAX - COLUMN_GAP * alive[-1]
            y = LOWEST - ROW_GAP * rows[c][0] + ram[DROPPED]
            flight = max(1, (MUZZLE_Y - y) / RISE)
            for wait in range(HORIZON):
                x = ram[BLOCK_X] + speed * (flight + wait)
                if speed > 0 and x > high:  # it will have turned
                    x = max(low, 2 * high - x)
                elif speed < 0 and x < low:
                    x = min(high, 2 * low - x)
                x += COLUMN_GAP * c + MIDDLE - MUZZLE_X
                if MIN_X - 3 <= x <= MAX_X + 3 and abs(x - ram[CANNON_X]) <= WALK * wait + 2:
                    yield wait, x, rows[c][0]
                    break

    def saucers(self, ram):
        """The same for the saucer, counted as sooner than any invader."""
        speed, self.saucer = ram[SAUCER_X] - self.saucer, ram[SAUCER_X]
        if not 0 < abs(speed) <= 2 or not 0 < ram[SAUCER_X] < 160:
            return
        for wait in range(40):
            x = ram[SAUCER_X] + speed * (wait + MUZZLE_Y // RISE - 2) + 2 - MUZZLE_X
            if MIN_X <= x <= MAX_X and abs(x - ram[CANNON_X]) <= WALK * wait + 1:
                yield wait - 100, x, len(ROWS)
                return

    def unhurt(self, ram, way, steps):
        """Steps until a bomb hits if the cannon goes `way` for `steps` steps; at most HORIZON."""
        bombs = [(ram[y], ram[x]) for y, x in BOMBS if ram[y] != NONE]
        for t in range(1, HORIZON):
            at = walked(ram[CANNON_X], way, min(t, steps))
            if any(HIGH[0] <= y + FALL * t <= HIGH[1] and WIDE[0] <= x - at <= WIDE[1]
                   for y, x in bombs):
                return t
        return HORIZON

    def act(self, ram):
        """1, 4 or 5: the cannon stands, goes right or left, and fires."""
        return self.think(ram)[0]

    def think(self, ram):
        """The action, how far right of the cannon it aims, and the steps until a bomb hits if the
        cannon stands, goes right, goes left (at most HORIZON). Once a step, as act."""
        ram = [int(v) for v in ram]
        chances = [*self.invaders(ram, self.block.speed(ram[BLOCK_X])), *self.saucers(ram)]
        x = ram[CANNON_X]
        _, aim, _ = min(chances, default=(0, x, 0))
        way, _ = min(PLANS, key=lambda p: (-self.unhurt(ram, *p), abs(walked(x, *p) - aim), p[1]))
        action = {0: FIRE, 1: RIGHTFIRE, -1: LEFTFIRE}[way]
        return action, round(aim - x), *(self.unhurt(ram, w, HORIZON) for w in (0, 1, -1))
