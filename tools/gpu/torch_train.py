#!/usr/bin/env python3
"""A training step of PAE-LaMM in PyTorch, to be held against `lammd bench train` on the same card:
the paper's widths with few layers, a LoRA of rank 64 on q and v and the connector learn, the vision
tower is frozen. One picture, and n questions about it, each with its whole prompt, as trainers have
it: PyTorch has no packing to offer here. 256 rows of the picture and 17 of text are shared, 13 are
a question's own, 13 its answer, which alone counts in the loss.

    torch_train.py [--layers 4] [--seconds 30] [--tiny] [--cpu]

With transformers and peft the decoder is theirs; without, a plain one written here. The line above
the table says so. Weights are bf16, LoRA and connector f32 with AdamW. A figure is the median of at
least 3 steps behind one that isn't counted, with least and most. A batch that finds no memory is
said to. Exit status 1: a loss or gradient wasn't finite.
"""
import argparse
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

try:
    import peft
    import transformers
except ImportError:
    peft = None

SHARED, TAIL, ANSWER, RANK, ALPHA = 17, 13, 13, 64, 16
FULL = {"D": 4096, "H": 32, "FF": 11008, "V": 32000, "E": 1408, "EH": 16, "G": 6144, "SIDE": 32, "CONCAT": 4}
TINY = {"D": 64, "H": 4, "FF": 160, "V": 512, "E": 32, "EH": 2, "G": 96, "SIDE": 4, "CONCAT": 4}
THETA, EPS = 10000.0, 1e-5


def attend(q, k, v, causal):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    s = q @ k.transpose(-1, -2) * q.shape[-1]**-0.5
    if causal:
        s = s.masked_fill(torch.ones(s.shape[-2:], device=s.device).triu(1).bool(), float("-inf"))
    return torch.softmax(s.float(), -1).to(v.dtype) @ v


def frozen(n, k, like):
    return nn.Parameter(torch.randn(n, k, device=like.device).mul_(k**-0.5).to(like.dtype), requires_grad=False)


class Block(nn.Module):
    """Of the tower: a forward pass without gradients."""

    def __init__(self, s, like):
        super().__init__()
        e, g = s["E"], s["G"]
        self.heads = s["EH"]
        self.qkv, self.proj = frozen(3 * e, e, like), frozen(e, e, like)
        self.fc1, self.fc2 = frozen(g, e, like), frozen(e, g, like)

    def forward(self, x):
        b, t, e = x.shape
        y = F.linear(F.layer_norm(x, (e,)), self.qkv).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + F.linear(attend(*y, False).transpose(1, 2).reshape(b, t, e), self.proj)
        return x + F.linear(F.gelu(F.linear(F.layer_norm(x, (e,)), self.fc1)), self.fc2)


class Layer(nn.Module):
    """Of the decoder, where peft isn't to be had."""

    def __init__(self, s, like):
        super().__init__()
        d, ff = s["D"], s["FF"]
        self.heads = s["H"]
        self.q, self.k, self.v, self.o = (frozen(d, d, like) for _ in range(4))
        self.gate, self.up, self.down = frozen(ff, d, like), frozen(ff, d, like), frozen(d, ff, like)
        r = min(RANK, d)
        self.a = nn.ParameterList([nn.Parameter(torch.randn(r, d, device=like.device) * d**-0.5) for _ in "qv"])
        self.b = nn.ParameterList([nn.Parameter(torch.zeros(d, r, device=like.device)) for _ in "qv"])

    def lora(self, i, x, w):
        inside = F.linear(x.float(), self.a[i])
        return F.linear(x, w) + (F.linear(inside, self.b[i]) * (ALPHA / RANK)).to(x.dtype)

    def forward(self, x, turn):
        b, t, d = x.shape
        y = norm(x)
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2)
                   for p in (self.lora(0, y, self.q), F.linear(y, self.k), self.lora(1, y, self.v)))
        y = attend(turned(q, turn), turned(k, turn), v, True).transpose(1, 2).reshape(b, t, d)
        x = x + F.linear(y, self.o)
        y = norm(x)
        return x + F.linear(F.silu(F.linear(y, self.gate)) * F.linear(y, self.up), self.down)


def norm(x):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def turned(x, turn):
    half = x.shape[-1] // 2
    return x * turn[0] + torch.cat([-x[..., half:], x[..., :half]], -1) * turn[1]


class Plain(nn.Module):
    name = "plain torch"

    def __init__(self, s, layers, like):
        super().__init__()
        self.half = s["D"] // s["H"] // 2
        self.layers = nn.ModuleList([Layer(s, like) for _ in range(layers)])

    def forward(self, x):
        t = torch.arange(x.shape[1], device=x.device).float()
        angle = t[:, None] * THETA**(-torch.arange(self.half, device=x.device).float() / self.half)
        angle = angle.repeat(1, 2)
        turn = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, turn)
        return norm(x)


