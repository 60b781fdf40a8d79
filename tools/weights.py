#!/usr/bin/env python3
"""weights.py - weights that no training made.

    weights.py new SHAPE --out FOLDER [--tokenizer FILE] [--seed 1]
    weights.py smooth MODEL --out FOLDER
    weights.py mix MODEL OTHER --share 0.5 --out FOLDER

new writes a model folder to begin training with: SHAPE/config.json, a tokenizer, and weights drawn
from the seed, in F32. They know nothing but where and how much: position embeddings of the picture
and the rows of numbers, in embedding and head, are sines and cosines of the row, the column or the
number, mixed by random matrices, so that neighbours are alike (Fourier features). Everything else
is noise of the usual size. The same arguments give the same bytes.

smooth writes MODEL with its head in F32, and in it the rows of the numbers of boxes as the nearest
smooth curve over the number (COSINES cosines). In bf16 the rows of neighbouring numbers differ by
less than is rounded away, so that most numbers can never win. What is trained from such a folder
keeps its head in F32.

mix writes MODEL moved by --share of the way to OTHER, weight by weight. What was taught on from a
model has often lost something that the model knew; between the two both may be known (Wortsman et
al., "Robust fine-tuning of zero-shot models", 2022). Needs numpy.
"""
import argparse
import json
import os
import re
import shutil
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZER = os.path.join(os.path.dirname(HERE), "models/lamm-mini/tokenizer.model")
PERIODS = [2.0 ** k for k in range(2, 10)]  # in places of the grid, in levels, in hundredths
MAX_JSON = 1 << 20
COSINES = 9  # that the rows of a box's numbers are made of
BOX_ENDS, BOX_NUMBERS = ("><", ">}"), 101  # `12><`, `12>}`


# ---- a tokenizer's pieces ----

def varint(data, i):
    value = shift = 0
    while True:
        value |= (data[i] & 127) << shift
        i, shift = i + 1, shift + 7
        if data[i - 1] < 128:
            return value, i


def fields(data):
    """(number, value) of each field of a protocol buffer's message."""
    i = 0
    while i < len(data):
        tag, i = varint(data, i)
        kind = tag & 7
        if kind == 0:
            value, i = varint(data, i)
        else:
            n, i = (8, i) if kind == 1 else (4, i) if kind == 5 else varint(data, i)
            value, i = data[i:i + n], i + n
        yield tag >> 3, value


def pieces(path):
    with open(path, "rb") as f:
        data = f.read()
    return [dict(fields(v))[1].decode() for number, v in fields(data) if number == 1]


def numbers(words):
    """{what stands behind: {number: token}}: `31`, `31,`, `31><` are of three families."""
    out = {}
    for token, word in enumerate(words):
        m = re.fullmatch(r"(0|[1-9]\d{0,2})(\D{0,2})", word)
        if m and int(m[1]) < 256:
            out.setdefault(m[2], {}).setdefault(int(m[1]), token)
    return {end: of for end, of in out.items() if len(of) > 10}


# ---- weights ----

def fourier(values):
    """(n) -> (n, 2 * periods): sines and cosines."""
    angle = 2 * np.pi * np.asarray(values, float)[:, None] / PERIODS
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


