"""The games' way through the decoder, laid before it is trained: from what lies where to numbers.

    python3 tools/train_mini/act.py --run RUN --tokenizer TOKENIZER --games GAMES --pack PACK \
        --sprites SPRITES.npz --out RUN2

A frame is worth a scene and tells a model three numbers, so finding the way by gradient takes more frames
than two cores see in an hour. But steering is nearly linear in what colour lies where. As lay.py does for
things, this sets ordinary weights once, and `learn.py --play` trains all of them:

    layer 0   the 128 least used gated units: a gate for each of 8x8 regions, times the region's
              greenness or brightness; their outputs, votes for steering, gas and brake, are fitted
              to the expert's by ridge regression over recorded frames. Head 2, which tells every token
              what its sentence demands, also tells it that a game is played
    layer 1   head 5, uniform over everything before it: the mean of all votes; at BOS, which votes for
              nothing, unless a game is played
    layer 2   units that are open behind a game's instruction only: at `[` the vote for steering, after
              a number those for gas and brake, scaled by least squares
    head      numbers 0..20: a Gaussian around it. Space Invaders starts with the expert's commonest
              action: nothing in its frames is linear in this way

Channels of final states that are quietest over all tasks carry it. RUN2 gets last.pt and config.json.
"""
import argparse
import json
import os

import numpy as np
import torch
import torch.nn.functional as F

import data
import dense
import init
import lay
import mix
import play
from init import CONST, F_COMMA, F_LB
from model import LaMM, rope, rope_tables

T_VOTE = 172            # on picture tokens: the votes
VOTE = (103, 107, 108)  # on text tokens: mean votes for steering, gas, brake
F_ACT, F_SPACE = 187, lay.SPARE
SCALE = 0.02            # deviation of a vote's mean on picture tokens: too small to disturb them
LOUD = 30.0             # how much louder it is told to text tokens
SURE = 3.0              # of an answer: one over its variance, in units of five
FITTED = 240            # prompts that layer 2 is fitted on


@torch.no_grad()
def tell(m, last):
    """The last token of a game's instruction is told to every token behind it, like a word of a
    sentence: one more lane of head 2."""
    e = m.embed.weight
    e[last, lay.F_WORD] = 2.0
    e[last, F_ACT] = 2.0
    _, _, v, o = init.head_rows(m.layers[0], 2)
    v[lay.N_SAID, F_ACT] = 1.0
    o[F_ACT, lay.N_SAID] = 0.3


@torch.no_grad()
def gather(m, some):
    """Head 5 of layer 1: the mean of everything's votes."""
    seen = []
    hook = m.layers[1].norm1.register_forward_hook(lambda _m, _i, o: seen.append(o[0, 0]))
    m.decode(m.stem(m.see(some[:1])), torch.tensor([[1]]))
    hook.remove()
    bos = seen[0]  # it sees but itself: always the same
    q, k, v, o = lay.clear(m.layers[1], 5)
    slow = m.layers[1].dh // 2 - 1
    q[slow, CONST], q[slow, F_ACT] = 1.0, -4.0  # all of it at BOS, but behind an instruction none
    k[slow, lay.F_BOS] = 3.0
    gain = m.layers[1].norm1.weight
    for i in range(3):
        v[i, T_VOTE + i] = 1.0 / gain[T_VOTE + i]
        v[i, lay.F_BOS] = -v[i, T_VOTE + i] * bos[T_VOTE + i] / bos[lay.F_BOS]
        o[VOTE[i], i] = LOUD


