#!/usr/bin/env python3
"""Pixel answers by PAE-LaMM's decoder in PyTorch, three ways, on one card with one set of seeded
weights:

  a  transformers' LlamaForCausalLM, every question with its full prompt, in batches
  b  the same, the keys and values of the prompt that all share computed once and repeated for the
     batch
  c  plain torch, the shared prompt's keys and values once (the stem): the rows of all questions
     together, attention = one softmax over the stem and one over the private tail, merged by
     log-sum-exp

Where transformers can't be imported, a and b run on a plain LLaMA written here. The table says so.

    side_by_side.py [--seconds 90] [--tflops 790] [--tiny] [--cpu]

The picture's 256 rows are random, 273 rows of the prompt are shared, 11 to 13 are a question's own.
Answers have 13 tokens, and what is fed back is drawn beforehand, so that all do the same work: 1
pass over the prompt and 12 steps. (The engine feeds 10 on average, since it leaves out what its
grammar forces: that is its gain, not hidden here.) A figure is the median of at least 3 runs of one
batch, with least and most; "4,096 pixels" is 4,096 / batch times as much and the shared prompt
once. The floor is what this way has to compute, at --tflops.

Before anything is timed, the logits of a, b and c for some questions are held against a plain pass
in f32 without any cache. None may be further off than twice the best one. The exit status says
whether that was so.
"""
import argparse
import sys
import time

import torch
import torch.nn.functional as F

try:
    import transformers
except ImportError:
    transformers = None

STEM, TAIL, ANSWER, PIXELS = 273, 13, 13, 4096
FULL = {"D": 4096, "H": 32, "L": 32, "FF": 11008, "V": 32000}
TINY = {"D": 64, "H": 4, "L": 3, "FF": 160, "V": 512}
THETA, EPS = 10000.0, 1e-5


class Weights:
    """Random, the same for all ways. q, k, v and gate, up lie together; transformers gets views."""

    def __init__(self, shape, device, dtype):
        self.shape, self.device, self.dtype = shape, device, dtype
        g = torch.Generator(device=device).manual_seed(1)
        d, ff, v = shape["D"], shape["FF"], shape["V"]

        # 0.02 where 4,096 numbers come in, as models are begun with; so scores are about one at any
        # width, and logits depend on what attention saw.
        def rand(*size, scale=None):
            return torch.randn(*size, generator=g, device=device, dtype=dtype) * (scale or 1.28 * size[-1]**-0.5)

        self.embed, self.head = rand(v, d, scale=0.1), rand(v, d)
        self.norm = 1 + rand(d, scale=0.1)
        self.layers = [{"qkv": rand(3 * d, d), "o": rand(d, d), "gate_up": rand(2 * ff, d), "down": rand(d, ff),
                        "norm1": 1 + rand(d, scale=0.1), "norm2": 1 + rand(d, scale=0.1)}
                       for _ in range(shape["L"])]
        self.stem = rand(1, STEM, d, scale=0.1)


class Questions:
    """n questions, tails and answers seeded. Tails are padded on the left, as transformers asks."""

    def __init__(self, w, n):
        g = torch.Generator().manual_seed(2)
        v = w.shape["V"]
        self.n = n
        self.pad = torch.randint(0, 3, (n,), generator=g).to(w.device)
        self.ids = torch.randint(0, v, (n, TAIL), generator=g).to(w.device)
        self.answer = torch.randint(0, v, (n, ANSWER), generator=g).to(w.device)
        self.real = torch.arange(TAIL, device=w.device) >= self.pad[:, None]  # (n, TAIL)
        self.pos = (STEM + torch.arange(TAIL, device=w.device) - self.pad[:, None]).clamp(min=0)
        self.end = STEM + TAIL - self.pad  # (n): the position of the answer's first token

    def some(self, n):
        few = object.__new__(Questions)
        few.n = n
        for name in ("pad", "ids", "answer", "real", "pos", "end"):
            setattr(few, name, getattr(self, name)[:n])
        return few


# ---- the decoder in plain torch ----


