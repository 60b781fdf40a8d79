"""Where the second stage starts from: the first edition's decoder, the dense stage's tower, and
routes from words to things.

As in init.py, everything here is an initial weight of the ordinary graph; training moves all of it and
lammd knows nothing of it. Heads 2 to 5 of layers 0 and 1 did next to nothing in the first edition (without
one of them its error rises by 0.01 to 0.15 levels, without head 0 or 1 by 40), so they are free.

Channels of text tokens, beside those of init.py:

    SAID    what the sentence demands: 11 colours, 6 superlatives; set on the words themselves and,
            by head 2 of layer 0, gathered on every token behind them
    ANY     16: does the picture token asked for show a thing at each of its pixels? COLOUR, BOX,
            RANK: of that thing. Fetched by heads 2 and 3 of layer 1 on mask questions
            (the place asked for); by head 4 from the thing that fits SAID best, everywhere
    HERE    ANY at the pixel asked for; VETO: something demanded is not so; EDGE: the number of a box
            that is due
    NTH     4: is this token, the one before it, the second, the third before it the `{<` of a box?
            heads 3 to 5 of layer 0 look so far back

Layer 1 picks HERE; layer 2 compares SAID with what was fetched, and picks EDGE. Head rows: `0` and
`1` read HERE and VETO, numbers of a box are a Gaussian around EDGE, colour words read COLOUR.
"""
import math

import torch

import dense
import init
from init import CONST, F_LB

ANY, COLOUR, RANK, BOX = 64, 80, 92, 98  # 16, 12, 6, 5
VETO, EDGE, F_MASK = 104, 105, 106
SAID, N_SAID = 165, 17
F_WORD, F_BOS, HERE, SPARE, F_LEAD, NTH = 182, 183, 184, 185, 186, 188
TOKEN = dense.KEPT  # on picture tokens: any 112..127, colour 128..139, box 140..144, rank 145..150
T_COLOUR, T_BOX, T_RANK, T_REST = TOKEN + 16, TOKEN + 28, TOKEN + 33, TOKEN + 39
SPARE_UNITS = (128, 24, 24)  # in each layer, for the games
REST = 14  # channels left on picture tokens for what tells names apart
WIDTH = 192  # of the decoder; broaden.py adds channels behind


@torch.no_grad()
def start(m, first, first_sp, words, tower, asker):
    """Fill m. first: state of the first edition and its SentencePiece; tower, asker: states of the
    dense stage. Returns the dense stage's maps fitted to what is left of a token."""
    torch.manual_seed(3)
    s = m.state_dict()
    for k, v in first.items():
        if k.startswith(("layers", "norm")):
            s[k].copy_(v)
    for k, v in tower.items():
        if k.startswith(("patch.", "cls", "pos", "blocks.", "ln_vision", "proj")):
            s[k].copy_(v)
    asker = room_for_flags(m, asker)
    vocabulary(m, first, first_sp, words.sp)
    tokens(m, words)
    said_head(m.layers[0])
    for steps in (1, 2, 3):
        back_head(m, 2 + steps, steps)
    fetch_heads(m.layers[1])
    find_head(m.layers[1])
    here_units(m.layers[1])
    veto_units(m.layers[2])
    edge_units(m.layers[2])
    head(m, words)
    spare(m)
    return asker


def spare(m):
    """Set to zero, and so out of reach of the gradient, what the games' routes will take (act.py):
    head 5 of layer 1, and the least used gated units."""
    clear(m.layers[1], 5)
    for l, n in zip(m.layers, SPARE_UNITS):
        units(l, n)


