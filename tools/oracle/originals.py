"""Originals at true widths, made of nothing but names: LLaMA-2's folder, eva_vit_g.pth and a
checkpoint of MiniGPT-v2, with few layers or many, under the names and in the types of their makers.

A tensor has 256 different numbers, one for each byte of a hash of its name and the place: two
seconds for half a billion. So a test stores answers, never weights. Needs numpy alone; the files
are as torch and transformers write them, and load there (make_originals_golden.py).
"""
import json
import math
import os
import shutil
import sys

import numpy as np

import rng

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tests/import"))
import checkpoints as ck  # noqa: E402

WIDTH, INNER, PATCH, GRID, SIDE = 1408, 6144, 14, 16, 448
DEEP, HEADS, FFN, VOCAB, EPS = 4096, 32, 11008, 379, 1e-5
RANK, ALPHA = 64, 16
TOKENIZER = os.path.join(ROOT, "tests/golden/tiny-digits/tokenizer.model")
# What is recorded: with so many blocks of the tower and layers of the decoder, a prompt with a
# picture inside, and text alone.
BLOCKS, LAYERS = 2, 1
WHOLE = [1, 5, 17, 42, -1, 7, 49, 11, 11, 20, 300, 8, 88]
TEXT = [1, 17, 300, 41, 5, 5, 88, 12, 250, 9, 378, 0, 2, 33, 70, 121, 64, 200, 201, 19]
KINDS = {"F16": np.float16, "F32": np.float32}


def numbers(name, shape, std, mean, dtype):
    """Evenly spaced levels of that deviation around the mean, drawn by bytes."""
    count = int(np.prod(shape))
    at = (np.arange(256) + 0.5) / 256 - 0.5
    levels = (mean + at * (std * math.sqrt(12))).astype(KINDS[dtype])
    draws = rng.u64(rng.name_seed(name), np.arange((count + 7) // 8, dtype=np.uint64))
    return levels[draws.view(np.uint8)[:count]].reshape(shape)


class Table(dict):
    """name -> (shape, deviation, mean), in file order."""

    def matrix(self, name, n, k, gain=1.0):
        self[name] = ((n, k), gain / math.sqrt(k), 0.0)

    def vector(self, name, n, mean=0.0):
        self[name] = ((n,), 0.1, mean)


def tower(blocks):
    """eva_vit_g.pth with that many blocks, and what of it nobody uses."""
    t, e = Table(), WIDTH
    t["cls_token"] = ((1, 1, e), 0.5, 0.0)
    t["pos_embed"] = ((1, 1 + GRID * GRID, e), 0.5, 0.0)
    t["patch_embed.proj.weight"] = ((e, 3, PATCH, PATCH), 1 / math.sqrt(3 * PATCH * PATCH), 0.0)
    t.vector("patch_embed.proj.bias", e)
    for i in range(blocks):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            t.vector(b + norm + ".weight", e, 1.0)
            t.vector(b + norm + ".bias", e)
        t.vector(b + "attn.q_bias", e)
        t.vector(b + "attn.v_bias", e)
        t.matrix(b + "attn.qkv.weight", 3 * e, e, 1.5)
        t.matrix(b + "attn.proj.weight", e, e)
        t.vector(b + "attn.proj.bias", e)
        t.matrix(b + "mlp.fc1.weight", INNER, e)
        t.vector(b + "mlp.fc1.bias", INNER)
        t.matrix(b + "mlp.fc2.weight", e, INNER)
        t.vector(b + "mlp.fc2.bias", e)
    t.vector("norm.weight", e, 1.0)
    t.vector("norm.bias", e)
    return t


def layer(i):
    t, d, b = Table(), DEEP, f"model.layers.{i}."
    t.vector(b + "input_layernorm.weight", d, 1.0)
    t.vector(b + "post_attention_layernorm.weight", d, 1.0)
    for name, gain in (("q", 2.2), ("k", 2.2), ("v", 1.0), ("o", 4.0)):
        t.matrix(f"{b}self_attn.{name}_proj.weight", d, d, gain)
    t.matrix(b + "mlp.gate_proj.weight", FFN, d)
    t.matrix(b + "mlp.up_proj.weight", FFN, d)
    t.matrix(b + "mlp.down_proj.weight", d, FFN, 2.0)
    return t


def llama(layers):
    """LLaMA-2-7b-chat-hf with that many layers and a small vocabulary."""
    t = Table()
    t["model.embed_tokens.weight"] = ((VOCAB, DEEP), 1.0, 0.0)
    for i in range(layers):
        t.update(layer(i))
    t.vector("model.norm.weight", DEEP, 1.0)
    t.matrix("lm_head.weight", VOCAB, DEEP, 6.0)
    return t


def learnt(layers):
    """A checkpoint of MiniGPT-v2: the connector, and a LoRA on q_proj and v_proj that matters."""
    t = Table()
    t.matrix("llama_proj.weight", DEEP, 4 * WIDTH)
    t.vector("llama_proj.bias", DEEP)
    for i in range(layers):
        for place in ("q_proj", "v_proj"):
            b = f"llama_model.base_model.model.model.layers.{i}.self_attn.{place}."
            t.matrix(b + "lora_A.weight", RANK, DEEP)
            t.matrix(b + "lora_B.weight", DEEP, RANK, 4.0)
    return t


# ---- files ----

def config(layers):
    return {"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "silu", "hidden_size": DEEP, "initializer_range": 0.02,
            "intermediate_size": FFN, "max_position_embeddings": 4096, "model_type": "llama",
            "num_attention_heads": HEADS, "num_hidden_layers": layers,
            "num_key_value_heads": HEADS, "pretraining_tp": 1, "rms_norm_eps": EPS,
            "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float16",
            "use_cache": True, "vocab_size": VOCAB}


def write_safetensors(path, table, made):
    """One tensor in memory at a time, in fp16. made: name -> numbers that aren't the name's own."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, _, _) in table.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for name, row in table.items():
            f.write((made[name] if name in made else numbers(name, *row, "F16")).data)


def write_llama(folder, layers, made=None):
    """made: numbers of other layers than the names say (depth.py)."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config(layers), f)
    shutil.copy(TOKENIZER, folder)
    write_safetensors(os.path.join(folder, "model.safetensors"), llama(layers), made or {})


def tensors(table, dtype):
    return {n: ck.Tensor(dtype, row[0], numbers(n, *row, dtype).tobytes()) for n, row in table.items()}


def write_tower(path, blocks):
    ck.torch_zip(path, tensors(tower(blocks), "F16"))


def write_learnt(path, layers):
    ck.torch_zip(path, {"model": tensors(learnt(layers), "F32"), "epoch": 3, "scaler": None,
                        "config": {"model": {"arch": "minigpt_v2", "lora_r": RANK, "lora_alpha": ALPHA}}})


def picture(side=SIDE):
    """A code-made picture, (side, side, 3) u8: shades, a disc, stripes. Integers only."""
    y, x = np.mgrid[0:side, 0:side].astype(np.int64)
    rgb = np.stack([x * 255 // side, y * 255 // side, (x * 3 + y * 5) % 256], axis=-1)
    disc = (x - side // 3) ** 2 + (y - side // 2) ** 2 < (side // 5) ** 2
    rgb[disc] = [230, 40, 60]
    stripes = (x > side * 2 // 3) & (y // 9 % 2 == 1)
    rgb[stripes] = [250, 250, 20]
    return rgb.astype(np.uint8)
