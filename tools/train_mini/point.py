"""One more layer for a decoder, in which tokens find the thing they speak of, and its edges.

    python3 tools/train_mini/point.py RUN RUN2 --tokenizer TOKENIZER --sprites SPRITES.npz

The layer stands before the last one. Its heads 0 and 1, and head 4 of layer 1 (lay.py), learn where to look from
learn.py's --pointing: the part of their attention that falls on the thing that is meant, or for a box on the edge
that is due. A look at a thing says more than a bit of its mask, and a token at an edge knows where it is.

As in lay.py these are ordinary weights, set once; learn.py trains all of them. RUN comes from look.py, after
broaden.py; the channels that this added are shared out on text tokens:

    NAME    on the last piece of a thing's name: what the tower's map of names says of it
    OWN     the box of the thing at the place asked for: head 2 of layer 1
    FOUND   the box of the thing that is meant: head 0 of the new layer
    PART    the box of the part of it at the edge that is due: head 1 of the new layer
    last layer   OWN is not FOUND: VETO. Numbers of a box: from PART as much as from lay.py's BOX

What the optimiser remembers is dropped, and steps are counted from nought.
"""
import argparse
import json
import os

import torch

import dense
import init
import lay
import mix
from learn import Asker
from model import LaMM

NEW = 2           # the layer
POINT = [[1, 4], [NEW, 0], [NEW, 1]]  # layers and heads, by mix.SPEAKS, ANSWERS, EDGES
NAMES = 40
OWN, FOUND, PART = (lay.WIDTH + n for n in (NAMES, NAMES + 5, NAMES + 10))
T_PART = -4       # on picture tokens, see dense.dense_loss
LOUD = 0.5        # root mean square of a name in its channels
QUIET = 0.45      # look.py makes names on picture tokens so loud that norms drown the colours; they become so much


def deeper(s, c):
    """(state, config) with the new layer: norms as the first layer's, random maps in, empty maps out."""
    D, out = c["D"], {}
    for k, v in s.items():
        part = k.split(".")
        if part[0] == "layers" and int(part[1]) >= NEW:
            part[1] = str(int(part[1]) + 1)
        out[".".join(part)] = v
    torch.manual_seed(NEW)
    for k in [k for k in s if k.startswith("layers.1.")]:
        v, kind = s[k], k.removeprefix("layers.1.")
        if kind in ("o.weight", "down.weight"):
            v = torch.zeros_like(v)
        elif "norm" not in kind:
            v = torch.randn_like(v) * 0.3 * D ** -0.5
        out[f"layers.{NEW}.{kind}"] = v
    return out, dict(c, layers=c["layers"] + 1, point=POINT)


@torch.no_grad()
def quieten(m, asker):
    """Names on picture tokens, and the other way round in the map that reads them."""
    for rows in (slice(lay.T_REST, lay.T_REST + lay.REST), slice(lay.WIDTH, m.c["D"] + T_PART)):
        m.proj.weight[rows] *= QUIET
        m.proj.bias[rows] *= QUIET
    asker.name[0].weight[:, -(lay.REST + m.c["D"] - lay.WIDTH + T_PART):] /= QUIET


@torch.no_grad()
def find(m):
    """Both heads of the new layer compare what head 4 of layer 1 does; the second one weighs opposite ends of the
    picture against each other, which makes room for the place of a token: left and up, or right and down."""
    q1, k1, _, _ = init.head_rows(m.layers[1], POINT[0][1])
    half = m.layers[1].dh // 2
    slots = [p + part for p in range(half - 9, half) for part in (0, half)][11:17]  # lay.find_head's for ranks
    for h in (0, 1):
        q, k, v, o = init.head_rows(m.layers[NEW], h)
        q.copy_(q1)
        k.copy_(k1)
        o.zero_()
        at, channel, n = ((lay.T_BOX, FOUND, 5), (m.c["D"] + T_PART, PART, 4))[h]
        for i in range(n):
            v[i] = 0
            v[i, at + i] = o[channel + i, i] = 1.0
    for low in (0, 2, 4):
        a, b = slots[low], slots[low + 1]
        q[a], k[a] = q[a] - q[b], (k[a] - k[b]) / 2
        q[b], k[b] = 0, 0
    for b, place, due in ((slots[1], init.COLF, 0), (slots[3], init.ROWF, 1)):
        q[b, lay.NTH + due], q[b, lay.NTH + due + 2] = 8.0, -8.0
        k[b, place + 1] = 1.2  # cos of half a cycle: 1 at the left or upper end, -1 at the other


