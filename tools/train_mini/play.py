"""Both games, learnt by imitation: frames as tools/games records them, and what is asked about them.

    Games       car-train-*.npz and space-train-*.npz of a folder; prompts, a function of (seed, step)
    Answers     the tokens of an answer and what is learnt from them
    judge       how well a model imitates on rounds set aside
"""
import glob

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import build_tokenizer
import data

BACK = {"car": 2, "space": 4}  # frames of a prompt
TRIES = 100


class Game:
    """The recorded rounds of one game. Every seventh round is set aside."""

    def __init__(self, folder, game):
        self.game, self.back = game, BACK[game]
        parts = [np.load(p) for p in sorted(glob.glob(f"{folder}/{game}-train-*.npz"))]
        if not parts:
            raise FileNotFoundError(f"{folder}: no {game}-train-*.npz; tools/games/record.py makes them")
        self.frames = [z["frames"] for z in parts]
        self.action = [z["action"] for z in parts]
        self.ways = [self.with_history(z["episode"], z["step"]) for z in parts]
        self.aside = [z["episode"] % 7 == 0 for z in parts]

    def with_history(self, episode, step):
        """For each frame the places of the frames of its prompt, oldest first, or -1 in front. What
        is before a round's first frame is that frame."""
        out = np.full((len(step), self.back), -1)
        for i in range(len(step)):
            line = [i]
            while len(line) < self.back:
                j = line[0]
                if step[j] == 0:
                    line.insert(0, j)
                elif j and episode[j - 1] == episode[j] and step[j - 1] == step[j] - 1:
                    line.insert(0, j - 1)
                else:
                    break
            if len(line) == self.back:
                out[i] = line
        return out

    def draw(self, r, aside=False):
        """(frames, oldest first; action) of a frame that has its history."""
        for _ in range(TRIES * len(self.frames)):
            f = int(r.integers(len(self.frames)))
            i = int(r.integers(len(self.ways[f])))
            if self.ways[f][i][0] >= 0 and self.aside[f][i] == aside:
                return [self.frames[f][j] for j in self.ways[f][i]], self.action[f][i]
        raise ValueError("no frame with its history was found")


def ready(frames):
    return torch.from_numpy(np.stack([data.ready(Image.fromarray(f), 128) for f in frames]))


class Games:
    def __init__(self, folder, seed):
        self.seed = seed
        self.games = {g: Game(folder, g) for g in BACK}

    def prompts(self, step, game, n, aside=False):
        """n prompts of one game: img (n, frames, 3, 128, 128), actions."""
        r = np.random.default_rng([self.seed, 66 + aside, step, len(game)])
        got = [self.games[game].draw(r, aside) for _ in range(n)]
        img = torch.stack([ready(f) for f, _ in got])
        return img, torch.from_numpy(np.stack([a for _, a in got]))


class Answers:
    """The answer's tokens behind the prompt of a game, and what is learnt from them."""

    def __init__(self, w):
        self.w = w
        self.ids = {"car": w.ids(build_tokenizer.ACT_CAR), "space": w.ids(build_tokenizer.ACT_SPACE)}

    def tokens(self, game, action):
        """ids (n, T) of the prompt's text and the answer; the same for all but its numbers."""
        w, rows = self.w, []
        for a in action.tolist():
            rows.append(self.ids[game] + (
                [w.tok["lb"], w.comma[a[0]], w.comma[a[1]], w.plain[a[2]], w.tok["rb"]]
                if game == "car" else [w.digit[a]]))
        return torch.tensor(rows)

    def states(self, m, tok, ids):
        """Final states of the last prompt token and of all answer tokens; tok (n, frames, I, D)."""
        n, T = ids.shape
        sees = torch.ones(T, T, dtype=torch.bool).tril().expand(n, T, T)
        kept = torch.arange(T).expand(n, T)
        return m.tree(m.prefix(tok), ids, kept, sees, kept)

    def parts(self, m, h, game, action):
        """[(name, logits, targets)] of the numbers, and the fixed tokens last."""
        w, W, first = self.w, m.head.weight, len(self.ids[game]) - 1

        def among(at, rows):
            return F.linear(h[:, at], W[torch.tensor(rows)]).float()
        if game == "space":
            fixed = [(first + 1, torch.full((len(h),), w.eos))]
            out = [("shot", among(first, w.digit[:6]), action)]
        else:
            fixed = [(first + k, torch.full((len(h),), t)) for k, t in
                     ((0, w.tok["lb"]), (4, w.tok["rb"]), (5, w.eos))]
            out = [(name, among(first + 1 + k, rows[:21]), action[:, k]) for k, (name, rows) in
                   enumerate((("steer", w.comma), ("gas", w.comma), ("brake", w.plain)))]
        at = torch.tensor([f[0] for f in fixed])
        return out + [("fixed", m.head(h[:, at]).float().flatten(0, 1),
                       torch.stack([f[1] for f in fixed], 1).flatten())]


WEIGHT = {"steer": 1.0, "gas": 0.7, "brake": 0.5, "shot": 1.0, "fixed": 0.3}


def answer_loss(m, answers, tok, game, action):
    """(loss, {name: cross-entropy})."""
    h = answers.states(m, tok, answers.tokens(game, action))
    ce = {name: F.cross_entropy(logits, want) for name, logits, want in answers.parts(m, h, game, action)}
    return sum(WEIGHT[k] * v for k, v in ce.items()), {k: v.item() for k, v in ce.items()}


@torch.no_grad()
def judge(m, answers, games, n=48, batch=12):
    """On rounds set aside: {steer_off, gas_off, brake_off: mean absolute error in steps of a tenth;
    steer_corr; shot: share right}."""
    said, true = {}, {}
    for game in BACK:
        for i in range(0, n, batch):
            img, action = games.prompts(i, game, batch, aside=True)
            tok = m.see(img.flatten(0, 1)).unflatten(0, img.shape[:2])
            h = answers.states(m, tok, answers.tokens(game, action))
            for name, logits, want in answers.parts(m, h, game, action)[:-1]:
                said.setdefault(name, []).append(logits.argmax(-1))
                true.setdefault(name, []).append(want)
    said = {k: torch.cat(v).float() for k, v in said.items()}
    true = {k: torch.cat(v).float() for k, v in true.items()}
    out = {k + "_off": (said[k] - true[k]).abs().mean().item() for k in ("steer", "gas", "brake")}
    out["steer_corr"] = torch.corrcoef(torch.stack([said["steer"], true["steer"]]))[0, 1].item()
    out["shot"] = (said["shot"] == true["shot"]).float().mean().item()
    return out
