"""The games' routes, fitted by least squares instead of by gradient.

    python3 tools/train_mini/act.py --run RUN --tokenizer TOKENIZER --games GAMES --out RUN2

GAMES holds car-train-*.npz and space-train-*.npz as tools/games records them: `frames`, the
expert's `action` for each, `episode`, `step`. A game frame costs as many rows as a scene, so what
two cores could learn by gradient from frames in an hour is little; but steering is nearly linear in
what colour lies where (a straight line through 8x8 block means explains three quarters of its variance). So:

    layer 0   128 gated units that training left free (lay.spare): a gate for each of 8x8 regions,
              times the region's greenness or brightness; their outputs are fitted to the expert's
              steering, gas and brake by ridge regression over real frames and real activations
    layer 1   head 5, uniform over everything before it: the mean of all tokens' votes; at BOS, which
              votes for nothing, unless ACT stands before
    layer 2   two units: after `[` the vote for steering, after a number that for gas
    head      numbers 0..20: a Gaussian around it; for the brake the expert's commonest

Only weights that were zero change, and rows of the head where they read these channels. Space Invaders
gets the expert's commonest action: its frames are not linear in anything of this kind. RUN2 gets last.pt and
config.json; `held` in it says which numbers were set here, and learn.py leaves those alone when it goes on.
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
ACTED, EVEN = 23, 85     # final states are quietest there when colours are asked for
F_ACT, F_SPACE = 187, lay.SPARE
SCALE = 0.02            # deviation of a vote's mean on picture tokens: too small to disturb them
LOUD = 30.0             # how much louder it is told to text tokens
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
def features(m, x, free):
    """Mean over all tokens of the units' outputs, as layer 1 will see them. x (B, S, D): prefixes."""
    l = m.layers[0]
    x = after_first(m, x, attention=True)
    y = l.norm2(x)
    n = l.down.weight.shape[1]
    g, u = l.gate_up.weight[:n][free], l.gate_up.weight[n:][free]
    h = F.silu(y @ g.T) * (y @ u.T)
    out = l.mlp(x)
    scale = torch.rsqrt(out.pow(2).mean(-1, keepdim=True) + 1e-5)
    return (h * scale).mean(1)


def after_first(m, x, attention=False):
    """x (B, S, D) after the first layer, or after its attention only."""
    l, (B, S, D) = m.layers[0], x.shape
    H, d = m.c["heads"], D // m.c["heads"]
    cos, sin = rope_tables(torch.arange(S), d, m.c["theta"])
    q, k, v = l.qkv(l.norm1(x)).view(B, S, 3, H, d).permute(2, 0, 3, 1, 4)
    o = F.scaled_dot_product_attention(rope(q, cos, sin), rope(k, cos, sin), v, is_causal=True)
    x = x + l.o(o.transpose(1, 2).reshape(B, S, D))
    return x if attention else l.mlp(x)


def ridge(X, Y, lam):
    mean, dev = X.mean(0), X.std(0) + 1e-6
    Z = (X - mean) / dev
    W = np.linalg.solve(Z.T @ Z + lam * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean(0)))
    return W / dev[:, None]


@torch.no_grad()
def fit_car(m, w, folder, limit, batch=8):
    got = samples(folder, "car", 1, limit)
    free = lay_units(m)
    X, seen = [], []
    for i in range(0, len(got), batch):
        part = got[i:i + batch]
        tok = m.see(ready(np.concatenate([s[0] for s in part])))
        seen.append(tok.view(len(part), 2, *tok.shape[1:]))
        X.append(features(m, m.prefix(seen[-1]), free).numpy())
    X, Y = np.concatenate(X).astype(np.float64), np.array([s[1] for s in got], np.float64)
    aside = np.array([s[2] % 7 == 0 for s in got])
    W = ridge(X[~aside], Y[~aside], 0.01 * (~aside).sum())
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
    slow = m.layers[1].dh // 2 - 1
    q[slow, CONST], q[slow, F_ACT] = 1.0, -4.0  # all of it at BOS, but behind ACT none
    k_[slow, lay.F_BOS] = 3.0
    bos = m.layers[1].norm1(after_first(m, m.prefix(seen[0][:1, :0]))[0, 0])  # sees but itself: always the same
    for k in range(3):
        v[k, T_VOTE + k] = 1.0 / gain[T_VOTE + k]
        v[k, lay.F_BOS] = -v[k, T_VOTE + k] * bos[T_VOTE + k] / bos[lay.F_BOS]  # it votes for nothing
        o[VOTE[k], k] = LOUD
    return torch.cat(seen), Y, aside


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
def states(m, w, act, seen, Y, batch=8):
    """At `[` and behind the expert's steering and gas: what layer 2's units see, and final states."""
    near, final, t, head = [], [], w.tok, m.head
    m.head = torch.nn.Identity()
    hook = m.layers[2].norm2.register_forward_hook(lambda _m, _i, o: near.append(o[:, -3:]))
    for i in range(0, len(seen), batch):
        ids = [act + [t["lb"], w.comma[int(y[0])], w.comma[int(y[1])]] for y in Y[i:i + batch]]
        final.append(m.decode(m.prefix(seen[i:i + batch]), torch.tensor(ids))[:, -3:])
    hook.remove()
    m.head = head
    return torch.cat(near).double().numpy(), torch.cat(final)


