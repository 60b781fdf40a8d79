"""gguf.py - writes a LLaMA with drawn weights as GGUF, for llama.cpp: its answers are noise.

    write(path, shape, "f32" | "q8_0" | "q4_0")

shape: hidden, layers, heads, ffn, vocab, positions. Matrices are of the type that is named, norms
are f32. Written piece by piece, so a model of 7 billion needs no memory. Format: GGUF version 3,
as llama.cpp's docs describe it. Needs numpy.
"""
import struct

import numpy as np

ALIGN = 32
# a type's number; weights and bytes of a block
TYPES = {"f32": (0, 1, 4), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34)}
U32, F32, STRING = 4, 6, 8


def text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == STRING else
                                                  struct.pack("<f" if kind == F32 else "<I", value))


def tensors(shape, form):
    """(name, columns, rows, type) in the file's order; a vector has one row."""
    d, f, v = shape["hidden"], shape["ffn"], shape["vocab"]
    yield "token_embd.weight", d, v, form
    for i in range(shape["layers"]):
        for name, columns, rows in (("attn_q", d, d), ("attn_k", d, d), ("attn_v", d, d), ("attn_output", d, d),
                                    ("ffn_gate", d, f), ("ffn_up", d, f), ("ffn_down", f, d)):
            yield f"blk.{i}.{name}.weight", columns, rows, form
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", d, 1, "f32"
    yield "output_norm.weight", d, 1, "f32"
    yield "output.weight", d, v, form


def size(columns, rows, form):
    _, weights, count = TYPES[form]
    assert columns % weights == 0, (columns, form)
    return columns // weights * count * rows


def drawn(rng, columns, rows, form):
    """The bytes of some rows, of about 0.02 each."""
    if rows == 1 and form == "f32":
        return np.ones(columns, np.float32).tobytes()
    if form == "f32":
        return (rng.standard_normal((rows, columns), np.float32) * 0.02).tobytes()
    blocks = rows * columns // 32
    out = np.empty((blocks, TYPES[form][2]), np.uint8)
    scale = np.float16(0.02 / (73 if form == "q8_0" else 4.6))  # their spread, drawn evenly
    out[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    out[:, 2:] = np.frombuffer(rng.bytes(out[:, 2:].size), np.uint8).reshape(blocks, -1)
    return out.tobytes()


def write(path, shape, form):
    pairs = [pair("general.architecture", STRING, "llama"), pair("general.alignment", U32, ALIGN),
             pair("llama.context_length", U32, shape["positions"]), pair("llama.embedding_length", U32, shape["hidden"]),
             pair("llama.block_count", U32, shape["layers"]), pair("llama.feed_forward_length", U32, shape["ffn"]),
             pair("llama.attention.head_count", U32, shape["heads"]),
             pair("llama.attention.head_count_kv", U32, shape["heads"]),
             pair("llama.rope.dimension_count", U32, shape["hidden"] // shape["heads"]),
             pair("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), pair("llama.vocab_size", U32, shape["vocab"]),
             pair("tokenizer.ggml.model", STRING, "no_vocab")]
    listed, infos, at = list(tensors(shape, form)), [], 0
    for name, columns, rows, kind in listed:
        dims = (columns,) if rows == 1 else (columns, rows)
        infos.append(text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[kind][0], at))
        at += -(-size(columns, rows, kind) // ALIGN) * ALIGN
    rng = np.random.default_rng(1)
    with open(path, "wb") as f:
        f.write(b"GGUF" + struct.pack("<IQQ", 3, len(listed), len(pairs)) + b"".join(pairs + infos))
        f.write(b"\0" * (-f.tell() % ALIGN))
        for _, columns, rows, kind in listed:
            for row in range(0, rows, 1024):
                f.write(drawn(rng, columns, min(1024, rows - row), kind))
            f.write(b"\0" * (-f.tell() % ALIGN))