class Maker:
    def __init__(self, config, words, seed):
        self.config, self.words = config, words
        self.rng = np.random.default_rng(seed)
        self.tensors = {}

    def noise(self, *shape, scale=1.0):
        return self.rng.normal(0, scale, shape)

    def put(self, name, array):
        self.tensors[name] = np.ascontiguousarray(array, np.float32)

    def matrix(self, name, n, k, *shape, scale=1.0):
        """(n, k): keeps the size of what comes in, times scale."""
        self.put(name, self.noise(n, k, scale=scale / np.sqrt(k)).reshape(shape or (n, k)))

    def constant(self, name, n, value):
        self.put(name, np.full(n, value))

    def waves(self, values, width):
        """(n, width): Fourier features of about 1 each, mixed by a matrix of their own."""
        f = fourier(values)
        return f @ self.noise(f.shape[1], width) / np.sqrt(f.shape[1] / 2)

    def tower(self):
        v = self.config["vision_config"]
        e, mlp, patch = v["hidden_size"], v["intermediate_size"], v["patch_size"]
        side, depth = v["image_size"] // patch, v["num_hidden_layers"]
        middle = (np.arange(side) + 0.5) * self.config["pixel_grid"] / side
        places = self.waves(middle, e)[:, None] + self.waves(middle, e)[None]
        pos = np.concatenate([np.zeros((1, e)), places.reshape(-1, e) / np.sqrt(2)])
        self.put("visual_encoder.cls_token", self.noise(1, 1, e))
        self.put("visual_encoder.pos_embed", pos[None])
        self.matrix("visual_encoder.patch_embed.proj.weight", e, 3 * patch * patch, e, 3, patch, patch)
        self.constant("visual_encoder.patch_embed.proj.bias", e, 0)
        for i in range(depth):
            at = f"visual_encoder.blocks.{i}."
            for norm in ("norm1", "norm2"):
                self.constant(f"{at}{norm}.weight", e, 1)
                self.constant(f"{at}{norm}.bias", e, 0)
            self.constant(at + "attn.q_bias", e, 0)
            self.constant(at + "attn.v_bias", e, 0)
            self.matrix(at + "attn.qkv.weight", 3 * e, e)
            self.matrix(at + "attn.proj.weight", e, e, scale=0.5)
            self.constant(at + "attn.proj.bias", e, 0)
            self.matrix(at + "mlp.fc1.weight", mlp, e)
            self.constant(at + "mlp.fc1.bias", mlp, 0)
            self.matrix(at + "mlp.fc2.weight", e, mlp, scale=0.5)
            self.constant(at + "mlp.fc2.bias", e, 0)
        self.constant("ln_vision.weight", e, 1)
        self.constant("ln_vision.bias", e, 0)

    def decoder(self):
        t = self.config["text_config"]
        d, ffn, vocab = t["hidden_size"], t["intermediate_size"], t["vocab_size"]
        joined = self.config["vision_config"]["hidden_size"] * self.config["connector_config"]["concat"]
        self.matrix("llama_proj.weight", d, joined)
        self.constant("llama_proj.bias", d, 0)
        embed = self.noise(vocab, d)
        head = self.noise(vocab, d, scale=0.5 / np.sqrt(d))
        for of in numbers(self.words).values():
            values, tokens = np.array(sorted(of)), [of[n] for n in sorted(of)]
            embed[tokens] = self.waves(values, d) + 0.3 * self.noise(1, d)
            head[tokens] = self.waves(values, d) * 0.5 / np.sqrt(d)
        self.put("model.embed_tokens.weight", embed)
        for i in range(t["num_hidden_layers"]):
            at = f"model.layers.{i}."
            self.constant(at + "input_layernorm.weight", d, 1)
            self.constant(at + "post_attention_layernorm.weight", d, 1)
            for name in "qkv":
                self.matrix(f"{at}self_attn.{name}_proj.weight", d, d)
            self.matrix(at + "self_attn.o_proj.weight", d, d, scale=0.5)
            self.matrix(at + "mlp.gate_proj.weight", ffn, d)
            self.matrix(at + "mlp.up_proj.weight", ffn, d)
            self.matrix(at + "mlp.down_proj.weight", d, ffn, scale=0.5)
        self.constant("model.norm.weight", d, 1)
        self.put("lm_head.weight", head)


# ---- a folder ----

