"""The games' routes, fitted by least squares instead of by gradient.

    python3 tools/train_mini/act.py --run RUN --tokenizer TOKENIZER --games GAMES --out RUN2

GAMES holds car-train-*.npz and space-train-*.npz as tools/games records them: `frames`, the
expert's `action` for each, `episode`, `step`. A game frame costs as many rows as a scene, so what
two cores could learn by gradient from frames in an hour is little; but steering is nearly linear in
what colour lies where (a straight line through 8x8 block means explains three quarters of its variance). So:

    layer 0   128 gated units that training left free (lay.spare): a gate for each of 8x8 regions,
              times the region's greenness or brightness; their outputs are fitted to the expert's
              steering, gas and brake by ridge regression over real frames and real activations
    layer 1   head 5, uniform over everything before it: the mean of all tokens' votes
    layer 2   two units: after `[` the vote for steering, after a number that for gas
    head      numbers 0..20: a Gaussian around it; for the brake the expert's commonest

Only weights that were zero change, and rows of the head where they read these channels. Space Invaders
gets the expert's commonest action: its frames are not linear in anything of this kind. RUN2 gets last.pt
(`ema` alone) and config.json.
"""
import argparse
import glob
import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import build_tokenizer
import data
import dense
import init
import lay
import mix
from init import CONST, F_COMMA, F_LB
from model import LaMM, rope, rope_tables

VOTE = (103, 107, 108)  # on text tokens: mean votes for steering, gas, brake
T_VOTE = 172            # on picture tokens: the votes
ACTED, F_ACT = 109, 187
SCALE = 0.4             # of a vote's deviation in the residual
SURE = 3.0              # of an answer: one over its variance, in units of five


def samples(folder, game, every, limit, seed=0):
    """[(frames oldest first, action)]: of runs of consecutive frames, those with their history."""
    out, back = [], {"car": 2, "space": 4}[game]
    for path in sorted(glob.glob(f"{folder}/{game}-train-*.npz")):
        z = np.load(path)
        frames, action, episode, step = (z[k] for k in ("frames", "action", "episode", "step"))
        for i in range(len(frames)):
            line = [i]
            while len(line) < back:
                j = line[0]
                if step[j] == 0:
                    line.insert(0, j)
                elif j and episode[j - 1] == episode[j] and step[j - 1] == step[j] - 1:
                    line.insert(0, j - 1)
                else:
                    break
            if len(line) == back and i % every == 0:
                out.append((frames[line], action[i], int(episode[i])))
    r = np.random.default_rng(seed)
    return [out[i] for i in r.permutation(len(out))[:limit]]


def ready(frames):
    return torch.from_numpy(np.stack([data.ready(Image.fromarray(f), 128) for f in frames]))


@torch.no_grad()
def lay_units(m):
    """The layer 0 units: (rows, gates and ups set, outputs still zero)."""
    l = m.layers[0]
    n = l.down.weight.shape[1]
    G, U = l.gate_up.weight[:n], l.gate_up.weight[n:]
    free = [i for i in range(n) if not (G[i].any() or U[i].any() or l.down.weight[:, i].any())]
    free = free[:128]
    assert len(free) == 128, len(free)
    side = (torch.arange(8) + 0.5) / 8
    f = init.fourier(side)[:, :8]  # sin, cos of 0.5, 1, 2, 4 cycles
    at = 0
    for row in range(8):
        for col in range(8):
            for what in range(2):
                i = free[at]
                G[i, init.ROWF:init.ROWF + 8], G[i, init.COLF:init.COLF + 8] = f[row] * 1.5, f[col] * 1.5
                G[i, CONST] = -4.0
                up = torch.tensor([-0.5, 1.0, -0.5] if what == 0 else [0.33, 0.33, 0.33]) / 4
                U[i, init.CONTENT:init.CONTENT + 48] = up.repeat(16)
                at += 1
    return free


@torch.no_grad()
def features(m, x, free, pictures):
    """Mean over all tokens of the units' outputs, as layer 1 will see them. x (B, S, D): prefixes."""
    l, n1 = m.layers[0], m.layers[1]
    B, S, D = x.shape
    H, d = m.c["heads"], D // m.c["heads"]
    cos, sin = rope_tables(torch.arange(S), d, m.c["theta"])
    q, k, v = l.qkv(l.norm1(x)).view(B, S, 3, H, d).permute(2, 0, 3, 1, 4)
    o = F.scaled_dot_product_attention(rope(q, cos, sin), rope(k, cos, sin), v, is_causal=True)
    x = x + l.o(o.transpose(1, 2).reshape(B, S, D))
    y = l.norm2(x)
    n = l.down.weight.shape[1]
    g, u = l.gate_up.weight[:n][free], l.gate_up.weight[n:][free]
    h = F.silu(y @ g.T) * (y @ u.T)
    out = l.mlp(x)
    scale = torch.rsqrt(out.pow(2).mean(-1, keepdim=True) + 1e-5)
    return (h * scale).mean(1)


def ridge(X, Y, lam):
    mean, dev = X.mean(0), X.std(0) + 1e-6
    Z = (X - mean) / dev
    W = np.linalg.solve(Z.T @ Z + lam * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean(0)))
    return W / dev[:, None]