@torch.no_grad()
def own(m):
    _, _, v, o = init.head_rows(m.layers[1], 2)
    for i in range(5):
        v[16 + i], o[:, 16 + i] = 0, 0
        v[16 + i, lay.T_BOX + i] = o[OWN + i, 16 + i] = 1.0


@torch.no_grad()
def compare(m):
    """The last layer's units: two for every number of a box, and one for each that is due."""
    l = m.layers[-1]
    F = l.down.weight.shape[1]
    G, U, down = l.gate_up.weight[:F], l.gate_up.weight[F:], l.down.weight
    due = [int((U[:, lay.BOX + i].abs() * down[lay.EDGE].abs() * (G[:, lay.NTH + i] > 1)).argmax()) for i in range(4)]
    print("units for numbers", due)
    free = iter([u for u in lay.units(l, 18) if all(u[0] is not G[n] for n in due)])
    for i in range(5):
        for sign in (1, -1):
            g, u, d = next(free)
            g[OWN + i], g[FOUND + i], g[init.CONST] = 4.0 * sign, -4.0 * sign, -1.0
            u[lay.F_MASK] = 1.0
            d[lay.VETO] = 0.05
    for i, n in enumerate(due):
        g, u, d = next(free)
        g.copy_(G[n])
        u[PART + i], u[lay.BOX + i] = U[n, lay.BOX + i] / 2, -U[n, lay.BOX + i] / 2
        d[lay.EDGE] = down[lay.EDGE, n]


@torch.no_grad()
def names(m, words, table, asker):
    """The last piece of each name gets what most tells its name from the others in a picture token; a piece of
    several names their mean. Returns how many pieces got something."""
    maps = asker.name[1].weight @ asker.name[0].weight
    maps = maps - maps.mean(0)
    u, s, _ = torch.linalg.svd(maps, full_matrices=False)
    code = u[:, :NAMES] * s[:NAMES]
    code = code * LOUD / code.pow(2).mean().sqrt()
    colours = {words.sp.piece_to_id("▁" + c) for c in dense.scenes.COLOURS}
    of = {}
    for name, i in table.items():
        of.setdefault(words.ids(name)[-1], []).append(code[i])
    for piece in set(of) - colours:
        m.embed.weight[piece, lay.WIDTH:lay.WIDTH + NAMES] = torch.stack(of[piece]).mean(0)
    return len(of)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("run")
    ap.add_argument("out")
    for name in ("tokenizer", "sprites"):
        ap.add_argument("--" + name, required=True)
    a = ap.parse_args()
    words = mix.Words(a.tokenizer)
    table = dense.name_table(dense.scenes.Sprites(a.sprites))
    with open(a.run + "/config.json", encoding="utf-8") as f:
        c = json.load(f)
    s = torch.load(a.run + "/last.pt", weights_only=True)
    state, c = deeper(s["ema"], c)
    m = LaMM(c)
    m.load_state_dict(state)
    asker = Asker(len(table), c["D"])
    asker.load_state_dict(s["asker"])
    quieten(m, asker)
    find(m)
    own(m)
    compare(m)
    print(names(m, words, table, asker), "pieces of", len(table), "names")
    os.makedirs(a.out, exist_ok=True)
    torch.save({"model": m.state_dict(), "ema": m.state_dict(), "asker": asker.state_dict(), "step": 0},
               a.out + "/last.pt")
    with open(a.out + "/config.json", "w", encoding="utf-8") as f:
        json.dump(c, f)


if __name__ == "__main__":
    main()