def stored(array, is_f32):
    """Little-endian bytes, in F32 or the nearest BF16."""
    if is_f32:
        return array.astype("<f4").tobytes()
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def save(path, tensors, f32=None):
    """A safetensors file, written beside and renamed. f32: names of those in F32, the others are
    BF16; None: all."""
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        is_f32 = f32 is None or name in f32
        n = array.size * (4 if is_f32 else 2)
        head[name] = {"dtype": "F32" if is_f32 else "BF16", "shape": list(array.shape),
                      "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, array in tensors.items():
            f.write(stored(array, f32 is None or name in f32))
    os.replace(path + ".part", path)


def load(path):
    """({name: array in F32}, names of those stored so) of a safetensors file of F32 and BF16."""
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    out, f32 = {}, set()
    head.pop("__metadata__", None)
    for name, t in head.items():
        part = data[slice(*t["data_offsets"])]
        if t["dtype"] == "BF16":
            array = (np.frombuffer(part, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif t["dtype"] == "F32":
            array = np.frombuffer(part, "<f4")
            f32.add(name)
        else:
            raise SystemExit(f"weights.py: {path}: {name} is {t['dtype']}: F32 and BF16 can be read")
        out[name] = array.reshape(t["shape"])
    return out, f32


def save_like(o, tensors, f32):
    """What belongs to o.model, with other weights, as o.out."""
    os.makedirs(o.out, exist_ok=True)
    for name in ("config.json", "tokenizer.model"):
        shutil.copyfile(os.path.join(o.model, name), os.path.join(o.out, name))
    save(os.path.join(o.out, "model.safetensors"), tensors, f32)


def smooth(o):
    tensors, f32 = load(os.path.join(o.model, "model.safetensors"))
    of = numbers(pieces(os.path.join(o.model, "tokenizer.model")))
    at = np.pi * (np.arange(BOX_NUMBERS) + 0.5) / BOX_NUMBERS
    waves = np.cos(at[:, None] * np.arange(COSINES))
    head = tensors["lm_head.weight"].copy()
    for end in BOX_ENDS:
        if any(n not in of.get(end, {}) for n in range(BOX_NUMBERS)):
            raise SystemExit(f"weights.py: {o.model}: the tokenizer has no {BOX_NUMBERS} pieces 0{end} ...")
        rows = [of[end][n] for n in range(BOX_NUMBERS)]
        head[rows] = waves @ np.linalg.lstsq(waves, head[rows], rcond=None)[0]
    tensors["lm_head.weight"] = head
    save_like(o, tensors, f32 | {"lm_head.weight"})
    print(f"{o.out}: {o.model} with a smooth head")


def mix(o):
    tensors, f32 = load(os.path.join(o.model, "model.safetensors"))
    other, _ = load(os.path.join(o.other, "model.safetensors"))
    if {n: a.shape for n, a in tensors.items()} != {n: a.shape for n, a in other.items()}:
        raise SystemExit(f"weights.py: {o.other} has other weights than {o.model}: only models of one shape mix")
    save_like(o, {n: a + np.float32(o.share) * (other[n] - a) for n, a in tensors.items()}, f32)
    print(f"{o.out}: {o.model}, {o.share:g} of the way to {o.other}")


def new(o):
    with open(os.path.join(o.shape, "config.json"), encoding="utf-8") as f:
        text = f.read(MAX_JSON)
    m = Maker(json.loads(text), pieces(o.tokenizer), o.seed)
    if len(m.words) > m.config["text_config"]["vocab_size"]:
        raise SystemExit(f"weights.py: {o.tokenizer} has {len(m.words)} pieces, more than vocab_size")
    m.tower()
    m.decoder()
    os.makedirs(o.out, exist_ok=True)
    with open(os.path.join(o.out, "config.json"), "w", encoding="utf-8") as f:
        f.write(text)
    shutil.copyfile(o.tokenizer, os.path.join(o.out, "tokenizer.model"))
    save(os.path.join(o.out, "model.safetensors"), m.tensors)
    n = sum(a.size for a in m.tensors.values())
    print(f"{o.out}: {n / 1e6:.2f} million weights of seed {o.seed}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True)
    n = sub.add_parser("new", help="a folder of seeded weights")
    n.add_argument("shape", metavar="SHAPE", help="folder with a config.json")
    n.add_argument("--out", required=True)
    n.add_argument("--tokenizer", default=TOKENIZER)
    n.add_argument("--seed", type=int, default=1)
    n.set_defaults(run=new)
    m = sub.add_parser("smooth", help="a model with its head in F32, and smooth rows of boxes")
    m.add_argument("model", metavar="MODEL", help="folder of a model with 101 numbers of a box")
    m.add_argument("--out", required=True)
    m.set_defaults(run=smooth)
    x = sub.add_parser("mix", help="a model between two")
    x.add_argument("model", metavar="MODEL", help="folder whose tokenizer and formats are kept")
    x.add_argument("other", metavar="OTHER", help="folder of a model of the same shape")
    x.add_argument("--share", type=float, required=True, help="of the way from MODEL to OTHER")
    x.add_argument("--out", required=True)
    x.set_defaults(run=mix)
    o = p.parse_args()
    o.run(o)


if __name__ == "__main__":
    main()
