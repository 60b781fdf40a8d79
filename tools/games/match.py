"""match.py - plays the reserved rounds with several players and prints their scores side by side.

A game is an object with
    game, title        its name in /v1/act, its name for people
    reset(seed)        -> the first frame; the same seed is the same round
    step(action)       -> frame, reward, over
    drawn              whether step() has to make a frame (drawing is most of a game's time)
    random(rng)        -> an action, uniformly
    habit              the action that its expert takes most often
    expert()           -> an object whose act() answers from the game's own state; new each round
Every player plays the same seeds. Needs numpy; client.py only if there is a server.
"""
import argparse
import json
import sys
import time

import numpy as np

import rules


class Random:
    """Uniform over the action space, every step anew."""
    looks = False

    def __init__(self, table):
        self.table = table

    def begin(self, seed):
        self.rng = np.random.default_rng(seed)

    def act(self, _):
        return self.table.random(self.rng)


class Habit:
    """The expert's most frequent action, always: what a model scores that doesn't look."""
    looks = False

    def __init__(self, table):
        self.table = table

    def begin(self, _):
        pass

    def act(self, _):
        return self.table.habit


class Expert:
    """The game's scripted expert."""
    looks = False

    def __init__(self, table):
        self.table = table

    def begin(self, _):
        self.script = self.table.expert()

    def act(self, _):
        return self.script.act()


class Served:
    """lammd, through client.Player."""
    looks = True

    def __init__(self, player):
        self.player = player

    def begin(self, _):
        self.player.begin()

    def act(self, frame):
        return self.player.act(frame)


def play(table, player, seed, most=None):
    """One round to its end, or to `most` steps: {seed, reward, steps, over}."""
    table.drawn = player.looks
    frame, total, steps, over = table.reset(seed), 0.0, 0, False
    player.begin(seed)
    while not over and steps != most:
        frame, reward, over = table.step(player.act(frame))
        total, steps = total + float(reward), steps + 1
    return {"seed": seed, "reward": round(total, 3), "steps": steps, "over": bool(over)}


def summary(rounds):
    rewards = np.array([r["reward"] for r in rounds])
    spread = float(rewards.std(ddof=1)) if len(rewards) > 1 else 0.0
    return {"mean": round(float(rewards.mean()), 2), "sd": round(spread, 2),
            "min": float(rewards.min()), "max": float(rewards.max()),
            "steps": round(float(np.mean([r["steps"] for r in rounds])), 1), "rounds": rounds}


def latency(seconds, late):
    ms = np.array(seconds) * 1e3
    return {"acts": len(seconds), "median_ms": round(float(np.median(ms)), 2),
            "p99_ms": round(float(np.quantile(ms, 0.99)), 2), "max_ms": round(float(ms.max()), 2),
            "late": late}


def table_text(result):
    """The scores as lines to print."""
    seeds = result["seeds"]
    cut = f", at most {result['most_steps']} steps" if result["most_steps"] else ""
    lines = [f"{result['title']}: seeds {seeds[0]}-{seeds[-1]}{cut}",
             f"{'':12}{'mean':>9}{'sd':>9}{'min':>9}{'max':>9}{'steps':>9}"]
    for name, s in result["players"].items():
        figures = "".join(f"{s[k]:9.1f}" for k in ("mean", "sd", "min", "max", "steps"))
        note = "  (measured before)" if s.get("before") else ""
        lines.append(f"{name:12}{figures}{note}")
    expert, model = rules.PAPER[result["game"]]
    lines.append(f"{'':12}the paper's expert {expert}, PAE-LaMM {model} (15 rounds)")
    if "latency" in result:
        t = result["latency"]
        lines.append(f"{'':12}{t['acts']} acts: median {t['median_ms']} ms, p99 {t['p99_ms']} ms, "
                     f"longest {t['max_ms']} ms, late {t['late']}")
    return "\n".join(lines)


def baselines(path, wish):
    """The baselines of an earlier --json, if those rounds were the same ones."""
    try:
        with open(path, encoding="utf-8") as f:
            old = json.load(f)
    except (OSError, ValueError) as e:
        raise SystemExit(f"{path}: {e}") from e
    for k, v in wish.items():
        if old.get(k) != v:
            raise SystemExit(f"{path}: {k} is {old.get(k)}, not {v}: not the same rounds")
    return {k: {**v, "before": True} for k, v in old["players"].items() if k != "lammd"}


def run(table, players, seeds, most=None, say=print):
    """{player: summary} of each player on each seed."""
    out = {}
    for name, player in players.items():
        rounds = []
        for seed in seeds:
            start = time.monotonic()
            rounds.append(play(table, player, seed, most))
            say(f"{name} seed {seed}: {rounds[-1]['reward']:.1f} in {rounds[-1]['steps']} steps, "
                f"{time.monotonic() - start:.0f} s")
        out[name] = summary(rounds)
    return out


def options(about):
    p = argparse.ArgumentParser(description=about)
    p.add_argument("--server", help="http://host:port of lammd; without it only the baselines play")
    p.add_argument("--key", help="of a server that asks for one; default: the variable LAMMD_KEY")
    p.add_argument("--rounds", type=int, default=15, help="how many of the 15 reserved seeds")
    p.add_argument("--steps", type=int, help="the most steps of a round")
    p.add_argument("--players", default="random,habit,expert",
                   help="baselines to play: random,habit,expert")
    p.add_argument("--baselines", help="take the baselines from an earlier --json instead")
    p.add_argument("--one-shot", action="store_true", help="all frames in each request")
    p.add_argument("--deadline-ms", type=int, help="ask for the default action after this long")
    p.add_argument("--json", help="write the results here as well")
    p.add_argument("--quiet", action="store_true", help="no line per round")
    return p


def main(table, o, rules_of_play):
    """Plays what the options ask for. rules_of_play: what else the same rounds have in common."""
    if not 1 <= o.rounds <= len(rules.RESERVED):
        raise SystemExit(f"--rounds: 1 to {len(rules.RESERVED)}")
    seeds = list(rules.RESERVED)[:o.rounds]
    wish = {"game": table.game, "seeds": seeds, "most_steps": o.steps, **rules_of_play}
    result = {"title": table.title, **wish}
    known = {"random": Random(table), "habit": Habit(table), "expert": Expert(table)}
    names = [] if o.baselines else [n for n in o.players.split(",") if n]
    if not set(names) <= set(known):
        raise SystemExit(f"--players: {o.players}: only {', '.join(known)}")
    result["players"] = baselines(o.baselines, wish) if o.baselines else {}
    say = (lambda _: None) if o.quiet else lambda text: print(text, file=sys.stderr, flush=True)
    result["players"] |= run(table, {n: known[n] for n in names}, seeds, o.steps, say)
    if o.server:
        import client
        try:
            player = client.Player(o.server, table.game, o.one_shot, o.deadline_ms, key=o.key)
            result["players"] |= run(table, {"lammd": Served(player)}, seeds, o.steps, say)
            player.close()
        except (client.Refused, ValueError, OSError) as e:
            raise SystemExit(f"{o.server}: {e}") from e
        result["latency"] = latency(player.latencies, player.late)
        result["one_shot"] = o.one_shot
    print(table_text(result))
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
