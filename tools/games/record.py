#!/usr/bin/env python3
"""record.py - plays the scripted experts and writes what they saw and did, to train a model on.

    record.py car|space --out FOLDER [--files N] [--episodes N] [--seed FIRST]
    record.py car|space --out FOLDER --server http://127.0.0.1:8080 ...

Every frame is labelled with what the expert would do there, but what is done is often something
else, so that a model also learns to come back from mistakes: noise in bursts (the share of noisy
steps is drawn per episode: car 10 to 50 %, Space Invaders 0 to 30 %, sticky actions 0.25), or, with
--server, the actions of the model that is served, in stretches that it and the expert take by lot.

Writes FOLDER/{car,space}-train-K.npz, each whole or not at all:
  frames   uint8 (n, h, w, 3) as the game gives them, in time order: 96x96, or 210x160
  action   int64 (n, 3) of 0..20, or (n,) of 0..5: the expert's
  episode  int64 (n,)  the seed
  step     int64 (n,)  the agent's step. Frame i-1 came right before frame i if their episodes are
           the same and their steps differ by one: short runs are kept, not whole episodes
and of Space Invaders, too:
  things   int16 (n, 15, 4)  boxes of what is on the screen, -1 of what is not (sights.py)
  thoughts int16 (n, 4)  the expert's: its aim minus the cannon's x, steps until a bomb hits if the
           cannon stands, goes right, goes left (Gunner.think)
Seeds start at 10,000: 0-14 are for scoring. Nothing of this belongs into the repository.
"""
import argparse
import functools
import os

import numpy as np

import rules

RUNS = {"car": (5, 15), "space": (10, 40)}  # so many steps in a row are kept, of every so many
MOST_STEPS = 4000
STRETCH = 50  # steps that the model or the expert keeps the wheel


class Bursts:
    """When to be noisy: in a share of the steps, in bursts of `mean` steps on average."""

    def __init__(self, rng, shares, means):
        self.rng, self.left = rng, 0
        share, self.mean = float(rng.choice(shares)), float(rng.choice(means))
        self.start = share / (share + self.mean * (1 - share))

    def now(self):
        """0: not now, 1: a new burst begins, 2: the last one goes on."""
        if self.left:
            self.left -= 1
            return 2
        if self.rng.random() >= self.start:
            return 0
        self.left = int(self.rng.integers(1, max(2, round(2 * self.mean)))) - 1
        return 1


class CarNoise:
    """Either any action, or the expert's with other steering, for the length of a burst."""

    def __init__(self, rng):
        self.rng, self.bursts = rng, Bursts(rng, [0.1, 0.3, 0.3, 0.5], [1.5, 3, 6])

    def __call__(self, control, _):
        now = self.bursts.now()
        if not now:
            return control
        if now == 1:
            r = self.rng
            self.wild = r.random() < 0.5
            braking = r.random() < 0.25
            pedals = r.uniform(0, 1, 2) * (np.arange(2) == braking)  # one of the two
            self.other = [r.uniform(-1, 1) if self.wild else r.normal(0, 0.5), *pedals]
        if self.wild:
            return self.other
        return [min(1.0, max(-1.0, control[0] + self.other[0])), *control[1:]]


class SpaceNoise:
    """Another action for the length of a burst."""

    def __init__(self, rng):
        self.rng, self.bursts = rng, Bursts(rng, [0, 0.15, 0.3], [4])

    def __call__(self, action, _):
        now = self.bursts.now()
        if now == 1:
            self.other = int(self.rng.integers(len(rules.ACTIONS)))
        return self.other if now else action


class Learner:
    """A served model and the expert by turns; the model sees every frame."""

    def __init__(self, rng, player):
        self.rng, self.player, self.steps = rng, player, 0
        player.begin()

    def __call__(self, action, frame):
        if self.steps % STRETCH == 0:
            self.leads = self.rng.random() < 0.5
        self.steps += 1
        own = self.player.act(frame)
        return own if self.leads else action


def episode(table, seed, kept, does, always_drawn=False, most=MOST_STEPS):
    """(frame, label, seed, step, notes) of the kept runs; `does` makes what is done."""
    run, every = kept
    rng = np.random.default_rng(seed)
    first, does = int(rng.integers(every)), does(rng)
    table.drawn = True
    frame, step, over = table.reset(seed), 0, False
    expert = table.expert()
    while not over and step < most:
        action = expert.act()
        if (first + step) % every < run:
            label = rules.to_values(action) if table.game == rules.CAR else action
            yield frame, label, seed, step, expert.notes(frame)
        done = does(action, frame)
        table.drawn = always_drawn or (first + step + 1) % every < run
        frame, _, over = table.step(done)
        step += 1


def save(path, rows):
    frames, actions, episodes, steps, notes = zip(*rows)
    more = {name: np.stack([n[name] for n in notes]) for name in notes[0]}
    part = path + ".part.npz"
    np.savez_compressed(part, frames=np.stack(frames), action=np.array(actions, np.int64),
                        episode=np.array(episodes, np.int64), step=np.array(steps, np.int64), **more)
    os.replace(part, path)
    print(f"{path}: {len(frames)} frames of {len(set(episodes))} episodes", flush=True)


def table_of(game):
    if game == "car":
        import car
        return car.Race()
    import space
    return space.Invasion(sticky=0.25)


def options():
    p = argparse.ArgumentParser(description="record the experts as training data")
    p.add_argument("game", choices=sorted(RUNS))
    p.add_argument("--out", required=True, help="folder, outside of the repository")
    p.add_argument("--episodes", type=int, default=10, help="in each file")
    p.add_argument("--files", type=int, default=4)
    p.add_argument("--steps", type=int, default=MOST_STEPS, help="episodes are cut short there (default: %(default)s)")
    p.add_argument("--seed", type=int, default=rules.TRAIN_SEED, help="of the first episode")
    p.add_argument("--first", type=int, default=0, help="number of the first file")
    p.add_argument("--key", help="of a server that asks for one; default: the variable LAMMD_KEY")
    p.add_argument("--server", help="http://host:port of lammd: its model acts instead of noise")
    o = p.parse_args()
    if o.seed < rules.TRAIN_SEED:
        p.error(f"--seed: below {rules.TRAIN_SEED}; small ones are reserved for scoring")
    return o


def main():
    o = options()
    table = table_of(o.game)
    does = {"car": CarNoise, "space": SpaceNoise}[o.game]
    if o.server:
        import client
        player = client.Player(o.server, table.game, key=o.key)
        does = functools.partial(Learner, player=player)
    os.makedirs(o.out, exist_ok=True)
    for k in range(o.files):
        seed = o.seed + k * o.episodes
        rows = [row for s in range(seed, seed + o.episodes)
                for row in episode(table, s, RUNS[o.game], does, bool(o.server), o.steps)]
        save(f"{o.out}/{o.game}-train-{o.first + k}.npz", rows)
    if o.server:
        player.close()


if __name__ == "__main__":
    main()
