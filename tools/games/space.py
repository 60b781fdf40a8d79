#!/usr/bin/env python3
"""space.py - Space Invaders (Arcade Learning Environment): lammd and its baselines.

    space.py --server http://127.0.0.1:8080 [--sticky 0.25] [--rounds N] [--json FILE]

An agent's step is four raw frames with one action; its frame is the larger, pixel by pixel, of the
last two (the game draws some things every other frame only). Round s begins with s no-ops of one
raw frame each (those to train on with 15 to 30), and s seeds what chance there is. A round is a
whole game of three lives, its score the game's own points.
Needs ale-py, numpy, Pillow: see README.md.
"""
import numpy as np
from ale_py import ALEInterface, LoggerMode, roms

import match
import rules
import sights
from gunner import Gunner

SKIP = 4


class Scripted:
    def __init__(self, ale):
        self.ale, self.gunner = ale, Gunner()

    def act(self):
        self.ram = self.ale.getRAM()
        action, *self.thoughts = self.gunner.think(self.ram)
        return action

    def notes(self, frame):
        """What else is recorded of the frame that it has just acted on."""
        return {"things": sights.things(frame, self.ram), "thoughts": np.array(self.thoughts, np.int16)}


class Invasion:
    game, title, habit = rules.SPACE, "Space Invaders", rules.ACTIONS.index("FIRE")

    def __init__(self, sticky=0.0):
        self.sticky, self.drawn = sticky, True
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.title += f", sticky actions {sticky}"

    def reset(self, seed):
        """A fresh machine, so that nothing of the round before is left in it."""
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", self.sticky)
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(roms.get_rom_path("space_invaders"))
        self.actions = self.ale.getMinimalActionSet()
        assert [a.name for a in self.actions] == rules.ACTIONS
        self.ale.reset_game()
        for _ in range(seed if seed in rules.RESERVED else 15 + seed % 16):
            self.ale.act(self.actions[0])
        return self.ale.getScreenRGB()

    def step(self, action):
        reward, frames = 0, []
        for i in range(SKIP):
            reward += self.ale.act(self.actions[action])
            if self.drawn and i >= SKIP - 2:
                frames.append(self.ale.getScreenRGB())
        return np.maximum(*frames) if frames else None, reward, self.ale.game_over()

    def random(self, rng):
        return int(rng.integers(len(rules.ACTIONS)))

    def expert(self):
        return Scripted(self.ale)


if __name__ == "__main__":
    options = match.options("play Space Invaders through /v1/act")
    options.add_argument("--sticky", type=float, default=0.0,
                         help="how often a raw frame repeats the action before it (0, or 0.25)")
    o = options.parse_args()
    match.main(Invasion(o.sticky), o, {"sticky": o.sticky})