@torch.no_grad()
def lay_units(m):
    """The layer 0 units: gates and ups; outputs still zero. Returns their numbers."""
    l = m.layers[0]
    n = l.down.weight.shape[1]
    G, U = l.gate_up.weight[:n], l.gate_up.weight[n:]
    use = l.down.weight.norm(dim=0) * G.norm(dim=1) * U.norm(dim=1)
    free = use.argsort()[:128].tolist()
    f = init.fourier((torch.arange(8) + 0.5) / 8)[:, :8]  # sin, cos of 0.5, 1, 2, 4 cycles
    colours = torch.tensor([[-0.5, 1.0, -0.5], [0.33, 0.33, 0.33]]) / 4
    for at, i in enumerate(free):
        row, col, what = at // 16, at // 2 % 8, at % 2
        G[i], U[i], l.down.weight[:, i] = 0, 0, 0
        G[i, init.ROWF:init.ROWF + 8], G[i, init.COLF:init.COLF + 8] = f[row] * 1.5, f[col] * 1.5
        G[i, CONST] = -4.0
        U[i, init.CONTENT:init.CONTENT + 48] = colours[what].repeat(16)
    return free


def after_first(m, x, attention=False):
    """x (B, S, D) after the first layer, or after its attention only."""
    l, (B, S, D) = m.layers[0], x.shape
    H, d = m.c["heads"], D // m.c["heads"]
    cos, sin = rope_tables(torch.arange(S), d, m.c["theta"])
    q, k, v = l.qkv(l.norm1(x)).view(B, S, 3, H, d).permute(2, 0, 3, 1, 4)
    o = F.scaled_dot_product_attention(rope(q, cos, sin), rope(k, cos, sin), v, is_causal=True)
    x = x + l.o(o.transpose(1, 2).reshape(B, S, D))
    return x if attention else l.mlp(x)


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


def ridge(X, Y, strength):
    """Weights (features, 3) that give Y's deviations from X's, in X's own units."""
    mean, dev = X.mean(0), X.std(0) + 1e-6
    Z = (X - mean) / dev
    W = np.linalg.solve(Z.T @ Z + strength * len(Z) * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean(0)))
    return W / dev[:, None]