def rms_norm(x, weight):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def rope(x, pos):
    """x (B, H, T, K), pos (B, T); halves are turned against each other."""
    half = x.shape[-1] // 2
    turn = THETA ** (-torch.arange(half, device=x.device).float() / half)
    angle = (pos.float()[:, None, :, None] * turn).repeat(1, 1, 1, 2)
    other = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * angle.cos().to(x.dtype) + other * angle.sin().to(x.dtype)


def decode(w, x, pos, attend, dtype=None):
    """x (B, T, D) through all layers. attend(layer, q, k, v) -> (B, H, T, K). Another dtype:
    weights are cast."""
    d, heads = w.shape["D"], w.shape["H"]
    b, t, _ = x.shape

    def of(m):
        return m if dtype is None else m.to(dtype)

    for i, layer in enumerate(w.layers):
        y = F.linear(rms_norm(x, of(layer["norm1"])), of(layer["qkv"]))
        q, k, v = y.view(b, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        y = attend(i, rope(q, pos), rope(k, pos), v).transpose(1, 2).reshape(b, t, d)
        x = x + F.linear(y, of(layer["o"]))
        gate, up = F.linear(rms_norm(x, of(layer["norm2"])), of(layer["gate_up"])).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, of(layer["down"]))
    return rms_norm(x, of(w.norm))


def reference(w, q):
    """Logits (n, ANSWER, V) of whole sequences in f32, one by one and without a cache."""
    all_logits = []
    for i in range(q.n):
        own = torch.cat([q.ids[i, q.real[i]], q.answer[i, :-1]])
        x = torch.cat([w.stem[0], w.embed[own]]).float()[None]
        pos = torch.arange(x.shape[1], device=w.device)[None]
        x = decode(w, x, pos, lambda _, a, k, v: F.scaled_dot_product_attention(a, k, v, is_causal=True),
                   torch.float32)
        all_logits.append(F.linear(x[0, -ANSWER:], w.head.float()))
    return torch.stack(all_logits)


class Plain:
    """a and b without transformers: a cache that grows by torch.cat, attention by torch's own with
    a mask."""

    name = "plain torch, no transformers here"

    def __init__(self, w):
        self.w = w

    def run(self, x, mask, pos, cache):
        """mask (B, keys): which keys are real; the last x.shape[1] of them are those of x."""
        b, t, _ = x.shape
        keys = mask.shape[1]
        own = torch.arange(keys, device=x.device)
        row = keys - t + torch.arange(t, device=x.device)
        # Padding sees itself.
        see = (own <= row[:, None]) & mask[:, None, :] | (own == row[:, None])
        cache = list(cache) if cache else [None] * self.w.shape["L"]

        def attend(i, q, k, v):
            if cache[i] is not None:
                k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
            cache[i] = (k, v)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=see[:, None])

        return decode(self.w, x, pos, attend)[:, -1], cache

    def repeat(self, cache, n):
        return [(k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)) for k, v in cache]


class HuggingFace:
    """a and b as transformers does them."""

    def __init__(self, w):
        s = w.shape
        self.w, self.name = w, f"transformers {transformers.__version__}"
        config = transformers.LlamaConfig(
            hidden_size=s["D"], intermediate_size=s["FF"], num_hidden_layers=s["L"], num_attention_heads=s["H"],
            num_key_value_heads=s["H"], vocab_size=s["V"], rms_norm_eps=EPS, rope_theta=THETA,
            max_position_embeddings=4096, tie_word_embeddings=False, attn_implementation="sdpa")
        before = torch.get_default_dtype()
        torch.set_default_dtype(w.dtype)
        try:
            with torch.device(w.device):
                self.model = transformers.LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(before)
        self.share(s["D"], s["FF"])

    def share(self, d, ff):
        body = self.model.model
        body.embed_tokens.weight.data, body.norm.weight.data = self.w.embed, self.w.norm
        self.model.lm_head.weight.data = self.w.head
        for ours, layer in zip(self.w.layers, body.layers):
            attention, mlp = layer.self_attn, layer.mlp
            for i, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
                part.weight.data = ours["qkv"][i * d:(i + 1) * d]
            attention.o_proj.weight.data = ours["o"]
            mlp.gate_proj.weight.data, mlp.up_proj.weight.data = ours["gate_up"][:ff], ours["gate_up"][ff:]
            mlp.down_proj.weight.data = ours["down"]
            layer.input_layernorm.weight.data = ours["norm1"]
            layer.post_attention_layernorm.weight.data = ours["norm2"]

    def run(self, x, mask, pos, cache):
        out = self.model.model(inputs_embeds=x, attention_mask=mask.long(), position_ids=pos,
                               past_key_values=cache, use_cache=True)
        return out.last_hidden_state[:, -1], out.past_key_values

    def repeat(self, cache, n):
        import copy
        cache = copy.deepcopy(cache)  # a step appends to it
        cache.batch_repeat_interleave(n)
        return cache


