#!/usr/bin/env python3
"""What PyTorch takes for the shapes of bench_cuda.c, in bf16, on the same card: products of one
decoder layer and one vision block, picture attention, and 1,024 lanes behind a shared stem done two
ways - every lane with a copy of the stem's keys, as a cached prefix is repeated, and the stem once
with one softmax over stem and tail. All tails have 13 keys here; there they have 1 to 25, 12.5 in
the middle.

Prints the same kind of table: median of 7 rounds of at least 20 ms, least and most, in
microseconds.
"""
import time

import torch
import torch.nn.functional as F

D, FF, H, E, G, TOKENS, STEM, LANES, TAIL = 4096, 11008, 32, 1408, 6144, 1025, 273, 1024, 13
DEV, BF = "cuda", torch.bfloat16
ROUNDS = 7


def measure(name, run):
    run()
    torch.cuda.synchronize()
    t = time.perf_counter()
    run()
    torch.cuda.synchronize()
    n = int(0.02 / (time.perf_counter() - t)) + 1
    us = []
    for _ in range(ROUNDS):
        t = time.perf_counter()
        for _ in range(n):
            run()
        torch.cuda.synchronize()
        us.append((time.perf_counter() - t) / n * 1e6)
    us.sort()
    print(f"| {name:40} | {us[ROUNDS // 2]:9.1f} | {us[0]:9.1f} .. {us[-1]:9.1f} |")


def rand(*shape):
    return torch.randn(*shape, device=DEV, dtype=BF)


def products():
    w = {"qkv": rand(3 * D, D), "o": rand(D, D), "gate, up": rand(2 * FF, D), "down": rand(D, FF)}
    for m in (1, 16, 64, 256, 1024, 2048):
        for name, matrix in w.items():
            x = rand(m, matrix.shape[1])
            measure(f"{name}, {m} rows", lambda: F.linear(x, matrix))
    for name, n, k in (("qkv", 3 * E, E), ("proj", E, E), ("fc1 and gelu", G, E), ("fc2", E, G)):
        x, matrix, bias = rand(TOKENS, k), rand(n, k), rand(n)
        gelu = F.gelu if "gelu" in name else (lambda y: y)
        measure(f"vision {name}, {TOKENS} rows", lambda: gelu(F.linear(x, matrix, bias)))


def attention():
    q, k, v = (rand(1, 16, TOKENS, E // 16) for _ in range(3))
    measure("picture attention", lambda: F.scaled_dot_product_attention(q, k, v))
    size = D // H
    q = rand(LANES, H, 1, size)
    k, v = rand(LANES, H, STEM + TAIL, size), rand(LANES, H, STEM + TAIL, size)
    measure(f"{LANES} lanes, the stem repeated", lambda: F.scaled_dot_product_attention(q, k, v))
    stem_k, stem_v = rand(H, STEM, size), rand(H, STEM, size)
    own_k, own_v = rand(LANES, H, TAIL, size), rand(LANES, H, TAIL, size)

    def shared():
        flat = q[:, :, 0].transpose(0, 1)  # (H, LANES, size)
        s = torch.bmm(flat, stem_k.transpose(1, 2)).float() * size**-0.5
        # (H, LANES, TAIL)
        own = (q @ own_k.transpose(-1, -2))[:, :, 0].transpose(0, 1).float() * size**-0.5
        p = torch.softmax(torch.cat([s, own], -1), -1).to(BF)
        y = torch.bmm(p[..., :STEM], stem_v)
        return y + torch.einsum("hnt,nhtd->hnd", p[..., STEM:], own_v)

    measure(f"{LANES} lanes, the stem shared", shared)


def main():
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}\n")
    print("| operation | us | least .. most |\n|---|---|---|")
    with torch.inference_mode():
        products()
        attention()


if __name__ == "__main__":
    main()