@torch.no_grad()
def fit_answers(m, w, act, seen, Y, aside):
    """Two units of layer 2, open behind ACT only, one at `[` and one behind a number: what they say
    is fitted to (number - 10) / 5, then the rows of the head to what comes out of them."""
    T, (near, _), fitted = (Y - 10) / 5, states(m, w, act, seen, Y), []
    for place, ((g, u, d), flag) in enumerate(zip(lay.units(m.layers[2], 2), (F_LB, F_COMMA))):
        g[F_ACT], g[flag], g[CONST] = 2.0, 2.0, -1.0
        open_ = near[:, place] @ g.double().numpy()
        z = near[:, place, VOTE[place]]
        a, b = np.polyfit(z[~aside] , T[~aside, place], 1)
        print(f"field {place}: gate {open_.mean():.2f} +- {open_.std():.2f}, vote {z.mean():.2f} +- {z.std():.2f}, "
              f"correlation {np.corrcoef(z, T[:, place])[0, 1]:.3f}")
        fitted.append((a * z + b).std())
        u[VOTE[place]] = a
        u[CONST] = b / near[:, place, CONST].mean()
        d[ACTED] = 6.0 / open_.mean()
    (g, u, d), = lay.units(m.layers[2], 1)
    g[F_ACT] = 4.0
    g[CONST] = -1.0
    u[CONST] = 1.0
    c = near[:, :, CONST].mean()
    d[EVEN] = 8.0 / c / (near[:, :2] @ g.double().numpy()).mean()
    _, h = states(m, w, act, seen, Y)
    flag = h[:, :2, EVEN].mean().item()
    W, v = m.head.weight, (torch.arange(21).float() - 10) / 5
    rows, brakes = torch.tensor(w.comma[:21]), torch.tensor(w.plain[:21])
    a = float(h[:, 0, ACTED].std()) / fitted[0]
    print(f"channels at the end: {EVEN} {flag:.2f} +- {h[:, :2, EVEN].std():.2f}, {ACTED} {a:.2f} a unit")
    W[rows, ACTED], W[rows, EVEN] = SURE * v / a, -SURE * v * v / 2 / flag
    W[brakes, ACTED], W[brakes, EVEN] = 0, 0
    W[w.plain[10], EVEN] = 4.0 / flag  # the brake: hardly ever another
    for place in (0, 1):
        z = h[aside, place, ACTED].double().numpy()
        said = (h[aside, place] @ W[rows].T).argmax(-1).numpy()
        print(f"field {place}: correlation {np.corrcoef(z, T[aside, place])[0, 1]:.3f}, said {said.mean():.2f} +- "
              f"{said.std():.2f}, expert {Y[aside, place].mean():.2f} +- {Y[aside, place].std():.2f}, off by "
              f"{np.abs(said - Y[aside, place]).mean():.2f}")
    said = (h[:, 2] @ W[brakes].T).argmax(-1)
    print("brake: 10 said in", (said == 10).float().mean().item())


@torch.no_grad()
def habit(m, w, act):
    """Space Invaders: the expert's commonest action, 1, at the end of its prompt."""
    e = m.embed.weight
    e[act[-1], F_SPACE] = 4.0
    m.head.weight[w.digit[1], F_SPACE] += 1.0


def held(now, before):
    """Where numbers were set, as masks: whole rows of gates, whole columns of outputs, head 5."""
    out = {}
    for k, v in now.items():
        where = v != before[k]
        if not where.any():
            continue
        if k.endswith(("gate_up.weight", "qkv.weight")):
            where = where.any(1, keepdim=True).expand_as(v).clone()
        elif k.endswith(("down.weight", "o.weight")):
            where = where.any(0, keepdim=True).expand_as(v).clone()
        if k == "layers.1.qkv.weight":
            D = v.shape[1]
            for part in range(3):
                where[part * D + D * 5 // 6:(part + 1) * D] = True
        if k == "layers.1.o.weight":
            where[:, v.shape[1] * 5 // 6:] = True
        out[k] = where
    return out


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
    s["ema"] = {k: v.clone() for k, v in s["ema"].items()}
    act = w.ids(build_tokenizer.ACT_CAR)
    seen, Y, aside = fit_car(m, w, a.games, a.frames)
    tell(m, w, act)
    fit_answers(m, w, act, seen, Y, aside)
    habit(m, w, w.ids(build_tokenizer.ACT_SPACE))
    os.makedirs(a.out, exist_ok=True)
    s.update(held=held(m.state_dict(), s["ema"]), ema=m.state_dict(), model=m.state_dict())
    torch.save(s, a.out + "/last.pt")
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    main()
