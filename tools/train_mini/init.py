"""Where training starts from: weights that already carry positions and colours through the graph.

Every number below is an initial weight of the ordinary graph, training moves all of them, and the
program that serves the model knows nothing of it. A small model started at random spends most of
its questions on finding out that row and column are places in the picture; this one starts with
the routes laid and has to learn to use them. Its answers before the first step are hardly better
than painting every pixel in the mean colour (see the model card).
The residual of the decoder is laid out as follows (D >= 192):

    ROWF, COLF  Fourier features of a row and a column (of a picture token: of its own place; of a
                question token: of the place asked for)
    COLM, ROWP  column modulo 8 and row parity asked for: which pixel of the 2x8 strip
    flags       a constant; kinds of token
    CONTENT     colours inside a picture token; on number tokens the same dims hold SRC, what is to
                be copied into ROWF/COLF/COLM/ROWP
    FETCHED     what the question fetched from the picture; VALUE the three colours picked from it

Layer 0: two heads bring SRC of the row token and of the column token to every later token.
Layer 1: heads match ROWF/COLF of the question with those of the picture tokens and fetch CONTENT;
gated units pick the pixel of the strip. Last layer: units choose the channel. The head's rows are
those of a Gaussian over the 256 levels: v*x - v^2/2 is linear in x.
"""
import math

import torch

FREQ = [0.5, 1, 2, 4, 8, 16, 32, 1.5, 3, 6, 12, 24]  # cycles per picture side
ROW_F, COL_F = [0.5, 1, 2, 4, 8], [0.5, 1, 2]  # those that a question and a token are matched by
ROWF, COLF, COLM, ROWP = 0, 24, 48, 56
CONST, F_COMMA, F_PLAIN, F_IMG, F_TAIL, F_LB = 58, 59, 60, 61, 62, 63
CONTENT, SRC, FETCHED, VALUE, OUT, FCONST = 64, 64, 112, 160, 163, 164


def fourier(u):
    """u (...) in [0,1] -> (..., 24): sin, cos of each frequency."""
    a = 2 * math.pi * u[..., None] * torch.tensor(FREQ)
    return torch.stack([a.sin(), a.cos()], -1).flatten(-2)


def level(v):
    """A colour on the scale of the normalised picture."""
    return (v / 255 - 0.45) / 0.27


@torch.no_grad()
def init(m, seed, how="built"):
    """how: 'built', all of the above. 'fourier', random but for Fourier features of places in the
    position embeddings and in the embeddings of numbers. 'random', nothing but noise."""
    torch.manual_seed(seed)
    if how != "built":
        noise(m)
        if how == "fourier":
            vision_places(m)
            embeddings(m)
        return
    for name, p in m.named_parameters():  # all that is not set below stays random
        if p.ndim >= 2 and "pos" not in name:
            torch.nn.init.normal_(p, std=0.4 / math.sqrt(p.shape[-1]))
    m.embed.weight.normal_(std=0.05)
    vision(m)
    embeddings(m)
    for l in m.layers[1:]:
        l.o.weight.mul_(0.3)
    for l in m.layers:
        l.down.weight.mul_(0.3)
    gather_heads(m.layers[0])
    concat = m.c.get("concat", 4)
    fetch_heads(m.layers[1], concat)
    pick_units(m.layers[1], concat)
    channel_units(m.layers[-1])
    output(m)


def noise(m):
    """Every matrix keeps the size of what goes through it; what is added to a residual is small."""
    for name, p in m.named_parameters():
        if p.ndim >= 2 and "pos" not in name:
            p.normal_(std=1 / math.sqrt(p.shape[-1]))
    m.embed.weight.normal_(std=0.5)
    m.pos.normal_(std=0.5)
    m.cls.normal_(std=0.5)
    for b in m.blocks:
        b.proj.weight.mul_(0.5)
        b.fc2.weight.mul_(0.5)
    for l in m.layers:
        l.o.weight.mul_(0.5)
        l.down.weight.mul_(0.5)


