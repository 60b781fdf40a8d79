"""Answers spelled digit by digit, as LLaMA-2's tokenizer does: for the comparison in experiments.py.

Places are still asked with whole numbers, so only the answer differs: `[`, then one token a digit
and one a separator, 14 tokens a run instead of 5. The loss is cross-entropy among the twelve tokens that an
answer can have. Only `mode` is judged: greedy, within the grammar.
"""
import numpy as np
import torch
import torch.nn.functional as F

FIRST, LONGEST = 2, 14  # place of `[` in a run; tokens of the longest run
COMMA, CLOSE, PAD = 10, 11, -100
TEXT = [[int(d) for d in str(v)] for v in range(256)]


def pieces(m):
    """Ids of 0..9, `,` and `]`: column i of the logits is token pieces[i]."""
    t = m.c["tok"]
    return torch.tensor(t["plain"][:10] + [t["separator"], t["rb"]])


def spelled(rgb):
    """rgb (N, 3) -> columns (N, LONGEST - FIRST) of the answers to their end, PAD behind."""
    out = np.full((len(rgb), LONGEST - FIRST), PAD)
    for row, (r, g, b) in zip(out, rgb.tolist()):
        text = TEXT[r] + [COMMA] + TEXT[g] + [COMMA] + TEXT[b] + [CLOSE]
        row[:len(text)] = text
    return torch.from_numpy(out)


def begin(m, cols):
    """The tokens in front of an answer, (B, NQ, 3)."""
    t = m.c["tok"]
    c = cols.reshape(len(cols), -1)
    one = torch.ones_like(c)
    return torch.stack([torch.tensor(t["plain"])[c], one * t["tail"], one * t["lb"]], -1)


def prepare(m, batch):
    """Packed questions of a batch: picture, row ids, runs, wanted columns."""
    img, rows, cols, rgb = batch
    B, R, C = cols.shape
    want = spelled(rgb.reshape(-1, 3)).view(B, R * C, -1)
    fed = pieces(m)[want.clamp(min=0)][:, :, :-1]
    return img, torch.tensor(m.c["tok"]["comma"])[rows], torch.cat([begin(m, cols), fed], -1), want


def loss_of(m, prepared, row_of):
    """The loss and its parts, in train.loss_of's order: of all tokens, four times."""
    img, row_ids, ids, want = prepared
    h = m.packed(img, row_ids, [(ids, row_of)], [list(range(FIRST, LONGEST))])[0]
    logits = F.linear(h, m.head.weight[pieces(m)])
    ce = F.cross_entropy(logits.flatten(0, 2).float(), want.flatten(), ignore_index=PAD)
    return ce, ce.detach().expand(4)


@torch.no_grad()
def answer(m, img, rows, cols):
    """Greedy answers (B, R*C, 3) within the grammar."""
    B, R, C = cols.shape
    ids, row_of = begin(m, cols), torch.arange(R).repeat_interleave(C)
    row_ids, tokens = torch.tensor(m.c["tok"]["comma"])[rows], pieces(m)
    value = torch.zeros(B, R * C, 3, dtype=torch.long)
    channel, length = torch.zeros(2, B, R * C, dtype=torch.long)
    for _ in range(LONGEST - FIRST):
        h = m.packed(img, row_ids, [(ids, row_of)], [[ids.shape[2] - 1]])[0][:, :, 0]
        logits = F.linear(h, m.head.weight[tokens]).float()
        done = channel > 2
        now = value.gather(2, channel.clamp(max=2)[..., None])
        legal = torch.zeros_like(logits, dtype=torch.bool)
        legal[..., :10] = (now * 10 + torch.arange(10) <= 255) & ((now > 0) | (length == 0)[..., None])
        legal[..., COMMA] = (length > 0) & (channel < 2)
        legal[..., CLOSE] = (length > 0) & (channel == 2) | done
        pick = logits.masked_fill(~legal, float("-inf")).argmax(-1)
        digit = (pick < 10) & ~done
        value.scatter_(2, channel.clamp(max=2)[..., None],
                       torch.where(digit[..., None], now * 10 + pick[..., None], now))
        length = torch.where(digit, length + 1, 0)
        channel = channel + (~digit & ~done)
        ids = torch.cat([ids, tokens[pick][..., None]], -1)
    return value