def room_for_flags(m, asker):
    """Picture tokens keep REST channels of what told names apart, those that matter most, and
    nothing where text tokens have SAID and flags."""
    w = m.proj.weight
    a, b = asker["name.0.weight"], w[T_REST:]
    # a @ b is fitted by (a @ q) @ (q^T @ b)
    u, _, _ = torch.linalg.svd(a.T @ a @ b @ b.T)
    q, _ = torch.linalg.qr(u[:, :REST])
    rows, bias = q.T @ b, q.T @ m.proj.bias[T_REST:]
    w[T_REST:], m.proj.bias[T_REST:] = 0, 0
    w[T_REST:T_REST + REST], m.proj.bias[T_REST:T_REST + REST] = rows, bias
    out = dict(asker)
    out["name.0.weight"] = a @ q
    return out


def vocabulary(m, first, first_sp, sp):
    """Rows of embed and head by the text of their pieces; new ones start like ones never said."""
    e, h = m.embed.weight, m.head.weight
    old_e, old_h = first["embed.weight"], first["head.weight"]
    e.normal_(std=0.05)
    e[:, CONST] = 2.0
    h.copy_(old_h[3:259].mean(0) + torch.randn_like(h) * 0.01)  # the bytes were never said
    for i in range(first_sp.get_piece_size()):
        j = sp.piece_to_id(first_sp.id_to_piece(i))
        e[j], h[j] = old_e[i], old_h[i]


def tokens(m, w):
    t, e = m.c["tok"], m.embed.weight
    e[:, SAID:] = 0
    e[t["mtail"]] = e[t["lb"]]  # it gathers and fetches just as `[` does
    e[t["mtail"], F_MASK] = 2.0
    e[t["bos"], F_BOS] = 2.0
    for i, word in enumerate(said_words()):
        j = w.sp.piece_to_id("▁" + word)
        assert j, word
        e[j, SAID + i] = 2.0
        e[j, F_WORD] = 2.0
    place = init.fourier(torch.arange(101) / 100)
    for ids in (t["corner"], t["last"]):
        e[torch.tensor(ids), 64:88] = place * 0.2
        e[torch.tensor(ids), SPARE] = 2.2  # as long as `{<`, so that heads see them alike
    e[t["box"], F_LEAD] = 2.0
    e[t["box"], NTH] = 1.2


def said_words():
    return dense.scenes.COLOURS + dense.RANKS


def clear(l, h):
    out = init.head_rows(l, h)
    for w in out:
        w.zero_()
    return out


def said_head(l):
    """Head 2 of layer 0: from everywhere to the words that demand something, or else to BOS."""
    q, k, v, o = clear(l, 2)
    slow = l.dh // 2 - 1
    q[slow, CONST] = 1.2
    k[slow, F_WORD] = 1.2
    k[slow, F_BOS] = 0.7
    for i in range(N_SAID):
        v[i, SAID + i] = 1.0
        o[SAID + i, i] = 0.2


def back_head(m, h, steps):
    """A head of layer 0 that finds the `{<` a box begins with if it stands so many tokens back, and
    otherwise looks at BOS, which outweighs a `{<` one token off."""
    q, k, v, o = clear(m.layers[0], h)
    e, half = m.embed.weight, m.layers[0].dh // 2
    for pair in range(6):  # that turn by 1, 0.42, 0.18 ... per token
        turn = -steps * m.c["theta"] ** (-pair / half)
        q[pair, CONST], q[pair + half, CONST] = 1.2 * math.cos(turn), 1.2 * math.sin(turn)
        k[pair, F_LEAD] = 1.2
    lead, bos = e[m.c["tok"]["box"]], e[m.c["tok"]["bos"]]
    size = (lead.pow(2).mean() / bos.pow(2).mean()).sqrt()
    q[half - 1, CONST] = 1.2
    k[half - 1, F_BOS] = 1.2 * 5.72 * lead[F_LEAD] / bos[F_BOS] / size
    v[0, F_LEAD] = 1.0
    o[NTH + steps, 0] = 0.15