def vision_places(m):
    """Channels at the end of each patch's position embedding say its row and column."""
    g = (torch.arange(m.G) + 0.5) / m.G
    f, o = fourier(g), m.c["E"] - 60
    m.pos[1:, o:o + 10] = f[:, :10].repeat_interleave(m.G, 0)
    m.pos[1:, o + 10:o + 20] = f[:, :10].repeat(m.G, 1)


def vision(m):
    """Patches begin as 2x2 block means: a patch covers 2x2 pixels of the 64x64 grid. A few channels
    at the end say the patch's place. The connector lays four patches side by side into CONTENT."""
    c = m.c
    p, E = c["patch"], c["E"]
    w = m.patch.weight.view(E, 3, p, p)
    w.zero_()
    h = p // 2
    # 12 block means (2x2 of the target grid, 3 channels), then what is left of the patch, smaller
    n = 0
    for i in range(2):
        for j in range(2):
            for ch in range(3):
                w[n, ch, i * h:(i + 1) * h, j * h:(j + 1) * h] = 1.0 / (h * h)
                n += 1
    rest = 3 * p * p
    extra = min(36, E - 12 - 60)
    w[12:12 + extra].normal_(std=0.5 / math.sqrt(rest))
    m.patch.bias.zero_()
    m.pos.normal_(std=0.02)
    vision_places(m)
    o = E - 60
    m.pos[1:, o + 20:o + 24] = 3.0
    m.pos[1:, o + 24:o + 28] = -3.0
    m.cls.normal_(std=0.5)
    for b in m.blocks:
        b.proj.weight.mul_(0.2)
        b.fc2.weight.mul_(0.2)
    concat = c.get("concat", 4)
    W = m.proj.weight.view(c["D"], concat, E)
    W.normal_(std=0.01)
    s = 1.6  # ln_vision divides by about 1.6
    for k in range(concat):
        for i in range(12):
            W[CONTENT + 12 * k + i] = 0
            W[CONTENT + 12 * k + i, k, i] = 0.5 * s
    for i in range(10):
        W[ROWF + i] = 0
        W[COLF + i] = 0
        W[ROWF + i, :, o + i] = s / concat
        W[COLF + i, :, o + 10 + i] = s / concat
    m.proj.bias.zero_()
    m.proj.bias[CONST] = 2.0
    m.proj.bias[F_IMG] = 1.0


def embeddings(m):
    """A number token carries the place it would name: Fourier features, value mod 8, parity."""
    t, e = m.c["tok"], m.embed.weight
    n = torch.arange(256)
    src = fourier((n + 0.5) / 64)
    for ids, flag in ((t["comma"], F_COMMA), (t["plain"], F_PLAIN)):
        for v in range(256):
            r = e[ids[v]]
            r[:64] = 0
            r[64:112] = 0
            r[SRC:SRC + 24] = src[v]
            r[SRC + 24 + v % 8] = 1.0
            r[SRC + 32 + v % 2] = 1.0
            r[flag] = 2.0
    for name, flag in (("tail", F_TAIL), ("lb", F_LB)):
        e[t[name], :64] = 0
        e[t[name], flag] = 2.0
    e[:, CONST] = 2.0


def head_rows(l, h):
    """Views of one head's query, key, value and output weights."""
    D = l.o.weight.shape[0]
    d = l.dh
    W = l.qkv.weight.view(3, D, D)
    own = slice(h * d, (h + 1) * d)
    return W[0, own], W[1, own], W[2, own], l.o.weight[:, own]