class Peft(nn.Module):
    """transformers' decoder with peft's LoRA."""

    def __init__(self, s, layers, like):
        super().__init__()
        self.name = f"transformers {transformers.__version__}, peft {peft.__version__}"
        config = transformers.LlamaConfig(
            hidden_size=s["D"], intermediate_size=s["FF"], num_hidden_layers=layers, num_attention_heads=s["H"],
            vocab_size=s["V"], rms_norm_eps=EPS, rope_theta=THETA, attn_implementation="sdpa")
        model = transformers.LlamaModel(config).to(device=like.device, dtype=like.dtype)
        self.model = peft.get_peft_model(model, peft.LoraConfig(
            r=min(RANK, s["D"]), lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"]))

    def forward(self, x):
        return self.model(inputs_embeds=x, use_cache=False).last_hidden_state


class Trainer:
    def __init__(self, s, layers, like):
        self.s, self.like = s, like
        self.blocks = nn.ModuleList([Block(s, like) for _ in range(layers)])
        self.decoder = (Peft if peft else Plain)(s, layers, like)
        self.table, self.head = frozen(s["V"], s["D"], like), frozen(s["V"], s["D"], like)
        joined = s["CONCAT"] * s["E"]
        self.connector = nn.Parameter(torch.randn(s["D"], joined, device=like.device) * joined**-0.5)
        learns = [p for p in self.decoder.parameters() if p.requires_grad] + [self.connector]
        self.learns, self.optimiser = learns, torch.optim.AdamW(learns, lr=1e-6)

    def step(self, n):
        """One picture with n questions. The loss."""
        s, dev = self.s, self.like.device
        patches = torch.randn(1, 1 + s["SIDE"]**2, s["E"], device=dev, dtype=self.like.dtype)
        ids = torch.randint(0, s["V"], (n, SHARED + TAIL + ANSWER), device=dev)
        with torch.no_grad():
            for block in self.blocks:
                patches = block(patches)
        joined = patches[0, 1:].reshape(-1, s["CONCAT"] * s["E"])
        feats = F.linear(joined.float(), self.connector).to(self.like.dtype)
        x = torch.cat([feats.expand(n, -1, -1), F.embedding(ids, self.table)], 1)
        y = self.decoder(x)[:, -ANSWER - 1:-1]
        loss = F.cross_entropy(F.linear(y, self.head).float().flatten(0, 1), ids[:, -ANSWER:].flatten())
        loss.backward()
        size = nn.utils.clip_grad_norm_(self.learns, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss, size


def wait(like):
    if like.is_cuda:
        torch.cuda.synchronize()


def measure(trainer, n, seconds):
    """ms of steps, or None: no memory. Raises where a number isn't finite."""
    ms, end = [], time.perf_counter() + seconds
    try:
        while len(ms) < 4 or (time.perf_counter() < end and len(ms) < 50):
            t = time.perf_counter()
            loss, size = trainer.step(n)
            wait(trainer.like)
            ms.append((time.perf_counter() - t) * 1e3)
            if not (torch.isfinite(loss) and torch.isfinite(size)):
                raise ArithmeticError(f"{n} questions: loss {loss.item()}, gradient {size.item()}")
    except torch.cuda.OutOfMemoryError if hasattr(torch.cuda, "OutOfMemoryError") else MemoryError:
        torch.cuda.empty_cache()
        return None
    return sorted(ms[1:])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--layers", type=int, default=4)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--tiny", action="store_true")
    p.add_argument("--cpu", action="store_true")
    a = p.parse_args()
    torch.manual_seed(1)
    like = torch.empty(0, device="cpu" if a.cpu else "cuda", dtype=torch.float32 if a.cpu else torch.bfloat16)
    shape = TINY if a.tiny else FULL
    trainer = Trainer(shape, a.layers, like)
    rows = shape["SIDE"]**2 // shape["CONCAT"] + SHARED + TAIL + ANSWER
    where = "cpu" if a.cpu else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}; {trainer.decoder.name}; {a.layers} layers and blocks, "
          f"{rows} rows a question\n")
    print("| questions | a second | ms a step | least .. most |\n|---|---|---|---|")
    for n in (64, 16, 1):
        ms = measure(trainer, n, a.seconds / 3)
        if ms is None:
            print(f"| {n} | - | no memory | - |")
            continue
        median = ms[len(ms) // 2]
        print(f"| {n} | {n / median * 1e3:.1f} | {median:.1f} | {ms[0]:.1f} .. {ms[-1]:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ArithmeticError as why:
        sys.exit(f"not finite: {why}")