@torch.no_grad()
def fit_car(m, w, folder, limit, batch=8):
    got = samples(folder, "car", 1, limit)
    free = lay_units(m)
    X, last = [], []
    for i in range(0, len(got), batch):
        part = got[i:i + batch]
        tok = m.see(ready(np.concatenate([s[0] for s in part])))
        x = m.prefix(tok.view(len(part), 2, *tok.shape[1:]))
        X.append(features(m, x, free, 2).numpy())
    X, Y = np.concatenate(X).astype(np.float64), np.array([s[1] for s in got], np.float64)
    aside = np.array([s[2] % 7 == 0 for s in got])
    W = ridge(X[~aside], Y[~aside], 0.02 * (~aside).sum() / 100)
    P = (X - X[~aside].mean(0)) @ W
    R = Y - Y[~aside].mean(0)
    r2 = 1 - ((P - R)[aside] ** 2).mean(0) / R[aside].var(0)
    print("frames", len(got), "explained of steering, gas, brake on set-aside episodes:", r2.round(3))
    # a vote of deviation SCALE on text tokens
    size = SCALE / P.std(0)
    l = m.layers[0]
    for k in range(3):
        l.down.weight[T_VOTE + k, free] = torch.from_numpy(W[:, k] * size[k]).float()
    q, k_, v, o = lay.clear(m.layers[1], 5)
    gain = m.layers[1].norm1.weight
    for k in range(3):
        v[k, T_VOTE + k] = 1.0 / gain[T_VOTE + k]
        o[VOTE[k], k] = 1.0
    return got, aside


@torch.no_grad()
def tell(m, w, act):
    """ACT is told to every token behind it, like a word of a sentence: one more lane of head 2."""
    e = m.embed.weight
    e[act[-1], lay.F_WORD] = 2.0
    e[act[-1], F_ACT] = 2.0
    _, _, v, o = init.head_rows(m.layers[0], 2)
    v[lay.N_SAID, F_ACT] = 1.0
    o[F_ACT, lay.N_SAID] = 0.3


@torch.no_grad()
def units_of_answers(m):
    """Layer 2: one unit for `[` and one for a number, open behind ACT only."""
    out = []
    for (g, u, d), flag, vote in zip(lay.units(m.layers[2], 2), (F_LB, F_COMMA), VOTE[:2]):
        g[F_ACT], g[flag], g[CONST] = 2.0, 2.0, -1.0
        u[vote] = 1.0
        d[ACTED] = 1.0
        out.append((u, d))
    return out


@torch.no_grad()
def states(m, w, act, got, batch=4):
    """Final states after ACT, `[`, the expert's steering and its gas."""
    out, t, head = [], w.tok, m.head
    m.head = torch.nn.Identity()
    for i in range(0, len(got), batch):
        part = got[i:i + batch]
        tok = m.see(ready(np.concatenate([s[0] for s in part])))
        x = m.prefix(tok.view(len(part), 2, *tok.shape[1:]))
        out.append(m.decode(x, torch.tensor([act + [t["lb"], w.comma[s[1][0]], w.comma[s[1][1]]]
                                             for s in part]))[:, len(act) - 1:])
    m.head = head
    return torch.cat(out)


@torch.no_grad()
def fit_answers(m, w, act, got, units):
    """Scale the units until ACTED is (number - 10) / 5, then the rows of the head to match."""
    Y = (np.array([s[1] for s in got], np.float64) - 10) / 5
    for turn in range(3):
        h = states(m, w, act, got).double()
        for place, (field, (u, d)) in enumerate(zip((0, 1), units), 1):
            z = h[:, place, ACTED].numpy()
            a, b = np.polyfit(z, Y[:, field], 1)
            r = np.corrcoef(z, Y[:, field])[0, 1]
            print(f"turn {turn} field {field}: correlation {r:.3f}, truth = {a:.2f} z + {b:.2f}")
            if turn < 2:
                d *= float(a)
                # the mean of what the unit adds must move by b / a of its old scale
                spread = h[:, place, VOTE[field]].std().item()
                u[CONST] += float(b / a / max(z.std(), 1e-6) * spread / h[:, place, CONST].mean())
    flag = h[:, 1:4, F_ACT].mean().item()
    W, v = m.head.weight, (torch.arange(21).float() - 10) / 5
    rows = torch.tensor(w.comma[:21])
    W[rows, ACTED], W[rows, F_ACT] = SURE * v, -SURE * v * v / 2 / flag
    W[torch.tensor(w.plain[:21]), F_ACT] = 0
    W[w.plain[10], F_ACT] = 4.0 / flag  # the brake: hardly ever another
    logits = h.float() @ W[rows].T
    for place, field in ((1, 0), (2, 1)):
        said = logits[:, place].argmax(-1).numpy()
        print(f"field {field}: said {said.mean():.2f} +- {said.std():.2f}, expert {10 + 5 * Y[:, field].mean():.2f}, "
              f"off by {np.abs(said - 10 - 5 * Y[:, field]).mean():.2f}")
    said = (h[:, 3].float() @ W[torch.tensor(w.plain[:21])].T).argmax(-1)
    print("brake: 10 said in", (said == 10).float().mean().item())


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "tokenizer", "games", "out"):
        ap.add_argument("--" + name, required=True)
    ap.add_argument("--frames", type=int, default=1500)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    with open(a.run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    m, w = LaMM(c), mix.Words(a.tokenizer)
    s = torch.load(a.run + "/last.pt", weights_only=True)
    m.load_state_dict(s["ema"])
    act = w.ids(build_tokenizer.ACT_CAR)
    got, aside = fit_car(m, w, a.games, a.frames)
    tell(m, w, act)
    fit_answers(m, w, act, got[:100], units_of_answers(m))
    os.makedirs(a.out, exist_ok=True)
    torch.save({"ema": m.state_dict(), "step": s["step"]}, a.out + "/last.pt")
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    main()
