#!/usr/bin/env python3
"""record.py - plays the scripted experts and writes what they saw and did, to train a model on.

    record.py car|space --out FOLDER [--episodes N] [--seed FIRST] [--files N]

Every frame is labelled with what the expert would do there; what is done there is often something
else (car: noise in 30 % of the states, in bursts), so that a model also learns to come back from its own mistakes.
Writes FOLDER/{car,space}-train-K.npz, each whole or not at all:
  frames   uint8 (n, h, w, 3) as the game gives them: 96x96, or 210x160 (the larger of the last two
           raw frames); oldest first
  action   int64 (n, 3) of 0..20, or (n,) of 0..5
  episode  int64 (n,)  the seed
  step     int64 (n,)  the agent's step; two frames follow each other if episode is the same and
           step differs by one
Seeds start at 10,000: 0-14 are for scoring. Nothing of it belongs into the repository.
"""
import argparse
import os

import numpy as np

import rules


class Bursts:
    """Noise in a share of the steps, in bursts of random length; the episode draws how much, 0.1 to 0.5."""

    def __init__(self, rng):
        self.rng, self.left, self.noise = rng, 0, None
        share = float(rng.choice([0.1, 0.3, 0.3, 0.5]))
        self.mean = float(rng.choice([1.5, 3, 6]))
        self.start = share / (1 - share) / self.mean

    def __call__(self, control):
        r = self.rng
        if self.left == 0 and r.random() < self.start:
            self.left = int(r.integers(1, max(2, round(2 * self.mean))))
            self.wild = r.random() < 0.5
            pedal = r.uniform(0, 1, 2) * (np.arange(2) == (r.random() < 0.25))
            self.noise = (r.uniform(-1, 1), *pedal) if self.wild else (r.normal(0, 0.5), *pedal * 0.5)
        if self.left == 0:
            return control
        self.left -= 1
        if self.wild:
            return list(self.noise)
        return [min(1.0, max(-1.0, control[0] + self.noise[0])), control[1], control[2]]


def car_episodes(seeds, run=5, every=15):
    """(frame, action, seed, step): runs of `run` frames, one per `every` steps."""
    import car
    env = car.make()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        expert, first = None, int(rng.integers(every))
        noise, step, over = Bursts(rng), 0, False
        env.unwrapped.drawn = True
        frame, _ = env.reset(seed=seed)
        expert = car.Driver(env)
        while not over:
            label = rules.to_values(expert.act())
            if (step + first) % every < run:
                yield frame, label, seed, step
            env.unwrapped.drawn = (step + 1 + first) % every < run
            frame, _, ended, cut, _ = env.step(np.array(noise(rules.to_control(label))))
            step, over = step + 1, ended or cut


def space_episodes(seeds, run=10, every=40, cap=4000):
    """(frame, action, seed, step): runs of `run` frames, one per `every` steps; sticky actions."""
    import space
    for seed in seeds:
        rng = np.random.default_rng(seed)
        first, left, step = int(rng.integers(every)), 0, 0
        share, mean = float(rng.choice([0.0, 0.15, 0.3])), 4
        game, expert = space.Game(seed, 15 + seed % 16, 0.25), space.Gunner()
        while not game.over() and step < cap:
            label = expert.act(game.ram())
            if (step + first) % every < run:
                yield game.frame, label, seed, step
            if left == 0 and rng.random() < share / (1 - share) / mean:
                left, other = int(rng.integers(1, 2 * mean)), int(rng.integers(6))
            game.step(other if left else label)
            left, step = max(0, left - 1), step + 1


def save(path, rows):
    frames, actions, episodes, steps = zip(*rows)
    part = path + ".part.npz"
    np.savez_compressed(part, frames=np.stack(frames), action=np.array(actions, np.int64),
                        episode=np.array(episodes, np.int64), step=np.array(steps, np.int64))
    os.replace(part, path)
    print(f"{path}: {len(frames)} frames of {len(set(episodes))} episodes", flush=True)


def main():
    p = argparse.ArgumentParser(description="record the experts as training data")
    p.add_argument("game", choices=["car", "space"])
    p.add_argument("--out", required=True)
    p.add_argument("--episodes", type=int, default=10, help="in each file")
    p.add_argument("--files", type=int, default=4)
    p.add_argument("--seed", type=int, default=rules.TRAIN_SEED, help="of the first episode")
    p.add_argument("--first", type=int, default=0, help="number of the first file")
    o = p.parse_args()
    if o.seed < rules.TRAIN_SEED:
        p.error(f"--seed: below {rules.TRAIN_SEED}; the first ones are reserved for scoring")
    play = {"car": car_episodes, "space": space_episodes}[o.game]
    os.makedirs(o.out, exist_ok=True)
    for k in range(o.files):
        first = o.seed + k * o.episodes
        save(f"{o.out}/{o.game}-train-{o.first + k}.npz", list(play(range(first, first + o.episodes))))


if __name__ == "__main__":
    main()