def fetch_heads(l):
    """Heads 2 and 3 of layer 1 look where head 0 does, but bring what the token knows of its thing."""
    q0, k0, _, _ = init.head_rows(l, 0)
    for h, pairs in ((2, [(TOKEN + i, ANY + i) for i in range(16)]),
                     (3, [(T_COLOUR + i, COLOUR + i) for i in range(12)] +
                      [(T_RANK + i, RANK + i) for i in range(6)])):
        q, k, v, o = clear(l, h)
        q.copy_(q0)
        k.copy_(k0)
        for i, (a, b) in enumerate(pairs):
            v[i, a] = 1.0
            o[b, i] = 1.0


def find_head(l):
    """Head 4 of layer 1: to the picture tokens whose thing fits what is said. Only rotary pairs that
    turn slowly can match over some hundred tokens; there are just enough."""
    q, k, v, o = clear(l, 4)
    half = l.dh // 2
    slots = [p + part for p in range(half - 9, half) for part in (0, half)]
    there = [T_COLOUR + i for i in range(11)] + [T_RANK + i for i in range(6)]
    for i in range(N_SAID):
        q[slots[i], SAID + i] = 2.0
        k[slots[i], there[i]] = 1.2
    q[slots[17], CONST] = 0.8
    k[slots[17], TOKEN:TOKEN + 16] = 0.25
    for i in range(5):
        v[i, T_BOX + i] = 1.0
        o[BOX + i, i] = 1.0
    for i in range(12):
        v[5 + i, T_COLOUR + i] = 1.0
        o[COLOUR + i, 5 + i] = 0.3
    for i in range(6):
        v[17 + i, T_RANK + i] = 1.0
        o[RANK + i, 17 + i] = 0.3


def units(l, n, skip=0):
    """The n least used gated units, as (gate row, up row, down column) views, cleared."""
    F = l.down.weight.shape[1]
    G, U = l.gate_up.weight[:F], l.gate_up.weight[F:]
    use = l.down.weight.norm(dim=0) * G.norm(dim=1) * U.norm(dim=1)
    out = []
    for i in use.argsort()[skip:skip + n].tolist():
        unit = (G[i], U[i], l.down.weight[:, i])
        for t in unit:
            t.zero_()
        out.append(unit)
    return out


def here_units(l):
    """One unit for each pixel of the strip, open when it is meant: as pick_units, for ANY."""
    F = l.down.weight.shape[1]
    G = l.gate_up.weight[:F].clone()
    for n, (g, u, d) in enumerate(units(l, 16)):
        g.copy_(G[3 * n])  # the first edition's gate of this pixel (its red)
        u[ANY + n] = 1.0
        d[HERE] = 0.25


def veto_units(l):
    """Demanded and not so: a unit for each demand."""
    has = [COLOUR + i for i in range(11)] + [RANK + i for i in range(6)]
    for i, (g, u, d) in enumerate(units(l, N_SAID)):
        g[SAID + i], g[has[i]], g[CONST] = 3.0, -2.0, -1.4
        u[CONST] = 1.0
        d[VETO] = 0.15


def edge_units(l):
    """The number of the box that is due."""
    for i, (g, u, d) in enumerate(units(l, 4)):
        g[NTH + i], g[CONST] = 3.0, 0.1
        u[BOX + i] = 1.0
        d[EDGE] = 0.3


def head(m, w):
    t, h = m.c["tok"], m.head.weight
    zero, one = t["digit"][0], t["digit"][1]
    for row, sign in ((one, 1.0), (zero, -1.0)):
        h[row] = 0
        h[row, HERE], h[row, VETO], h[row, CONST] = 0.5 * sign, -0.5 * sign, 0
    v = (torch.arange(101).float() / 100 - 0.5) * 4  # as the dense stage's boxes: 4 (x - 1/2)
    for ids in (t["corner"], t["last"]):
        rows = torch.tensor(ids)
        h[rows] *= 0.3
        h[rows, EDGE], h[rows, CONST] = v, -v * v / 4
    for i, word in enumerate(dense.scenes.COLOURS):
        h[w.sp.piece_to_id("▁" + word), COLOUR + i] += 1.0
