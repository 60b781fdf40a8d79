#!/usr/bin/env python3
"""car.py - Gymnasium's CarRacing-v3, played by lammd and by its baselines.

    car.py --server http://127.0.0.1:8080 [--rounds N] [--json FILE]

Needs gymnasium[box2d], numpy, Pillow: see README.md. Nothing is drawn on a screen.
"""
import os

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # before pygame wakes up
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import gymnasium
import numpy as np

import match
import rules
from driver import Driver


class Scripted:
    """The expert as a model would play it: in steps of a tenth."""

    def __init__(self, env):
        self.driver = Driver(env)

    def act(self):
        return rules.to_control(rules.to_values(self.driver.act()))

    def notes(self, _):
        return {}


class Race:
    game, title = rules.CAR, "CarRacing-v3"
    habit = rules.to_control([10, 16, 10])

    def __init__(self):
        self.env = gymnasium.make("CarRacing-v3", disable_env_checker=True)
        self.drawn = True
        draw = self.env.unwrapped._render  # nearly all the time of a step
        self.env.unwrapped._render = lambda mode: draw(mode) if self.drawn else None

    def reset(self, seed):
        return self.env.reset(seed=seed)[0]

    def step(self, action):
        frame, reward, ended, cut, _ = self.env.step(np.array(action))
        return frame, reward, ended or cut

    def random(self, rng):
        return [rng.uniform(-1, 1), rng.uniform(0, 1), rng.uniform(0, 1)]

    def expert(self):
        return Scripted(self.env)


if __name__ == "__main__":
    match.main(Race(), match.options("play CarRacing through /v1/act").parse_args(), {})