# ---- the three ways: each gives the logits of every answer token to `seen`, and calls `mark` ----
# ---- behind the prompts                                                                      ----


class Way:
    """a and b."""

    def __init__(self, w, engine, letter):
        self.w, self.engine, self.letter = w, engine, letter
        what = "full prompts" if letter == "a" else "cached prefix, repeated"
        self.name = f"{letter}: {what} ({engine.name})"

    def prefix(self):
        """What is computed once for a picture."""
        w = self.w
        everything = torch.ones(1, STEM, dtype=torch.bool, device=w.device)
        pos = torch.arange(STEM, device=w.device)[None]
        return None if self.letter == "a" else self.engine.run(w.stem, everything, pos, None)[1]

    def answer(self, prefix, q, mark, seen):
        w = self.w
        x, pos = w.embed[q.ids], q.pos
        mask = torch.cat([torch.ones(q.n, STEM, dtype=torch.bool, device=w.device), q.real], 1)
        cache = None
        if self.letter == "b":
            cache = self.engine.repeat(prefix, q.n)
        else:  # padding goes in front of all: the stem moves up to the tail
            x = torch.cat([w.stem.expand(q.n, -1, -1), x], 1)
            place = torch.arange(STEM + TAIL, device=w.device) - q.pad[:, None]
            mask, pos = place >= 0, place.clamp(min=0)
            take = torch.where(place < STEM, place.clamp(min=0), place + q.pad[:, None])
            x = torch.gather(x, 1, take[..., None].expand_as(x))
        for step in range(ANSWER):
            x, cache = self.engine.run(x, mask, pos, cache)
            logits = F.linear(x, w.head)
            seen(step, logits, logits.argmax(-1))
            if step == 0:
                mark()
            x = w.embed[q.answer[:, step]][:, None]
            pos = (q.end + step)[:, None]
            mask = F.pad(mask, (0, 1), value=True)

    def tokens(self):
        """Of a question, and the keys that they see together; of the prefix."""
        own, total = TAIL - 1 + ANSWER - 1, STEM + TAIL - 1 + ANSWER - 1
        n = total if self.letter == "a" else own
        return n, sum(range(total - n + 1, total + 1)), 0 if self.letter == "a" else STEM


def attend_flash(q, k, v):
    """What F.scaled_dot_product_attention runs on a card, which keeps the log-sum-exp to itself."""
    y, lse = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[:2]
    return y, lse[..., :q.shape[2]]


def attend_matmul(q, k, v):
    """q (1, H, N, K) over all of k -> y, log-sum-exp (1, H, N)."""
    s = (q @ k.transpose(-1, -2)).float() * q.shape[-1]**-0.5
    return torch.softmax(s, -1).to(v.dtype) @ v, torch.logsumexp(s, -1)


def has_flash(w):
    """Does this torch have it, by this name, and does it agree?"""
    q = torch.randn(1, 2, 5, 64, device=w.device, dtype=w.dtype)
    try:
        return all(torch.allclose(x.float(), y.float(), atol=0.05)
                   for x, y in zip(attend_flash(q, q[:, :, :3], q[:, :, :3]),
                                   attend_matmul(q, q[:, :, :3], q[:, :, :3])))
    except Exception as error:  # whatever it is, the other one does
        print(f"no flash attention: {str(error).splitlines()[0]}")
        return False