def gather_heads(l):
    """Head 0 attends to the row token, head 1 to the column token, and brings what it says."""
    d = l.dh
    slow = d // 2 - 1  # the rotary pair that turns least: a match whatever the distance
    for h, flag in ((0, F_COMMA), (1, F_PLAIN)):
        q, k, v, o = head_rows(l, h)
        for w in (q, k, v, o):
            w.zero_()
        q[slow, CONST] = 1.3
        k[slow, flag] = 1.3
        if h == 0:  # a colour token must look past the colours at the row, 4 or 5 places back
            q[0, F_COMMA] = 1.2 * math.cos(-4.4)
            q[d // 2, F_COMMA] = 1.2 * math.sin(-4.4)
            k[0, F_COMMA] = 1.2
        for i in range(24):
            v[i, SRC + i] = 1.0
            o[(ROWF if h == 0 else COLF) + i, i] = 0.4
        if h == 0:
            for i in range(2):
                v[24 + i, SRC + 32 + i] = 1.0
                o[ROWP + i, 24 + i] = 0.4
        else:
            for i in range(8):
                v[24 + i, SRC + 24 + i] = 1.0
                o[COLM + i, 24 + i] = 0.4


def fetch_heads(l, concat):
    """Heads 0 and 1 attend to the picture token of the place asked for; each brings half of it.
    Narrower tokens (concat 2) need one frequency of columns more."""
    d = l.dh
    half = d // 2
    for h in range(2):
        q, k, v, o = head_rows(l, h)
        for w in (q, k, v, o):
            w.zero_()
        columns = COL_F if concat == 4 else COL_F + [4]
        pair = half - len(ROW_F) - len(columns)
        for base, fs in ((ROWF, ROW_F), (COLF, columns)):
            for i in range(len(fs)):
                for part in range(2):
                    q[pair + part * half, base + 2 * i + part] = 2.7
                    k[pair + part * half, base + 2 * i + part] = 2.7
                pair += 1
        for i in range(24):
            v[i, CONTENT + 24 * h + i] = 1.0
            o[FETCHED + 24 * h + i, i] = 0.7
        if h == 0:
            v[24, CONST] = 1.0
            o[FCONST, 24] = 0.35


def pick_units(l, concat):
    """One gated unit for each pixel of the 2x8 strip and channel: open when that pixel is meant."""
    F = l.down.weight.shape[1]
    G, U = l.gate_up.weight[:F], l.gate_up.weight[F:]
    n = 0
    for par in range(2):
        for col in range(8):
            for ch in range(3):
                G[n] = 0
                U[n] = 0
                G[n, COLM + col] = 6.0
                G[n, ROWP + par] = 6.0
                G[n, CONST] = -4.5
                U[n, FETCHED + 12 * (col // 2 % concat) + 6 * par + 3 * (col % 2) + ch] = 1.0
                l.down.weight[:, n] = 0
                l.down.weight[VALUE + ch, n] = 0.1
                n += 1


def channel_units(l):
    """`[` says red; `r,` and `g,` say a blend of green and blue, for training to tell apart."""
    F = l.down.weight.shape[1]
    G, U = l.gate_up.weight[:F], l.gate_up.weight[F:]
    for n, (flag, chans) in enumerate(((F_LB, [0]), (F_COMMA, [1, 2]))):
        G[n] = 0
        U[n] = 0
        G[n, flag] = 2.0
        for ch in chans:
            U[n, VALUE + ch] = 1.0 / len(chans)
        l.down.weight[:, n] = 0
        l.down.weight[OUT, n] = 0.1


def output(m):
    """Logits of the numbers: a Gaussian around the colour fetched. Other tokens start low."""
    t, w = m.c["tok"], m.head.weight
    w.normal_(std=0.01)
    v = level(torch.arange(256).float())
    for ids in (t["comma"], t["plain"]):
        idx = torch.tensor(ids)
        w[idx] = w[idx] * 0.3
        w[idx, OUT] = v * 1.5
        w[idx, CONST] = -v * v / 2 * 1.0
    rest = torch.ones(len(w), dtype=torch.bool)
    rest[torch.tensor(t["comma"] + t["plain"])] = False
    w[rest, F_LB] -= 1.0
    w[rest, F_COMMA] -= 1.0
    w[t["lb"], F_TAIL] += 1.5
    # plain numbers are only for blue; training finds that out at once
