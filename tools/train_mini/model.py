"""PAE-LaMM at any size (docs/model.md sections 1 to 3), with many questions behind one picture.

A plain prompt is BOS, `[INST] <Img>`, I picture tokens, `</Img> [reconstruct] loc: [`, row, col,
tail, `[`, r, g (, b, `]`). All questions of a picture share everything before the row (the stem);
those of a row of the sampling grid share the row token. Each token is computed once and sees
exactly what it would see in its own plain prompt, so packed and plain logits are equal.

Tensors: B pictures, R row tokens, NQ questions of L tokens, H heads; E and D the widths of the
vision tower and the decoder. Parameters have the names of checkpoints; export.py renames them.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

from attend import attend as attention


class Block(nn.Module):
    def __init__(self, E, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(E, eps=1e-6)
        self.qkv = nn.Linear(E, 3 * E, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(E))
        self.v_bias = nn.Parameter(torch.zeros(E))
        self.proj = nn.Linear(E, E)
        self.norm2 = nn.LayerNorm(E, eps=1e-6)
        self.fc1 = nn.Linear(E, mlp)
        self.fc2 = nn.Linear(mlp, E)

    def forward(self, x):
        B, T, E = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        x3 = F.linear(self.norm1(x), self.qkv.weight, bias).view(B, T, 3, self.heads, -1)
        q, k, v = x3.permute(2, 0, 3, 1, 4)
        o = attention(q, k, v)
        x = x + self.proj(o.transpose(1, 2).reshape(B, T, E))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class RMSNorm(nn.Module):
    def __init__(self, D, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Layer(nn.Module):
    def __init__(self, D, heads, ffn):
        super().__init__()
        self.heads, self.dh = heads, D // heads
        self.norm1, self.norm2 = RMSNorm(D), RMSNorm(D)
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.o = nn.Linear(D, D, bias=False)
        self.gate_up = nn.Linear(D, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, D, bias=False)

    def mlp(self, x):
        g, u = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(g) * u)


def rope_tables(pos, dh, theta):
    inv = theta ** (-torch.arange(0, dh, 2, dtype=torch.float64) / dh)
    a = pos.double()[:, None] * inv[None]
    a = torch.cat([a, a], -1)
    return a.cos().float(), a.sin().float()


def rope(x, cos, sin):  # x (..., T, dh)
    h = x.shape[-1] // 2
    rot = torch.cat([-x[..., h:], x[..., :h]], -1)
    return x * cos + rot * sin


class LaMM(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        E, D, p = c["E"], c["D"], c["patch"]
        self.G = c["image"] // p
        P = self.G * self.G
        self.patch = nn.Linear(3 * p * p, E)
        self.cls = nn.Parameter(torch.zeros(E))
        self.pos = nn.Parameter(torch.zeros(1 + P, E))
        self.blocks = nn.ModuleList([Block(E, c["vheads"], c["vmlp"]) for _ in range(c["vlayers"])])
        self.ln_vision = nn.LayerNorm(E, eps=1e-5)
        concat = c.get("concat", 4)  # patches in a row that make one token
        self.proj = nn.Linear(concat * E, D)
        self.embed = nn.Embedding(c["vocab"], D)
        self.layers = nn.ModuleList([Layer(D, c["heads"], c["ffn"]) for _ in range(c["layers"])])
        self.norm = RMSNorm(D)
        self.head = nn.Linear(D, c["vocab"], bias=False)
        self.I = P // concat

    def see(self, img):
        """Normalised pictures (B, 3, S, S) -> tokens (B, I, D) of `concat` patches in a row."""
        B, p, G = img.shape[0], self.c["patch"], self.G
        x = img.view(B, 3, G, p, G, p).permute(0, 2, 4, 1, 3, 5).reshape(B, G * G, 3 * p * p)
        x = self.patch(x)
        x = torch.cat([(self.cls + self.pos[0]).expand(B, 1, -1), x.float() + self.pos[1:]], 1)
        for b in self.blocks:
            x = b(x)
        x = self.ln_vision(x)[:, 1:]
        return self.proj(x.reshape(B, self.I, -1))

    def stem_ids(self):
        t = self.c["tok"]
        return [t["bos"], t["open"]], [t["ask"]]

    def stem(self, feats):
        """All that the questions about a picture share, ready for the decoder."""
        a, b = self.stem_ids()
        B = feats.shape[0]
        dev = feats.device
        ea = self.embed(torch.tensor(a, device=dev)).expand(B, -1, -1)
        eb = self.embed(torch.tensor(b, device=dev)).expand(B, -1, -1)
        return torch.cat([ea, feats.float(), eb], 1)

    def packed(self, img, rows, groups, keep):
        """rows (B, R): ids of row tokens. groups: list of (ids (B, NQ, L), row_of (NQ) into R).
        keep[g]: token places whose final states are wanted, all others are left out of the last
        layer. Returns per group (B, NQ, len(keep), D). img may be picture tokens (B, I, D) too."""
        x = self.stem(self.see(img) if img.ndim == 4 else img)
        B, S, D = x.shape
        R = rows.shape[1]
        parts = [x, self.embed(rows)]
        for ids, _ in groups:
            parts.append(self.embed(ids).reshape(B, -1, D))
        sizes = [p.shape[1] for p in parts]
        x = torch.cat(parts, 1)
        pos = [torch.arange(S), torch.full((R,), S)]
        for ids, _ in groups:
            pos.append((S + 1 + torch.arange(ids.shape[2])).repeat(ids.shape[1]))
        cos, sin = rope_tables(torch.cat(pos), D // self.c["heads"], self.c["theta"])
        H = self.c["heads"]
        for n, l in enumerate(self.layers):
            last = n == len(self.layers) - 1
            q, k, v = l.qkv(l.norm1(x)).view(B, -1, 3, H, D // H).permute(2, 0, 3, 1, 4)
            q, k = rope(q, cos, sin), rope(k, cos, sin)
            q, k, v = (t.to(v.dtype).split(sizes, 2) for t in (q, k, v))
            outs, xs = [], x.split(sizes, 1)
            keepx = []
            if not last:
                outs.append(F.scaled_dot_product_attention(q[0], k[0], v[0], is_causal=True))
                own_k, own_v = k[1].unsqueeze(3), v[1].unsqueeze(3)
                outs.append(attend(q[1].unsqueeze(3), k[0], v[0], own_k, own_v, None))
            for g, (ids, row_of) in enumerate(groups):
                NQ, L = ids.shape[1], ids.shape[2]
                shp = (B, H, NQ, L, D // H)
                qg, kg, vg = q[2 + g].reshape(shp), k[2 + g].reshape(shp), v[2 + g].reshape(shp)
                kg = torch.cat([k[1][:, :, row_of].unsqueeze(3), kg], 3)
                vg = torch.cat([v[1][:, :, row_of].unsqueeze(3), vg], 3)
                mask = torch.arange(L + 1)[None] > torch.arange(1, L + 1)[:, None]
                if last:
                    qg, mask = qg[:, :, :, keep[g]], mask[keep[g]]
                    keepx.append(xs[2 + g].reshape(B, NQ, L, D)[:, :, keep[g]].reshape(B, -1, D))
                outs.append(attend(qg, k[0], v[0], kg, vg, mask))
            o = torch.cat(outs, 2).transpose(1, 2).reshape(B, -1, D)
            x = (torch.cat(keepx, 1) if last else x) + l.o(o)
            x = l.mlp(x)
        x = self.norm(x)
        shapes = [(ids.shape[1], len(places)) for (ids, _), places in zip(groups, keep)]
        xs = x.split([n * k for n, k in shapes], 1)
        return [t.reshape(B, n, k, D) for t, (n, k) in zip(xs, shapes)]

    def prefix(self, feats):
        """What stands before the text of a prompt with the pictures feats (B, n, I, D): BOS, the
        opening piece, and the pictures with what stands between them."""
        B, n = feats.shape[:2]
        t, dev = self.c["tok"], feats.device
        parts = [self.embed(torch.tensor([t["bos"], t["open"]], device=dev)).expand(B, -1, -1)]
        for i in range(n):
            if i:
                parts.append(self.embed(torch.tensor([t["mid"]], device=dev)).expand(B, -1, -1))
            parts.append(feats[:, i].float())
        return torch.cat(parts, 1)

    def tree(self, x, ids, depth, sees, kept, looks=None, spots=None):
        """Many prompts behind one prefix x (B, S, D), as a tree of tokens: what prompts have in common is there
        once. ids, depth (B, T); sees (B, T, T): is the second one the first or before it on its way
        from the root? kept (B, K): tokens whose final states are wanted. Returns (B, K, D).

        With looks (B, M), tokens, and spots (B, M, I), of the first picture, also how much of the attention of each
        of the heads c["point"] falls on the spots: logarithms (heads, B, M)."""
        B, S, D = x.shape
        H, d = self.c["heads"], D // self.c["heads"]
        T = ids.shape[1]
        cos, sin = rope_tables(torch.arange(S + 96), d, self.c["theta"])
        ct, st = cos[S:][depth][:, None], sin[S:][depth][:, None]
        mask = torch.cat([sees.new_ones(B, T, S), sees], 2)
        before = torch.ones(S, S, dtype=torch.bool, device=x.device).tril().expand(B, S, S)
        pointed = []
        t = self.embed(ids)
        for n, l in enumerate(self.layers):
            last = n == len(self.layers) - 1
            px = l.qkv(l.norm1(x)).view(B, S, 3, H, d).permute(2, 0, 3, 1, 4)
            tx = l.qkv(l.norm1(t)).view(B, T, 3, H, d).permute(2, 0, 3, 1, 4)
            kp, vp = rope(px[1], cos[:S], sin[:S]), px[2]
            qt, kt = rope(tx[0], ct, st), rope(tx[1], ct, st)
            if last:
                at = kept[:, :, None]
                qt = qt.gather(2, at[:, None].expand(-1, H, -1, d))
                mask = mask.gather(1, at.expand(-1, -1, S + T))
                t = t.gather(1, at.expand(-1, -1, D))
            elif looks is not None:
                pointed += [share_of(qt[:, h], torch.cat([kp[:, h], kt[:, h]], 1), mask, looks, spots)
                            for layer, h in self.c["point"] if layer == n]
            dt = vp.dtype
            o = attention(qt.to(dt), torch.cat([kp.to(dt), kt.to(dt)], 2), torch.cat([vp, tx[2]], 2), mask)
            t = l.mlp(t + l.o(o.transpose(1, 2).reshape(B, -1, D)))
            if not last:
                qp = rope(px[0], cos[:S], sin[:S]).to(dt)
                o = attention(qp, kp.to(dt), vp, before)
                x = l.mlp(x + l.o(o.transpose(1, 2).reshape(B, S, D)))
        t = self.norm(t)
        return t if looks is None else (t, torch.stack(pointed))

    def plain(self, img, ids):
        """One full prompt per picture: ids (B, T) behind the stem. Logits of all those places."""
        return self.decode(self.stem(self.see(img)), ids)

    def decode(self, stem, ids):
        """Logits of ids (B, T) behind a stem, one prompt per row: the truth for packed()."""
        x = torch.cat([stem, self.embed(ids)], 1)
        B, T, D = x.shape
        H = self.c["heads"]
        cos, sin = rope_tables(torch.arange(T), D // H, self.c["theta"])
        for l in self.layers:
            q, k, v = l.qkv(l.norm1(x)).view(B, T, 3, H, D // H).permute(2, 0, 3, 1, 4)
            q, k = rope(q, cos, sin), rope(k, cos, sin)
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + l.o(o.transpose(1, 2).reshape(B, T, D))
            x = l.mlp(x)
        return self.head(self.norm(x[:, -ids.shape[1]:]))


def share_of(q, k, mask, looks, spots):
    """The logarithm of the part of one head's attention, q (B, T, d) to k (B, S, d), that falls from the tokens looks
    on the picture tokens spots behind the prefix's first two. Returns (B, M)."""
    q = q.gather(1, looks[:, :, None].expand(-1, -1, q.shape[2])).float()
    seen = mask.gather(1, looks[:, :, None].expand(-1, -1, k.shape[1]))
    s = (q @ k.float().transpose(1, 2) / math.sqrt(q.shape[2])).masked_fill(~seen, -1e9)
    on = s[:, :, 2:2 + spots.shape[2]].masked_fill(~spots, -1e9)
    return on.logsumexp(-1) - s.logsumexp(-1)


def attend(q, ks, vs, kt, vt, mask):
    """q (B,H,N,L,d) over shared keys ks (B,H,S,d) and each question's own kt (B,H,N,M,d)."""
    B, H, N, L, d = q.shape
    q = q * (1.0 / math.sqrt(d))
    a = (q.reshape(B, H, N * L, d) @ ks.transpose(-1, -2)).view(B, H, N, L, -1)
    S = a.shape[-1]
    t = q @ kt.transpose(-1, -2)
    if mask is not None:
        t = t.masked_fill(mask, float("-inf"))
    p = torch.softmax(torch.cat([a, t], -1), -1)
    ps, pt = p.split([S, t.shape[-1]], -1)
    o = ps.reshape(B, H, N * L, S) @ vs
    o = o.view(B, H, N, L, d) + pt @ vt
    return o.reshape(B, H, N * L, d)