class Shared:
    """c."""

    letter = "c"

    def __init__(self, w):
        self.w, self.room = w, None
        is_flash = w.device.type == "cuda" and has_flash(w)
        self.attend_stem = attend_flash if is_flash else attend_matmul
        self.name = f"c: shared stem, plain torch ({'flash' if is_flash else 'matmul'} for the stem)"

    def prefix(self):
        w, stem = self.w, []

        def attend(_, q, k, v):
            stem.append((k.contiguous(), v.contiguous()))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        decode(w, w.stem, torch.arange(STEM, device=w.device)[None], attend)
        return stem

    def private(self, n):
        """Keys and values of the tails; kept from batch to batch."""
        w = self.w
        if self.room is None or self.room.shape[2] != n:
            self.room = None
            size = (w.shape["L"], 2, n, w.shape["H"], TAIL + ANSWER, w.shape["D"] // w.shape["H"])
            self.room = torch.zeros(size, device=w.device, dtype=w.dtype)
        return self.room

    def answer(self, prefix, q, mark, seen):
        w, room = self.w, self.private(q.n)
        x, pos, first = w.embed[q.ids], q.pos, 0
        real = F.pad(q.real, (0, ANSWER), value=True)
        for step in range(ANSWER):
            last = first + x.shape[1]
            keys, rows = torch.arange(last, device=w.device), torch.arange(first, last, device=w.device)
            see = (keys <= rows[:, None]) & real[:, None, :last] | (keys == rows[:, None])
            hide = torch.zeros(see.shape, device=w.device).masked_fill(~see, -torch.inf)[:, None]

            def attend(i, a, k, v):
                n, heads, t, size = a.shape
                room[i, 0, :, :, first:last], room[i, 1, :, :, first:last] = k, v
                flat = a.transpose(0, 1).reshape(1, heads, n * t, size)
                y, lse = self.attend_stem(flat, *prefix[i])
                y = y.view(heads, n, t, size).transpose(0, 1)
                lse = lse.reshape(heads, n, t).transpose(0, 1)
                own_k, own_v = room[i, 0, :, :, :last], room[i, 1, :, :, :last]
                s = (a @ own_k.transpose(-1, -2)).float() * size**-0.5 + hide
                own_lse = torch.logsumexp(s, -1)
                own = torch.softmax(s, -1).to(own_v.dtype) @ own_v
                part = torch.sigmoid(own_lse - lse)[..., None]  # the tail's share of the whole sum
                return (y.float() * (1 - part) + own.float() * part).to(a.dtype)

            x = decode(w, x, pos, attend)[:, -1]
            logits = F.linear(x, w.head)
            seen(step, logits, logits.argmax(-1))
            if step == 0:
                mark()
            x, pos, first = w.embed[q.answer[:, step]][:, None], (q.end + step)[:, None], last

    def tokens(self):
        own, total = TAIL - 1 + ANSWER - 1, STEM + TAIL - 1 + ANSWER - 1
        return own, sum(range(total - own + 1, total + 1)), STEM


# ---- right? ----


def check(w, ways, questions):
    want = reference(w, questions)
    scale, off = want.pow(2).mean().sqrt(), {}
    for way in ways:
        got = torch.empty_like(want)
        way.answer(way.prefix(), questions, lambda: None, lambda step, logits, _: got[:, step].copy_(logits))
        off[way.letter] = ((got - want).pow(2).mean().sqrt() / scale).item()
    best = min(off.values())
    good = best < 0.1 and all(e <= 2 * best + 1e-6 for e in off.values())  # a NaN is not
    print(f"Logits of {questions.n} questions against f32, error / size: "
          f"{', '.join(f'{k} {e:.2e}' for k, e in off.items())}: {'the same within rounding' if good else 'WRONG'}.\n")
    return good


# ---- fast? ----


def floor_seconds(shape, way, tflops):
    """(of one question, of the prefix)"""
    d, ff, layers, v = (shape[k] for k in ("D", "FF", "L", "V"))
    token, key = 2 * layers * (4 * d * d + 3 * d * ff), 4 * layers * d
    n, keys, prefix = way.tokens()
    question = n * token + keys * key + ANSWER * 2 * d * v
    return question / tflops / 1e12, (prefix * token + prefix * (prefix + 1) // 2 * key) / tflops / 1e12


def timed(w, way, n):
    """Seconds of the prefix, and of a batch up to its first answer token and in all."""
    q = Questions(w, n)

    def now():
        if w.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    start, at = now(), []
    prefix = way.prefix()
    begun = now()
    way.answer(prefix, q, lambda: at.append(now()), lambda *_: None)
    return begun - start, at[0] - begun, now() - begun


def middle(x):
    return sorted(x)[len(x) // 2]


def measure(w, way, n, until, tflops):
    timed(w, way, n)  # to warm up
    runs = []
    while len(runs) < 3 or (len(runs) < 9 and time.perf_counter() < until):
        runs.append(timed(w, way, n))
        if time.perf_counter() > until + 20:
            break
    all_s, step = [r[2] for r in runs], [(r[2] - r[1]) / (ANSWER - 1) * 1e3 for r in runs]
    once = middle([r[0] for r in runs])
    rate, batches = [n / s for s in all_s], PIXELS / n
    whole = [once + s * batches for s in all_s]
    one, prefix = floor_seconds(w.shape, way, tflops)
    floor = one * PIXELS + prefix
    print(f"| {way.name}, {n} at once | {middle(rate):.1f} ({min(rate):.1f} .. {max(rate):.1f}) "
          f"| {middle(whole):.2f} ({min(whole):.2f} .. {max(whole):.2f}) "
          f"| {middle(step):.2f} ({min(step):.2f} .. {max(step):.2f}) "
          f"| {floor:.3g} | {100 * floor / middle(whole):.1f} % | {len(runs)} |", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seconds", type=float, default=90)
    p.add_argument("--tflops", type=float, default=790)
    p.add_argument("--tiny", action="store_true")
    p.add_argument("--cpu", action="store_true")
    opt = p.parse_args()
    start = time.perf_counter()
    device = torch.device("cpu" if opt.cpu else "cuda")
    dtype = torch.float32 if opt.cpu else torch.bfloat16
    shape = TINY if opt.tiny else FULL
    with torch.inference_mode():
        w = Weights(shape, device, dtype)
        engine = HuggingFace(w) if transformers else Plain(w)
        a, b, c = Way(w, engine, "a"), Way(w, engine, "b"), Shared(w)
        print(f"torch {torch.__version__}, {'CPU' if opt.cpu else torch.cuda.get_device_name()}, {dtype}, {shape}\n")
        good = check(w, (a, b, c), Questions(w, 16).some(6))
        plan = [(c, 8), (b, 8), (a, 4)] if opt.tiny else [(c, 1024), (b, 64), (a, 64), (b, 256), (c, 256)]
        print("| way | questions a second | seconds for 4,096 pixels, extrapolated | ms a step | floor, s | share "
              "| runs |\n|---|---|---|---|---|---|---|")
        for i, (way, n) in enumerate(plan):
            left = opt.seconds - (time.perf_counter() - start)
            if left <= 0:
                print(f"| {way.name}, {n} at once | not run: no time left | | | | | |")
                continue
            try:
                measure(w, way, n, time.perf_counter() + left / (len(plan) - i), opt.tflops)
            except torch.cuda.OutOfMemoryError:
                print(f"| {way.name}, {n} at once | not run: the card is too small | | | | | |")
            c.room = None if way is not c else c.room
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if not opt.tiny:
        print("\nWhat the engine has to compute for 4,096 pixels, coordinates as a tree and forced tokens left out: "
              f"{1027 / opt.tflops:.2f} s.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