@torch.no_grad()
def fit_votes(m, games, frames, batch=12):
    """The outputs of layer 0's units."""
    free, sets = lay_units(m), {}
    for aside, n in ((False, frames), (True, frames // 5)):
        X, Y = [], []
        for i in range(0, n, batch):
            img, action = games.prompts(5000 + i, "car", batch, aside)
            tok = m.see(img.flatten(0, 1)).unflatten(0, img.shape[:2])
            X.append(features(m, m.prefix(tok), free))
            Y.append(action)
        sets[aside] = torch.cat(X).double().numpy(), torch.cat(Y).double().numpy()
    X, Y = sets[False]
    W = ridge(X, Y, 0.003)
    for aside, (x, y) in sets.items():
        off = (x - X.mean(0)) @ W - (y - Y.mean(0))
        print("set aside:" if aside else "fitted:", "explained of steering, gas, brake",
              (1 - (off ** 2).mean(0) / y.var(0)).round(3))
    size = SCALE / (X @ W).std(0)
    for k in range(3):
        m.layers[0].down.weight[T_VOTE + k, free] = torch.from_numpy(W[:, k] * size[k]).float()


@torch.no_grad()
def prompts(m, answers, games, game, n, aside, batch=12):
    """Picture tokens and actions of n recorded prompts."""
    tok, action = [], []
    for i in range(0, n, batch):
        img, a = games.prompts(900 + i, game, batch, aside)
        tok.append(m.see(img.flatten(0, 1)).unflatten(0, img.shape[:2]))
        action.append(a)
    return torch.cat(tok), torch.cat(action)


@torch.no_grad()
def states(m, answers, tok, ids, batch=12):
    """What layer 2's units see and final states, at the last token of the prompt and behind it."""
    near, final = [], []
    hook = m.layers[2].norm2.register_forward_hook(lambda _m, _i, o: near.append(o))
    for i in range(0, len(tok), batch):
        final.append(answers.states(m, tok[i:i + batch], ids[i:i + batch]))
    hook.remove()
    return torch.cat(near), torch.cat(final)


@torch.no_grad()
def quietest(m, batch, n):
    """The n channels of final states that are smallest over the questions of a batch of all tasks."""
    h = m.tree(m.prefix(m.see(batch["img"])[:, None]), batch["ids"], batch["depth"], batch["sees"], batch["kept"])
    rms = h[batch["kind"] >= 0].pow(2).mean(0).sqrt()
    at = rms.argsort()[:n].tolist()
    print("quietest channels:", {c: round(rms[c].item(), 3) for c in at}, "of a median of",
          round(rms.median().item(), 3))
    return at


def gate(unit, *flags):
    """Open where the game is played and the token has the flag."""
    g, _, _ = unit
    g[F_ACT], g[CONST] = 2.0, -1.0
    for f in flags:
        g[f] = 2.0


@torch.no_grad()
def fit_car(m, w, answers, games, quiet):
    said, braked, even = quiet
    tok, Y = prompts(m, answers, games, "car", FITTED, False)
    ids, first = answers.tokens("car", Y), len(answers.ids["car"])
    T = ((Y - 10) / 5).numpy()
    near = states(m, answers, tok, ids)[0][:, first:first + 3]
    units = lay.units(m.layers[2], 4)
    for k, (unit, flag, place, to) in enumerate(zip(units, (F_LB, F_COMMA, F_COMMA), (0, 1, 2),
                                                    (said, said, braked))):
        gate(unit, flag)
        g, u, d = unit
        z = near[:, place, VOTE[k]].double().numpy()
        a, b = np.polyfit(z, T[:, k], 1)
        u[VOTE[k]], u[CONST] = a, b / near[:, place, CONST].mean()
        opened = F.silu(near[:, place] @ g).mean()
        d[to] = 6.0 / opened
        print(f"field {k}: gate {opened:.2f}, vote {z.mean():.3f} +- {z.std():.3f}, correlation "
              f"{np.corrcoef(z, T[:, k])[0, 1]:.3f}")
    g, u, d = units[3]
    gate(units[3])
    g[CONST], u[CONST] = 0.0, 1.0
    d[even] = 8.0 / (near[:, :, CONST].mean() * F.silu(near @ g).mean())
    h = states(m, answers, tok, ids)[1][:, first:first + 3]
    v = (torch.arange(21).float() - 10) / 5
    for ids_of, places, channel in ((w.comma, (0, 1), said), (w.plain, (2,), braked)):
        rows = torch.tensor(ids_of[:21])
        z = torch.cat([h[:, p, channel] for p in places])
        t = torch.from_numpy(np.concatenate([T[:, p] for p in places])).float()
        unit = (z * t).sum() / (t * t).sum()  # of the channel, for a step of five
        flag = torch.cat([h[:, p, even] for p in places]).mean()
        m.head.weight[rows] *= 0.5
        m.head.weight[rows, channel] = SURE * v / unit
        m.head.weight[rows, even] = -SURE * v * v / 2 / flag
        print(f"channel {channel}: {unit:.2f} a unit, {even}: {flag:.2f}")


@torch.no_grad()
def habit(m, w, last):
    """Space Invaders: the expert's commonest action, 1, at the end of its prompt."""
    m.embed.weight[last, F_SPACE] = 4.0
    m.head.weight[w.digit[1], F_SPACE] += 1.0


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "tokenizer", "games", "pack", "sprites", "out"):
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
    answers, games = play.Answers(w), play.Games(a.games, 1)
    some = mix.Mix(w, data.Pack(a.pack), dense.scenes.Sprites(a.sprites), 5, 8, 2, 2).batch(0)
    fit_votes(m, games, a.frames)
    for ids in answers.ids.values():
        tell(m, ids[-1])
    gather(m, some["img"])
    fit_car(m, w, answers, games, quietest(m, some, 3))
    habit(m, w, answers.ids["space"][-1])
    print({k: round(v, 3) for k, v in play.judge(m, answers, games).items()})
    os.makedirs(a.out, exist_ok=True)
    s.update(ema=m.state_dict(), model=m.state_dict())
    torch.save(s, a.out + "/last.pt")
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    main()
